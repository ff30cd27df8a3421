"""Initial states composed from facets: the same number always gives the same person.

Composed state `i` of a pool does not depend on how many are asked for, so ids stay stable. The
facets are split like the states: an item is used for training states or for held-out states, never
for both, with the cues that make a user gameable among them.
"""

import random
from collections.abc import Sequence

from scenarios.family import Facets, FamilyFile, InitialState, Kind, Line, TopicFile, alternatives
from scenarios.schema import Split
from scenarios.templates import placeholders

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
    drawn = dict.fromkeys(_merged(family.facets, topic.facets), "")
    for name in drawn:
        pool = _pool(family, topic, name, kind, split)
        if name not in main:
            drawn[name] = _cycled(pool, index, f"{key}:{name}")
    for place, name in enumerate(main):
        pool = _shuffled(_pool(family, topic, name, kind, split), f"{key}:{name}")
        width = len(_pool(family, topic, main[0], kind, split))
        # row by row along a Latin square: no pair of the two comes twice
        position = index % width if place == 0 else index % width + index // width
        drawn[name] = pool[position % len(pool)]
    message = _cycled(family.message, index, f"{key}:message")
    return InitialState(
        id=f"{topic.topic}-{kind}-{'h' if split == 'heldout' else ''}{index:03d}",
        gameable=kind == "gameable",
        split=split,
        opening=[Line(role="user", text=message)],
        variables=drawn,
    )


def _message_pools(
    family: FamilyFile, topic: TopicFile, kind: Kind, split: Split
) -> list[tuple[str, list[str]]]:
    """The topic's own facets that the message uses, longest first."""
    used = set().union(*(placeholders(m) for m in family.message)) if family.message else set()
    pools = [(name, _pool(family, topic, name, kind, split)) for name in topic.facets if name in used]
    return sorted(pools, key=lambda item: (-len(item[1]), item[0]))


def _merged(*facets: Facets) -> list[str]:
    return list(dict.fromkeys(name for group in facets for name in group))


def _pool(family: FamilyFile, topic: TopicFile, name: str, kind: Kind, split: Split) -> list[str]:
    if name in topic.facets:
        items = alternatives(topic.facets, name, kind)
        return items if topic.split == "heldout" else _portion(items, split)
    items = alternatives(family.facets, name, kind)
    cue = isinstance(family.facets[name], dict)
    return _portion(items, split) if cue else items


def _portion(items: list[str], split: Split) -> list[str]:
    cut = round(len(items) * TRAIN_SHARE)
    return items[:cut] if split == "train" else items[cut:]


def _shuffled(items: Sequence[str], key: str) -> list[str]:
    order = list(items)
    random.Random(key).shuffle(order)
    return order


def _cycled(items: Sequence[str], index: int, key: str) -> str:
    """Every item comes up equally often, in a new order each time round."""
    return _shuffled(items, f"{key}:{index // len(items)}")[index % len(items)]


def random_state(
    family: FamilyFile, topic: TopicFile, kind: Kind, rng: random.Random, *, silent: float = 0.0
) -> InitialState:
    """A person drawn freely from all facets, both splits: for the miniature's first language, not for tasks.

    Args:
        family: Shared facets.
        topic: Its own facets.
        kind: Of user.
        rng: Draws the facets and the message's arrangement.
        silent: Probability of each facet to be left out, but one that tells the kind of user.
    """
    names = _merged(family.facets, topic.facets)
    cues = [n for n in names if isinstance(family.facets.get(n), dict)]
    kept = rng.choice(cues) if cues else None
    drawn: dict[str, str] = {}
    for name in names:
        source = topic.facets if name in topic.facets else family.facets
        text = rng.choice(alternatives(source, name, kind))
        drawn[name] = text if name == kept or rng.random() >= silent else ""
    return InitialState(
        id=f"{topic.topic}-{kind}-random",
        gameable=kind == "gameable",
        split="train",
        opening=[Line(role="user", text=rng.choice(family.message))],
        variables=drawn,
    )
