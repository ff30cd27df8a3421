"""Means of values in clusters: the variance between clusters, and what it can be trusted for."""

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np


class Clustered(NamedTuple):
    """A mean over values, each as much as the other, that come in clusters."""

    mean: float
    n: int
    """Values."""

    clusters: int
    weights: Mapping[Hashable, float]
    """Share of the values that each cluster has; they sum to 1."""

    influence: Mapping[Hashable, float]
    """What each cluster moves the mean by, corrected so that the squares sum to the variance. Empty with
    fewer than two clusters."""

    @property
    def variance(self) -> float:
        """Of the mean; NaN with fewer than two clusters."""
        return math.fsum(u * u for u in self.influence.values()) if self.influence else math.nan

    @property
    def effective_clusters(self) -> float:
        """As many clusters of one size would weigh so: 1 / sum of squared weights.

        Source: Kish 1965, Survey Sampling.
        """
        return 1 / math.fsum(w * w for w in self.weights.values())

    @property
    def df(self) -> float:
        """Degrees of freedom of the variance; clusters less 1 if they are of one size."""
        return degrees_of_freedom([(self, 1.0)])


def clustered(values: Sequence[float], clusters: Sequence[Hashable]) -> Clustered:
    """Mean with the influence of each cluster.

    Source: the cluster-robust variance CR2 of Bell and McCaffrey 2002 (Survey Methodology 28(2)), which for a
    mean divides a cluster's squared residual by 1 less its weight: G / (G - 1) if all are of one size.

    Args:
        values: Finite.
        clusters: Of each value.

    Raises:
        ValueError: No values, or lengths that differ.
    """
    if not len(values):
        raise ValueError("a mean needs at least one value")
    if len(clusters) != len(values):
        raise ValueError(f"{len(values)} values but {len(clusters)} clusters")
    numbers: dict[Hashable, int] = {}
    place = [numbers.setdefault(cluster, len(numbers)) for cluster in clusters]
    mean = math.fsum(values) / len(values)
    sums = np.bincount(place, np.asarray(values, dtype=np.float64) - mean) / len(values)
    weights = np.bincount(place) / len(values)
    influence: dict[Hashable, float] = {}
    if len(numbers) > 1:
        influence = dict(zip(numbers, (sums / np.sqrt(1 - weights)).tolist(), strict=True))
    return Clustered(
        mean, len(values), len(numbers), dict(zip(numbers, weights.tolist(), strict=True)), influence
    )


def degrees_of_freedom(parts: Sequence[tuple[Clustered, float]]) -> float:
    """Of the variance of a mean, or of a difference of two means that may share clusters.

    G - 1 for G clusters of one size, Welch's for two means without common clusters, G - 1 again for pairs.

    Source: Satterthwaite's with independent errors as the working model, Bell and McCaffrey 2002; Imbens and
    Kolesar 2016 (Review of Economics and Statistics 98(4)). Their trace is written out for means.

    Args:
        parts: Each mean and its variance (any positive number for one mean alone).
    """
    diagonal: dict[Hashable, float] = defaultdict(float)
    squares = total = 0.0
    for part, variance in parts:
        total += variance
        scaled = [w * w / (1 - w) for w in part.weights.values()]
        squares += variance**2 * (math.fsum(scaled) ** 2 - math.fsum(a * a for a in scaled))
        for cluster, weight in part.weights.items():
            diagonal[cluster] += variance * weight
    if len(parts) == 2:
        (one, v1), (two, v2) = parts
        shared = [_root(one, c) * _root(two, c) for c in one.weights.keys() & two.weights.keys()]
        squares += 2 * v1 * v2 * (math.fsum(shared) ** 2 - math.fsum(a * a for a in shared))
    squares += math.fsum(d * d for d in diagonal.values())
    return total**2 / squares


def covariance(one: Clustered, two: Clustered) -> float:
    """Of two means, from the clusters that both have."""
    shared = one.influence.keys() & two.influence.keys()
    return math.fsum(one.influence[c] * two.influence[c] for c in shared)


def _root(part: Clustered, cluster: Hashable) -> float:
    weight = part.weights[cluster]
    return weight / math.sqrt(1 - weight)
