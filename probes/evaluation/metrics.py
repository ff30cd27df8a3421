"""How well a monitor ranks conversations, and how far its probabilities can be believed.

For ranking metrics and accuracy, labels above 0.5 are positive and below it negative; rows with exactly 0.5
are ambiguous, rows with NaN unlabelled; both are left out and counted. Brier score, log loss and calibration
take soft labels as they are.
"""

import math
import warnings
from collections.abc import Hashable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import expit, xlogy
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, roc_curve

from analysis import ranking
from analysis.ranking import Ranked

ASKED_FPR = 0.01
LOW_FPR, HIGH_FPR = 1e-3, 1e-1
BINS = 10
CLIP = 1e-12
"""Log loss takes probabilities nearer to 0 or 1 than this as this far away: a row costs at most 27.6."""

NOWHERE = Ranked(math.nan, math.nan, math.nan)

Bins = Literal["mass", "width"]


class OneClassWarning(UserWarning):
    """A ranking metric was asked of rows of one class only, and is NaN."""


class Usable(NamedTuple):
    """Which rows ranking metrics are computed on."""

    rows: np.ndarray
    """[all rows], bool."""

    n_positive: int
    n_negative: int
    n_ambiguous: int
    n_unlabelled: int

    @property
    def both_classes(self) -> bool:
        """Whether anything can be ranked."""
        return self.n_positive > 0 and self.n_negative > 0


class Recall(NamedTuple):
    """The largest recall with at most the asked share of false positives. NaN with one class only."""

    asked_fpr: float
    fpr: Ranked
    """Reached; at most what was asked for. What it is elsewhere lies in its interval."""

    recall: Ranked
    """At this threshold, which its interval takes as given."""

    logit: float
    """From this logit on conversations are flagged."""

    n_negative: int
    """Below 1 / asked_fpr none of them may be flagged."""

    n_positive: int


class Reliability(NamedTuple):
    """Probabilities against what happened, for bins that are not empty."""

    probability: np.ndarray
    """[bins], mean of the bin's probabilities, ascending."""

    share: np.ndarray
    """[bins], mean of the bin's labels."""

    rows: np.ndarray
    """[bins], int64."""


class Metrics(NamedTuple):
    """Everything that is reported of a monitor on a data set. NaN: cannot be computed."""

    usable: Usable
    auroc: Ranked
    auprc: float
    partial_auroc: float
    recall: Recall
    brier: float
    ece: float
    """Bins of equal mass."""

    ece_equal_width: float
    log_loss: float
    accuracy: float
    """At `threshold`."""

    threshold: float
    """The logit that was given; NaN if none."""

    def row(self) -> dict[str, float | int | None]:
        """As in `results.json`; None where there is no number."""
        found: dict[str, float | int] = {
            "n": self.usable.n_positive + self.usable.n_negative,
            "n_positive": self.usable.n_positive,
            "n_negative": self.usable.n_negative,
            "n_ambiguous": self.usable.n_ambiguous,
            "n_unlabelled": self.usable.n_unlabelled,
            "n_excluded": self.usable.n_ambiguous + self.usable.n_unlabelled,
            "auroc": self.auroc.value,
            "auroc_low": self.auroc.low,
            "auroc_high": self.auroc.high,
            "auprc": self.auprc,
            "partial_auroc": self.partial_auroc,
            "recall_at_1pct_fpr": self.recall.recall.value,
            "recall_low": self.recall.recall.low,
            "recall_high": self.recall.recall.high,
            "fpr": self.recall.fpr.value,
            "fpr_low": self.recall.fpr.low,
            "fpr_high": self.recall.fpr.high,
            "logit_at_1pct_fpr": self.recall.logit,
            "brier": self.brier,
            "ece": self.ece,
            "ece_equal_width": self.ece_equal_width,
            "log_loss": self.log_loss,
            "accuracy": self.accuracy,
            "threshold": self.threshold,
        }
        return {name: value if math.isfinite(value) else None for name, value in found.items()}


def measure(
    labels: np.ndarray,
    logits: np.ndarray,
    groups: Sequence[Hashable],
    *,
    threshold: float | None = None,
    calibrated: bool = True,
) -> Metrics:
    """All metrics of a monitor on a data set.

    Args:
        labels: [rows], in 0..1, or NaN.
        logits: [rows], finite.
        groups: Of each row; intervals take rows of a group as dependent.
        threshold: Logit of the saved monitor from which on conversations are flagged.
        calibrated: False for scores that are no logits, e.g. a length: what needs probabilities is NaN.

    Raises:
        ValueError: Shapes that differ, a logit that is not finite, or a label outside 0..1.
    """
    labels, logits = _checked(labels, logits)
    usable = usable_rows(labels)
    labelled = ~np.isnan(labels)
    believed = calibrated and bool(labelled.any())
    probabilities = expit(logits[labelled])
    truth = labels[labelled]
    return Metrics(
        usable,
        auroc(labels, logits, groups),
        auprc(labels, logits),
        partial_auroc(labels, logits),
        recall_at_fpr(labels, logits, groups),
        brier(truth, probabilities) if believed else math.nan,
        calibration_error(truth, probabilities, equal="mass") if believed else math.nan,
        calibration_error(truth, probabilities, equal="width") if believed else math.nan,
        log_loss(truth, probabilities) if believed else math.nan,
        math.nan if threshold is None else accuracy(labels, logits, threshold),
        math.nan if threshold is None else threshold,
    )


