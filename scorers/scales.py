"""The scales that judges answer on."""

from itertools import islice
from typing import Any, cast

from inspect_ai.log import read_eval_log_samples

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
    "0-1": "Answer with 1 if so, with 0 if not, and nothing else.",
    "0-3": "Answer with one integer from 0 to 3 and nothing else.",
    "1-5": "Answer with one integer from 1 to 5 and nothing else.",
    "1-10": "Answer with one integer from 1 to 10 and nothing else.",
}
"""How an answer is asked for."""

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


def scales_in(log: str, first: int = 16) -> dict[str, Scale]:
    """Score -> scale of its values, as a log's first samples name them; `score.value` where it has several.

    Args:
        log: An `.eval` file.
        first: Samples that are asked: a score that is missing in one has no scale there.
    """
    scales: dict[str, Scale] = {}
    samples = read_eval_log_samples(log, all_samples_required=False, exclude_fields=LEFT_OUT)
    for sample in islice(samples, first):
        for name, score in (sample.scores or {}).items():
            metadata = score.metadata or {}
            keys = metadata.get("scales") or {}
            named = {name: metadata.get("scale")} | {f"{name}.{key}": scale for key, scale in keys.items()}
            scales |= {key: cast(Scale, scale) for key, scale in named.items() if scale in SCALES}
    return scales
