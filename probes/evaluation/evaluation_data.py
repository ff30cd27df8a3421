"""Captured data sets, whole or in part, with what monitors are evaluated on and by."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from probes.activations.capture_spec import CaptureSpec
from probes.activations.grouping import KNOWN, Tie, apart, joined, known_by, ties_of
from probes.activations.mapped import Activations
from probes.activations.ragged import Ragged
from probes.activations.store import Store
from probes.activations.stored_sets import DatasetCard, DatasetRow, label_array, read_dataset
from probes.activations.stored_spec import StoredSpec
from probes.activations.whole_files import StoreError
from probes.conversations.facts import Condition, check_conditions, fitting, read_conditions, read_part

NO_LABEL = "not labelled"


class EvaluationSet(NamedTuple):
    """The labelled rows of a data set, or of a part of it. No activations are read before they are used."""

    name: str
    """`<name>`, with the facts that rows were chosen by: `<name>:split=test`."""

    path: Path
    """`<store>/<name>`."""

    entry: StoredSpec
    rows: list[DatasetRow]
    excluded: dict[str, int]
    """Reason -> rows of the data set (of the part of it) that are not evaluated."""

    left_out: dict[str, int]
    """Reason -> conversations of the whole source that were never captured."""

    source: str
    """File, folder or hub data set that was captured."""

    @property
    def spec(self) -> CaptureSpec:
        """What the activations are of."""
        return self.entry.spec

    @property
    def keys(self) -> list[str]:
        """Of the rows in the store."""
        return [row.key for row in self.rows]

    @property
    def labels(self) -> np.ndarray:
        """[rows], float64 in [0, 1]."""
        return label_array(self.rows)

    @property
    def groups(self) -> list[str]:
        """Of each row; intervals take rows of a group as dependent. Equal conversations are in one."""
        return joined(self.ties)

    @property
    def ties(self) -> list[Tie]:
        """Of each row, to those that must be on its side of a split."""
        return ties_of(self.rows, self.source)

    @property
    def lengths(self) -> np.ndarray:
        """[rows], tokens, those that were cut off included."""
        return np.array([row.n_tokens + row.truncated for row in self.rows], dtype=np.int64)

    def fact(self, name: str) -> list[str | None]:
        """Of each row; None where it has no such fact."""
        return [row.facts.get(name) for row in self.rows]

    def activations(self, layers: Sequence[int]) -> Activations:
        """Stored activations of the rows.

        Raises:
            StoreError: A layer that is not stored of all rows.
        """
        return self.entry.open(self.keys, layers)

    def layers(self, numbers: Sequence[int]) -> Ragged:
        """Layers side by side."""
        return self.activations(numbers).layers(numbers)

    def without(self, others: Iterable[Tie]) -> "EvaluationSet":
        """Without rows that share a conversation or a group with others; counts what is left out, and why.

        Args:
            others: Ties of the rows that were trained on.

        Raises:
            StoreError: Nothing is left.
        """
        return self._left(apart(self.ties, others))

    def unknown_to(self, digests: Collection[str]) -> "EvaluationSet":
        """Without rows that monitors were fitted or validated on, or rows of their groups; counts them.

        Args:
            digests: Of the groups and conversations of their cards, see `grouping.digests_of`.

        Raises:
            StoreError: Nothing is left.
        """
        if not digests:
            return self
        return self._left([KNOWN if known else None for known in known_by(self.ties, digests)])

    def _left(self, reasons: Sequence[str | None]) -> "EvaluationSet":
        kept = [row for row, reason in zip(self.rows, reasons, strict=True) if reason is None]
        if len(kept) == len(self.rows):
            return self
        counts = Counter(reason for reason in reasons if reason is not None)
        if not kept:
            told = ", ".join(f"{count} {reason}" for reason, count in counts.items())
            raise StoreError(
                f"data set {self.name}: all its conversations are trained on, or in a group that is "
                f"({told}); name the part that is not, e.g. <store>/<name>:split=test"
            )
        return self._replace(rows=kept, excluded={**self.excluded, **counts})


def read_set(given: str) -> EvaluationSet:
    """Labelled rows of `<store>/<name>`, or of a part, `<store>/<name>:iteration=3..6,topic!=smoking`.

    Raises:
        StoreError: No such data set, no row that fits, or no labelled row.
        FactError: A condition that cannot be read, or names a fact or value that is nowhere.
    """
    return read_sets([given])[0]


def read_sets(
    given: Sequence[str], where: Sequence[str] = (), *, unlabelled: bool = False
) -> list[EvaluationSet]:
    """Several, all called differently.

    Args:
        given: As of `read_set`.
        where: Further conditions, of all of them or of `<name>:`.
        unlabelled: Keep rows without a label, whose label is NaN then.

    Raises:
        StoreError, FactError: As `read_set`.
        ValueError: Two of the same name.
    """
    places = [_place(one) for one in given]
    if twice := [name for name, n in Counter(place.called for place in places).items() if n > 1]:
        raise ValueError(f"data set {twice[0]} is given twice: results are told apart by name")
    conditions = read_conditions(where)
    tables = [read_dataset(place.root, place.name) for place in places]
    facts = [[row.facts for row in rows] for rows, _ in tables]
    check_conditions(conditions, {place.name: own for place, own in zip(places, facts, strict=True)})
    for place, own in zip(places, facts, strict=True):
        check_conditions(place.part, {place.name: own})
    return [
        _labelled_part(place, rows, card, [c for c in conditions if c.concerns(place.name)], unlabelled)
        for place, (rows, card) in zip(places, tables, strict=True)
    ]


class _Place(NamedTuple):
    """A data set as it is given."""

    root: Path
    name: str
    part: list[Condition]
    called: str
    """Name and part."""


def _place(given: str) -> _Place:
    parts = re.fullmatch(r"(?:(.*?)/)?([\w][\w.-]*)(?::(.*))?", given)
    if parts is None:
        raise ValueError(f"data set {given}: expected <store>/<name> or <store>/<name>:fact=value")
    root, name, part = parts.groups()
    called = name if not part else f"{name}:{part}"
    return _Place(Path(root or "."), name, read_part(part or "", f"data set {given}"), called)


def _labelled_part(
    place: _Place,
    found: Sequence[DatasetRow],
    card: DatasetCard,
    where: Sequence[Condition],
    unlabelled: bool,
) -> EvaluationSet:
    conditions = [*place.part, *where]
    # what is said of a part and of all data sets must both hold: they do not add up
    facts = [row.facts for row in found]
    fits = zip(fitting(facts, place.part), fitting(facts, where), strict=True)
    rows = [row for row, fit in zip(found, fits, strict=True) if all(fit)]
    if not rows:
        told = " and ".join(map(str, conditions))
        raise StoreError(f"data set {place.called}: no row" + (f" has {told}" if told else "s"))
    labelled = [row for row in rows if unlabelled or row.label is not None]
    if not labelled:
        raise StoreError(f"data set {place.called}: no row has a label; name the label when you capture it")
    excluded = {NO_LABEL: len(rows) - len(labelled)}
    return EvaluationSet(
        place.called,
        place.root / place.name,
        Store(place.root).keyed(card.spec),
        labelled,
        {reason: count for reason, count in excluded.items() if count},
        card.excluded,
        card.source,
    )


def length_bins(lengths: np.ndarray, edges: Sequence[int]) -> dict[str, np.ndarray]:
    """Name of each bin that has rows, shortest first -> [rows], bool. Edges belong to the bin they end."""
    of = np.searchsorted(np.asarray(edges), lengths, side="left")
    starts = [1, *(edge + 1 for edge in edges)]
    names = [f"{start}-{end}" for start, end in zip(starts, edges, strict=False)] + [f"{starts[-1]}+"]
    return {name: of == number for number, name in enumerate(names) if (of == number).any()}
