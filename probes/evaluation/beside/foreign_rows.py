"""Rows of the table, and paired comparisons, of monitors that read no activations."""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from analysis.ranking import area, auroc, largest_recall, mean_comparison, mean_over_sets, mean_recall
from analysis.reporting.markdown import NOTHING, interval
from analysis.reporting.page import Part, Section, Table
from probes.conversations.labels import DataError
from probes.evaluation.beside.foreign_scores import COSTS, ForeignScores
from probes.evaluation.comparisons import MEAN, Compared, false_discoveries
from probes.evaluation.evaluation_data import EvaluationSet
from probes.evaluation.metrics import ASKED_FPR, OneClassWarning, measure, usable_rows
from probes.evaluation.pages.figures import Line
from probes.evaluation.results import MORE, ResultRow
from probes.evaluation.scored import Scored


def foreign_rows(monitors: Sequence[ForeignScores], sets: Sequence[EvaluationSet]) -> list[ResultRow]:
    """As of monitors, on the rows that got a score; and in the mean over sets.

    Beside what rows of monitors have: `n_unscored` (rows without a usable answer, or that it was not given)
    and `flops`, `seconds`, `dollars` of a conversation, as far as they are known.
    """
    rows: list[ResultRow] = []
    for one in monitors:
        own = [_row_of_set(one, place, data) for place, data in enumerate(sets) if one.answered[place].any()]
        rows += own
        mean = _mean_row(one, sets)
        rows += [mean] if mean is not None else []
    return rows


def foreign_comparisons(
    monitors: Sequence[ForeignScores], reference: Scored, sets: Sequence[EvaluationSet]
) -> list[Compared]:
    """Each less the reference, on the rows that both have: paired, and in the mean over sets."""
    compared: list[Compared] = []
    places = [(data.name, [place]) for place, data in enumerate(sets)]
    for name, members in [*places, *([(MEAN, list(range(len(sets))))] if len(sets) > 1 else [])]:
        here: list[tuple[str, Any]] = []
        for one in monitors:
            parts = [
                (
                    area(sets[m].labels[rows], one.logits[m][rows], _taken(sets[m].groups, rows)),
                    area(sets[m].labels[rows], reference.logits[m][rows], _taken(sets[m].groups, rows)),
                )
                for m in members
                if _ranks(sets[m].labels, rows := ~np.isnan(one.logits[m]))
            ]
            if len(parts) == len(members):
                here.append((one.name, mean_comparison(parts)))
        q = false_discoveries([difference for _, difference in here])
        compared += [
            Compared(monitor, reference.name, name, difference, share)
            for (monitor, difference), share in zip(here, q, strict=True)
        ]
    return compared


def costs_section(rows: Sequence[ResultRow]) -> Section:
    """What the foreign monitors cost, and how many rows they gave no score."""
    lines = [
        [
            row["monitor"],
            row["dataset"],
            str(row["n"]),
            str(row["n_unscored"]),
            interval(row["auroc"], row["auroc_low"], row["auroc_high"]),
            *(NOTHING if row.get(cost) is None else f"{row[cost]:.3g}" for cost in COSTS),
        ]
        for row in rows
        if row["dataset"] != MEAN
    ]
    head = ["", "data set", "ranked", "without a score", "AUROC", "FLOPs", "seconds", "dollars"]
    told = (
        "Fine-tuned and asked models, on the same rows; a conversation costs so much in the mean, of a "
        "fine-tuned last block beyond the monitored model. Rows without a score are in no number."
    )
    return Section("beside", "Monitors beside", [told], [Part(tables=[Table(head, lines)])])


def check_names(foreign: Sequence[str], monitors: Sequence[str]) -> None:
    """Refuse two of one name, which tables could not tell apart.

    Raises:
        DataError: Names it.
    """
    for name in foreign:
        if name in monitors:
            raise DataError(
                f"--beside: {name} is the name of a monitor, too; fit the baseline with another --name"
            )


def lines_beside(
    monitors: Sequence[ForeignScores], sets: Sequence[EvaluationSet], most: int
) -> dict[str, dict[str, Line]]:
    """Data set -> monitor -> what a curve is drawn of; of the best by mean AUROC, at most so many."""
    areas = {
        one.name: np.mean(
            [row["auroc"] or 0.0 for row in foreign_rows([one], sets) if row["dataset"] != MEAN]
        )
        for one in monitors
    }
    best = sorted(monitors, key=lambda one: -float(areas[one.name]))[:most]
    drawn: dict[str, dict[str, Line]] = {data.name: {} for data in sets}
    for place, data in enumerate(sets):
        for one in best:
            rows = ~np.isnan(one.logits[place])
            if rows.any():
                groups = _taken(data.groups, rows)
                drawn[data.name][one.name] = Line(
                    data.labels[rows], one.logits[place][rows], groups, beside=True
                )
    return drawn


def _row_of_set(one: ForeignScores, place: int, data: EvaluationSet) -> ResultRow:
    rows = ~np.isnan(one.logits[place])
    with warnings.catch_warnings():
        # a table has None there, and the number of each class beside it
        warnings.simplefilter("ignore", OneClassWarning)
        measured = measure(data.labels[rows], one.logits[place][rows], _taken(data.groups, rows)).row()
    row = _identity(one, data.name) | dict.fromkeys(MORE) | measured
    row["n_excluded"] = (measured["n_excluded"] or 0) + sum(data.excluded.values())
    return row | {"n_unscored": int((~rows).sum()), **one.costs[place]}


def _mean_row(one: ForeignScores, sets: Sequence[EvaluationSet]) -> ResultRow | None:
    parts = []
    for place, data in enumerate(sets):
        rows = ~np.isnan(one.logits[place])
        if _ranks(data.labels, rows):
            parts.append((data.labels[rows], one.logits[place][rows], _taken(data.groups, rows)))
    if len(parts) < 2:
        return None
    ranked = mean_over_sets([auroc(*part) for part in parts])
    recall = mean_recall([largest_recall(labels, own, of, ASKED_FPR) for labels, own, of in parts])
    row = _identity(one, MEAN) | {
        "n": sum(len(labels) for labels, _, _ in parts),
        "auroc": ranked.value,
        "auroc_low": ranked.low,
        "auroc_high": ranked.high,
        "recall_at_1pct_fpr": recall.value,
        "recall_low": recall.low,
        "recall_high": recall.high,
        "sets": len(parts),
        "sets_left_out": len(sets) - len(parts),
    }
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


def _identity(one: ForeignScores, dataset: str) -> ResultRow:
    return {
        "monitor": one.name,
        "dataset": dataset,
        "layer": None,
        "seed": None,
        "head": None,
        "control": None,
        "by": None,
        "value": None,
    }


def _ranks(labels: np.ndarray, rows: np.ndarray) -> bool:
    return bool(rows.any()) and usable_rows(labels[rows]).both_classes


def _taken(groups: Sequence[str], rows: np.ndarray) -> list[str]:
    return [group for group, taken in zip(groups, rows, strict=True) if taken]
