"""Means of evaluations by kind of user, with intervals and the counts of what has no number."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from analysis.intervals import Interval, over_seeds
from analysis.reporting.evaluations import Evaluation
from analysis.reporting.published import AGGREGATE, HIGHEST, SHARE
from analysis.reporting.reading import HARM, LENGTH, RATING, REFUSALS, TURNS, UNSCORED
from analysis.score_tables.columns import Column, ScoreRow, arrange, belonging, is_scored, values_of
from analysis.score_tables.figures import DIFFERENCE, EVERYBODY, kinds_in, of_kind
from analysis.values import Values

FIRST = (RATING, HARM)
LAST = (AGGREGATE, HIGHEST, SHARE, TURNS, LENGTH, REFUSALS, UNSCORED)
"""Order of measures: the first of all, then judges', then what is counted."""

ALL_USERS = "all users"


class Measured(NamedTuple):
    """One number of one evaluation."""

    evaluation: Evaluation
    column: Column
    users: str
    """`gameable users`, `other users`, `all users`, `users` where logs do not tell, or `difference`."""

    mean: Interval | None
    """None if nothing is scored."""

    scored: int
    unscored: int
    partly: int
    """Scored conversations of some turns alone."""


def columns_of(listed: Sequence[Evaluation]) -> list[Column]:
    """The measures of some evaluations, in the order of the report; fills the rows' scores."""
    rows = [(one.row, one.values) for evaluation in listed for one in evaluation.conversations]
    places = {name: place for place, name in enumerate(FIRST)}
    places |= {name: 1000 + place for place, name in enumerate(LAST)}
    found = arrange(rows)
    return sorted(found, key=lambda c: places.get(c.asked.name, 500))


def is_rating(column: Column) -> bool:
    """Whether it is the rating that the user would give."""
    return column.asked.name == RATING


def is_harm(column: Column) -> bool:
    """Whether it is harmful influence, of whichever form."""
    return column.asked.name == HARM


def is_counted(column: Column) -> bool:
    """Whether it is counted, and no judge's."""
    return column.asked.name in LAST


def measured(
    evaluation: Evaluation, column: Column, rows: Sequence[ScoreRow] | None = None
) -> list[Measured]:
    """The means of one measure: for each kind of user, their difference, and all users.

    Args:
        evaluation: Whose.
        column: The measure.
        rows: Some of its conversations; all, if none are given.
    """
    rows = evaluation.rows if rows is None else rows
    if not any(column.asked in row.scores for row in rows):
        return []
    found: list[Measured] = []
    sides: list[Values] = []
    kinds = kinds_in(rows)
    for users, kind in kinds.items():
        members = belonging(of_kind(rows, kind), column)
        sides.append(values_of(members, column))
        found.append(_mean(evaluation, column, users, sides[-1], members))
    if len(sides) == 2:
        both = all(side.values for side in sides)
        counts = [sum(getattr(m, name) for m in found) for name in ("scored", "unscored", "partly")]
        mean = sides[0].minus(sides[1]) if both else None
        members = belonging(rows, column)
        everybody = _mean(evaluation, column, ALL_USERS, values_of(members, column), members)
        found += [Measured(evaluation, column, DIFFERENCE, mean, *counts), everybody]
    return found


def _mean(
    evaluation: Evaluation, column: Column, users: str, values: Values, members: Sequence[ScoreRow]
) -> Measured:
    scored = len(values.values)
    partly = sum(row.scores[column.asked].turns_unscored > 0 for row in members if is_scored(row, column))
    mean = values.interval() if scored else None
    return Measured(evaluation, column, users, mean, scored, len(members) - scored, partly)


def all_means(listed: Iterable[Evaluation], columns: Sequence[Column]) -> list[Measured]:
    """Every mean of every evaluation."""
    return [m for evaluation in listed for column in columns for m in measured(evaluation, column)]


class OverSeeds(NamedTuple):
    """The mean of evaluations that differ in their seed."""

    evaluations: list[Evaluation]
    column: Column
    users: str
    mean: Interval
    """Over the seeds: what varies is the run, however many conversations it has."""

    values: list[float]
    """Of each seed."""


def means_over_seeds(groups: Iterable[Sequence[Evaluation]], means: Sequence[Measured]) -> list[OverSeeds]:
    """Of every measure that all evaluations of a group have."""
    table = {(id(m.evaluation), m.column, m.users): m for m in means}
    found: list[OverSeeds] = []
    for group in groups:
        for m in (m for m in means if m.evaluation is group[0]):
            same = [table.get((id(one), m.column, m.users)) for one in group]
            values = [s.mean.mean for s in same if s is not None and s.mean is not None]
            if len(values) == len(group):
                found.append(OverSeeds(list(group), m.column, m.users, over_seeds(values), values))
    return found


def text(found: Interval | None, *, signed: bool = False, digits: int = 2) -> str:
    """A mean with its interval, a dash without one."""
    if found is None:
        return "–"
    sign = "+" if signed else ""
    mean = f"{found.mean:{sign}.{digits}f}"
    if math.isnan(found.low):
        return mean
    return f"{mean} [{found.low:{sign}.{digits}f}, {found.high:{sign}.{digits}f}]"


def users_in(means: Iterable[Measured]) -> list[str]:
    """Kinds of users with a mean of their own, in order."""
    there = {m.users for m in means}
    return [u for u in ("gameable users", "other users", EVERYBODY) if u in there]
