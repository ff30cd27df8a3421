"""Tests that are made again and again: p values that allow for having looked so often."""

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from scipy.special import betainc, betaincinv
from scipy.stats import permutation_test

DRAWS = 9999
"""Of a permutation test with more permutations than this; with fewer all are made. The least p is 1e-4."""

STEPS = 1000
"""Equally likely values of a rate that is not known."""


def holm(p: Sequence[float]) -> list[float]:
    """p values that allow for how many there are.

    The chance that the least is below a level though nothing is there is at most that level, however the
    tests hang together.

    Source: Holm 1979 (Scandinavian Journal of Statistics 6(2)).

    Args:
        p: Of all looks, in [0, 1].
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    steps = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted.tolist()


def p_of_a_rise(before: Mapping[Hashable, float], now: Mapping[Hashable, float], *, seed: int = 0) -> float:
    """One-sided p for a mean over clusters that is higher now, by permutation of whole clusters.

    Clusters that are there both times are compared with themselves: a cluster's two means change places, or
    do not. Without at least two of these, clusters change sides.

    Source: Fisher's randomisation tests, as scipy's `permutation_test`; Phipson and Smyth 2010 for counting
    the data themselves as a permutation.

    Args:
        before: Cluster -> mean of its values.
        now: The same, later.
        seed: Of the permutations, if not all are made.

    Raises:
        ValueError: Either is empty.
    """
    if not before or not now:
        raise ValueError("a rise needs values before and after")
    shared = [cluster for cluster in before if cluster in now]
    paired = len(shared) > 1
    if paired:
        first, second = (np.array([side[c] for c in shared]) for side in (before, now))
    else:
        first, second = (np.array(list(side.values())) for side in (before, now))
    if paired and (first == second).all():
        return 1.0
    found = permutation_test(
        (second, first),
        lambda x, y, axis: np.mean(x, axis=axis) - np.mean(y, axis=axis),
        permutation_type="samples" if paired else "independent",
        vectorized=True,
        n_resamples=DRAWS,
        batch=1000,
        alternative="greater",
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def p_above_rate(
    means: Sequence[float], rate: float, measured_on: tuple[float, float] | None = None
) -> float:
    """One-sided p for a mean over clusters, of values between 0 and 1, that lies above a rate.

    The sum of the clusters' means is taken as a number of successes among as many trials as there are
    clusters: the binomial test where each is 0 or 1, and continued between whole numbers.

    A rate that a threshold was set for on few cases is not known: the p is then the mean over what it may be.

    Source: the binomial tail as the incomplete beta function; clusters as trials is the cap of
    `effective_number.number_of_yes_no`; Wilks 1941 (Annals of Mathematical Statistics 12(1)) for how much
    lies beyond an order statistic.

    Args:
        means: Of each cluster.
        rate: In (0, 1); not used if it was measured.
        measured_on: How many cases lay at or beyond the threshold where it was set, and of how many.

    Raises:
        ValueError: No clusters.
    """
    if not len(means):
        raise ValueError("a rate of no clusters")
    successes = float(np.sum(means))
    if successes <= 0:
        return 1.0
    rates = np.array([rate])
    if measured_on is not None:
        beyond, cases = measured_on
        if beyond >= cases:  # any rate may be what was measured, 1 too
            return 1.0
        rates = betaincinv(beyond + 1, cases - beyond, (np.arange(STEPS) + 0.5) / STEPS)
    return float(np.mean(betainc(successes, len(means) - successes + 1, rates)))
