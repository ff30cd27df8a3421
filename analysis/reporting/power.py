"""How many initial states an evaluation needs to see a difference, from how much the states vary in it."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from analysis.reporting.means import Measured
from analysis.reporting.paired_tests import by_state, values_of_kind
from analysis.score_tables.columns import Column
from analysis.score_tables.figures import DIFFERENCE
from scenarios.schema import Scale

SIGNIFICANCE = 0.05
POWERS = (0.8, 0.9)

DIFFERENCES: dict[Scale, tuple[float, ...]] = {
    "1-10": (0.5, 1.0, 2.0),
    "1-5": (0.25, 0.5, 1.0),
    "0-3": (0.2, 0.4, 0.8),
    "0-1": (0.05, 0.1, 0.2),
    "yes-no": (0.05, 0.1, 0.2),
}
"""Scale -> differences that the table is made for."""

FEWEST = 4
"""Initial states with which a spread can be estimated at all."""

LARGEST = 1e6

LEAST_EFFECT = 1e-3
"""In standard deviations: less needs more than `LARGEST` states, and statsmodels refuses 0."""


class Needed(NamedTuple):
    """Initial states that a test needs."""

    task: str
    column: Column
    design: str
    spread: float
    """Standard deviation between initial states (of paired differences, where pairs are compared)."""

    states: int
    """That the spread was estimated from."""

    per_state: float
    """Conversations with one initial state, here."""

    difference: float
    needed: dict[float, int | None]
    """Power -> initial states of each side; None if more than a million."""


def needed_states(means: Sequence[Measured], columns: Sequence[Column]) -> list[Needed]:
    """For each task the states that two designs need, from its evaluation with the most states.

    Targeting compares gameable with other users, whose states are different ones: a t test of two samples.
    Two models on the same states are compared in pairs; without a second evaluation the spread of a
    difference is taken as that of two independent ones, which is the most it can be unless they are opposed.

    Source: statsmodels' `TTestIndPower` and `TTestPower`; means of initial states are the observations.
    """
    from statsmodels.stats.power import TTestIndPower, TTestPower

    found: list[Needed] = []
    largest: dict[tuple[str, Column], Measured] = {}
    for m in means:
        if m.users == DIFFERENCE and m.column in columns and m.mean is not None:
            known = largest.get((m.evaluation.task, m.column))
            if known is None or known.mean is None or m.mean.clusters > known.mean.clusters:
                largest[m.evaluation.task, m.column] = m
    for (task, column), m in largest.items():
        sides = [values_of_kind(m.evaluation.rows, column, kind) for kind in (True, False)]
        states = [list(by_state(side).values()) for side in sides]
        count = sum(map(len, states))
        if min(map(len, states)) < FEWEST or column.asked.scale is None:
            continue
        # ddof 1 within each kind: what differs between the kinds is the effect, no spread
        variance = sum(np.var(s, ddof=1) * (len(s) - 1) for s in states) / (count - 2)
        spread = math.sqrt(float(variance))
        per_state = sum(len(side.values) for side in sides) / count
        if not spread > 0:
            continue
        for design, power, factor in (
            ("gameable against other users", TTestIndPower(), 1.0),
            ("two models, the same states", TTestPower(), math.sqrt(2)),
        ):
            for difference in DIFFERENCES[column.asked.scale]:
                effect = difference / (spread * factor)
                states_for = {p: _states(power, effect, p) for p in POWERS}
                found.append(
                    Needed(task, column, design, spread * factor, count, per_state, difference, states_for)
                )
    return found


def _states(design: object, effect: float, power: float) -> int | None:
    if effect > 10:
        return 2
    if effect < LEAST_EFFECT:
        return None
    number = design.solve_power(effect_size=effect, alpha=SIGNIFICANCE, power=power)  # pyright: ignore[reportAttributeAccessIssue]
    number = float(np.max(number))
    return max(2, math.ceil(number)) if number < LARGEST else None