def usable_rows(labels: np.ndarray) -> Usable:
    """Which rows are positive or negative, and how many are left out.

    Raises:
        ValueError: A label outside 0..1.
    """
    labels = np.asarray(labels, dtype=np.float64)
    unlabelled = np.isnan(labels)
    if ((labels < 0) | (labels > 1)).any():
        wrong = int(np.flatnonzero((labels < 0) | (labels > 1))[0])
        raise ValueError(f"labels lie between 0 and 1, row {wrong} has {labels[wrong]:g}")
    positive, negative = labels > 0.5, labels < 0.5
    return Usable(
        positive | negative,
        int(positive.sum()),
        int(negative.sum()),
        int((labels == 0.5).sum()),
        int(unlabelled.sum()),
    )


def auroc(labels: np.ndarray, logits: np.ndarray, groups: Sequence[Hashable]) -> Ranked:
    """As `ranking.auroc`; NaN with a warning if there is one class only."""
    found = _ranked_rows(labels, logits, "AUROC")
    if found is None:
        return NOWHERE
    rows, positive, kept = found
    return ranking.auroc(positive.astype(np.float64), kept, _taken(groups, rows))


def auprc(labels: np.ndarray, logits: np.ndarray) -> float:
    """Average precision: the precision at each threshold, weighted by the recall that it adds.

    No interpolation, which would be too optimistic. Chance is the share of positives. NaN with a warning if
    there is one class only.

    Source: scikit-learn's `average_precision_score`.
    """
    found = _ranked_rows(labels, logits, "AUPRC")
    return math.nan if found is None else float(average_precision_score(found[1], found[2]))


def partial_auroc(
    labels: np.ndarray, logits: np.ndarray, low: float = LOW_FPR, high: float = HIGH_FPR
) -> float:
    """Mean recall over false-positive rates from `low` to `high`, every factor in the rate weighing the same.

    That is the integral of recall d(log FPR), divided by log(high / low), so that perfect is 1. Chance is
    (high - low) / log(high / low), 0.0215 at the defaults. The ROC curve is linear between its points, as in
    the AUROC, and the integral exact. With fewer than 1 / low negatives its first part rests on that line.
    NaN with a warning if there is one class only.

    Source: Anthropic's alignment blog, "Cost-effective constitutional classifiers via representation re-use"
    (2025), for the axis and its range; it states no interpolation.

    Raises:
        ValueError: Not 0 < low < high <= 1.
    """
    if not 0 < low < high <= 1:
        raise ValueError(f"false-positive rates must satisfy 0 < low < high <= 1, got {low} and {high}")
    found = _ranked_rows(labels, logits, "partial AUROC")
    if found is None:
        return math.nan
    fpr, recall, _ = roc_curve(found[1], found[2], drop_intermediate=False)
    slanted = np.diff(fpr) > 0
    slope = np.diff(recall)[slanted] / np.diff(fpr)[slanted]
    begins, ends = np.clip(fpr[:-1][slanted], low, high), np.clip(fpr[1:][slanted], low, high)
    at_zero = recall[:-1][slanted] - slope * fpr[:-1][slanted]
    area = at_zero * np.log(ends / begins) + slope * (ends - begins)
    return float(area.sum() / math.log(high / low))


def recall_at_fpr(
    labels: np.ndarray, logits: np.ndarray, groups: Sequence[Hashable], asked_fpr: float = ASKED_FPR
) -> Recall:
    """As `ranking.largest_recall`; NaN with a warning if there is one class only.

    Raises:
        ValueError: A rate outside (0, 1).
    """
    found = _ranked_rows(labels, logits, "recall")
    if found is None:
        usable = usable_rows(labels)
        return Recall(asked_fpr, NOWHERE, NOWHERE, math.nan, usable.n_negative, usable.n_positive)
    rows, positive, kept = found
    best = ranking.largest_recall(positive.astype(np.float64), kept, _taken(groups, rows), asked_fpr)
    return Recall(asked_fpr, best.fpr, best.recall, best.logit, best.n_negative, best.n_positive)


