"""From a monitor's logit to a probability that can be compared with others': how a calibration is kept."""

from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, FiniteFloat, model_validator
from scipy.special import expit

from scenarios.schema import Frozen

ScaleName = Literal["platt", "isotonic", "temperature"]


class ScoreScale(Frozen):
    """A calibration with its numbers, as `fitted.fitted_scale` finds them."""

    name: ScaleName
    slope: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Log-odds for each unit of the logit; of temperature the inverse. None: isotonic."""

    offset: float | None = Field(default=None, allow_inf_nan=False)
    """Log-odds at the logit 0; 0 of temperature."""

    knots: list[tuple[FiniteFloat, FiniteFloat]] | None = Field(default=None, min_length=1)
    """(logit, probability), both not decreasing; linear in between and flat beyond. Isotonic alone."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.name == "isotonic":
            if self.knots is None:
                raise ValueError("isotonic needs knots, pairs of a logit and a probability")
            logits, probabilities = zip(*self.knots, strict=True)
            if any(np.diff(logits) < 0) or any(np.diff(probabilities) < 0):
                raise ValueError("the knots of isotonic must not decrease")
            if not 0 <= probabilities[0] <= probabilities[-1] <= 1:
                raise ValueError("a probability of the knots lies outside 0 to 1")
        elif self.slope is None or self.offset is None:
            raise ValueError(f"{self.name} needs slope and offset")
        return self

    def of(self, logits: Any) -> Any:
        """Probabilities of logits: of a number a float, of [rows] an array of as many."""
        if self.knots is not None:
            at, values = zip(*self.knots, strict=True)
            found = np.interp(logits, at, values)
        else:
            found = expit((self.slope or 0.0) * np.asarray(logits, dtype=np.float64) + (self.offset or 0.0))
        return float(found) if np.ndim(found) == 0 else found
