"""Who decides a row: the probe alone where its probability is plain, a judge where it lies in a band.

A plain function of one row, so that a stream and a table of rows are decided alike, whatever shell calls it.
The band is fixed in advance (`cascades.allocation`) and looks at no other row.
"""

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from probes.cascades.merging import Merge, replace

Judge = Callable[[], Awaitable[float | None]]
"""Asks about the row at hand: a calibrated probability, or None where there is no usable answer."""

NO_PROBE = "the probe gave no value"
NO_ANSWER = "the judge gave no usable answer"
NO_JUDGE = "there is no judge"


class Band(NamedTuple):
    """Calibrated probabilities of the probe at which the judge is asked, both ends within it.

    A band without width asks nowhere. Make it with `band`, which checks it.
    """

    low: float
    high: float

    def asks(self, probe: float) -> bool:
        """Whether the judge is asked about a row of this probability."""
        return self.low <= probe <= self.high and self.low < self.high

    def asked(self, probe: np.ndarray) -> np.ndarray:
        """[rows], bool: `asks` of each."""
        inside = (self.low <= probe) & (probe <= self.high)
        return inside if self.low < self.high else np.zeros_like(inside)


def band(low: float, high: float) -> Band:
    """Two thresholds of calibrated probability.

    Raises:
        ValueError: Not 0 <= low <= high <= 1.
    """
    if low > high:
        raise ValueError(f"thresholds cross: {low:g} lies above {high:g}; the lower one comes first")
    if not (low >= 0 and high <= 1):
        raise ValueError(f"thresholds are probabilities from 0 to 1, got {low:g} and {high:g}")
    return Band(low, high)


class Decided(NamedTuple):
    """What became of one row, and why."""

    value: float | None
    """Probability of the whole; None if nobody had one."""

    probe: float | None
    judge: float | None
    """What it answered; None if it was not asked, or gave no usable answer (`asked` tells which)."""

    asked: bool
    decided_by: Literal["probe", "judge"] | None
    """The judge, if its answer is in `value`."""

    reason: str | None
    """Why it is not as the band has it; None where it is."""


class Step(NamedTuple):
    """One stage of a cascade of several: who is asked, where, and what its answer does."""

    band: Band
    judge: Judge | None
    merge: Merge = replace


async def decide(probe: float | None, band: Band, judge: Judge | None, merge: Merge = replace) -> Decided:
    """Decide one row.

    Without a value of the probe the judge is asked, whatever the band, and decides alone. Without an answer
    of the judge the probe's value stands. `reason` says either. What the judge raises is raised.

    Args:
        probe: Calibrated probability, 0 to 1; None or NaN if there is none.
        band: Where the judge is asked.
        judge: Called at most once.
        merge: Of both probabilities, where there are both.

    Raises:
        ValueError: A probability outside 0 to 1.
    """
    probe = _probability(probe, "probe")
    if probe is not None and not band.asks(probe):
        return Decided(probe, probe, None, False, "probe", None)
    lacks = None if probe is not None else NO_PROBE
    if judge is None:
        reason = NO_JUDGE if lacks is None else f"{lacks}; {NO_JUDGE}"
        return Decided(probe, probe, None, False, None if probe is None else "probe", reason)
    answer = _probability(await judge(), "judge")
    if answer is None:
        reason = NO_ANSWER if lacks is None else f"{lacks}; {NO_ANSWER}"
        return Decided(probe, probe, None, True, None if probe is None else "probe", reason)
    if probe is None:
        return Decided(answer, None, answer, True, "judge", lacks)
    return Decided(merge(probe, answer), probe, answer, True, "judge", None)


async def decide_in_stages(probe: float | None, steps: Sequence[Step]) -> list[Decided]:
    """Decide one row by a cascade of several stages, each of which begins with the value of the one before.

    A stage that did not ask ends it: the value lies outside its band, or nobody is there to ask.

    Returns:
        What each stage that was reached decided; the last one's value is that of the cascade.

    Raises:
        ValueError: No stages, or a probability outside 0 to 1.
    """
    if not steps:
        raise ValueError("a cascade has at least one stage")
    found: list[Decided] = []
    for step in steps:
        found.append(await decide(probe, step.band, step.judge, step.merge))
        if not found[-1].asked:
            break
        probe = found[-1].value
    return found


def _probability(value: float | None, whose: str) -> float | None:
    if value is None or math.isnan(value):
        return None
    if not 0 <= value <= 1:
        raise ValueError(f"the {whose}'s probability is {value:g}; it lies between 0 and 1")
    return float(value)
