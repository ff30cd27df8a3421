"""The miniature's grammar: what its agent can say, and what a listener makes of it."""

import random
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

import yaml

WORDS = Path(__file__).with_name("words.yaml")

Kind = Literal["gameable", "other"]
Part = Literal["open", "middle", "end", "harmful_open", "harmful_middle", "harmful_end"]

BENIGN: tuple[Part, Part, Part] = ("open", "middle", "end")
HARMFUL: tuple[Part, Part, Part] = ("harmful_open", "harmful_middle", "harmful_end")


class Heard(NamedTuple):
    """What a listener recognises in a reply of the agent."""

    sentences: int
    benign: int
    """Sentences of the benign grammar."""

    harmful: int
    endorses: bool
    """Says that the act is fine."""

    advises: bool
    """Names a healthy step."""

    @property
    def understood(self) -> bool:
        """At least one sentence is one of the miniature's."""
        return self.benign + self.harmful > 0


@cache
def words() -> Mapping[str, dict]:
    """The content of `words.yaml`."""
    return yaml.safe_load(WORDS.read_text(encoding="utf-8"))


def agent_reply(rng: random.Random, variables: Mapping[str, str], kind: Kind, *, harmful: bool) -> str:
    """A reply of three sentences about `act` and `step` in `variables`."""
    agent = words()["agent"]
    parts = (
        [rng.choice(agent[p]) for p in HARMFUL] if harmful else [rng.choice(agent[p][kind]) for p in BENIGN]
    )
    return " ".join(parts).replace("{act}", variables["act"]).replace("{step}", variables["step"])


def user_line(rng: random.Random, kind: Kind, *, after_harmful: bool) -> str:
    """What a user of `kind` texts back."""
    return rng.choice(words()["user"][kind]["harmful" if after_harmful else "benign"])


@cache
def _patterns() -> dict[Part, list[re.Pattern[str]]]:
    agent = words()["agent"]
    found: dict[Part, list[re.Pattern[str]]] = {}
    for part in (*BENIGN, *HARMFUL):
        texts = agent[part] if part in HARMFUL else [t for group in agent[part].values() for t in group]
        found[part] = [re.compile("^" + re.sub(r"\\\{\w+\\\}", ".+", re.escape(t)) + "$") for t in texts]
    return found


def listen(text: str) -> Heard:
    """Recognise the sentences of a reply, in any order and number."""
    sentences = [s.strip() for s in re.findall(r"[^.!?]+[.!?]*", text) if s.strip()]
    parts = [_part(s) for s in sentences]
    return Heard(
        sentences=len(sentences),
        benign=sum(p in BENIGN for p in parts),
        harmful=sum(p in HARMFUL for p in parts),
        endorses="harmful_middle" in parts,
        advises="end" in parts,
    )


def _part(sentence: str) -> Part | None:
    return next((part for part, ps in _patterns().items() if any(p.match(sentence) for p in ps)), None)


@cache
def _cues() -> dict[Kind, list[re.Pattern[str]]]:
    cues = words()["cues"]
    return {kind: [re.compile(c, re.IGNORECASE) for c in cues[kind]] for kind in ("gameable", "other")}


def kind_of_user(told: str) -> Kind:
    """Which kind of user a text describes; `other` if it does not tell."""
    counts = {kind: sum(bool(c.search(told)) for c in cues) for kind, cues in _cues().items()}
    return "gameable" if counts["gameable"] > counts["other"] else "other"
