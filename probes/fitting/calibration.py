"""Platt scaling of a monitor on rows that it was not fitted on."""

import numpy as np
from sklearn.linear_model import LogisticRegression

from probes.monitors.monitor import Calibration


def platt(labels: np.ndarray, logits: np.ndarray) -> Calibration | None:
    """The line that turns logits into log-odds; None with labels of one class, or logits that are all equal.

    The logits are standardised, and the slope is penalised as in scikit-learn's default (C = 1): few rows
    that are told apart without a fault do not make it infinite. A soft label counts as a positive and as a
    negative row. A monitor that ranks these rows the wrong way round gets the slope 0.

    Source: Platt 1999 (Advances in Large Margin Classifiers); the penalty stands for his smoothed targets.

    Args:
        labels: [rows], in 0..1.
        logits: [rows].
    """
    spread = float(logits.std())
    if not spread > 0 or not (labels > 0).any() or not (labels < 1).any():
        return None
    centre = float(logits.mean())
    rows = np.concatenate([logits, logits])[:, None]
    targets = np.repeat([1, 0], len(logits))
    weights = np.concatenate([labels, 1 - labels])
    used = weights > 0
    fitted = LogisticRegression(C=1.0).fit(
        (rows[used] - centre) / spread, targets[used], sample_weight=weights[used]
    )
    slope = max(0.0, float(fitted.coef_[0, 0]) / spread)
    if slope == 0:
        share = float(labels.mean())
        return Calibration(slope=0.0, offset=float(np.log(share / (1 - share))), rows=len(labels))
    return Calibration(slope=slope, offset=float(fitted.intercept_[0]) - slope * centre, rows=len(labels))
