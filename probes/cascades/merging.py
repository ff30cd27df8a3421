"""What becomes of two probabilities of one row, the probe's and the judge's.

Both are calibrated: 0.7 means the same of either, and of what comes out. All merges take numbers and arrays.
"""

from collections.abc import Callable
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator
from scipy.special import expit, logit

from scenarios.schema import Frozen

Merge = Callable[[Any, Any], Any]
"""(probe's probability, judge's probability) -> probability; each 0 to 1."""

LEAST = 1e-6
"""A probability nearer to 0 or 1 than this is merged as this far away: no single word is beyond doubt."""

MergeName = Literal["replace", "mean", "weighted-logits", "likelihood-ratio"]


def replace(probe: Any, judge: Any) -> Any:
    """The judge's word alone."""
    del probe
    return judge


def mean(probe: Any, judge: Any) -> Any:
    """Half of each."""
    return (probe + judge) / 2


def weighted_logits(weight: float) -> Merge:
    """`weight` of the probe's logit and the rest of the judge's.

    Source: Constitutional Classifiers++ (arXiv:2601.04603), with 0.55 for the probe.

    Raises:
        ValueError: A weight outside 0 to 1.
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"the probe's weight lies between 0 and 1, got {weight:g}")
    return lambda probe, judge: expit(weight * log_odds(probe) + (1 - weight) * log_odds(judge))


def likelihood_ratio(offset: float, probe_weight: float = 1.0, judge_weight: float = 1.0) -> Merge:
    """Log-odds of both together: offset + probe_weight * logit(probe) + judge_weight * logit(judge).

    With both weights 1 and `offset` = -logit(share of positives) this is the product of the two likelihood
    ratios with the prior odds, right where the two err independently of each other. Fitted weights
    (`fitted.fitted_merge`) are right too where they do not, as far as their log-odds are jointly normal.

    Source: Neyman and Pearson 1933: no other rule of the two has a higher recall at its false-positive rate.
    """
    return lambda probe, judge: expit(
        offset + probe_weight * log_odds(probe) + judge_weight * log_odds(judge)
    )


class MergeRule(Frozen):
    """A merge by name, with its parameters: how it is saved."""

    name: MergeName = "replace"
    weight: float | None = Field(default=None, ge=0, le=1)
    """Of the probe, for weighted-logits."""

    offset: float | None = Field(default=None, allow_inf_nan=False)
    """With both weights, for likelihood-ratio."""

    probe_weight: float | None = Field(default=None, allow_inf_nan=False)
    judge_weight: float | None = Field(default=None, allow_inf_nan=False)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.name == "weighted-logits" and self.weight is None:
            raise ValueError("weighted-logits needs weight, the probe's, from 0 to 1")
        if self.name == "likelihood-ratio" and None in (self.offset, self.probe_weight, self.judge_weight):
            raise ValueError("likelihood-ratio needs offset, probe_weight and judge_weight")
        return self

    def merge(self) -> Merge:
        """The function."""
        if self.name == "weighted-logits":
            return weighted_logits(self.weight or 0.0)
        if self.name == "likelihood-ratio":
            return likelihood_ratio(self.offset or 0.0, self.probe_weight or 0.0, self.judge_weight or 0.0)
        return replace if self.name == "replace" else mean


def log_odds(probability: Any) -> Any:
    """Natural log-odds; probabilities beyond `LEAST` of either end count as that far away."""
    return logit(np.clip(probability, LEAST, 1 - LEAST))
