"""A threshold from benign conversations alone, with what is known of its false-positive rate.

On a stream with few positives the rate of false alarms is what a threshold costs, and positives to set it by
are rare. Nothing is assumed of how scores are distributed.
"""

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv

from analysis.clustered import clustered
from analysis.comparing.many_looks import holm, p_above_rate
from analysis.effective_number import Ends, number_of_yes_no
from analysis.ranking import Ranked, share

CONFIDENCE = 0.95


class BenignThreshold(NamedTuple):
    """From which logit on rows are flagged, and how many benign ones that are."""

    logit: float
    flagged: int
    rows: int
    groups: int
    effective: float
    """Independent rows that these are worth: at most as many as there are groups, and all of them only if
    each is a group of its own."""

    fpr: float
    """On these rows."""

    interval: Ends
    """Of the rate, 95 %, Clopper and Pearson's."""

    upper: float
    """One-sided bound of the rate elsewhere, at `confidence`."""

    confidence: float


class Look(NamedTuple):
    """What a threshold flags in one part of a stream, e.g. an iteration of a training run."""

    name: str
    n: int
    flagged: Ranked
    p: float
    """One-sided, for more flags than the false-positive rate explains, which is itself only measured."""

    p_of_all: float
    """The same for all looks together, Holm's."""


def benign_threshold(
    logits: np.ndarray,
    groups: Sequence[Hashable],
    asked_fpr: float,
    confidence: float = CONFIDENCE,
) -> BenignThreshold:
    """The lowest threshold whose false-positive rate is below what was asked for, as far as can be known.

    It lies just above one of the scores, so many from the top that the bound of the rate beyond that one
    keeps to `asked_fpr`. How many is a matter of the number of rows alone where each is its own group, and
    the bound holds exactly, with `confidence`; where rows share groups it rests on how much those agree.

    Source: Wilks 1941 (Annals of Mathematical Statistics 12(1)): what lies beyond an order statistic is beta
    distributed; that is Clopper and Pearson 1934 (Biometrika 26(4)) for the rows above it. Korn and Graubard
    1998 (Survey Methodology 24(2)) for rows in groups.

    Args:
        logits: [rows], of benign rows.
        groups: Of each; those of a group are dependent.
        asked_fpr: In (0, 1).
        confidence: In (0, 1).

    Raises:
        ValueError: Too few rows to know of any threshold that it keeps to the rate; says how many it takes.
    """
    values = np.unique(logits)[::-1]

    def above(place: int) -> BenignThreshold:
        return rate_of(logits, groups, float(np.nextafter(values[place], np.inf)), confidence)

    if above(0).upper > asked_fpr:
        found = above(0)
        needed = least_rows(asked_fpr, confidence)
        raise ValueError(
            f"{len(logits)} benign rows in {found.groups} groups cannot show a false-positive rate of "
            f"{asked_fpr:g}: even with none flagged it may be {found.upper:.3g}. It takes {needed} groups, "
            f"or ask for a rate from {found.upper:.2g} on"
        )
    passes, fails = 0, len(values)
    while fails - passes > 1:
        middle = (passes + fails) // 2
        passes, fails = (middle, fails) if above(middle).upper <= asked_fpr else (passes, middle)
    return above(passes)


def rate_of(
    logits: np.ndarray, groups: Sequence[Hashable], logit: float, confidence: float = CONFIDENCE
) -> BenignThreshold:
    """The false-positive rate at a threshold that is given."""
    flagged = logits >= logit
    number, count = _effective(flagged, groups)
    rate = float(flagged.mean())
    ends = Ends(
        _bound(rate * number, number, (1 - CONFIDENCE) / 2),
        _bound(rate * number, number, (1 + CONFIDENCE) / 2),
    )
    return BenignThreshold(
        logit,
        int(flagged.sum()),
        len(logits),
        count,
        number,
        rate,
        ends,
        _bound(rate * number, number, confidence),
        confidence,
    )


def least_rows(asked_fpr: float, confidence: float = CONFIDENCE) -> int:
    """Independent benign rows without a flag that show a rate: 299 for 1 % at 95 %."""
    return math.ceil(math.log(1 - confidence) / math.log(1 - asked_fpr))


def looks(
    parts: Sequence[tuple[str, np.ndarray, Sequence[Hashable]]], threshold: BenignThreshold
) -> list[Look]:
    """Several parts of a stream, each looked at once; the chance of any false alarm is that of one look.

    Args:
        parts: Name, [rows] of logits and the group of each, in order.
        threshold: With the rows that it was set on.
    """
    measured_on = (threshold.fpr * threshold.effective, threshold.effective)
    found: list[tuple[str, np.ndarray, Ranked, float]] = []
    for name, logits, groups in parts:
        flagged = logits >= threshold.logit
        means = [float(np.mean(of)) for of in _by_group(flagged, groups).values()]
        p = p_above_rate(means, threshold.fpr, measured_on)
        found.append((name, flagged, share(flagged, groups), p))
    adjusted = holm([p for *_, p in found])
    return [
        Look(name, len(flagged), told, p, together)
        for (name, flagged, told, p), together in zip(found, adjusted, strict=True)
    ]


class AtBaseRate(NamedTuple):
    """What a threshold means where positives are rare."""

    base_rate: float
    false_alarms: tuple[float, float]
    """In 10,000 rows: as measured, and at the upper bound."""

    precision: Ranked | None
    """Share of flags that are right; its ends are those of the worst and the best of both rates. None without
    a recall."""


def at_base_rate(threshold: BenignThreshold, recall: Ranked | None, base_rate: float) -> AtBaseRate:
    """False alarms, and precision, at a share of positives that is known from elsewhere."""
    negatives = 10_000 * (1 - base_rate)
    alarms = (threshold.fpr * negatives, threshold.upper * negatives)
    if recall is None:
        return AtBaseRate(base_rate, alarms, None)

    def precision(true: float, false: float) -> float:
        right = base_rate * true
        total = right + (1 - base_rate) * false
        return right / total if total > 0 else math.nan

    found = Ranked(
        precision(recall.value, threshold.fpr),
        precision(recall.low, threshold.interval.high),
        precision(recall.high, threshold.interval.low),
    )
    return AtBaseRate(base_rate, alarms, found)


def _bound(successes: float, trials: float, level: float) -> float:
    """Clopper and Pearson's end of a share, below which the share lies with this probability."""
    if level < 0.5:
        return 0.0 if successes <= 0 else float(betaincinv(successes, trials - successes + 1, level))
    return 1.0 if successes >= trials else float(betaincinv(successes + 1, trials - successes, level))


def _effective(flagged: np.ndarray, groups: Sequence[Hashable]) -> tuple[float, int]:
    count = len(set(groups))
    if count == len(flagged):
        return float(count), count
    told = clustered(flagged.astype(np.float64).tolist(), groups)
    if told.clusters < 2:
        return 1.0, count
    return float(number_of_yes_no(told.mean, told.variance, told.clusters)), count


def _by_group(flagged: np.ndarray, groups: Sequence[Hashable]) -> dict[Hashable, list[bool]]:
    members: dict[Hashable, list[bool]] = {}
    for one, group in zip(flagged.tolist(), groups, strict=True):
        members.setdefault(group, []).append(one)
    return members
