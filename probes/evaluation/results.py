"""The rows of `results.json`: every monitor and control on every data set, its parts, and in the mean."""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from analysis.agreement import estimate, spearman
from analysis.intervals import over_seeds as mean_over_seeds
from analysis.ranking import (
    Ranked,
    area,
    auroc,
    auroc_within,
    largest_recall,
    mean_over_sets,
    mean_recall,
)
from probes.evaluation.comparisons import MEAN
from probes.evaluation.controls import shuffled_auroc
from probes.evaluation.evaluation_data import EvaluationSet, length_bins
from probes.evaluation.metrics import ASKED_FPR, NOWHERE, OneClassWarning, measure, usable_rows
from probes.evaluation.scored import Scored, ShuffledLogits

LENGTH = "length_bin"
"""`by` of rows about conversations of similar length, in tokens."""

SHUFFLED = "shuffled_labels"

MORE = {
    "auprc": "AUPRC",
    "partial_auroc": "partial AUROC",
    "auroc_within_length": "AUROC within length",
    "rank_correlation": "rank correlation",
    "brier": "Brier",
    "ece": "ECE",
    "log_loss": "log loss",
    "accuracy": "accuracy",
}
"""Numbers beside AUROC and recall -> what they are called."""

ResultRow = dict[str, Any]
"""One line of the table. These are always there:

monitor: name of the monitor or of the control. dataset: or "mean". layer: number, "4+8", or None for a
control. seed. n: conversations that count, positive or negative. auroc, auroc_low, auroc_high,
recall_at_1pct_fpr: None where there is no such number, e.g. of one class only. control: which, None for a
monitor. by, value: the part of the data set ("length_bin" "51-100", "language" "French"), None for all of it.

Of shuffled labels, low and high are the lowest and highest of the permutations, not an interval; None if
there is one permutation.
"""


def whole_rows(
    scored: Sequence[Scored], sets: Sequence[EvaluationSet], edges: Sequence[int]
) -> list[ResultRow]:
    """On whole data sets.

    `auroc_within_length` compares conversations of the same length bin alone: the mean of the bins' AUROCs,
    each weighing as many as it has pairs of a positive and a negative row. `rank_correlation` is Spearman's,
    of labels that are degrees; None where they are yes or no.
    """
    rows: list[ResultRow] = []
    for number, data in enumerate(sets):
        labels, groups = data.labels, data.groups
        bins = list(length_bins(data.lengths, edges).values())
        for one in scored:
            row = _measured_row(one, data, labels, one.logits[number], groups)
            within = _within(labels, one.logits[number], groups, bins)
            row |= {name: _finite(v) for name, v in _ends("auroc_within_length", within).items()}
            degrees = _rank_correlation(labels, one.logits[number], groups)
            row |= {name: _finite(v) for name, v in _ends("rank_correlation", degrees).items()}
            row["n_excluded"] += sum(data.excluded.values())
            rows.append(row)
    return rows


def part_rows(
    scored: Sequence[Scored], sets: Sequence[EvaluationSet], facts: Sequence[str], edges: Sequence[int]
) -> list[ResultRow]:
    """On conversations of similar length, and on those with the same value of a fact."""
    rows: list[ResultRow] = []
    for number, data in enumerate(sets):
        labels, groups = data.labels, data.groups
        for by, values in _parts(data, facts, edges).items():
            for value, inside in values.items():
                here = [group for group, taken in zip(groups, inside, strict=True) if taken]
                for one in scored:
                    row = _measured_row(one, data, labels[inside], one.logits[number][inside], here)
                    rows.append(row | {"by": by, "value": value})
    return rows


def mean_rows(scored: Sequence[Scored], sets: Sequence[EvaluationSet]) -> list[ResultRow]:
    """AUROC and recall in the mean over data sets that have both classes.

    Their intervals are made of those of the data sets, which are taken as independent.
    """
    usable = [usable_rows(data.labels) for data in sets]
    ranked = [i for i, one in enumerate(usable) if one.both_classes]
    if len(ranked) < 2:
        return []
    known = [(i, sets[i].labels, sets[i].groups) for i in ranked]
    rows: list[ResultRow] = []
    for one in scored:
        area = mean_over_sets([auroc(own, one.logits[i], of) for i, own, of in known])
        recall = mean_recall([largest_recall(own, one.logits[i], of, ASKED_FPR) for i, own, of in known])
        rows.append(
            _about(one, MEAN)
            | {
                "n": sum(usable[i].n_positive + usable[i].n_negative for i in ranked),
                **_ends("auroc", area),
                "recall_at_1pct_fpr": recall.value,
                "recall_low": recall.low,
                "recall_high": recall.high,
                "sets": len(ranked),
                "sets_left_out": len(sets) - len(ranked),
            }
        )
    return [{name: _finite(value) for name, value in row.items()} for row in rows]


