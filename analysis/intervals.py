"""Means with intervals that know which samples share an initial state, by what the values are.

Yes/no answers, values between two ends of a scale, and numbers without ends each have their interval; there
is no other in the suite. `benchmarks/analysis/coverage.py` measures how often each holds the true value.
"""

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from analysis.clustered import Clustered, clustered, covariance, degrees_of_freedom
from analysis.effective_number import (
    LEVEL,
    NO_ENDS,
    Ends,
    number_of_yes_no,
    number_on_a_scale,
    student_quantile,
    wilson,
)

UNIT = (0.0, 1.0)
"""Ends of a scale of shares."""

DEGREE_WEIGHT, SPREAD_WEIGHT = 0.25, 0.1
"""Of an observation at either end of the scale, see `number_on_a_scale`: in its middle, and of ratings."""

ROUNDING = 1e-9
"""That far a value may lie beyond an end of its scale."""


class Interval(NamedTuple):
    """A mean or a difference with its 95 % interval."""

    mean: float
    low: float
    """NaN if there are fewer than two clusters."""

    high: float
    n: int
    """Values."""

    clusters: int


def mean_interval(values: Sequence[float], clusters: Sequence[Hashable]) -> Interval:
    """Mean of numbers without ends: a t interval on the cluster-robust standard error.

    Source: Miller 2024, arXiv:2411.00640, eq. 4; differs: variance and degrees of freedom of `clustered`.

    Raises:
        ValueError: No values.
    """
    found = clustered(values, clusters)
    if found.clusters < 2:
        return _without_ends(found)
    half = student_quantile(found.df, (1 + LEVEL) / 2) * math.sqrt(found.variance)
    return Interval(found.mean, found.mean - half, found.mean + half, found.n, found.clusters)


def share_interval(values: Sequence[float], clusters: Sequence[Hashable]) -> Interval:
    """Mean of yes/no answers, or of degrees between 0 and 1: `scale_interval` from 0 to 1."""
    return scale_interval(values, clusters, UNIT)


def scale_interval(
    values: Sequence[float],
    clusters: Sequence[Hashable],
    ends: tuple[float, float],
    *,
    spread: bool = False,
) -> Interval:
    """Mean of values on a scale: Wilson's interval on the number of observations that they are worth.

    Where every value is one of the two ends they are yes/no answers, worth no more than there are clusters.
    Values in between (means of turns, expected values) are worth more if they vary little; near an end of
    the scale, where a few values far away may not have been seen, less. See `effective_number`.

    Args:
        values: On the scale.
        clusters: Of each value.
        ends: Lowest and highest value of the scale.
        spread: The values are known to spread, as ratings do: those at an end are not most of them.

    Raises:
        ValueError: No values, or one that is not on the scale.
    """
    return _on_scale(_rescaled(values, clusters, ends), ends, spread=spread)


def mean_difference(
    first: Sequence[float],
    first_clusters: Sequence[Hashable],
    second: Sequence[float],
    second_clusters: Sequence[Hashable],
) -> Interval:
    """Mean of `first` minus mean of `second`, numbers without ends; clusters that both share make it paired.

    t on the cluster-robust standard error: Welch's without common clusters, the paired one if all are common.
    """
    one, two = clustered(first, first_clusters), clustered(second, second_clusters)
    difference, n, count = _difference(one, two)
    if min(one.clusters, two.clusters) < 2:
        return Interval(difference, *NO_ENDS, n, count)
    variance = max(0.0, one.variance + two.variance - 2 * covariance(one, two))
    spread = one.variance + two.variance
    df = degrees_of_freedom([(one, one.variance), (two, two.variance)]) if spread > 0 else count - 1
    half = student_quantile(df, (1 + LEVEL) / 2) * math.sqrt(variance)
    return Interval(difference, difference - half, difference + half, n, count)


def share_difference(
    first: Sequence[float],
    first_clusters: Sequence[Hashable],
    second: Sequence[float],
    second_clusters: Sequence[Hashable],
) -> Interval:
    """Difference of two shares: `scale_difference` from 0 to 1."""
    return scale_difference(first, first_clusters, second, second_clusters, UNIT)


def scale_difference(
    first: Sequence[float],
    first_clusters: Sequence[Hashable],
    second: Sequence[float],
    second_clusters: Sequence[Hashable],
    ends: tuple[float, float],
    *,
    spread: bool = False,
) -> Interval:
    """Difference of two means on one scale, from their own intervals.

    Clusters that both share make the means correlated. A correlation that narrows the interval is taken
    lower by its standard error, as it is only estimated.

    Source: Zou and Donner 2008 (Statistics in Medicine 27(10)); for shares without common clusters that is
    Newcombe 1998 (Statistics in Medicine 17, method 10). The lowered correlation is ours.
    """
    one, two = _rescaled(first, first_clusters, ends), _rescaled(second, second_clusters, ends)
    first_mean, second_mean = (_on_scale(side, ends, spread=spread) for side in (one, two))
    difference = first_mean.mean - second_mean.mean
    n, count = one.found.n + two.found.n, len({*one.found.weights, *two.found.weights})
    if math.isnan(first_mean.low) or math.isnan(second_mean.low):
        return Interval(difference, *NO_ENDS, n, count)
    low, high = difference_of(first_mean[:3], second_mean[:3], _correlation(one.found, two.found))
    return Interval(difference, low, high, n, count)


