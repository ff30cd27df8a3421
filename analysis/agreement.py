"""How far several raters of the same units agree: alpha and correlations, with clustered intervals.

A statistic takes weights `[cases, units]`, how often each unit counts, and gives one number for each case,
NaN where it is undefined (constant ratings, no unit that two raters rated).
"""

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from analysis.effective_number import LEVEL, Ends, student_quantile, wilson
from analysis.intervals import Interval

Floats = npt.NDArray[np.float64]
Statistic = Callable[[Floats], Floats]

Level = Literal["nominal", "ordinal", "interval"]
"""What differences between ratings mean: none but equality; their order; their size."""

FEW = {"two answers": (12, 0.375, 2), "more": (10, 0.625, 0)}
"""With fewer clusters that hold another answer than the commonest, counted as many as weigh so, intervals of
agreement are too narrow: the first number, or if less this share of all clusters and so many more. By
simulation; `benchmarks/analysis/coverage.py` has the figures."""

_VALUES = 2**22
"""Numbers of one array at a time."""

_TINY = 1e-12
_NEARLY_ONE = 1 - 1e-9


class Estimate(BaseModel):
    """A statistic with its 95 % interval."""

    value: float | None = None
    """None if it is undefined; `problem` says why."""

    low: float | None = None
    high: float | None = None
    """None with fewer than two clusters."""

    n: int
    """Units it rests on."""

    clusters: int = 0
    """Clusters of these units."""

    problem: str | None = None

    doubt: str | None = None
    """Why the interval is likely too narrow; None if nothing is known against it."""


def measured(found: Interval) -> Estimate:
    """A mean, a share or a difference as an estimate."""
    low, high = (None if math.isnan(end) else end for end in (found.low, found.high))
    return Estimate(value=found.mean, low=low, high=high, n=found.n, clusters=found.clusters)


def estimate(
    statistic: Statistic, classes: Floats, clusters: Sequence[Hashable], *, undefined: str
) -> Estimate:
    """Alpha or a correlation with a t interval on Fisher's z, whose variance comes from leaving out clusters.

    Percentiles of a bootstrap of clusters, used here before, held the true value in 87 to 93 % of cases with
    16 clusters, this in 92 to 98 %. Where raters agree on everything there is no variance to measure: the
    interval then reaches down to what it would be if as many clusters disagreed as none of them can rule out.

    Source: Fisher's transformation; the jackknife of clusters, Efron and Tibshirani 1993, chapter 11, with
    clusters - 1 degrees of freedom; Wilson's interval for none of the clusters.

    Args:
        statistic: Takes weights `[cases, units]`; its values lie between -1 and 1.
        classes: `[raters, units]`, the ratings by answer, NaN where there is none.
        clusters: Of each unit.
        undefined: Why it has no value, if it has none.
    """
    n, names = len(clusters), {name: place for place, name in enumerate(dict.fromkeys(clusters))}
    value = float(statistic(np.ones((1, n)))[0]) if n else math.nan
    if math.isnan(value):
        return Estimate(n=n, clusters=len(names), problem=undefined)
    found = Estimate(value=value, n=n, clusters=len(names))
    if len(names) < 2:
        return found
    place = np.array([names[c] for c in clusters])
    if abs(value) > _NEARLY_ONE:
        ends = _of_no_disagreement(value, classes, len(names))
    else:
        ends = _on_fishers_z(value, _left_out(statistic, place, len(names)))
    return found.model_copy(update={"low": ends.low, "high": ends.high, "doubt": _doubt(classes, place)})