def shuffled_rows(shuffled: Sequence[ShuffledLogits], sets: Sequence[EvaluationSet]) -> list[ResultRow]:
    """AUROC of heads that were fitted on shuffled labels: mean, lowest and highest of the permutations."""
    rows: list[ResultRow] = []
    for one in shuffled:
        means: list[np.ndarray] = []
        for data, logits in zip(sets, one.logits, strict=True):
            usable = usable_rows(data.labels)
            if not usable.both_classes:
                rows.append(_shuffled(one, data.name, math.nan, math.nan, math.nan, usable))
                continue
            found = shuffled_auroc(data.labels, logits, data.groups)
            rows.append(_shuffled(one, data.name, found.mean, found.lowest, found.highest, usable))
            means.append(_permuted(data, logits))
        if len(means) > 1:
            over = np.mean(means, axis=0)
            rows.append(
                _shuffled(one, MEAN, float(over.mean()), float(over.min()), float(over.max()), None)
                | {"sets": len(means), "sets_left_out": len(sets) - len(means)}
            )
    return rows


def over_seeds(rows: Sequence[ResultRow], scored: Sequence[Scored]) -> list[ResultRow]:
    """Mean, lowest and highest AUROC and recall of monitors that differ in their seed alone.

    `_low` and `_high` are a 95 % t interval over the seeds: where another seed's mean would lie on these
    conversations, not what other conversations would give.
    """
    families: dict[str, list[str]] = {}
    own = [row for row in rows if row["by"] is None and row["control"] is None]
    for one in scored:
        if one.of is not None:
            families.setdefault(one.of.family, []).append(one.name)
    found: list[ResultRow] = []
    for names in families.values():
        if len(names) < 2:
            continue
        for dataset in dict.fromkeys(row["dataset"] for row in own):
            mine = [r for r in own if r["monitor"] in names and r["dataset"] == dataset]
            figures = {
                what: [row[what] for row in mine if row[what] is not None]
                for what in ("auroc", "recall_at_1pct_fpr")
            }
            if not mine or not figures["auroc"]:
                continue
            found.append(
                {
                    "head": mine[0]["head"],
                    "layer": mine[0]["layer"],
                    "dataset": dataset,
                    "seeds": [row["seed"] for row in mine],
                    **{
                        name: _finite(v)
                        for what, values in figures.items()
                        for name, v in _seeds(what, values)
                    },
                    **{f"{what}_lowest": min(values) for what, values in figures.items()},
                    **{f"{what}_highest": max(values) for what, values in figures.items()},
                }
            )
    return found


def _seeds(what: str, values: Sequence[float]) -> list[tuple[str, float]]:
    mean, low, high, *_ = mean_over_seeds(values)
    return [(what, mean), (f"{what}_low", max(0.0, low)), (f"{what}_high", min(1.0, high))]


def _within(
    labels: np.ndarray, logits: np.ndarray, groups: Sequence[str], bins: Sequence[np.ndarray]
) -> Ranked:
    try:
        return auroc_within(labels, logits, groups, bins)
    except ValueError:  # no bin has both classes
        return NOWHERE


def _rank_correlation(labels: np.ndarray, logits: np.ndarray, groups: Sequence[str]) -> Ranked:
    if len(np.unique(labels)) < 3:
        return NOWHERE
    positive = (labels > 0.5).astype(np.float64)
    found = estimate(spearman(logits, labels), np.stack([positive, positive]), groups, undefined="")
    return Ranked(*(math.nan if end is None else end for end in (found.value, found.low, found.high)))


def _measured_row(
    one: Scored, data: EvaluationSet, labels: np.ndarray, logits: np.ndarray, groups: Sequence[str]
) -> ResultRow:
    with warnings.catch_warnings():
        # a table has None there, and the report says of which data sets
        warnings.simplefilter("ignore", OneClassWarning)
        found = measure(labels, logits, groups, threshold=one.threshold, calibrated=one.calibrated)
    return _about(one, data.name) | found.row()


def _about(one: Scored, dataset: str) -> ResultRow:
    return {
        "monitor": one.name,
        "dataset": dataset,
        "layer": None if one.of is None else one.of.layer,
        "seed": None if one.of is None else one.of.seed,
        "head": None if one.of is None else one.of.monitor.card.head,
        "control": one.control,
        "by": None,
        "value": None,
    }


def _shuffled(
    one: ShuffledLogits, dataset: str, mean: float, low: float, high: float, usable: Any
) -> ResultRow:
    row = _about(Scored(one.of.name, [], one.of), dataset) | {
        "control": SHUFFLED,
        "n": None if usable is None else usable.n_positive + usable.n_negative,
        **_ends("auroc", Ranked(mean, low, high)),
        "recall_at_1pct_fpr": None,
        "permutations": len(one.logits[0]),
    }
    if len(one.logits[0]) == 1:
        row |= {"auroc_low": None, "auroc_high": None}
    return {name: _finite(value) for name, value in row.items()}


def _permuted(data: EvaluationSet, logits: np.ndarray) -> np.ndarray:
    """[permutations], AUROC of each."""
    return np.array([area(data.labels, own, data.groups).value for own in logits])


def _parts(
    data: EvaluationSet, facts: Sequence[str], edges: Sequence[int]
) -> dict[str, dict[str, np.ndarray]]:
    """What is told apart -> value -> [rows], bool. Facts that the data set does not have are left out."""
    parts = {LENGTH: length_bins(data.lengths, edges)}
    for fact in facts:
        values = data.fact(fact)
        known = sorted({value for value in values if value is not None})
        parts[fact] = {value: np.array([own == value for own in values]) for value in known}
    return parts


def _ends(name: str, found: Ranked) -> ResultRow:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
