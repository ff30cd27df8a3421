"""Looks at a validation set while heads are trained, and which of two is the better one."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from probes.activations.ragged import Ragged
from probes.heads.base import Head, checked_labels


class Check(NamedTuple):
    """One look at the validation set."""

    step: int
    loss: float
    """Mean weighted cross-entropy of the logits."""

    auroc: float
    """NaN if the validation set has one class only."""

    def is_better(self, other: "Check", stop_on: str) -> bool:
        """Than another: a higher AUROC, or a lower loss where it is the same; or a lower loss."""
        if stop_on == "loss":
            return self.loss < other.loss
        return (self.auroc, -self.loss) > (other.auroc, -other.loss)


class ValidationLabels:
    """Labels of a validation set.

    Args:
        x: Its activations.
        y: [rows], in 0..1.
        stop_on: What heads are stopped on.

    Raises:
        ValueError: Labels outside 0..1, too few or too many of them, or of one class only for an AUROC.
    """

    def __init__(self, x: Ragged, y: Any, stop_on: Sequence[str]) -> None:
        self.labels = checked_labels(y)
        if len(self.labels) != len(x):
            raise ValueError(f"validation: {len(x)} rows of activations but {len(self.labels)} labels")
        self.clear = self.labels != 0.5
        self.both = len(np.unique(self.labels[self.clear] > 0.5)) == 2
        if not self.both and "auroc" in stop_on:
            raise ValueError(
                "the validation set has one class only, which has no AUROC; stop on the loss instead "
                "(stop_on='loss'), or give another set"
            )

    def check(self, step: int, head: Head, logits: np.ndarray) -> Check:
        """Loss with the head's own class weights, and AUROC of the rows that are not exactly between."""
        if self.both:
            positive, negative = (torch.from_numpy(part) for part in head.masses(self.labels))
            auroc = float(roc_auc_score(self.labels[self.clear] > 0.5, logits[self.clear]))
        else:
            positive, auroc = torch.from_numpy(self.labels), math.nan
            negative = 1 - positive
        return Check(step, float(cross_entropy(torch.from_numpy(logits), positive, negative).mean()), auroc)


def cross_entropy(logits: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    """-positive log p - negative log(1 - p), p the logistic function of the logit; of the broadcast shape."""
    softplus = torch.nn.functional.softplus
    return positive * softplus(-logits) + negative * softplus(logits)
