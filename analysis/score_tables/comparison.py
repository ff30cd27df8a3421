"""Two logs in one table, paired by initial state."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from analysis.logs.scores import ScoredValue
from analysis.score_tables.columns import Column, ScoreRow, arrange, belonging, values_of
from analysis.score_tables.figures import DIFFERENCE, Cell, Line, cell_text, figures, kinds_in, of_kind
from analysis.values import Values


class Side(NamedTuple):
    """The conversations of one of the two."""

    name: str
    rows: list[tuple[ScoreRow, list[ScoredValue]]]


class Compared(NamedTuple):
    """One score with one kind of user."""

    users: str
    column: Column
    first: Cell
    second: Cell
    difference: Cell
    """Second less first, with the interval that pairs initial states which both have."""

    states: int
    """Initial states that both have."""


def compare(first: Side, second: Side) -> tuple[list[Compared], list[str]]:
    """The scores that both have, and the titles of those that only one has."""
    columns = arrange([*first.rows, *second.rows])
    sides = [[row for row, _ in side.rows] for side in (first, second)]
    found: list[Compared] = []
    for column in columns:
        for users, kind in kinds_in([*sides[0], *sides[1]]).items():
            members = [belonging(of_kind(rows, kind), column) for rows in sides]
            values = [values_of(rows, column) for rows in members]
            if not all(v.values for v in values):
                continue
            cells = [_cell(users, v, len(rows)) for v, rows in zip(values, members, strict=True)]
            shared = {*values[0].clusters} & {*values[1].clusters}
            counts = (sum(c.scored for c in cells), sum(c.unscored for c in cells))
            change = Cell(DIFFERENCE, values[1].minus(values[0]), *counts)
            found.append(Compared(users, column, cells[0], cells[1], change, len(shared)))
    there = {one.column for one in found}
    return found, [column.title for column in columns if column not in there]


def comparison_table(found: Sequence[Compared], names: tuple[str, str]) -> list[str]:
    """A comparison as text."""
    wide = max([12, *(len(one.column.title) + 2 for one in found)])
    heads = f"{'scale':<8}{'with':<16}{names[0]:<24}{names[1]:<24}{'difference':<26}"
    text = [" " * (wide + 2) + f"{heads}scored, scored; states in both"]
    for one in found:
        cells = f"{cell_text(one.first.mean):<24}{cell_text(one.second.mean):<24}"
        change = f"{cell_text(one.difference.mean, signed=True):<26}"
        counts = f"{_counts(one.first)}, {_counts(one.second)}; {one.states}"
        head = f"  {one.column.title:<{wide}}{one.column.asked.scale or '':<8}{one.users:<16}"
        text.append(head + cells + change + counts)
    return text


def comparison_figures(found: Sequence[Compared], logs: tuple[str, str]) -> Iterator[dict[str, Any]]:
    """Three rows of a file for each score and kind of user: either log, and `second - first`."""
    names = (*logs, f"{logs[1]} - {logs[0]}")
    for one in found:
        for name, cell in zip(names, (one.first, one.second, one.difference), strict=True):
            yield from figures([Line(one.column, [cell._replace(users=one.users)])], log=name)


def _cell(users: str, values: Values, members: int) -> Cell:
    return Cell(users, values.interval(), len(values.values), members - len(values.values))


def _counts(cell: Cell) -> str:
    return f"{cell.scored} / {cell.unscored}"
