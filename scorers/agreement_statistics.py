"""How far several raters of the same units agree: alpha, correlations, bias, with clustered intervals.

A statistic takes weights `[resamples, units]`, how often each unit counts, and gives one number for
each resample, NaN where it is undefined (constant ratings, no unit that two raters rated).
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from scorers.intervals import LEVEL

Floats = npt.NDArray[np.float64]
Statistic = Callable[[Floats], Floats]

Level = Literal["nominal", "ordinal", "interval"]
"""What differences between ratings mean: none but equality; their order; their size."""

RESAMPLES = 1000

_BATCH = 100
_TINY = 1e-12


class Estimate(BaseModel):
    """A statistic with its 95 % interval."""

    value: float | None = None
    """None if it is undefined; `problem` says why."""

    low: float | None = None
    high: float | None = None
    """None with fewer than two clusters, or if more than half of the resamples are undefined."""

    n: int
    """Units it rests on."""

    clusters: int = 0
    """Clusters of these units."""

    undefined_resamples: int = 0
    """Left out of the interval."""

    problem: str | None = None


def estimate(
    statistic: Statistic,
    clusters: Sequence[Hashable],
    *,
    undefined: str,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """A statistic with a percentile interval over whole clusters drawn with replacement.

    The same seed and clusters draw the same resamples for every statistic. In a simulation with 4 units
    to a cluster the interval of alpha held the true value in 86 % of 400 cases with 8 clusters, and in
    93 to 95 % with 16, 32 and 64.

    Source: Field and Welsh 2007 (J. R. Statist. Soc. B 69(3)), the cluster bootstrap; Efron and
    Tibshirani 1993, section 13.3, the percentile interval.

    Args:
        statistic: Takes weights `[resamples, units]`.
        clusters: Of each unit.
        undefined: Why it has no value, if it has none.
        resamples: How many.
        seed: Of the draw.
    """
    n, count = len(clusters), len(set(clusters))
    value = float(statistic(np.ones((1, n)))[0]) if n else float("nan")
    if np.isnan(value):
        return Estimate(n=n, clusters=count, problem=undefined)
    drawn = _resampled(statistic, clusters, resamples, seed)
    defined = drawn[~np.isnan(drawn)]
    missing = len(drawn) - len(defined)
    if len(defined) <= resamples / 2:
        return Estimate(value=value, n=n, clusters=count, undefined_resamples=missing)
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(
        value=value, low=float(low), high=float(high), n=n, clusters=count, undefined_resamples=missing
    )


def _resampled(statistic: Statistic, clusters: Sequence[Hashable], resamples: int, seed: int) -> Floats:
    names = {name: place for place, name in enumerate(dict.fromkeys(clusters))}
    count = len(names)
    if count < 2:
        return np.empty(0)
    place = np.array([names[c] for c in clusters])
    rng = np.random.default_rng(seed)
    found: list[Floats] = []
    for start in range(0, resamples, _BATCH):  # the weights of all resamples at once would be large
        size = min(_BATCH, resamples - start)
        weights = rng.multinomial(count, np.full(count, 1 / count), size=size).astype(np.float64)
        found.append(statistic(weights[:, place]))
    return np.concatenate(found)


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


def weighted_mean(values: Floats) -> Statistic:
    """Mean of the values `[units]` that are not NaN; undefined if there are none."""
    known = ~np.isnan(values)

    def statistic(weights: Floats) -> Floats:
        n = weights[:, known].sum(axis=1)
        return np.where(n > 0, weights[:, known] @ values[known] / np.maximum(n, 1), np.nan)

    return statistic
