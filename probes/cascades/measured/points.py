"""How good a cascade is at a budget, and what it costs: the points of its curves, measured on test rows."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit

from analysis.ranking import (
    Area,
    Compared,
    Ranked,
    area,
    largest_recall,
    mean_comparison,
    mean_over_sets,
    mean_recall,
    share,
)
from probes.cascades.earlier import earlier_cascade
from probes.cascades.joined import CascadeRows
from probes.cascades.saved import Cascade
from probes.cascades.whole import Outcome, apply_cascade
from probes.evaluation.beside.foreign_scores import COSTS
from probes.evaluation.comparisons import MEAN

PROBE, JUDGE, EARLIER, RANDOM = "probe alone", "judge alone", "earlier", "random"

ALONE = (PROBE, JUDGE)
CONTROLS = (EARLIER, RANDOM)
"""Beside the strategies: the earlier project's batch rule, and a judge that is asked at random."""


class Values(NamedTuple):
    """What one way of deciding makes of all test sets."""

    name: str
    """Strategy, control, or who decides alone."""

    merge: str
    budget: float | None
    """None of one monitor alone."""

    outcomes: list[Outcome]
    """Of each data set."""

    costs: list[dict[str, np.ndarray]]
    """Of each data set: what a row costs, [rows] for each cost that is known."""

    cascade: Cascade | None = None


class Point(NamedTuple):
    """One way of deciding on one data set, or in the mean over them."""

    name: str
    merge: str
    budget: float | None
    dataset: str
    n: int
    asked: Ranked
    """Share of rows that the second monitor was asked about."""

    asked_third: float | None
    auroc: Ranked
    recall: Ranked
    """Largest at the asked false-positive rate on these rows, which their own labels set."""

    flagged_recall: Ranked | None
    """At the threshold that was fixed on the calibration rows; None where there is none."""

    flagged_fpr: Ranked | None
    costs: dict[str, float]
    """Means over rows."""

    against_judge: Compared
    """AUROC less that of the judge alone, paired."""

    low: float | None = None
    high: float | None = None
    """Band of the second monitor."""

    def row(self) -> dict[str, Any]:
        """As in `points.json` and `points.csv`; None where there is no number."""
        told: dict[str, Any] = {
            "strategy": self.name,
            "merge": self.merge,
            "budget": self.budget,
            "dataset": self.dataset,
            "n": self.n,
            "low": self.low,
            "high": self.high,
            "asked_third": self.asked_third,
        }
        for name, found in (
            ("asked", self.asked),
            ("auroc", self.auroc),
            ("recall_at_asked_fpr", self.recall),
            ("flagged_recall", self.flagged_recall),
            ("flagged_fpr", self.flagged_fpr),
        ):
            ends = (None, None, None) if found is None else found
            told |= {f"{name}{end}": value for end, value in zip(("", "_low", "_high"), ends, strict=True)}
        told |= {cost: self.costs.get(cost) for cost in COSTS}
        compared = self.against_judge
        told |= {"difference_to_judge": compared.value, "difference_low": compared.low}
        told |= {"difference_high": compared.high, "difference_p": compared.p}
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in told.items()}

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "Point":
        """As `row` told it."""

        def ranked(name: str) -> Ranked:
            return Ranked(*(_number(row[f"{name}{end}"]) for end in ("", "_low", "_high")))

        def known(name: str) -> Ranked | None:
            return None if row[name] is None else ranked(name)

        ends = (f"difference_{end}" for end in ("to_judge", "low", "high", "p"))
        return cls(
            row["strategy"],
            row["merge"],
            row["budget"],
            row["dataset"],
            row["n"],
            ranked("asked"),
            row["asked_third"],
            ranked("auroc"),
            ranked("recall_at_asked_fpr"),
            known("flagged_recall"),
            known("flagged_fpr"),
            {cost: row[cost] for cost in COSTS if row[cost] is not None},
            Compared(*(_number(row[end]) for end in ends)),
            row["low"],
            row["high"],
        )


def values_of(cascade: Cascade, tests: Sequence[CascadeRows]) -> Values:
    """A fitted cascade on all test sets."""
    outcomes = [apply_cascade(cascade, rows.logits) for rows in tests]
    costs = [costs_of(rows, outcome.asked) for rows, outcome in zip(tests, outcomes, strict=True)]
    merge = cascade.stages[0].merge.name
    return Values(cascade.strategy, merge, cascade.budget, outcomes, costs, cascade)


def alone(cascade: Cascade, tests: Sequence[CascadeRows]) -> list[Values]:
    """The probe alone, and the last judge asked about every row, both on their calibrated scales."""
    found: list[Values] = []
    last = len(cascade.stages)
    for name, place in ((PROBE, 0), (JUDGE, last)):
        scale = cascade.monitor.scale if place == 0 else cascade.stages[-1].scale
        outcomes, costs = [], []
        for rows in tests:
            asked = [np.full(len(rows.ids), place > 0 and stage == last) for stage in range(1, last + 1)]
            outcomes.append(Outcome(scale.of(rows.columns[place].logits), asked))
            costs.append(costs_of(rows, asked, first=place == 0))
        found.append(Values(name, "", None, outcomes, costs))
    return found