def accuracy(labels: np.ndarray, logits: np.ndarray, threshold: float) -> float:
    """Share of the rows that are rightly flagged, or rightly not; flagged are logits from `threshold` on.

    NaN if no row is positive or negative.
    """
    labels, logits = _checked(labels, logits)
    rows = usable_rows(labels).rows
    if not rows.any():
        return math.nan
    return float(((logits[rows] >= threshold) == (labels[rows] > 0.5)).mean())


def brier(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean squared difference of probability and label; 0.25 for a monitor that always says 0.5.

    Raises:
        ValueError: No rows, or a label or probability outside 0..1.
    """
    labels, probabilities = _probable(labels, probabilities)
    return float(np.mean((probabilities - labels) ** 2))


def log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean cross-entropy in nats; 0.693 for a monitor that always says 0.5.

    Probabilities are clipped at `CLIP`.

    Raises:
        ValueError: No rows, or a label or probability outside 0..1.
    """
    labels, probabilities = _probable(labels, probabilities)
    clipped = np.clip(probabilities, CLIP, 1 - CLIP)
    return float(-np.mean(xlogy(labels, clipped) + xlogy(1 - labels, 1 - clipped)))


def reliability(
    labels: np.ndarray, probabilities: np.ndarray, *, equal: Bins = "mass", bins: int = BINS
) -> Reliability:
    """Probabilities and labels by bins of probability.

    Args:
        labels: [rows], in 0..1.
        probabilities: [rows], in 0..1.
        equal: "width" divides 0 to 1 evenly; 1.0 falls in the last bin. "mass" divides the ranks evenly;
            equal probabilities share a mean rank and are never parted, so bins may differ in size
            or be fewer.
        bins: At most so many.

    Raises:
        ValueError: No rows, no bins, or a label or probability outside 0..1.
    """
    labels, probabilities = _probable(labels, probabilities)
    if bins < 1:
        raise ValueError(f"at least one bin is needed, got {bins}")
    if equal == "width":
        of = np.minimum((probabilities * bins).astype(np.int64), bins - 1)
    else:
        places = (rankdata(probabilities) - 0.5) / len(probabilities)
        of = (places * bins).astype(np.int64)
    rows = np.bincount(of, minlength=bins)
    there = rows > 0
    means = [np.bincount(of, v, bins)[there] / rows[there] for v in (probabilities, labels)]
    return Reliability(means[0], means[1], rows[there])


def calibration_error(
    labels: np.ndarray, probabilities: np.ndarray, *, equal: Bins = "mass", bins: int = BINS
) -> float:
    """Expected calibration error: mean over rows of how far their bin's probability is from its labels.

    It is above 0 for a perfectly calibrated monitor too, the more the smaller the bins are.

    Source: Naeini et al. 2015 (AAAI) with bins of equal width; Nixon et al. 2019, arXiv:1904.01685, of equal
    mass.

    Raises:
        ValueError: As `reliability`.
    """
    found = reliability(labels, probabilities, equal=equal, bins=bins)
    return float(np.average(np.abs(found.probability - found.share), weights=found.rows))


def _ranked_rows(
    labels: np.ndarray, logits: np.ndarray, what: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Which rows are ranked, whether each of those is positive, and its logit; None for one class only."""
    labels, logits = _checked(labels, logits)
    usable = usable_rows(labels)
    if not usable.both_classes:
        told = f"{usable.n_positive} positive and {usable.n_negative} negative rows: no {what}"
        warnings.warn(told, OneClassWarning, stacklevel=3)
        return None
    return usable.rows, labels[usable.rows] > 0.5, logits[usable.rows]


def _taken(groups: Sequence[Hashable], rows: np.ndarray) -> list[Hashable]:
    return [group for group, taken in zip(groups, rows, strict=True) if taken]


def _checked(labels: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, logits = np.asarray(labels, dtype=np.float64), np.asarray(logits, dtype=np.float64)
    if labels.shape != logits.shape or labels.ndim != 1:
        raise ValueError(f"labels of shape {labels.shape} do not fit scores of shape {logits.shape}")
    if not np.isfinite(logits).all():
        raise ValueError(f"row {int(np.flatnonzero(~np.isfinite(logits))[0])} has a score that is not finite")
    return labels, logits


def _probable(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, probabilities = _checked(labels, probabilities)
    if not len(labels):
        raise ValueError("no rows")
    for values, what in ((labels, "label"), (probabilities, "probability")):
        if not ((values >= 0) & (values <= 1)).all():
            wrong = int(np.flatnonzero(~((values >= 0) & (values <= 1)))[0])
            raise ValueError(f"row {wrong} has the {what} {values[wrong]:g}, which is not between 0 and 1")
    return labels, probabilities
