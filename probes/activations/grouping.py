"""Which rows may not stand on both sides of a split: those of a group, and those of the same words.

The group of a row is what it was captured with: family and initial state, a pair, a column. Rows without one
are groups of their own. Rows whose conversations are equal token for token are one group too, and so is what
hangs together by both.
"""

import hashlib
from collections.abc import Collection, Hashable, Iterable, Sequence
from typing import NamedTuple

from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from probes.activations.stored_sets import DatasetRow

OF_LOGS = frozenset({"task", "model", "epoch"})
"""Facts that every conversation from a log has."""

SHARED_GROUP = "in a group that is also trained on"
SHARED_WORDS = "also trained on"
KNOWN = "in what a monitor was fitted or validated on"


class Tie(NamedTuple):
    """What ties a row to others."""

    group: str
    """Rows of all data sets with the same belong together."""

    key: str
    """Of its conversation in the store; the same for equal conversations."""


def ties_of(rows: Sequence[DatasetRow], source: str) -> list[Tie]:
    """Of each row.

    A group that was named (a column, an initial state) is the same wherever it comes up. A row's own id,
    which stands in where none was named, means a row of its own source only. Initial states have names that
    are unique within their family.

    Args:
        rows: Of a data set.
        source: That was captured.
    """
    return [Tie(_name(row, source), row.key) for row in rows]


def _name(row: DatasetRow, source: str) -> str:
    if row.facts.keys() >= OF_LOGS:
        return f"{row.facts.get('family', '')}/{row.group}"
    # rows of ids that were given twice are called `id#2` and grouped by `id`
    is_named = bool(row.group) and row.id != row.group and not row.id.startswith(f"{row.group}#")
    return row.group if is_named else f"{source}\n{row.group or row.id}"


def joined(ties: Sequence[Tie]) -> list[str]:
    """The group of each row with all that hangs together: the first name of those that do."""
    if not ties:
        return []
    part = _parts(ties)
    names: dict[int, str] = {}
    for tie, number in zip(ties, part, strict=True):
        names.setdefault(number, tie.group)
    return [names[number] for number in part]


def apart(ties: Sequence[Tie], others: Iterable[Tie]) -> list[str | None]:
    """Of each row why it cannot be told apart from the others; None if it can.

    Args:
        ties: Of the rows.
        others: Of rows on the other side.
    """
    there = list(others)
    keys, part = {tie.key for tie in there}, _parts([*there, *ties])
    taken = set(part[: len(there)])
    return [
        SHARED_WORDS if tie.key in keys else SHARED_GROUP if number in taken else None
        for tie, number in zip(ties, part[len(there) :], strict=True)
    ]


def digests_of(ties: Iterable[Tie]) -> set[str]:
    """Ten hex digits for each group and each conversation: what a monitor's card keeps of its rows."""
    return {_digest(part) for tie in ties for part in _named(tie)}


def known_by(ties: Sequence[Tie], digests: Collection[str]) -> list[bool]:
    """Of each row whether it, its group, or what hangs together with it is among the digests."""
    direct = [any(_digest(part) in digests for part in _named(tie)) for tie in ties]
    part = _parts(ties) if ties else []
    taken = {number for number, known in zip(part, direct, strict=True) if known}
    return [number in taken for number in part]


def _named(tie: Tie) -> tuple[str, str]:
    return f"group {tie.group}", f"conversation {tie.key}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _parts(ties: Sequence[Tie]) -> list[int]:
    """Of each row the number of its connected component, rows being tied by groups and by keys."""
    numbers: dict[Hashable, int] = {}
    groups = [numbers.setdefault(("group", tie.group), len(numbers)) for tie in ties]
    keys = [numbers.setdefault(("key", tie.key), len(numbers)) for tie in ties]
    size = len(numbers)
    edges = coo_array(([True] * len(ties), (groups, keys)), shape=(size, size))
    _, part = connected_components(edges, directed=False)
    return [int(part[group]) for group in groups]
