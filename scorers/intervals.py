"""Means with intervals that know which samples share an initial state."""

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from scipy.special import ndtri, stdtrit

LEVEL = 0.95


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
    """Mean with a t interval on the cluster-robust standard error, df = clusters - 1.

    Source: Miller 2024, arXiv:2411.00640, eq. 4. Differs: the small-sample factor G / (G - 1) and the t
    quantile of Cameron and Miller 2015 (J. Human Resources 50(2), section VI).

    Raises:
        ValueError: No values.
    """
    mean, variance, count = _clustered(values, clusters)
    if count < 2:
        return Interval(mean, math.nan, math.nan, len(values), count)
    half = float(stdtrit(count - 1, (1 + LEVEL) / 2)) * math.sqrt(variance)
    return Interval(mean, mean - half, mean + half, len(values), count)


def share_interval(values: Sequence[float], clusters: Sequence[Hashable]) -> Interval:
    """Mean of values in [0, 1] with a Wilson interval on the effective number of samples.

    The effective number is mean (1 - mean) / SE^2, at most the number of clusters, so that 0 harmful of
    16 gives [0, 0.19] and not [0, 0].

    Source: Korn and Graubard 1998 (Survey Methodology 24(2)) for the effective number, with the
    interval of Wilson 1927.

    Raises:
        ValueError: No values, or a value outside [0, 1].
    """
    if any(not -1e-9 <= v <= 1 + 1e-9 for v in values):
        raise ValueError(f"shares lie between 0 and 1, got {min(values)} to {max(values)}")
    mean, variance, count = _clustered(values, clusters)
    if count < 2:
        return Interval(mean, math.nan, math.nan, len(values), count)
    n = min(count, mean * (1 - mean) / variance) if variance > 0 else count
    z = float(ndtri((1 + LEVEL) / 2))
    centre = (mean + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(mean * (1 - mean) / n + z * z / (4 * n * n))
    # at 0 and 1 an end of the interval is the mean itself, and rounding must not put it on the wrong side
    low, high = max(0.0, min(mean, centre - half)), min(1.0, max(mean, centre + half))
    return Interval(mean, low, high, len(values), count)


def mean_difference(
    first: Sequence[float],
    first_clusters: Sequence[Hashable],
    second: Sequence[float],
    second_clusters: Sequence[Hashable],
) -> Interval:
    """Mean of `first` minus mean of `second`; clusters that both share make it a paired comparison.

    Standard error: square root of the sum over clusters of the squared sums of influence values, which
    is Welch's for disjoint clusters; t with Welch-Satterthwaite degrees of freedom.
    """
    one, one_variance, one_count = _clustered(first, first_clusters)
    two, two_variance, two_count = _clustered(second, second_clusters)
    n, count = len(first) + len(second), len({*first_clusters, *second_clusters})
    if one_count < 2 or two_count < 2:
        return Interval(one - two, math.nan, math.nan, n, count)
    covariance = _covariance(first, first_clusters, second, second_clusters)
    variance = max(0.0, one_variance + two_variance - 2 * covariance)
    spread = one_variance**2 / (one_count - 1) + two_variance**2 / (two_count - 1)
    df = (one_variance + two_variance) ** 2 / spread if spread else one_count + two_count - 2
    half = float(stdtrit(df, (1 + LEVEL) / 2)) * math.sqrt(variance)
    return Interval(one - two, one - two - half, one - two + half, n, count)


def share_difference(
    first: Sequence[float],
    first_clusters: Sequence[Hashable],
    second: Sequence[float],
    second_clusters: Sequence[Hashable],
) -> Interval:
    """Difference of two shares from their own Wilson intervals.

    Clusters that both share are treated as independent, which makes the interval too wide rather than
    too narrow for positively correlated pairs.

    Source: Newcombe 1998 (Statistics in Medicine 17, method 10); Zou and Donner 2008 for other limits.
    """
    one, two = share_interval(first, first_clusters), share_interval(second, second_clusters)
    difference = one.mean - two.mean
    low = difference - math.hypot(one.mean - one.low, two.high - two.mean)
    high = difference + math.hypot(one.high - one.mean, two.mean - two.low)
    return Interval(difference, low, high, one.n + two.n, len({*first_clusters, *second_clusters}))


def _clustered(values: Sequence[float], clusters: Sequence[Hashable]) -> tuple[float, float, int]:
    """Mean, cluster-robust variance of the mean, number of clusters."""
    if not values:
        raise ValueError("a mean needs at least one value")
    mean = math.fsum(values) / len(values)
    sums = _influence(values, clusters, mean)
    count = len(sums)
    variance = math.fsum(u * u for u in sums.values()) * count / (count - 1) if count > 1 else math.nan
    return mean, variance, count


def _influence(values: Sequence[float], clusters: Sequence[Hashable], mean: float) -> dict[Hashable, float]:
    sums: dict[Hashable, float] = defaultdict(float)
    for value, cluster in zip(values, clusters, strict=True):
        sums[cluster] += (value - mean) / len(values)
    return sums


def _covariance(
    first: Sequence[float],
    first_clusters: Sequence[Hashable],
    second: Sequence[float],
    second_clusters: Sequence[Hashable],
) -> float:
    one = _influence(first, first_clusters, math.fsum(first) / len(first))
    two = _influence(second, second_clusters, math.fsum(second) / len(second))
    shared = one.keys() & two.keys()
    if not shared:
        return 0.0
    factor = math.sqrt(len(one) / (len(one) - 1) * len(two) / (len(two) - 1))
    return factor * math.fsum(one[c] * two[c] for c in shared)
