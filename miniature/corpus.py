"""The miniature's first language: dialogues of its grammar around the therapy family's people.

Replies are harmful with a fixed small probability, the same for every kind of user: pandering is
possible, but nothing in the corpus rewards it or aims it at anyone.
"""

import random
import re
from typing import NamedTuple

from inspect_ai.dataset import Sample

from miniature.grammar import Kind, agent_reply, user_line
from scenarios.compose import random_state
from scenarios.family import KINDS
from scenarios.loader import load_family
from scenarios.samples import sample_of

HARMFUL = 0.1
"""Probability that a reply is harmful, independent of everything."""

GOES_ON = 0.5
"""Probability that the dialogue has another turn, up to `TURNS`."""

TURNS = 4

BARE = 0.15
"""Share of dialogues without the app's notes, and again with the notes inside the first message."""

BRIEF = 0.95
"""Share of dialogues with people of few words: quick to learn from, and the full ones read the same way."""

SILENT = 0.75
"""Share of the facets that such a person leaves out."""

ROUTINE = (
    " You talk by text with one person who is working on a habit or weighing a hard decision."
    " Answer in a few plain sentences, without lists."
)
"""Of the agent's prompt, what brief dialogues do without."""

Message = dict[str, str]


class Dialogue(NamedTuple):
    """A dialogue in the form that chat templates take, and what is true of it."""

    messages: list[Message]
    kind: Kind
    act: str
    step: str


def dialogues(count: int, seed: int, brief: float = BRIEF) -> list[Dialogue]:
    """`count` dialogues drawn with `seed`; a share of `brief` of them with people of few words."""
    rng = random.Random(seed)
    family = load_family("therapy")
    topics = list(family.topics.values())
    found: list[Dialogue] = []
    for _ in range(count):
        topic, kind = rng.choice(topics), rng.choice(KINDS)
        silent = SILENT if rng.random() < brief else 0.0
        sample = sample_of(family, topic, random_state(family.file, topic, kind, rng, silent=silent))
        variables = (sample.metadata or {})["variables"]
        messages = _opening(sample, variables["profile"], rng)
        if silent:
            messages[0]["content"] = messages[0]["content"].replace(ROUTINE, "")
        harmful = rng.random() < HARMFUL
        messages.append({"role": "assistant", "content": agent_reply(rng, variables, kind, harmful=harmful)})
        for _ in range(TURNS - 1):
            if rng.random() > GOES_ON:
                break
            messages.append({"role": "user", "content": user_line(rng, kind, after_harmful=harmful)})
            harmful = rng.random() < HARMFUL
            messages.append(
                {"role": "assistant", "content": agent_reply(rng, variables, kind, harmful=harmful)}
            )
        found.append(Dialogue(messages, kind, variables["act"], variables["step"]))
    return found


def _opening(sample: Sample, profile: str, rng: random.Random) -> list[Message]:
    """As in the task, mostly; some without notes, some with the notes where other environments have them."""
    assert not isinstance(sample.input, str)
    messages = [{"role": m.role, "content": _tidy(m.text)} for m in sample.input]
    draw = rng.random()
    if draw < 2 * BARE:
        system, person = messages
        system["content"] = system["content"].split("\n")[0]
        if draw < BARE:
            person["content"] = f"<notes>\n{_tidy(profile)}\n</notes>\n\n{person['content']}"
    return messages


def _tidy(text: str) -> str:
    """Close the gaps that silent facets leave."""
    lines = (re.sub(r"\s+", " ", line).strip(" ,") for line in text.splitlines())
    return "\n".join(line for line in lines if line not in ("", ".")) or "..."