def difference_of(
    one: tuple[float, float, float], two: tuple[float, float, float], correlation: float = 0.0
) -> Ends:
    """Ends of the interval of a difference of two numbers that have one.

    Source: Zou and Donner 2008 (Statistics in Medicine 27(10)), the method of variance estimates recovery.

    Args:
        one: Number, low and high end.
        two: What is taken from it.
        correlation: Of the two numbers.
    """
    (first, first_low, first_high), (second, second_low, second_high) = one, two

    def reach(a: float, b: float) -> float:
        return math.sqrt(max(0.0, a * a + b * b - 2 * correlation * a * b))

    return Ends(
        first - second - reach(first - first_low, second_high - second),
        first - second + reach(first_high - first, second - second_low),
    )


def mean_of_intervals(parts: Sequence[tuple[float, float, float]]) -> tuple[float, Ends]:
    """Mean of numbers that were measured apart, all weighing the same, with its interval.

    Source: as `difference_of`, for a sum.

    Args:
        parts: Each with its ends; if one has none the mean has none.

    Raises:
        ValueError: No parts.
    """
    if not parts:
        raise ValueError("a mean of no numbers")
    mean = math.fsum(value for value, _, _ in parts) / len(parts)
    below = math.hypot(*(value - low for value, low, _ in parts)) / len(parts)
    above = math.hypot(*(high - value for value, _, high in parts)) / len(parts)
    return mean, Ends(mean - below, mean + above)


def over_seeds(values: Sequence[float]) -> Interval:
    """Mean of runs that differ in their seed alone, with a t interval over them; none of one run.

    What varies is the seed: how many conversations each run has does not matter.

    Raises:
        ValueError: No values.
    """
    return mean_interval(values, range(len(values)))


class _Rescaled(NamedTuple):
    """Values from 0 to 1 at the ends of their scale."""

    found: Clustered
    mean: float
    """On the scale itself, as exact as its values are."""

    is_yes_no: bool


def _rescaled(values: Sequence[float], clusters: Sequence[Hashable], ends: tuple[float, float]) -> _Rescaled:
    low, high = ends
    told = np.asarray(values, dtype=np.float64)
    if len(told) and not (told.min() >= low - ROUNDING and told.max() <= high + ROUNDING):
        what = "shares lie" if ends == UNIT else "values of this scale lie"
        raise ValueError(f"{what} between {low:g} and {high:g}, got {told.min():g} to {told.max():g}")
    found = clustered(((told - low) / (high - low)).tolist(), clusters)
    is_yes_no = bool(((told == low) | (told == high)).all())
    return _Rescaled(found, math.fsum(values) / len(values), is_yes_no)


def _on_scale(rescaled: _Rescaled, ends: tuple[float, float], *, spread: bool) -> Interval:
    found, mean, is_yes_no = rescaled
    low, high = ends
    if found.clusters < 2:
        return _without_ends(found)._replace(mean=mean)
    share = min(1.0, max(0.0, found.mean))
    if is_yes_no:
        number = number_of_yes_no(share, found.variance, found.clusters)
    else:
        weight = SPREAD_WEIGHT if spread else max(DEGREE_WEIGHT, abs(share - 0.5))
        number = number_on_a_scale(share, found.variance, found.effective_clusters, found.df, weight=weight)
    below, above = wilson(share, number)
    width = high - low
    return Interval(
        mean, min(mean, low + width * below), max(mean, low + width * above), found.n, found.clusters
    )


def _correlation(one: Clustered, two: Clustered) -> float:
    """Of two means over the clusters that both have; lowered by its standard error if it is positive."""
    scale = math.sqrt(one.variance * two.variance)
    shared = len(one.influence.keys() & two.influence.keys())
    if not scale > 0 or not shared:
        return 0.0
    return lowered(covariance(one, two) / scale, shared)


def lowered(correlation: float, pairs: int) -> float:
    """A correlation of so many pairs, less its standard error if it is positive, but not below 0.

    It is only estimated, and a positive one makes the interval of a difference narrower.
    """
    found = max(-1.0, min(1.0, correlation))
    return found if found <= 0 else max(0.0, found - (1 - found**2) / math.sqrt(pairs))


def _difference(one: Clustered, two: Clustered) -> tuple[float, int, int]:
    return one.mean - two.mean, one.n + two.n, len({*one.weights, *two.weights})


def _without_ends(found: Clustered) -> Interval:
    return Interval(found.mean, *NO_ENDS, found.n, found.clusters)
