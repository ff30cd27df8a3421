"""AUROC among conversations with the same value of a fact: of one iteration, one topic, one language.

A training run makes harm rarer or commoner from iteration to iteration, and its words and activations drift
with it. A monitor that only sees which iteration a conversation is from ranks all of them well, and those of
one iteration not at all. Pairs of the same value alone tell whether it sees more.
"""

import math
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from analysis.ranking import Compared, Ranked, area, compare
from probes.evaluation.evaluation_data import EvaluationSet
from probes.evaluation.metrics import NOWHERE, usable_rows
from probes.evaluation.scored import Scored

FOLDS = 5
"""Of what the fact alone tells: each part of the groups is ranked by what the others are like."""


class Within(NamedTuple):
    """A monitor or control on the rows of a data set that have a fact."""

    monitor: str
    dataset: str
    fact: str
    n: int
    """Rows that are positive or negative and have the fact."""

    without_fact: int
    """Rows that do not, and are not counted here."""

    values: int
    values_with_both: int
    """That have positive and negative rows: the others say nothing here."""

    pairs: float
    """Share of the pairs of a positive and a negative row that have the same value."""

    plain: Ranked
    """AUROC of all pairs of these rows."""

    within: Ranked
    """AUROC of the pairs of the same value; NaN if there are none."""

    difference: Compared
    """Plain less within, on the same rows; NaN where one of them has no interval."""

    alone: Ranked
    """AUROC of the fact alone: of each row the share of positives with its value, in other groups."""

    @property
    def explained(self) -> bool:
        """Whether the plain AUROC owes something to the fact, by more than chance explains, or all of it."""
        return self.difference.low > 0 or self.alone.value >= self.plain.value

    def row(self) -> dict[str, Any]:
        """As in `evaluation.json`."""
        found: dict[str, Any] = {
            name: getattr(self, name)
            for name in (
                "monitor",
                "dataset",
                "fact",
                "n",
                "without_fact",
                "values",
                "values_with_both",
                "pairs",
            )
        }
        for name in ("plain", "within", "alone", "difference"):
            value = getattr(self, name)
            ends = {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
            found |= {key: end if math.isfinite(end) else None for key, end in ends.items()}
        return found


def within_facts(
    scored: Sequence[Scored], sets: Sequence[EvaluationSet], facts: Sequence[str], seed: int
) -> list[Within]:
    """Of every monitor and control, on every data set that has both classes and the fact.

    The estimate of all values together weighs each by its pairs, which is the chance that a positive row is
    ranked above a negative one of the same value; its interval knows which rows share a group, also across
    values.

    Source: the AUROC of strata that are compared within only, van Elteren 1960 (Bull. Int. Statist. Inst. 37)
    with weights by pairs; variance as of `ranking.area` with bins (Obuchowski 1997).

    Args:
        scored: With their logits on all data sets.
        sets: Data sets.
        facts: Names.
        seed: Of the parts by which the fact alone is judged.
    """
    found: list[Within] = []
    for fact in facts:
        for number, data in enumerate(sets):
            values = data.fact(fact)
            usable = usable_rows(data.labels)
            known = np.array([value is not None for value in values], dtype=bool)
            rows = usable.rows & known
            labels = data.labels[rows]
            if not usable_rows(labels).both_classes:
                continue
            groups = [group for group, taken in zip(data.groups, rows, strict=True) if taken]
            here = np.array([value for value, taken in zip(values, rows, strict=True) if taken], dtype=object)
            alone = fact_alone(labels, here, groups, seed)
            without = int((usable.rows & ~known).sum())
            found += [
                _within(one, data.name, fact, labels, one.logits[number][rows], groups, here, without, alone)
                for one in scored
            ]
    return found


def fact_alone(labels: np.ndarray, values: np.ndarray, groups: Sequence[str], seed: int) -> Ranked:
    """AUROC of a fact's value as the only thing known of a row.

    The groups are divided in five parts; rows of one are ranked by the share of positives that their value
    has in the others, drawn towards that of all values by one row, and against rows of the same part alone.

    Args:
        labels: [rows], in 0..1; above 0.5 positive.
        values: [rows], of the fact.
        groups: Of each row.
        seed: Of the division.
    """
    names = list(dict.fromkeys(groups))
    order = np.random.default_rng(seed).permutation(len(names)) % FOLDS
    part = np.array([dict(zip(names, order.tolist(), strict=True))[group] for group in groups])
    positive, shares = labels > 0.5, np.zeros(len(labels))
    for number in range(FOLDS):
        test, others = part == number, part != number
        overall = float(positive[others].mean()) if others.any() else 0.5
        for value in dict.fromkeys(values[test].tolist()):
            same = others & (values == value)
            shares[test & (values == value)] = (positive[same].sum() + overall) / (same.sum() + 1)
    try:
        return area(labels, shares, groups, [part == number for number in range(FOLDS)]).interval()
    except ValueError:  # no part has both classes
        return NOWHERE


def told_of(found: Sequence[Within], monitors: Collection[str]) -> list[str]:
    """A sentence for each monitor and data set where a fact explains a plain AUROC, or some of it."""
    sentences = []
    for one in found:
        if one.explained and one.monitor in monitors:
            sentences.append(
                f"{one.dataset}: the AUROC {one.plain.value:.3f} of {one.monitor} owes something to "
                f"{one.fact}, which alone has {_three_digits(one.alone.value)}; "
                f"within {one.fact} it is {_interval(one.within)}."
            )
    return sentences


def _within(
    one: Scored,
    dataset: str,
    fact: str,
    labels: np.ndarray,
    logits: np.ndarray,
    groups: Sequence[str],
    values: np.ndarray,
    without: int,
    alone: Ranked,
) -> Within:
    strata = [values == value for value in dict.fromkeys(values.tolist())]
    both = [inside for inside in strata if usable_rows(labels[inside]).both_classes]
    whole = area(labels, logits, groups)
    count = len(labels), without, len(strata), len(both)
    if not both:
        nothing = Compared(math.nan, math.nan, math.nan, math.nan)
        return Within(one.name, dataset, fact, *count, 0.0, whole.interval(), NOWHERE, nothing, alone)
    same = area(labels, logits, groups, both)
    pairs = sum(float((labels[i] > 0.5).sum() * (labels[i] < 0.5).sum()) for i in both)
    every = float((labels > 0.5).sum() * (labels < 0.5).sum())
    return Within(
        one.name,
        dataset,
        fact,
        *count,
        pairs / every,
        whole.interval(),
        same.interval(),
        _less(whole, same),
        alone,
    )


def _less(whole: Any, same: Any) -> Compared:
    if whole.groups < 2 or same.groups < 2:
        return Compared(whole.value - same.value, math.nan, math.nan, math.nan)
    return compare(whole, same)


def _three_digits(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _interval(found: Ranked) -> str:
    if math.isnan(found.value):
        return "not known: no value has both classes"
    ends = "" if math.isnan(found.low) else f" [{found.low:.3f}, {found.high:.3f}]"
    return f"{found.value:.3f}{ends}"
