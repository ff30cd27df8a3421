"""What becomes of a threshold elsewhere: set on one data set, used on the others."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from analysis.ranking import Ranked, largest_recall, share
from probes.evaluation.evaluation_data import EvaluationSet
from probes.evaluation.metrics import ASKED_FPR, usable_rows
from probes.evaluation.scored import Scored

SAVED = "saved"
"""Where a monitor's own threshold comes from: the validation set that it was fitted with."""


class Transferred(NamedTuple):
    """A threshold and what it does on a data set."""

    monitor: str
    threshold_from: str
    """Data set that it has the largest recall at 1 % FPR on, or `SAVED`."""

    dataset: str
    logit: float
    fpr: Ranked | None
    """None without negatives."""

    recall: Ranked | None
    n_negative: int
    n_positive: int

    def row(self) -> dict[str, Any]:
        """As in `evaluation.json`."""
        return {
            "monitor": self.monitor,
            "threshold_from": self.threshold_from,
            "dataset": self.dataset,
            "logit": self.logit,
            **_ends("fpr", self.fpr),
            **_ends("recall", self.recall),
            "n_negative": self.n_negative,
            "n_positive": self.n_positive,
        }


def transfer(scored: Sequence[Scored], sets: Sequence[EvaluationSet]) -> list[Transferred]:
    """Every monitor's and control's thresholds on every data set.

    Each data set with both classes gives one, the lowest that keeps to 1 % false positives there; the
    monitor's saved one, which keeps to the rate that was asked for when it was fitted, comes first.
    """
    found: list[Transferred] = []
    labels = [data.labels for data in sets]
    groups = [data.groups for data in sets]
    for one in scored:
        thresholds = {} if one.threshold is None else {SAVED: one.threshold}
        for data, own, of, logits in zip(sets, labels, groups, one.logits, strict=True):
            if usable_rows(own).both_classes:
                thresholds[data.name] = largest_recall(own, logits, of, ASKED_FPR).logit
        for source, logit in thresholds.items():
            for data, own, of, logits in zip(sets, labels, groups, one.logits, strict=True):
                flagged = logits >= logit
                found.append(
                    Transferred(
                        one.name,
                        source,
                        data.name,
                        logit,
                        _share(flagged, own < 0.5, of),
                        _share(flagged, own > 0.5, of),
                        int((own < 0.5).sum()),
                        int((own > 0.5).sum()),
                    )
                )
    return found


def _share(flagged: np.ndarray, rows: np.ndarray, groups: Sequence[str]) -> Ranked | None:
    if not rows.any():
        return None
    return share(flagged[rows], [group for group, taken in zip(groups, rows, strict=True) if taken])


def _ends(name: str, found: Ranked | None) -> dict[str, float | None]:
    value, low, high = (None, None, None) if found is None else found
    return {
        name: value,
        f"{name}_low": None if low is None or np.isnan(low) else low,
        f"{name}_high": None if high is None or np.isnan(high) else high,
    }