def _left_out(statistic: Statistic, place: npt.NDArray[np.intp], count: int) -> Floats:
    """[clusters], the statistic without each of them."""
    block = max(1, _VALUES // len(place))
    found: list[Floats] = []
    for start in range(0, count, block):
        without = np.arange(start, min(start + block, count))
        found.append(statistic((place[None, :] != without[:, None]).astype(np.float64)))
    return np.concatenate(found)


def _on_fishers_z(value: float, left_out: Floats) -> Ends:
    count = len(left_out)
    # without the one cluster that has all the variety it is undefined; `_doubt` tells of such cases
    z = np.arctanh(np.clip(np.where(np.isnan(left_out), value, left_out), -_NEARLY_ONE, _NEARLY_ONE))
    error = math.sqrt((count - 1) / count * float(((z - z.mean()) ** 2).sum()))
    half = student_quantile(count - 1, (1 + LEVEL) / 2) * error
    middle = math.atanh(value)
    return Ends(math.tanh(middle - half), math.tanh(middle + half))


def _of_no_disagreement(value: float, classes: Floats, count: int) -> Ends:
    """Agreement as by chance, where that is how often two ratings differ, in so many of the clusters."""
    _, counts = np.unique(classes[~np.isnan(classes)], return_counts=True)
    differ = 1 - float(((counts / counts.sum()) ** 2).sum())
    reach = min(2.0, wilson(0.0, count).high / differ) if differ > 0 else 2.0
    return Ends(value - reach, value) if value > 0 else Ends(value, value + reach)


def _doubt(classes: Floats, place: npt.NDArray[np.intp]) -> str | None:
    values, counts = np.unique(classes[~np.isnan(classes)], return_counts=True)
    other = ~np.isnan(classes) & (classes != values[np.argmax(counts)])
    ratings = np.bincount(place, other.sum(axis=0))
    holding = int((ratings > 0).sum())
    weighing = float(ratings.sum() ** 2 / (ratings @ ratings)) if holding else 0.0
    most, share, more = FEW["two answers" if len(values) < 3 else "more"]
    if weighing >= min(most, share * len(ratings) + more):
        return None
    told = "state has" if holding == 1 else "states have"
    return (
        f"only {holding} initial {told} another answer than the commonest, and they count as {weighing:.1f}"
    )


def alpha(ratings: Floats, level: Level) -> Statistic:
    """Krippendorff's alpha, 1 for perfect agreement, 0 for agreement as by chance.

    Ratings of units that have only one are left out, and nothing is filled in. Undefined if all
    ratings that count are equal.

    Source: Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability". For ordinal
    data his metric is the squared difference of mid-ranks, so the closed form for intervals serves.

    Args:
        ratings: `[raters, units]`, NaN where there is none.
        level: Nominal, ordinal or interval.
    """
    shared = np.sum(~np.isnan(ratings), axis=0) >= 2
    kept = np.where(shared, ratings, np.nan)
    if level == "nominal":
        return _nominal_alpha(kept)
    if level == "ordinal":
        return _ordinal_alpha(kept)
    return lambda weights: _interval_alpha(kept, weights)


def _nominal_alpha(ratings: Floats) -> Statistic:
    categories = np.unique(ratings[~np.isnan(ratings)])
    counts = np.sum(ratings == categories[:, None, None], axis=1)
    m = counts.sum(axis=0)
    unlike = np.sum(counts * (m - counts), axis=0)

    def statistic(weights: Floats) -> Floats:
        n = weights @ m
        return _one_minus(weights @ _per_other(unlike, m), n, n**2 - ((weights @ counts.T) ** 2).sum(axis=1))

    return statistic


def _interval_alpha(ratings: Floats, weights: Floats) -> Floats:
    known = ~np.isnan(ratings)
    m = known.sum(axis=0)
    if not known.any():
        return np.full(len(weights), np.nan)
    x = np.where(known, ratings - ratings[known][0], 0.0)  # constant ratings become exact zeros
    spread = np.ptp(ratings[known])
    sums, squares = x.sum(axis=0), (x**2).sum(axis=0)
    unlike = np.maximum(0, m * squares - sums**2)
    n = weights @ m
    expected = n * (weights @ squares) - (weights @ sums) ** 2
    return _one_minus(
        weights @ _per_other(unlike, m), n, np.where(expected > _TINY * (n * spread) ** 2, expected, 0.0)
    )


def _ordinal_alpha(ratings: Floats) -> Statistic:
    known = ~np.isnan(ratings)
    values, place = np.unique(ratings[known], return_inverse=True)
    units = np.nonzero(known)[1]

    def one(weights: Floats) -> float:
        ranked = np.full(ratings.shape, np.nan)
        ranked[known] = _midranks(place, weights[units], len(values))[place]
        return float(_interval_alpha(ranked, weights[None, :])[0])

    return lambda weights: np.array([one(w) for w in weights])


def _per_other(total: Floats, m: npt.NDArray[np.int_]) -> Floats:
    return total / np.maximum(m - 1, 1)


def _one_minus(observed: Floats, n: Floats, expected: Floats) -> Floats:
    """1 - D_o / D_e for sums of differences within units, each over m - 1, and over all pairs."""
    usable = expected > 0
    return np.where(usable, 1 - (n - 1) * observed / np.where(usable, expected, 1.0), np.nan)


def _midranks(place: npt.NDArray[np.intp], weights: Floats, values: int) -> Floats:
    """Mean rank of each distinct value, over the whole weight, so between 0 and 1."""
    counts = np.bincount(place, weights, minlength=values)
    return (np.cumsum(counts) - counts / 2) / max(counts.sum(), 1.0)


def pearson(first: Floats, second: Floats) -> Statistic:
    """Pearson's correlation over the units `[units]` that both rated; undefined if one is constant."""
    both = ~np.isnan(first) & ~np.isnan(second)
    return lambda weights: _correlation(first[both], second[both], weights[:, both])


def spearman(first: Floats, second: Floats) -> Statistic:
    """Spearman's rank correlation, ties at their mean rank; ranks are taken anew in each resample."""
    both = ~np.isnan(first) & ~np.isnan(second)
    pairs = [np.unique(x[both], return_inverse=True) for x in (first, second)]

    def one(weights: Floats) -> float:
        x, y = (_midranks(place, weights, len(values))[place] for values, place in pairs)
        return float(_correlation(x, y, weights[None, :])[0])

    return lambda weights: np.array([one(w) for w in weights[:, both]])


def _correlation(x: Floats, y: Floats, weights: Floats) -> Floats:
    if len(x) < 2:
        return np.full(len(weights), np.nan)
    wide_x, wide_y = np.ptp(x), np.ptp(y)
    x, y = x - x[0], y - y[0]
    n = weights.sum(axis=1)
    sum_x, sum_y = weights @ x, weights @ y
    square_x = n * (weights @ x**2) - sum_x**2
    square_y = n * (weights @ y**2) - sum_y**2
    varies = (square_x > _TINY * (n * wide_x) ** 2) & (square_y > _TINY * (n * wide_y) ** 2)
    below = np.sqrt(np.where(varies, square_x * square_y, 1.0))
    return np.where(varies, np.clip((n * (weights @ (x * y)) - sum_x * sum_y) / below, -1, 1), np.nan)
