"""Scales and merges fitted on calibration rows: what makes scores of different monitors comparable."""

import numpy as np
from scipy.special import logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from probes.cascades.merging import LEAST, MergeName, MergeRule, log_odds, weighted_logits
from probes.cascades.scales import ScaleName, ScoreScale
from probes.fitting.calibration import platt


def fitted_scale(name: ScaleName, labels: np.ndarray, logits: np.ndarray) -> ScoreScale:
    """How the logits of a monitor become probabilities, fitted on rows that it was not fitted on.

    platt: `fitting.calibration.platt`. temperature: one factor for all logits, maximum likelihood, at least
    0. isotonic: the non-decreasing steps with the least squared error, linear in between.

    Source: Platt 1999; Guo et al. 2017 (arXiv:1706.04599) for temperature; Zadrozny and Elkan 2002 (KDD) for
    isotonic. scikit-learn does each fit.

    Args:
        name: Which.
        labels: [rows], 0 or 1.
        logits: [rows], finite.

    Raises:
        ValueError: One class only, or scores that are all equal.
    """
    truth = labels > 0.5
    if truth.all() or not truth.any():
        raise ValueError(
            f"{int(truth.sum())} positive and {int((~truth).sum())} negative rows to calibrate on: both "
            "classes are needed"
        )
    if not np.ptp(logits) > 0:
        raise ValueError(
            f"all {len(logits)} scores to calibrate on are {logits[0]:g}: they tell nothing apart"
        )
    if name == "platt":
        found = platt(truth.astype(np.float64), logits)
        assert found is not None
        return ScoreScale(name=name, slope=found.slope, offset=found.offset)
    if name == "temperature":
        # the slope of a logistic regression through the origin is the inverse of the temperature
        spread = float(np.abs(logits).max())
        fitted = LogisticRegression(C=np.inf, fit_intercept=False, max_iter=1000)
        fitted.fit((logits / spread)[:, None], truth)
        return ScoreScale(name=name, slope=max(0.0, float(fitted.coef_[0, 0]) / spread), offset=0.0)
    steps = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(logits, truth)
    return ScoreScale(
        name=name, knots=list(zip(steps.X_thresholds_.tolist(), steps.y_thresholds_.tolist(), strict=True))
    )


def fitted_merge(
    name: MergeName, probe: np.ndarray, judge: np.ndarray, labels: np.ndarray, weight: float | None = None
) -> MergeRule:
    """A merge whose parameters are fitted on rows that both were asked about.

    weighted-logits: the weight in steps of .05 with the least log loss, if none is given. likelihood-ratio:
    logistic regression on both log-odds, penalised as in scikit-learn's default (C = 1); a weight that comes
    out below 0 is taken for 0, for more of what either says is never a reason to believe it less.

    Args:
        name: Which.
        probe: [rows], calibrated probabilities.
        judge: The same of the judge.
        labels: [rows], 0 or 1.
        weight: For weighted-logits.

    Raises:
        ValueError: One class only.
    """
    if name in ("replace", "mean"):
        return MergeRule(name=name)
    truth = labels > 0.5
    if truth.all() or not truth.any():
        raise ValueError(f"{name}: rows of one class only; nothing can be fitted on them")
    if name == "weighted-logits":
        if weight is None:
            grid = np.round(np.linspace(0, 1, 21), 2)
            losses = [_log_loss(truth, weighted_logits(w)(probe, judge)) for w in grid]
            weight = float(grid[int(np.argmin(losses))])
        return MergeRule(name=name, weight=weight)
    both = np.stack([log_odds(probe), log_odds(judge)], axis=1)
    offset, first, second = _stacked(both, truth)
    return MergeRule(name=name, offset=offset, probe_weight=first, judge_weight=second)


def _stacked(both: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    """Offset and two weights, neither below 0."""
    used = [0, 1]
    while True:
        fitted = LogisticRegression(C=1.0).fit(both[:, used], truth)
        weights = dict(zip(used, fitted.coef_[0].tolist(), strict=True))
        below = [column for column, value in weights.items() if value < 0]
        if not below or len(used) == 1:
            break
        used.remove(min(below, key=weights.__getitem__))
    offset = float(fitted.intercept_[0])
    if below:  # neither is of use: the share of positives
        share = float(truth.mean())
        return float(logit(share)), 0.0, 0.0
    return offset, weights.get(0, 0.0), weights.get(1, 0.0)


def _log_loss(truth: np.ndarray, probabilities: np.ndarray) -> float:
    p = np.clip(probabilities, LEAST, 1 - LEAST)
    return float(-np.mean(np.where(truth, np.log(p), np.log(1 - p))))
