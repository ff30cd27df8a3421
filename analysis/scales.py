"""The scale of a score, and other facts about it, from its own metadata: the only place that tells them.

Scorers write `scale` (a score with several values: `scales`, value -> scale) into a score's metadata. The
name tells the ends of a scale: `1-10`; `yes-no` is 0 to 1.
"""

from collections.abc import Iterable, Mapping
from typing import Any, cast, get_args

from scenarios.schema import Scale, ends_of

SCALES: tuple[Scale, ...] = get_args(Scale)

SHARES: frozenset[str] = frozenset({"0-1", "yes-no"})
"""Scales whose values are probabilities."""

DEGREES: frozenset[str] = SHARES | {"0-3", "1-5"}
"""Scales of how far something is so, which may be nowhere so: nearly all values may lie at one end. Ratings
from 1 to 10 spread."""


def as_share(value: float, scale: Scale) -> float:
    """A value as a share of its scale: 0 at the lowest, 1 at the highest."""
    low, high = ends_of(scale)
    return (value - low) / (high - low)


def scale_of(metadata: Mapping[str, Any] | None, key: str = "") -> Scale | None:
    """The scale that a score's metadata name; None if none, or none that is known.

    Args:
        metadata: Of one score.
        key: Of one value of a score with several.
    """
    told = (metadata or {}).get("scales" if key else "scale")
    named = told.get(key) if key and isinstance(told, Mapping) else told
    return cast(Scale, named) if isinstance(named, str) and named in SCALES else None


def common_scale(scales: Iterable[Scale | None]) -> Scale | None:
    """The scale that all have; None if there are none, or several."""
    found = set(scales)
    return found.pop() if len(found) == 1 else None


def turns_unscored(metadata: Mapping[str, Any] | None, key: str = "") -> tuple[int, int]:
    """Turns of a conversation that have no number, and all its turns; (0, 0) if the score does not say.

    A conversation's number is then the mean (or the highest) of those that have one.

    Args:
        metadata: Of one score.
        key: Of one value of a score with several.
    """
    told = metadata or {}
    turns = told.get("turns")
    if key and isinstance(turns, Mapping):
        values = turns.get(key)
        turns = values if isinstance(values, list) else []
        return sum(value is None for value in turns), len(turns)
    count, missing = len(turns) if isinstance(turns, list) else 0, told.get("turns_unscored")
    return (missing, max(count, missing)) if isinstance(missing, int) and missing > 0 else (0, count)
