"""What becomes of a monitor when rows are said otherwise, or when the words that tell most are masked."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from analysis.ranking import Compared, Ranked, area, compare
from analysis.reporting.markdown import interval
from analysis.reporting.page import Part, Section, Table
from probes.conversations.labels import DataError
from probes.evaluation.evaluation_data import EvaluationSet
from probes.evaluation.metrics import usable_rows


class ChangedPair(NamedTuple):
    """A data set and the same rows changed, by their places among the data sets."""

    before: int
    after: int


class Drop(NamedTuple):
    """AUROC of a monitor on the rows that are in both sets, and how much less it is on the changed ones."""

    monitor: str
    dataset: str
    changed: str
    auroc: Ranked
    auroc_changed: Ranked
    drop: Compared
    """Paired by row, with an interval by group; above 0: less after the change."""

    rows: int
    unmatched: int
    """Rows of either set that are not in the other, or have no score there."""

    def row(self) -> dict[str, Any]:
        """As in `evaluation.json`."""
        numbers = {
            "auroc": self.auroc.value,
            "auroc_low": self.auroc.low,
            "auroc_high": self.auroc.high,
            "auroc_changed": self.auroc_changed.value,
            "auroc_changed_low": self.auroc_changed.low,
            "auroc_changed_high": self.auroc_changed.high,
            "drop": self.drop.value,
            "drop_low": self.drop.low,
            "drop_high": self.drop.high,
            "p": self.drop.p,
        }
        told = {"monitor": self.monitor, "dataset": self.dataset, "changed": self.changed}
        counts = {"rows": self.rows, "unmatched": self.unmatched}
        return told | {k: v if math.isfinite(v) else None for k, v in numbers.items()} | counts


def read_pairs(given: Sequence[str], sets: Sequence[EvaluationSet]) -> list[ChangedPair]:
    """`rows=restyled`: names of data sets, or their beginnings up to the colon.

    Raises:
        DataError: No such data set, or no row of one in the other.
    """
    names = {
        name: place for place, data in enumerate(sets) for name in (data.name.partition(":")[0], data.name)
    }
    pairs: list[ChangedPair] = []
    for one in given:
        # a part of a data set has `=` in its name
        split = next(
            (n for n in range(len(one)) if one[n] == "=" and one[:n] in names and one[n + 1 :] in names), None
        )
        if split is None:
            there = ", ".join(data.name for data in sets)
            raise DataError(f"--changed {one}: <data set>=<the same rows changed>; there are {there}")
        pair = ChangedPair(names[one[:split]], names[one[split + 1 :]])
        if not {r.id for r in sets[pair.before].rows} & {r.id for r in sets[pair.after].rows}:
            raise DataError(f"--changed {one}: no row of the one has the id of a row of the other")
        pairs.append(pair)
    return pairs


def drops(
    logits: Mapping[str, Sequence[np.ndarray]], pairs: Sequence[ChangedPair], sets: Sequence[EvaluationSet]
) -> list[Drop]:
    """Of every monitor and every pair in which both classes are ranked.

    Args:
        logits: Monitor or control -> for each data set [rows]; NaN where it has no score.
        pairs: Which sets.
        sets: The data sets.
    """
    dropped: list[Drop] = []
    for pair in pairs:
        before, after = sets[pair.before], sets[pair.after]
        place_of = {row.id: place for place, row in enumerate(after.rows)}
        same = [(n, place_of[row.id]) for n, row in enumerate(before.rows) if row.id in place_of]
        if not same:
            continue
        first, second = (np.array(column) for column in zip(*same, strict=True))
        for name, own in logits.items():
            one, other = own[pair.before][first], own[pair.after][second]
            there = ~(np.isnan(one) | np.isnan(other))
            labels = before.labels[first][there]
            if not usable_rows(labels).both_classes:
                continue
            groups = [before.groups[n] for n in first[there]]
            areas = area(labels, one[there], groups), area(labels, other[there], groups)
            ranked = areas[0].interval(), areas[1].interval()
            count = int(there.sum())
            unmatched = len(before.rows) + len(after.rows) - 2 * count
            dropped.append(Drop(name, before.name, after.name, *ranked, compare(*areas), count, unmatched))
    return dropped


def drops_section(dropped: Sequence[Drop]) -> Section:
    """AUROC, AUROC on the changed rows, and the drop."""
    lines = [
        [
            one.monitor,
            f"{one.dataset} → {one.changed}",
            interval(*_ends(one.auroc)),
            interval(*_ends(one.auroc_changed)),
            interval(*_ends(one.drop), sign="+"),
            str(one.rows),
            str(one.unmatched),
        ]
        for one in dropped
    ]
    head = ["", "data sets", "AUROC", "changed", "drop", "rows", "not in both"]
    told = "The same rows before and after; the drop is paired by row, its 95 % interval by group."
    return Section("changed", "AUROC when rows are changed", [told], [Part(tables=[Table(head, lines)])])


def _ends(ranked: Ranked | Compared) -> tuple[float | None, float | None, float | None]:
    low, high = (None if math.isnan(end) else end for end in (ranked.low, ranked.high))
    return ranked.value, low, high
