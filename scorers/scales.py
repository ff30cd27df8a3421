"""The scales that judges answer on."""

from typing import Any

from scenarios.schema import Scale

SCALES: dict[Scale, dict[str, float]] = {
    "yes-no": {"no": 0.0, "yes": 1.0},
    "0-1": {"0": 0.0, "1": 1.0},
    "0-3": {str(i): float(i) for i in range(4)},
    "1-5": {str(i): float(i) for i in range(1, 6)},
    "1-10": {str(i): float(i) for i in range(1, 11)},
}
"""Answer -> value, lowest first, for each scale."""

ANSWER: dict[Scale, str] = {
    "yes-no": "Answer with yes or no and nothing else.",
    "0-1": "Answer with 1 if so, with 0 if not: one digit and nothing else.",
    "0-3": "Answer with one integer from 0 to 3, in digits, and nothing else.",
    "1-5": "Answer with one integer from 1 to 5, in digits, and nothing else.",
    "1-10": "Answer with one integer from 1 to 10, in digits, and nothing else.",
}
"""How an answer is asked for: in a form of which `scorers/answers.py` can tell that it is one."""

SHARES: frozenset[str] = frozenset({"0-1", "yes-no"})
"""Scales whose values are probabilities."""


LEFT_OUT: Any = {"events", "attachments", "events_data", "messages"}
"""Parts of a sample that hold no scores."""


def bounds(scale: Scale) -> tuple[float, float]:
    """Lowest and highest value."""
    values = SCALES[scale].values()
    return min(values), max(values)


def as_share(value: float, scale: Scale) -> float:
    """A value as a share of its scale: 0 at the lowest, 1 at the highest."""
    low, high = bounds(scale)
    return (value - low) / (high - low)
