"""Initial states composed from facets: the same number always gives the same person.

Composed state `i` of a pool does not depend on how many are asked for, so ids stay stable. The
facets are split like the states: an item is used for training states or for held-out states, never
for both, with the cues that make a user gameable among them.
"""

import random
from collections.abc import Sequence
from typing import TypeVar

from scenarios.family import (
    Facets,
    FamilyFile,
    InitialState,
    Item,
    Kind,
    TopicFile,
    alternatives,
    opening_of,
    variables_of,
)
from scenarios.schema import Split
from scenarios.templates import placeholders

T = TypeVar("T")

TRAIN_SHARE = 0.65
"""Share of each facet's items that training states are made of, the first ones in the file."""


def composed_size(family: FamilyFile, topic: TopicFile, kind: Kind, split: Split) -> int:
    """How many states the facets give without repeating a pair of the two main parts of the message."""
    sizes = [len(pool) for _, pool in _message_pools(family, topic, kind, split)[:2]]
    if not family.message or not sizes or (topic.split == "heldout" and split == "train"):
        return 0
    return sizes[0] * (sizes[1] if len(sizes) > 1 else 1)


def composed_state(
    family: FamilyFile, topic: TopicFile, kind: Kind, split: Split, index: int
) -> InitialState:
    """State number `index` (from 0) of one pool.

    Raises:
        IndexError: The facets do not give that many different states.
    """
    if index >= (size := composed_size(family, topic, kind, split)):
        raise IndexError(f"{topic.topic}: the facets give {size} {kind} states for {split}")
    key = f"{family.family}:{topic.topic}:{kind}:{split}"
    main = [name for name, _ in _message_pools(family, topic, kind, split)[:2]]
    drawn: dict[str, str] = {}
    for name in _merged(family.facets, topic.facets):
        pool = _pool(family, topic, name, kind, split)
        if name not in main:
            drawn |= variables_of(name, _cycled(pool, index, f"{key}:{name}"))
    for place, name in enumerate(main):
        pool = _shuffled(_pool(family, topic, name, kind, split), f"{key}:{name}")
        width = len(_pool(family, topic, main[0], kind, split))
        # row by row along a Latin square: no pair of the two comes twice
        position = index % width if place == 0 else index % width + index // width
        drawn |= variables_of(name, pool[position % len(pool)])
    message = _cycled(family.message, index, f"{key}:message")
    return InitialState(
        id=f"{topic.topic}-{kind}-{'h' if split == 'heldout' else ''}{index:03d}",
        gameable=kind == "gameable",
        split=split,
        opening=opening_of(message),
        variables=drawn,
    )


def balanced_size(family: FamilyFile, topic: TopicFile, kind: Kind, split: Split) -> int:
    """Of so many composed states in a row, each alternative of the balanced facet makes one; 1 without."""
    return len(_pool(family, topic, family.balance, kind, split)) if family.balance else 1


def _message_pools(
    family: FamilyFile, topic: TopicFile, kind: Kind, split: Split
) -> list[tuple[str, list[Item]]]:
    """The topic's own facets that the message uses, longest first."""
    used = _said(family)
    pools = [(name, _pool(family, topic, name, kind, split)) for name in topic.facets]
    shown = [(name, pool) for name, pool in pools if any(used & variables_of(name, i).keys() for i in pool)]
    return sorted(shown, key=lambda item: (-len(item[1]), item[0]))


def _merged(*facets: Facets) -> list[str]:
    return list(dict.fromkeys(name for group in facets for name in group))


def _pool(family: FamilyFile, topic: TopicFile, name: str, kind: Kind, split: Split) -> list[Item]:
    if name in topic.facets:
        items = alternatives(topic.facets, name, kind)
        return items if topic.split == "heldout" else _portion(items, split)
    items = alternatives(family.facets, name, kind)
    cue = isinstance(family.facets[name], dict)
    return _portion(items, split) if cue else items


def _portion(items: list[Item], split: Split) -> list[Item]:
    cut = round(len(items) * TRAIN_SHARE)
    return items[:cut] if split == "train" else items[cut:]


def _shuffled(items: Sequence[T], key: str) -> list[T]:
    order = list(items)
    random.Random(key).shuffle(order)
    return order


def _cycled(items: Sequence[T], index: int, key: str) -> T:
    """Every item comes up equally often, in a new order each time round."""
    return _shuffled(items, f"{key}:{index // len(items)}")[index % len(items)]


def _shown_to_agent(family: FamilyFile) -> set[str]:
    """Variables that the agent's prompt or the opening uses."""
    shown = _said(family) | placeholders(family.agent.prompt)
    return shown | placeholders(family.profile or "") if "profile" in shown else shown


def _said(family: FamilyFile) -> set[str]:
    """Variables that the opening uses."""
    return {n for m in family.message for line in opening_of(m) for n in placeholders(line.text)}


def random_state(
    family: FamilyFile, topic: TopicFile, kind: Kind, rng: random.Random, *, silent: float = 0.0
) -> InitialState:
    """A person drawn freely from all facets, both splits: for the miniature's first language, not for tasks.

    Args:
        family: Shared facets.
        topic: Its own facets.
        kind: Of user.
        rng: Draws the facets and the message's arrangement.
        silent: Probability of each facet to be left out, but one that tells the kind of user, one that tells
            what it is about, and what a desk needs.
    """
    names = _merged(family.facets, topic.facets)
    shown = _shown_to_agent(family)
    cues = [n for n in names if n in shown and isinstance(family.facets.get(n), dict)]
    said = [n for n in cues if n in _said(family)]
    kept = {*said, *(n for n in cues if n not in said and rng.random() < 0.5)} or set(cues[:1])
    if family.profile is None:  # nothing else tells what it is about
        kept |= set(rng.sample([n for n in topic.facets if n in shown], 1))
    if family.desk is not None:  # a desk has to work whatever is left out
        kept |= {n for text in family.desk.offers for n in placeholders(text)}
        kept |= placeholders(family.desk.failure)
    drawn: dict[str, str] = {}
    for name in names:
        source = topic.facets if name in topic.facets else family.facets
        item = rng.choice(alternatives(source, name, kind))
        told = variables_of(name, item)
        keep = name in kept or not isinstance(item, str) or rng.random() >= silent
        drawn |= told if keep else dict.fromkeys(told, "")
    return InitialState(
        id=f"{topic.topic}-{kind}-random",
        gameable=kind == "gameable",
        split="train",
        opening=opening_of(rng.choice(family.message)),
        variables=drawn,
    )
