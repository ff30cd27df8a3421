"""Captured data sets as one: what heads are fitted on."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from probes.activations.capture_spec import CaptureSpec
from probes.activations.grouping import Tie, apart, digests_of, joined, ties_of
from probes.activations.ragged import Ragged
from probes.activations.store import Store
from probes.activations.stored_sets import DatasetRow, read_dataset
from probes.activations.stored_spec import StoredSpec
from probes.activations.whole_files import StoreError
from probes.conversations.facts import check_conditions, fitting, read_conditions
from probes.fitting.matching import matched
from probes.heads.pooled import Pooled, Pooling
from probes.monitors.monitor import Sources


class LabelledRows(NamedTuple):
    """Rows of one capture with labels. Nothing is read before it is used."""

    entry: StoredSpec
    keys: list[str]
    labels: np.ndarray
    """[rows], float64 in [0, 1]."""

    ties: list[Tie]
    """Of each row, to those that must be on its side of a split."""

    facts: list[dict[str, str]]
    ids: list[str]
    """Data set and id."""

    names: list[str]
    """Of the data sets."""

    excluded: dict[str, int]
    """Reason -> rows left out."""

    @property
    def groups(self) -> list[str]:
        """Of each row; equal conversations are in one."""
        return joined(self.ties)

    @property
    def spec(self) -> CaptureSpec:
        """What the activations are of."""
        return self.entry.spec

    def layers(self, numbers: Sequence[int]) -> Ragged:
        """Activations of layers side by side."""
        return self.entry.open(self.keys, numbers).layers(numbers)

    def pooled(self, numbers: Sequence[int]) -> Pooled:
        """Pooled activations of layers side by side, as the store keeps them."""

        def give(kind: Pooling) -> torch.Tensor:
            return torch.cat([self.entry.pooled(kind, self.keys, n) for n in numbers], dim=1)

        return give

    def strata(self, fact: str | None, parts: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Rows that are ranked among each other: of a part, and of one value of a fact if one is named.

        Args:
            fact: Rows without it are in no stratum; None: the parts are the strata.
            parts: [rows] each, bool.

        Raises:
            ValueError: No row has such a fact; names those that there are.
        """
        if fact is None:
            return list(parts)
        values = np.array([facts.get(fact) for facts in self.facts], dtype=object)
        there = sorted({value for value in values if value is not None})
        if not there:
            known = ", ".join(sorted({name for facts in self.facts for name in facts})) or "none"
            raise ValueError(f"--within {fact}: no row has such a fact; there are {known}")
        return [part & (values == value) for part in parts for value in there]

    def take(self, rows: np.ndarray) -> "LabelledRows":
        """Some rows, by a mask [rows]."""
        chosen = np.flatnonzero(rows)
        return self._replace(
            keys=[self.keys[i] for i in chosen],
            labels=self.labels[chosen],
            ties=[self.ties[i] for i in chosen],
            facts=[self.facts[i] for i in chosen],
            ids=[self.ids[i] for i in chosen],
        )

    def without(self, others: "LabelledRows") -> "LabelledRows":
        """Rows that share no conversation and no group with others; counts what is left out, and why."""
        reasons = apart(self.ties, others.ties)
        kept = np.array([reason is None for reason in reasons], dtype=bool)
        if kept.all():
            return self
        excluded = {**self.excluded, **Counter(reason for reason in reasons if reason is not None)}
        return self.take(kept)._replace(excluded=excluded)

    def matched(self, fact: str, seed: int) -> "LabelledRows":
        """As many negatives as positives in each value of a fact; counts what is left out.

        Raises:
            ValueError: No value has both; names those that there are.
        """
        kept = matched(self.labels, [facts.get(fact) for facts in self.facts], seed)
        if not kept.any():
            values = sorted({facts[fact] for facts in self.facts if fact in facts})[:8]
            raise ValueError(
                f"--match {fact}: none of its values has positives and negatives; there are "
                f"{', '.join(values) or 'none'}"
            )
        excluded = {**self.excluded, f"not matched by {fact}": int((~kept).sum())}
        return self.take(kept)._replace(excluded=excluded)

    @property
    def sources(self) -> Sources:
        """What a monitor's card says of them."""
        lines = sorted(f"{key} {label!r}" for key, label in zip(self.keys, self.labels.tolist(), strict=True))
        return Sources(
            names=self.names,
            digest=hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16],
            rows=len(self.keys),
            positive=int((self.labels > 0.5).sum()),
            groups=len(set(self.groups)),
            excluded=self.excluded,
            known=" ".join(sorted(digests_of(self.ties))),
        )


def read_labelled(paths: Sequence[str], where: Sequence[str] = ()) -> LabelledRows:
    """Labelled rows of data sets of one capture.

    Args:
        paths: `<store>/<name>` each.
        where: Conditions that rows must fit, see `probes/conversations/facts.py`.

    Raises:
        StoreError: No such data set, data sets of different stores or captures (names what differs), no
            labelled row, or no row that fits.
        FactError: A condition that cannot be read, or names a data set, fact or value that is nowhere.
    """
    conditions = read_conditions(where)
    places = [(Path(path).parent, Path(path).name) for path in paths]
    if len({root.resolve() for root, _ in places}) > 1:
        raise StoreError(
            f"data sets of different stores: {', '.join(paths)}; `python probes/store.py pull` brings them "
            "into one"
        )
    entry: StoredSpec | None = None
    rows: list[tuple[str, DatasetRow]] = []
    ties: list[Tie] = []
    excluded: Counter[str] = Counter()
    tables = [read_dataset(root, name) for root, name in places]
    check_conditions(
        conditions,
        {name: [row.facts for row in found] for (_, name), (found, _) in zip(places, tables, strict=True)},
    )
    for (root, name), (found, card) in zip(places, tables, strict=True):
        own = Store(root).keyed(card.spec)
        if entry is not None and own.spec.key != entry.spec.key:
            differing = "; ".join(
                f"{k} {a!r} and {b!r}" for k, (a, b) in entry.spec.differences(own.spec).items()
            )
            raise StoreError(f"data set {name} is of another capture than {places[0][1]}: {differing}")
        entry = entry or own
        excluded.update(card.excluded)
        own_conditions = [condition for condition in conditions if condition.concerns(name)]
        fits = fitting([row.facts for row in found], own_conditions)
        chosen = [row for row, fit in zip(found, fits, strict=True) if fit]
        if not chosen:
            told = " and ".join(map(str, own_conditions))
            raise StoreError(f"data set {name}: no row" + (f" has {told}" if told else "s"))
        excluded["not labelled"] += sum(row.label is None for row in chosen)
        labelled = [row for row in chosen if row.label is not None]
        rows += [(name, row) for row in labelled]
        ties += ties_of(labelled, card.source)
    if entry is None or not rows:
        raise StoreError(f"{', '.join(paths)}: no row has a label; name the label when you capture them")
    return LabelledRows(
        entry,
        [row.key for _, row in rows],
        np.array([row.label for _, row in rows], dtype=np.float64),
        ties,
        [row.facts for _, row in rows],
        [f"{name}:{row.id}" for name, row in rows],
        [str(path) for path in paths],
        {reason: count for reason, count in excluded.items() if count},
    )
