"""Numbers of experiments: monitors on sets, means over sets and over seeds, and how they are written."""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from analysis.intervals import Interval, over_seeds
from analysis.ranking import Ranked, auroc, largest_recall, mean_over_sets, mean_recall
from analysis.reporting.markdown import interval
from probes.evaluation.comparisons import MEAN
from probes.evaluation.metrics import ASKED_FPR, OneClassWarning, measure
from probes.experiments.book import Book, MonitorScores, ScoredSet, line_of
from probes.experiments.cells import Row, digest_of
from probes.experiments.pictures import Point

NOWHERE = Ranked(math.nan, math.nan, math.nan)


def ranked_rows(one: MonitorScores, sets: Sequence[tuple[int, ScoredSet]]) -> list[Row]:
    """AUROC and recall of a monitor on each set and in the mean over sets; unscored rows are counted."""
    rows: list[Row] = []
    areas, recalls = [], []
    for number, data in sets:
        line = line_of(one, data, number)
        if line is None:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OneClassWarning)
            found = measure(
                line.labels, line.logits, line.groups, threshold=one.threshold, calibrated=one.calibrated
            )
        rows.append(about(one, data.name) | found.row() | {"n_unscored": len(data.labels) - len(line.labels)})
        if found.usable.both_classes:
            areas.append(auroc(line.labels, line.logits, line.groups))
            recalls.append(largest_recall(line.labels, line.logits, line.groups, ASKED_FPR))
    if len(areas) == len(sets) > 1:
        mean, recall = mean_over_sets(areas), mean_recall(recalls)
        rows.append(
            about(one, MEAN)
            | with_ends("auroc", mean)
            | {
                "recall_at_1pct_fpr": finite(recall.value),
                "recall_low": finite(recall.low),
                "recall_high": finite(recall.high),
                "n": sum(row["n"] for row in rows),
            }
        )
    return rows


def about(one: MonitorScores, dataset: str) -> Row:
    """What a row is of."""
    return {"monitor": one.name, "kind": one.kind, "head": one.head, "seed": one.seed, "dataset": dataset}


def auroc_of(labels: np.ndarray, logits: np.ndarray, groups: Sequence[Any]) -> Ranked:
    """AUROC with its interval; NaN of one class only."""
    try:
        return auroc(labels, logits, groups)
    except ValueError:
        return NOWHERE


def with_ends(name: str, found: Sequence[float]) -> Row:
    """A number with its ends, None where there is none."""
    return {name: finite(found[0]), f"{name}_low": finite(found[1]), f"{name}_high": finite(found[2])}


def finite(value: Any) -> Any:
    """None for what is no number."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def ranked(row: Row, name: str = "auroc") -> Ranked:
    """The number of a row; NaN where there is none."""
    value, low, high = (row.get(key) for key in (name, f"{name}_low", f"{name}_high"))
    return Ranked(*(math.nan if end is None else float(end) for end in (value, low, high)))


def seed_mean(rows: Sequence[Row], name: str = "auroc") -> Interval:
    """Mean over seeds with a t interval; the row's own interval if there is one seed.

    NaN if no row has the number.
    """
    known = [row for row in rows if row.get(name) is not None]
    if not known:
        return Interval(math.nan, math.nan, math.nan, 0, 0)
    if len(known) == 1:
        found = ranked(known[0], name)
        return Interval(found.value, found.low, found.high, 1, 1)
    found = over_seeds([row[name] for row in known])
    return found._replace(low=max(0.0, found.low), high=min(1.0, found.high))


def seed_point(x: float, rows: Sequence[Row], name: str = "auroc") -> Point:
    """Mean over seeds with the lowest and the highest of them; one seed has no ends."""
    values = [row[name] for row in rows if row.get(name) is not None]
    if not values:
        return Point(x, math.nan)
    ends = (min(values), max(values)) if len(values) > 1 else (math.nan, math.nan)
    return Point(x, float(np.mean(values)), *ends)


def told(found: Sequence[float]) -> str:
    """A number with its ends, as tables have it."""
    value, low, high = (None if math.isnan(end) else end for end in found[:3])
    return interval(value, low, high)


def grouped(rows: Sequence[Row], *names: str) -> dict[tuple[Any, ...], list[Row]]:
    """Rows by some of their columns, in the order in which they come."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row.get(name) for name in names), []).append(row)
    return found


def each_monitor(
    book: Book | None, give: Callable[[MonitorScores], list[Row]]
) -> list[tuple[MonitorScores, Callable[[], list[Row]]]]:
    """For each monitor of a book what computes its rows."""
    assert book is not None
    return [(one, lambda one=one: give(one)) for one in book.monitors]


def scores_digest(one: MonitorScores, book: Book) -> str:
    """Of a monitor's scores and of the rows that they are of."""
    return digest_of(
        [
            one.name,
            [[finite(value) for value in own.tolist()] for own in one.logits],
            one.threshold,
            one.slope,
            [[data.name, data.ids, data.labels.tolist(), data.groups] for data in book.sets],
        ]
    )
