"""How a measure changes from session to session with one person."""

import math
from collections.abc import Sequence
from statistics import linear_regression

FEWEST = 3
"""Sessions with a number, without which there is no slope: a line fits any two."""


def slope(numbers: Sequence[int], values: Sequence[float]) -> float:
    """Least-squares slope of one person's sessions, change per session; NaN if too few have a number.

    A mean of slopes over persons, each weighing the same, is the two-stage analysis of repeated measures by a
    summary measure (Matthews et al. 1990, BMJ 300:230): its interval needs persons alone as clusters.

    Args:
        numbers: Of the sessions.
        values: Of each; NaN if unscored, which is left out.
    """
    known = [(n, v) for n, v in zip(numbers, values, strict=True) if not math.isnan(v)]
    if len(known) < FEWEST:
        return math.nan
    return linear_regression(*zip(*known, strict=True)).slope
