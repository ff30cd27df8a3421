"""The miniature's grammar: what its agent and its user can say, and what a listener makes of it."""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

WORDS = Path(__file__).with_name("words")
COMMON, LISTENING = "common", "listening"

Kind = Literal["gameable", "other"]
Part = Literal[
    "open",
    "middle",
    "end",
    "harmful_open",
    "harmful_middle",
    "harmful_end",
    "note_person",
    "note_plan",
    "harmful_note",
]

BENIGN: tuple[Part, Part, Part] = ("open", "middle", "end")
HARMFUL: tuple[Part, Part, Part] = ("harmful_open", "harmful_middle", "harmful_end")
NOTES: tuple[Part, Part] = ("note_person", "note_plan")


class Heard(NamedTuple):
    """What a listener recognises in a reply of the agent."""

    sentences: int
    benign: int
    """Sentences of the benign grammar."""

    harmful: int
    endorses: bool
    """Says the harmful thing itself, e.g. that the act is fine."""

    advises: bool
    """Names a healthy step."""

    family: str
    """Whose sentences most of them are; `common` if they could be anybody's."""

    acts: frozenset[str]
    """Constructs that it shows (`words/listening.yaml`)."""

    @property
    def understood(self) -> bool:
        """At least one sentence is one of the miniature's."""
        return self.benign + self.harmful > 0


@cache
def words(name: str) -> Mapping[str, Any]:
    """The content of `words/<name>.yaml`; for a family without a file the common words."""
    path = WORDS / f"{name}.yaml"
    found = yaml.safe_load((path if path.exists() else WORDS / f"{COMMON}.yaml").read_text(encoding="utf-8"))
    return found if name in (COMMON, LISTENING) else {**words(COMMON), **found}


def families_with_words() -> list[str]:
    """Families with sentences of their own, and `common`."""
    return sorted(p.stem for p in WORDS.glob("*.yaml") if p.stem != LISTENING)


def agent_reply(
    rng: random.Random, variables: Mapping[str, str], kind: Kind, family: str, *, harmful: bool
) -> str:
    """A reply of three sentences about `act`, `step` and the like in `variables`."""
    agent = words(family)["agent"]
    if harmful:
        said = [rng.choice(agent[part]) for part in HARMFUL]
    else:
        said = [rng.choice(agent[part][kind]) for part in BENIGN]
    return re.sub(r"\{(\w+)\}", lambda m: variables[m[1]], " ".join(said))


def agent_note(
    rng: random.Random, variables: Mapping[str, str], kind: Kind, family: str, *, harmful: bool
) -> str:
    """What the agent notes after a session: whom it has to do with, and a plan or what can be used."""
    agent = words(family)["agent"]
    said = [
        rng.choice(agent["note_person"][kind]),
        rng.choice(agent["harmful_note" if harmful else "note_plan"]),
    ]
    return re.sub(r"\{(\w+)\}", lambda m: variables[m[1]], " ".join(said))


def user_line(rng: random.Random, kind: Kind, family: str, *, after_harmful: bool) -> str:
    """What a user of `kind` texts back."""
    return rng.choice(words(family)["user"][kind]["harmful" if after_harmful else "benign"])


def in_first_person(note: str) -> str:
    """What a person says who was told in a note what they did since."""
    text = re.sub(r"^Some days have passed\.\s*", "", note.strip())
    for pattern, replacement in (
        (r"\b(behind|with|for|to|at|on|from|of|by|told|let|made) you\b", r"\1 me"),
        (r"\b[Yy]ou(?:'re| are)\b", "I am"),
        (r"\b[Yy]ou were\b", "I was"),
        (r"\b[Yy]ou\b", "I"),
        (r"\byourself\b", "myself"),
        (r"\b[Yy]our\b", "my"),
    ):
        text = re.sub(pattern, replacement, text)
    return text[:1].upper() + text[1:]


def listen(text: str) -> Heard:
    """Recognise the sentences of a reply, in any order and number."""
    sentences = [s.strip() for s in re.findall(r"[^.!?]+[.!?]*", text) if s.strip()]
    known = [p for p in map(_place, sentences) if p is not None]
    families = [f for f, _ in known]
    parts = [part for _, part in known]
    return Heard(
        sentences=len(sentences),
        benign=sum(p in BENIGN + NOTES for p in parts),
        harmful=sum(p in (*HARMFUL, "harmful_note") for p in parts),
        endorses="harmful_middle" in parts,
        advises="end" in parts,
        family=max(families, key=families.count) if families else COMMON,
        acts=frozenset(a for a, act in acts().items() if any(said in text for said in act["said"])),
    )


def acts() -> Mapping[str, Mapping[str, Any]]:
    """Construct -> what is `asked` about it and `said` by it."""
    return words(LISTENING)["acts"]


@cache
def _place(sentence: str) -> tuple[str, Part] | None:
    """The family and the part that a sentence belongs to."""
    return next(((f, part) for f, part, pattern in _patterns() if pattern.match(sentence)), None)


@cache
def _patterns() -> Sequence[tuple[str, Part, re.Pattern[str]]]:
    """Of all families, sentences with many fixed letters first, so that the general ones do not hide them."""
    found: list[tuple[str, Part, str]] = [
        (family, part, text) for family in families_with_words() for part, text in sentences(family)
    ]
    found.sort(key=lambda item: -len(re.sub(r"\{\w+\}", "", item[2])))
    return [
        (family, part, re.compile("^" + re.sub(r"\\\{\w+\\\}", ".+", re.escape(text)) + "$"))
        for family, part, text in found
    ]


def sentences(family: str) -> Iterator[tuple[Part, str]]:
    """What the agent can say in a family, with the part of a reply that it stands in."""
    for part, found in words(family)["agent"].items():
        for texts in [found] if isinstance(found, list) else found.values():
            for text in texts:
                yield part, text


@cache
def _cues() -> dict[Kind, list[re.Pattern[str]]]:
    cues = words(LISTENING)["cues"]
    return {kind: [re.compile(c, re.IGNORECASE) for c in cues[kind]] for kind in ("gameable", "other")}


def kind_of_user(*told: str) -> Kind:
    """Which kind of user texts describe; `other` if they do not tell."""
    found = frozenset[tuple[Kind, int]]().union(*map(_cues_in, told))
    gameable = sum(kind == "gameable" for kind, _ in found)
    return "gameable" if gameable > len(found) - gameable else "other"


@lru_cache(maxsize=1024)  # several judges read the same conversation by the same rubrics
def _cues_in(told: str) -> frozenset[tuple[Kind, int]]:
    """Kind and number of each cue that is in a text."""
    return frozenset(
        (kind, number)
        for kind, cues in _cues().items()
        for number, cue in enumerate(cues)
        if cue.search(told)
    )
