"""How well logits rank conversations, with intervals that know which of them share a group.

Labels above 0.5 are positive, below it negative; rows with exactly 0.5 are left out.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import betaincinv
from scipy.stats import rankdata

from analysis.clustered import clustered
from analysis.effective_number import LEVEL, NO_ENDS, Ends, number_of_yes_no, number_on_a_scale, wilson
from analysis.intervals import difference_of, lowered, mean_of_intervals, share_interval

AREA_WEIGHT = 0.25
"""Of an observation at either end, see `number_on_a_scale`: the variance of an AUROC rests on few groups."""

LEAST_P, MOST_P = 1e-9, 0.999
"""p values beyond these are told as these, and as 1."""


class Ranked(NamedTuple):
    """A share with its 95 % interval."""

    value: float
    low: float
    """NaN with fewer than two groups (of a class)."""

    high: float


class Flagged(NamedTuple):
    """What happens if conversations are flagged from a logit on."""

    logit: float
    fpr: Ranked
    """At this logit; its interval takes the logit as given."""

    recall: Ranked
    optimism: float
    """The recall is too high by so much on average, as the last row that counts set the threshold."""

    n_negative: int
    n_positive: int


class Area(NamedTuple):
    """An AUROC with what its variance is made of."""

    value: float
    influence: np.ndarray
    """[groups], what each moves the AUROC by."""

    variance: float
    groups: int
    """With rows of the rarer class."""

    def interval(self, level: float = LEVEL) -> Ranked:
        """With its ends; NaN with fewer than two groups of a class."""
        if self.groups < 2:
            return Ranked(self.value, *NO_ENDS)
        number = number_on_a_scale(
            self.value, self.variance, self.groups, self.groups - 1, weight=AREA_WEIGHT, level=level
        )
        return Ranked(self.value, *wilson(self.value, number, level))


class Compared(NamedTuple):
    """A difference of two AUROCs, or a mean of such differences over data sets."""

    value: float
    low: float
    """NaN if a data set has fewer than two groups of a class."""

    high: float
    p: float
    """Two-sided, for the value being 0: below 0.05 where 0 lies outside the interval."""


def auroc(labels: np.ndarray, logits: np.ndarray, groups: Sequence[Hashable]) -> Ranked:
    """Chance that a positive row has a higher logit than a negative one; ties count half.

    Source: variance of Obuchowski 1997 (Biometrics 53(2)) for rows in groups; Wilson's interval on the number
    of groups of the rarer class that would have it, see `effective_number`.

    Raises:
        ValueError: One class only.
    """
    return area(labels, logits, groups).interval()


def auroc_within(
    labels: np.ndarray, logits: np.ndarray, groups: Sequence[Hashable], bins: Sequence[np.ndarray]
) -> Ranked:
    """AUROC of rows in the same bin: the mean over bins, each weighing as many as it has pairs of classes.

    Args:
        labels: [rows].
        logits: [rows].
        groups: Of each row.
        bins: [rows] each, bool.

    Raises:
        ValueError: No bin has both classes.
    """
    return area(labels, logits, groups, bins).interval()


def area(
    labels: np.ndarray,
    logits: np.ndarray,
    groups: Sequence[Hashable],
    bins: Sequence[np.ndarray] | None = None,
) -> Area:
    """An AUROC of rows in the same bin (one bin if none are given) with the influence of each group.

    A row moves it by how many rows of the other class it is ranked rightly against, less the AUROC's share of
    them, over all pairs; groups of positive and of negative rows are corrected for their number each.

    Source: Obuchowski 1997 (Biometrics 53(2)); with bins the influence of a ratio of sums of pairs.

    Raises:
        ValueError: No bin has both classes.
    """
    of, size = _numbered(groups)
    whole = [np.ones(len(labels), dtype=bool)] if bins is None else bins
    right = {True: np.zeros(len(labels)), False: np.zeros(len(labels))}
    against = {True: np.zeros(len(labels)), False: np.zeros(len(labels))}
    for inside in whole:
        for positive, rows, ranked, others in _placements(labels, logits, inside):
            right[positive][rows], against[positive][rows] = ranked, others
    pairs = float(against[True].sum())
    if not pairs:
        count = [int((labels > 0.5).sum()), int((labels < 0.5).sum())]
        where = "" if bins is None else " in no bin together"
        raise ValueError(f"{count[0]} positive and {count[1]} negative rows{where}: both classes are needed")
    value = float(right[True].sum() / pairs)
    sums, counts = {}, {}
    for positive in (True, False):
        moved = (right[positive] - value * against[positive]) / pairs
        sums[positive] = np.bincount(of, moved, size)
        counts[positive] = len(np.unique(of[against[positive] > 0]))
    groups_of_both = min(counts.values())
    influence = sums[True] + sums[False]
    if groups_of_both < 2:
        return Area(value, influence, math.nan, groups_of_both)
    influence = np.zeros(size)
    for positive in (True, False):
        influence += math.sqrt(counts[positive] / (counts[positive] - 1)) * sums[positive]
    return Area(value, influence, float(influence @ influence), groups_of_both)


def compare(first: Area, second: Area) -> Compared:
    """First less second, of the same rows in the same groups: a paired comparison."""
    return mean_comparison([(first, second)])


def mean_comparison(parts: Sequence[tuple[Area, Area]]) -> Compared:
    """Mean over data sets of the first AUROC less the second; each data set weighs the same.

    Source: `intervals.difference_of`, with the correlation of the two AUROCs from the influence that each
    group has on them (Obuchowski 1997).

    Args:
        parts: For each data set both AUROCs of the same rows in the same groups.

    Raises:
        ValueError: No data sets.
    """
    value = float(np.mean([first.value - second.value for first, second in parts]))
    if all(_one_ranking(first, second) for first, second in parts):
        return Compared(0.0, 0.0, 0.0, 1.0)
    if any(first.groups < 2 for first, _ in parts):
        return Compared(value, *NO_ENDS, math.nan)

    def ends(level: float) -> Ends:
        found = [_difference(first, second, level) for first, second in parts]
        return mean_of_intervals(found)[1]

    return Compared(value, *ends(LEVEL), _p(value, ends))


def _one_ranking(first: Area, second: Area) -> bool:
    """Groups move both alike, as with monitors that rank alike. Of two without a fault nobody knows."""
    return first.variance > 0 and np.allclose(first.influence, second.influence, rtol=0, atol=1e-12)


def _difference(first: Area, second: Area, level: float) -> Ranked:
    one, two = first.interval(level), second.interval(level)
    scale = math.sqrt(first.variance * second.variance)
    correlation = float(first.influence @ second.influence) / scale if scale > 0 else 0.0
    low, high = difference_of(one, two, lowered(correlation, first.groups))
    return Ranked(first.value - second.value, max(-1.0, low), min(1.0, high))


def _p(value: float, ends: Callable[[float], Ends]) -> float:
    """One less the level at which an end of the interval is 0."""
    if value == 0:
        return 1.0

    def beyond(p: float) -> float:
        low, high = ends(1 - p)
        return low if value > 0 else -high

    if beyond(LEAST_P) > 0:
        return LEAST_P
    if beyond(MOST_P) < 0:
        return 1.0
    return float(brentq(beyond, LEAST_P, MOST_P))  # pyright: ignore[reportArgumentType]


def largest_recall(
    labels: np.ndarray, logits: np.ndarray, groups: Sequence[Hashable], asked_fpr: float
) -> Flagged:
    """The largest recall with at most so many false positives.

    The threshold is the lowest logit of a positive row that keeps to it. The intervals of the recall and of
    the rate are those of shares at this threshold, taken as given; that the threshold is the logit of the
    last row that counts lowers the low end of the recall. What recall the monitor has at exactly the asked
    rate is another question, which few negatives cannot answer: the interval of the rate tells.

    Source: Wilks 1941 (Annals of Mathematical Statistics 12(1)): how much lies beyond an order statistic is
    beta distributed; here of the observations that `share_interval` takes the rows for.

    Raises:
        ValueError: One class only, or a rate outside (0, 1).
    """
    if not 0 < asked_fpr < 1:
        raise ValueError(f"a false-positive rate lies between 0 and 1, got {asked_fpr}")
    positive, negative = labels > 0.5, labels < 0.5
    if not (positive.any() and negative.any()):
        raise ValueError(
            f"{int(positive.sum())} positive and {int(negative.sum())} negative rows: both classes are needed"
        )
    below = np.sort(logits[negative])
    steps = np.unique(logits[positive])
    rates = 1 - np.searchsorted(below, steps, side="left") / len(below)
    # the rate is a share of whole rows: rounding must not turn 1 of 100 away
    kept = steps[rates <= asked_fpr + 1e-12]
    logit = float(kept[0]) if len(kept) else float(np.nextafter(below[-1], np.inf))
    flagged = logits >= logit
    fpr, recall = (share(flagged[rows], _taken(groups, rows)) for rows in (negative, positive))
    low, optimism = _beyond_the_last(flagged[positive], _taken(groups, positive))
    if not math.isnan(recall.low):
        recall = recall._replace(low=min(recall.low, low))
    return Flagged(logit, fpr, recall, optimism, int(negative.sum()), int(positive.sum()))


def _beyond_the_last(found: np.ndarray, groups: Sequence[Hashable]) -> tuple[float, float]:
    """The low end of a share of rows, the last of which set the threshold, and what it is too high by."""
    told = clustered(found.astype(np.float64).tolist(), groups)
    if told.clusters < 2:
        return math.nan, 0.0
    if not found.any():
        return 0.0, 0.0
    number = number_of_yes_no(told.mean, told.variance, told.clusters)
    beyond = told.mean * number
    low = float(betaincinv(beyond, number - beyond + 1, (1 - LEVEL) / 2))
    return low, told.mean / (number + 1)


def share(found: np.ndarray, groups: Sequence[Hashable]) -> Ranked:
    """Share of rows that are true, e.g. recall or a false-positive rate at a threshold that is given.

    As `intervals.share_interval`, the one interval of shares.

    Args:
        found: [rows], bool.
        groups: Of each row.

    Raises:
        ValueError: No rows.
    """
    if not len(found):
        raise ValueError("a share of no rows")
    told = share_interval(np.asarray(found, dtype=np.float64).tolist(), groups)
    return Ranked(told.mean, told.low, told.high)


def mean_over_sets(parts: Sequence[Ranked]) -> Ranked:
    """Mean over data sets, all weighing the same, with an interval about it; without ends if one has none.

    Raises:
        ValueError: No data sets.
    """
    mean, ends = mean_of_intervals(parts)
    return Ranked(mean, *ends)


def mean_recall(parts: Sequence[Flagged]) -> Ranked:
    """Mean of the recalls of data sets, each at its own threshold, with an interval.

    What they are too high by on average does not grow less with the number of sets: it lowers the low end.

    Raises:
        ValueError: No data sets.
    """
    mean = float(np.mean([part.recall.value for part in parts]))
    _, below = mean_of_intervals([(p.recall.value - p.optimism, p.recall.low, p.recall.high) for p in parts])
    _, above = mean_of_intervals([part.recall for part in parts])
    if math.isnan(above.low):
        return Ranked(mean, *NO_ENDS)
    return Ranked(mean, min(mean, below.low), above.high)


def _placements(
    labels: np.ndarray, logits: np.ndarray, inside: np.ndarray
) -> list[tuple[bool, np.ndarray, np.ndarray, int]]:
    """Of either class: which rows, how many of the other each is ranked rightly against, and of how many."""
    up, down = np.flatnonzero(inside & (labels > 0.5)), np.flatnonzero(inside & (labels < 0.5))
    if not (len(up) and len(down)):
        return []
    # ranks among all less ranks among their own: how many of the other class lie below
    ranks = rankdata(np.concatenate([logits[up], logits[down]]))
    above = ranks[: len(up)] - rankdata(logits[up])
    below = len(up) - (ranks[len(up) :] - rankdata(logits[down]))
    return [(True, up, above, len(down)), (False, down, below, len(up))]


def _numbered(groups: Sequence[Hashable]) -> tuple[np.ndarray, int]:
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups]), len(numbers)


def _taken(groups: Sequence[Hashable], rows: np.ndarray) -> list[Hashable]:
    return [group for group, taken in zip(groups, rows, strict=True) if taken]
