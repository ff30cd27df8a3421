"""Intervals of statistics that have no formula: clusters drawn anew, with replacement."""

import math
from collections.abc import Callable, Hashable, Sequence

import numpy as np
from scipy.stats import bootstrap

from analysis.effective_number import LEVEL, NO_ENDS, Ends


def resampled_ends(
    statistic: Callable[[np.ndarray], float],
    clusters: Sequence[Hashable],
    *,
    draws: int = 1000,
    seed: int = 0,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Ends:
    """Ends of the 95 % interval of a statistic of rows, rows of a cluster being dependent.

    The basic bootstrap: what draws lie above the statistic is taken off it. A statistic that noise makes
    larger, as a calibration error, is larger in the draws again, and its interval reaches lower for it.

    Source: Davison and Hinkley 1997, Bootstrap Methods and their Application, 2.2 and 3.8;
    `scipy.stats.bootstrap`.

    Args:
        statistic: Of rows, given as their numbers; a row may come several times.
        clusters: Of each row.
        draws: Of as many clusters as there are.
        seed: Of the draws.
        bounds: Least and largest value that the statistic can have.

    Returns:
        NaN with fewer than two clusters.

    Raises:
        ValueError: No rows.
    """
    if not len(clusters):
        raise ValueError("a statistic of no rows")
    members: dict[Hashable, list[int]] = {}
    for row, cluster in enumerate(clusters):
        members.setdefault(cluster, []).append(row)
    parts = [np.array(rows) for rows in members.values()]
    if len(parts) < 2:
        return NO_ENDS

    def of_draw(drawn: np.ndarray) -> float:
        return statistic(np.concatenate([parts[int(number)] for number in drawn]))

    found = bootstrap(
        (np.arange(len(parts)),),
        of_draw,
        n_resamples=draws,
        vectorized=False,
        confidence_level=LEVEL,
        method="basic",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    low, high = bounds
    return Ends(min(high, max(low, float(found.low))), min(high, max(low, float(found.high))))