def controls(
    cascade: Cascade, tests: Sequence[CascadeRows], budget: float, seed: int, names: Sequence[str] = CONTROLS
) -> list[Values]:
    """The earlier project's rule, and a judge asked at random whose word is the last. First judge only."""
    found: list[Values] = []
    for name in names:
        outcomes, costs = [], []
        for number, rows in enumerate(tests):
            first, second = rows.columns[0].logits, rows.columns[1].logits
            if name == EARLIER:
                values, asked = earlier_cascade(expit(first), expit(second), budget)
            else:
                asked = np.random.default_rng([seed, number]).random(len(first)) < budget
                judged = cascade.stages[0].scale.of(second)
                values = np.where(asked, judged, cascade.monitor.scale.of(first))
            outcomes.append(Outcome(values, [asked]))
            costs.append(costs_of(rows, [asked]))
        found.append(Values(name, "mean" if name == EARLIER else "replace", budget, outcomes, costs))
    return found


def costs_of(rows: CascadeRows, asked: Sequence[np.ndarray], *, first: bool = True) -> dict[str, np.ndarray]:
    """What each row costs, for each cost that every judge has; of the first monitor as far as it is known.

    A row of which a judge's cost is not known costs the mean of the others.

    Args:
        rows: With the costs of each monitor.
        asked: For each judge [rows], bool.
        first: The first monitor reads every row.
    """
    found: dict[str, np.ndarray] = {}
    for cost in COSTS:
        if not all(cost in column.costs for column in rows.columns[1:]):
            continue
        total = np.zeros(len(rows.ids))
        if first and cost in rows.columns[0].costs:
            total = total + rows.columns[0].costs[cost]
        for column, taken in zip(rows.columns[1:], asked, strict=False):
            total = total + np.where(taken, _filled(column.costs[cost]), 0.0)
        found[cost] = total
    return found


def measured(
    values: Sequence[Values], judge: Values, tests: Sequence[CascadeRows], asked_fpr: float
) -> list[Point]:
    """A point for each way of deciding on each test set that has both classes, and in the mean over them."""
    usable = [i for i, rows in enumerate(tests) if 0 < rows.labels.sum() < len(rows.labels)]
    groups = {i: tests[i].groups for i in usable}
    areas = {i: area(tests[i].labels, judge.outcomes[i].values, groups[i]) for i in usable}
    points: list[Point] = []
    for one in values:
        own = {i: _of_set(one, i, tests[i], groups[i], areas[i], asked_fpr) for i in usable}
        points += [point for point, _, _ in own.values()]
        if len(usable) > 1:
            points.append(_mean(own, areas))
    return points


def _of_set(
    one: Values, number: int, rows: CascadeRows, groups: list[str], judge: Area, asked_fpr: float
) -> tuple[Point, Area, Any]:
    labels, outcome = rows.labels, one.outcomes[number]
    own = area(labels, outcome.values, groups)
    best = largest_recall(labels, outcome.values, groups, asked_fpr)
    threshold = None if one.cascade is None else one.cascade.threshold
    at = [None, None]
    if threshold is not None:
        flagged = outcome.values >= threshold
        at = [
            share(flagged[side], [g for g, inside in zip(groups, side, strict=True) if inside])
            for side in (labels > 0.5, labels < 0.5)
        ]
    stage = None if one.cascade is None else one.cascade.stages[0]
    # where the last judge alone decides, its calls are what is counted
    asked = outcome.asked[-1] if one.name == JUDGE else outcome.asked[0]
    third = float(outcome.asked[1].mean()) if len(outcome.asked) > 1 and one.name not in ALONE else None
    point = Point(
        one.name,
        one.merge,
        one.budget,
        rows.name,
        len(labels),
        share(asked, groups),
        third,
        own.interval(),
        best.recall,
        at[0],
        at[1],
        {name: float(of.mean()) for name, of in one.costs[number].items()},
        mean_comparison([(own, judge)]),
        None if stage is None else stage.low,
        None if stage is None else stage.high,
    )
    return point, own, best


def _mean(own: Mapping[int, tuple[Point, Area, Any]], judge: Mapping[int, Area]) -> Point:
    points = [point for point, _, _ in own.values()]
    costs = [cost for cost in COSTS if all(cost in point.costs for point in points)]
    third = [p.asked_third for p in points if p.asked_third is not None]
    return points[0]._replace(
        dataset=MEAN,
        n=sum(point.n for point in points),
        asked=mean_over_sets([point.asked for point in points]),
        asked_third=float(np.mean(third)) if third else None,
        auroc=mean_over_sets([point.auroc for point in points]),
        recall=mean_recall([best for _, _, best in own.values()]),
        flagged_recall=_mean_share([p.flagged_recall for p in points]),
        flagged_fpr=_mean_share([p.flagged_fpr for p in points]),
        costs={cost: float(np.mean([p.costs[cost] for p in points])) for cost in costs},
        against_judge=mean_comparison([(mine, judge[i]) for i, (_, mine, _) in own.items()]),
    )


def _mean_share(parts: Sequence[Ranked | None]) -> Ranked | None:
    known = [part for part in parts if part is not None]
    return mean_over_sets(known) if len(known) == len(parts) else None


def _filled(costs: np.ndarray) -> np.ndarray:
    """With the mean of the others where a row's cost is not known, so that asking it is not free."""
    unknown = np.isnan(costs)
    return np.where(unknown, np.nanmean(costs), costs) if unknown.any() and not unknown.all() else costs


def _number(value: float | None) -> float:
    return math.nan if value is None else value
