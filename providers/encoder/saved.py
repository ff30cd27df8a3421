"""A judge that is linear in an encoder's vectors, as a folder keeps it: `judge.json`, numbers and texts."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from providers.encoder.encoding import EncoderError

FILE = "judge.json"

ENDS: Mapping[str, tuple[int, int]] = {"1-10": (1, 10), "0-1": (0, 1)}
"""Least and largest answer of the scales that such a judge can answer on."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Head(_Part):
    """One label as a linear function of a reply's vector, on the label's own scale of 1 to 10."""

    label: str
    weights: list[float]
    """[width]"""

    bias: float
    spread: float = Field(gt=0)
    """Standard deviation of what labels lie beside the head, on topics that it did not see."""

    def read(self, vector: np.ndarray) -> float:
        """The label expected of a reply."""
        return float(vector @ np.array(self.weights)) + self.bias


class Wish(_Part):
    """What a person may be after, and the label by which they then rate."""

    text: str = Field(min_length=1)
    label: str


class SavedJudge(_Part):
    """All that is needed to judge but the encoder."""

    encoder: str
    """Folder, or name of an installed package."""

    scale: Literal["1-10", "0-1"]
    heads: list[Head] = Field(min_length=1)
    wishes: list[Wish] = []
    """If there are any, the head is that of the wish which what is known of the person is nearest to."""

    validity: list[str] = []
    """How good it was found, in lines for people."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        labels = {head.label for head in self.heads}
        if missing := sorted({wish.label for wish in self.wishes} - labels):
            raise ValueError(f"wishes name labels without a head: {', '.join(missing)}")
        if len({len(head.weights) for head in self.heads}) > 1:
            raise ValueError("heads differ in their number of weights")
        return self

    def answers(self, label: str, vector: np.ndarray) -> dict[str, float]:
        """The probability of each answer: of a normal distribution around what the head reads.

        Args:
            label: Whose head.
            vector: Of the reply.

        Raises:
            EncoderError: The vector is of another encoder.
        """
        head = next(head for head in self.heads if head.label == label)
        if len(vector) != len(head.weights):
            raise EncoderError(
                f"encoder {self.encoder} gives {len(vector)} numbers, the judge was fitted to "
                f"{len(head.weights)}: put the encoder back, or fit the judge anew"
            )
        expected = head.read(vector)
        low, high = ENDS[self.scale]
        if self.scale == "0-1":  # the label lies in its upper half
            yes = 1 - _below(5.5, expected, head.spread)
            return {"0": 1 - yes, "1": yes}
        below = [_below(step + 0.5, expected, head.spread) for step in range(low, high)]
        steps = [0.0, *below, 1.0]
        return {str(low + n): steps[n + 1] - steps[n] for n in range(high - low + 1)}


def _below(value: float, mean: float, spread: float) -> float:
    return 0.5 * (1 + math.erf((value - mean) / (spread * math.sqrt(2))))


def read_judge(folder: Path) -> SavedJudge:
    """The judge in a folder.

    Raises:
        EncoderError: None is there, or what is there is none.
    """
    path = folder / FILE
    try:
        return SavedJudge.model_validate_json(path.read_bytes())
    except OSError as error:
        raise EncoderError(
            f"{path}: {error.strerror or error}; python providers/fit_judge.py writes one"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(map(str, first["loc"]))
        raise EncoderError(f"{path} is no judge ({at}: {first['msg']}); fit it anew") from None
