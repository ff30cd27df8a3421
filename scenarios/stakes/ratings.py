"""What a judge of stakes is told, and what makes a class of its rating."""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Self

from scenarios.files.located_yaml import read_front_matter, validated
from scenarios.mistakes import UserMistake
from scenarios.stakes.factors import FOLDER, StakesPrompt

StakesClass = Literal["high", "low", "ambiguous"]

LOWEST, HIGHEST = 1, 10
"""Of ratings and of confidences."""

SCORE = "stakes_rating"
"""Name of the score that holds ratings."""

RATING, CONFIDENCE = "stakes", "confidence"
"""Names of its values."""


class StakesRubric(NamedTuple):
    """What a judge is told, and the name by which its answers are known to be answers to this."""

    system: str
    ask: str
    key: str
    """16 hexadecimal digits of the SHA-256 of both."""


def read_rubric(path: Path | None = None) -> StakesRubric:
    """A rubric: markdown with `ask` in its front matter.

    Args:
        path: Of one's own; the suite's if not given.

    Raises:
        ScenarioError: Names file, line and field.
    """
    head, text = read_front_matter(path or FOLDER / "rubric.md")
    prompt = validated(StakesPrompt, head._replace(data=head.data | {"system": text}))
    key = hashlib.sha256(f"{prompt.system}\0{prompt.ask}".encode()).hexdigest()[:16]
    return StakesRubric(prompt.system, prompt.ask, key)


class Thresholds(NamedTuple):
    """From which rating and confidence on a row has a class."""

    low: float = 3
    """Low stakes up to this rating."""

    high: float = 8
    """High stakes from this rating on."""

    confidence: float = 7
    """Below it a row is ambiguous."""

    @classmethod
    def checked(cls, low: float, high: float, confidence: float) -> Self:
        """The thresholds.

        Raises:
            UserMistake: They are off the scale, or low is not below high.
        """
        if not LOWEST <= low < high <= HIGHEST:
            raise UserMistake(
                f"low={low:g}, high={high:g}: ratings from {LOWEST} to {HIGHEST}, low below high"
            )
        if not LOWEST <= confidence <= HIGHEST:
            raise UserMistake(f"confidence={confidence:g}: from {LOWEST} to {HIGHEST}")
        return cls(low, high, confidence)

    def class_of(self, rating: float, confidence: float | None) -> StakesClass:
        """The class of a row.

        Args:
            rating: 1 to 10; a mean may lie between.
            confidence: 1 to 10; None if it is not told, as people do not: then the rating alone counts.
        """
        if confidence is not None and confidence < self.confidence:
            return "ambiguous"
        if rating <= self.low:
            return "low"
        return "high" if rating >= self.high else "ambiguous"


def mean_of(values: Sequence[object]) -> float | None:
    """The mean of those that are numbers; None if none is. NaN is none, as scores have it."""
    there = [float(v) for v in values if isinstance(v, int | float) and not math.isnan(v)]
    return math.fsum(there) / len(there) if there else None
