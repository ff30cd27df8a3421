"""How well logits rank conversations, with intervals that know which of them share a group. No resampling.

Labels above 0.5 are positive, below it negative; rows with exactly 0.5 are left out.
"""

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata

LEVEL = 0.95


class Ranked(NamedTuple):
    """A share with its 95 % interval."""

    value: float
    low: float
    high: float


class Flagged(NamedTuple):
    """What happens if conversations are flagged from a logit on."""

    logit: float
    fpr: float
    recall: Ranked
    n_negative: int
    n_positive: int


def auroc(labels: np.ndarray, logits: np.ndarray, groups: Sequence[Hashable]) -> Ranked:
    """Chance that a positive row has a higher logit than a negative one; ties count half.

    Source: variance of Obuchowski 1997 (Biometrics 53(2)) for rows in groups; Wilson's interval on the
    number of independent rows that would have that variance, or, where nothing is ranked wrong, on the number
    of groups of the rarer class.

    Raises:
        ValueError: One class only.
    """
    positive, negative = _classes(labels)
    of = _numbered(groups)
    m, n = int(positive.sum()), int(negative.sum())
    # ranks among all minus ranks among their own: how many of the other class lie below
    ranks = rankdata(np.concatenate([logits[positive], logits[negative]]))
    above = (ranks[:m] - rankdata(logits[positive])) / n
    below = 1 - (ranks[m:] - rankdata(logits[negative])) / m
    value = float(above.mean())
    size = int(of.max()) + 1
    one = np.bincount(of[positive], above - value, size)
    zero = np.bincount(of[negative], below - value, size)
    ones, zeros = len(np.unique(of[positive])), len(np.unique(of[negative]))
    variance = math.nan
    if min(ones, zeros) > 1:
        variance = float(
            ones / (ones - 1) * (one @ one) / m**2
            + zeros / (zeros - 1) * (zero @ zero) / n**2
            + 2 * size / (size - 1) * (one @ zero) / (m * n)
        )
    return _wilson(value, variance, min(ones, zeros))


def largest_recall(
    labels: np.ndarray, logits: np.ndarray, groups: Sequence[Hashable], asked_fpr: float
) -> Flagged:
    """The largest recall with at most so many false positives.

    The threshold is the lowest logit of a positive row that keeps to it. The interval of the recall takes the
    threshold as given.

    Raises:
        ValueError: One class only, or a rate outside (0, 1).
    """
    if not 0 < asked_fpr < 1:
        raise ValueError(f"a false-positive rate lies between 0 and 1, got {asked_fpr}")
    positive, negative = _classes(labels)
    below = np.sort(logits[negative])
    steps = np.unique(logits[positive])
    rates = 1 - np.searchsorted(below, steps, side="left") / len(below)
    # the rate is a share of whole rows: rounding must not turn 1 of 100 away
    kept = steps[rates <= asked_fpr + 1e-12]
    logit = float(kept[0]) if len(kept) else float(np.nextafter(below[-1], np.inf))
    found = logits[positive] >= logit
    of = [group for group, taken in zip(groups, positive, strict=True) if taken]
    return Flagged(logit, float((below >= logit).mean()), share(found, of), len(below), len(found))


def share(found: np.ndarray, groups: Sequence[Hashable]) -> Ranked:
    """Share of rows that are true, e.g. recall or a false-positive rate at a threshold that is given.

    Source: Wilson's interval on the number of independent rows that would have the variance of means of whole
    groups; on the number of groups where all rows are the same.

    Args:
        found: [rows], bool.
        groups: Of each row.

    Raises:
        ValueError: No rows.
    """
    if not len(found):
        raise ValueError("a share of no rows")
    value = float(found.mean())
    sums = np.bincount(_numbered(groups), found - value)
    count = len(sums)
    variance = count / (count - 1) * float(sums @ sums) / len(found) ** 2 if count > 1 else math.nan
    return _wilson(value, variance, count)


def _classes(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    positive, negative = labels > 0.5, labels < 0.5
    if not (positive.any() and negative.any()):
        raise ValueError(
            f"{int(positive.sum())} positive and {int(negative.sum())} negative rows: both classes are needed"
        )
    return positive, negative


def _numbered(groups: Sequence[Hashable]) -> np.ndarray:
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups])


def _wilson(share: float, variance: float, groups: int) -> Ranked:
    """NaN ends if there are fewer than two groups."""
    if groups < 2:
        return Ranked(share, math.nan, math.nan)
    n = share * (1 - share) / variance if variance > 0 else groups
    z = float(ndtri((1 + LEVEL) / 2))
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Ranked(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))
