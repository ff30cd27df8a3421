"""Intervals and tests for what has no formula: a threshold chosen anew, two monitors, a mean over sets.

Whole groups are drawn with replacement, so that rows of a group stay together. A draw is a number of times
that each row counts; metrics are computed for many draws in one pass over rows sorted once.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np

from probes.metrics import ASKED_FPR, usable_rows
from probes.ranking import LEVEL

RESAMPLES = 2000
BLOCK_VALUES = 2**20
"""Numbers of one array at a time: of larger ones the cache is too small."""

Statistic = Callable[[np.ndarray], np.ndarray]
"""[draws, rows], how often each row counts -> [draws]; NaN where it cannot be computed."""


class Part(NamedTuple):
    """A metric on a data set that is resampled on its own."""

    statistic: Statistic
    groups: Sequence[Hashable]
    """Of each row."""


class Resampled(NamedTuple):
    """A metric, or a mean of it over data sets, with its 95 % interval."""

    value: float
    """Without resampling. NaN if no data set has one."""

    low: float
    """2.5 % quantile of the draws; NaN if any data set has fewer than two groups."""

    high: float
    p: float
    """Two-sided, for the value being 0; at least 2 / (draws + 1). Below 0.05 where 0 lies outside the
    interval, but for rounding by one draw."""

    sets: int
    """Data sets in the mean."""

    sets_left_out: int
    """Data sets without a value, e.g. of one class only."""

    draws: int
    draws_left_out: int
    """Draws in which some data set had no value, e.g. because no positive row was drawn."""


def resampled(parts: Sequence[Part], *, draws: int = RESAMPLES, seed: int = 0) -> Resampled:
    """Mean of a metric over data sets, all weighing the same; each data set is resampled on its own.

    Percentile intervals. Where a metric is at its bound in every draw, as the AUROC of a perfect monitor, the
    interval is a point: `ranking` has intervals for that.

    Source: Field and Welsh 2007 (J. R. Statist. Soc. B 69(3)) for the bootstrap of whole groups.

    Args:
        parts: One for each data set.
        draws: For each data set.
        seed: Of all draws. The same seed and groups give the same draws.

    Raises:
        ValueError: No parts, no draws, or a part without rows.
    """
    if not parts or draws < 1:
        raise ValueError(f"a bootstrap needs data sets and draws, got {len(parts)} and {draws}")
    if empty := [number for number, part in enumerate(parts) if not len(part.groups)]:
        raise ValueError(f"data set {empty[0]} has no rows")
    values = np.array([float(part.statistic(np.ones((1, len(part.groups))))[0]) for part in parts])
    there = ~np.isnan(values)
    left_out = int((~there).sum())
    if not there.any():
        return Resampled(np.nan, np.nan, np.nan, np.nan, 0, left_out, draws, draws)
    seeds = np.random.SeedSequence(seed).spawn(len(parts))
    found = np.mean(
        [
            _drawn(part, draws, np.random.default_rng(own))
            for part, own, kept in zip(parts, seeds, there, strict=True)
            if kept
        ],
        axis=0,
    )
    value = float(values[there].mean())
    usable = found[~np.isnan(found)]
    missing = draws - len(usable)
    groups = min(len(set(part.groups)) for part, kept in zip(parts, there, strict=True) if kept)
    if not len(usable) or groups < 2:
        return Resampled(value, np.nan, np.nan, np.nan, int(there.sum()), left_out, draws, missing)
    low, high = np.quantile(usable, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    below, above = int((usable <= 0).sum()), int((usable >= 0).sum())
    p = min(1.0, 2 * (1 + min(below, above)) / (len(usable) + 1))
    return Resampled(value, float(low), float(high), p, int(there.sum()), left_out, draws, missing)


def auroc_statistic(labels: np.ndarray, logits: np.ndarray) -> Statistic:
    """AUROC; ties count half. Ambiguous and unlabelled rows do not count."""
    order, begins, positive, negative = _sorted(labels, logits)

    def auroc(counts: np.ndarray) -> np.ndarray:
        ones, zeros = _by_score(counts[:, order], begins, positive, negative)
        below = np.cumsum(zeros, axis=1) - zeros / 2
        with np.errstate(invalid="ignore"):
            return (ones * below).sum(axis=1) / (ones.sum(axis=1) * zeros.sum(axis=1))

    return auroc


def auroc_within_statistic(labels: np.ndarray, logits: np.ndarray, bins: Sequence[np.ndarray]) -> Statistic:
    """AUROC of rows in the same bin: the mean over bins, each weighing as many as it has pairs of classes.

    Args:
        labels: [rows].
        logits: [rows].
        bins: [rows] each, bool.
    """
    usable = usable_rows(np.asarray(labels, dtype=np.float64)).rows
    parts = []
    for inside in bins:
        rows = np.flatnonzero(inside & usable)
        positive = (labels[rows] > 0.5).astype(np.float64)
        parts.append((rows, positive, auroc_statistic(labels[rows], logits[rows])))

    def within(counts: np.ndarray) -> np.ndarray:
        right, pairs = np.zeros(len(counts)), np.zeros(len(counts))
        for rows, positive, auroc in parts:
            own = counts[:, rows]
            here = (own @ positive) * (own @ (1 - positive))
            right += np.where(here > 0, here * auroc(own), 0.0)
            pairs += here
        with np.errstate(invalid="ignore"):
            return right / pairs

    return within


def recall_statistic(labels: np.ndarray, logits: np.ndarray, asked_fpr: float = ASKED_FPR) -> Statistic:
    """The largest recall with at most so many false positives; each draw has a threshold of its own.

    Raises:
        ValueError: A rate outside (0, 1).
    """
    if not 0 < asked_fpr < 1:
        raise ValueError(f"a false-positive rate lies between 0 and 1, got {asked_fpr}")
    order, begins, positive, negative = _sorted(labels, logits)

    def recall(counts: np.ndarray) -> np.ndarray:
        ones, zeros = _by_score(counts[:, order], begins, positive, negative)
        flagged = np.cumsum(zeros[:, ::-1], axis=1)
        found = np.cumsum(ones[:, ::-1], axis=1)
        total = flagged[:, -1:]
        # the rate is a share of whole rows: rounding must not turn 1 of 100 away
        kept = flagged <= asked_fpr * total + 1e-9
        best = np.where(kept, found, 0).max(axis=1)
        with np.errstate(invalid="ignore"):
            return np.where(total[:, 0] > 0, best / found[:, -1], np.nan)

    return recall


def mean_statistic(values: np.ndarray) -> Statistic:
    """Mean of one number a row, e.g. of squared errors; rows with NaN do not count."""
    known = ~np.isnan(values)
    numbers = np.where(known, values, 0.0)

    def mean(counts: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return (counts @ numbers) / (counts @ known.astype(np.float64))

    return mean


def difference(first: Statistic, second: Statistic) -> Statistic:
    """First minus second, of the same rows in every draw: a paired comparison of two monitors."""
    return lambda counts: first(counts) - second(counts)


def _drawn(part: Part, draws: int, random: np.random.Generator) -> np.ndarray:
    """[draws], the metric in each."""
    numbers: dict[Hashable, int] = {}
    of = np.array([numbers.setdefault(group, len(numbers)) for group in part.groups])
    size = len(numbers)
    block = max(1, BLOCK_VALUES // len(of))
    found = np.empty(draws)
    for start in range(0, draws, block):
        count = min(block, draws - start)
        chosen = random.integers(size, size=(count, size)) + size * np.arange(count)[:, None]
        times = np.bincount(chosen.ravel(), minlength=count * size).reshape(count, size)
        found[start : start + count] = part.statistic(times[:, of].astype(np.float64))
    return found


def _sorted(labels: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Usable rows by ascending logit, where runs of equal logits begin, and classes in that order."""
    labels, logits = np.asarray(labels, dtype=np.float64), np.asarray(logits, dtype=np.float64)
    rows = np.flatnonzero(usable_rows(labels).rows)
    order = rows[np.argsort(logits[rows], kind="stable")]
    begins = np.flatnonzero(np.diff(logits[order], prepend=-np.inf) > 0)
    return order, begins, (labels[order] > 0.5).astype(np.float64), (labels[order] < 0.5).astype(np.float64)


def _by_score(
    counts: np.ndarray, begins: np.ndarray, positive: np.ndarray, negative: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """[draws, distinct logits] of both classes."""
    ones, zeros = counts * positive, counts * negative
    if not len(begins):
        return np.zeros((len(counts), 1)), np.zeros((len(counts), 1))
    if len(begins) == counts.shape[1]:
        return ones, zeros
    return np.add.reduceat(ones, begins, axis=1), np.add.reduceat(zeros, begins, axis=1)
