"""The numbers of a table: means by kind of user with intervals, as text and as rows of a file."""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from analysis.intervals import Interval
from analysis.score_tables.columns import Column, ScoreRow, belonging, is_scored, values_of

KINDS: dict[str, bool] = {"gameable users": True, "other users": False}
EVERYBODY = "users"
DIFFERENCE = "difference"


class Cell(NamedTuple):
    """The mean of some conversations."""

    users: str
    """`gameable users`, `other users`, `users` where a log does not tell them apart, or `difference`."""

    mean: Interval | None
    """None if nothing is scored."""

    scored: int
    unscored: int
    """Conversations without a number."""


class Line(NamedTuple):
    """One score."""

    column: Column
    cells: list[Cell]


def kinds_in(rows: Iterable[ScoreRow]) -> dict[str, bool | None]:
    """The columns of a table: kinds of users, or all of them where no conversation says who is gameable."""
    if any(row.gameable is not None for row in rows):
        return dict(KINDS)
    return {EVERYBODY: None}


def of_kind(rows: Iterable[ScoreRow], kind: bool | None) -> list[ScoreRow]:
    """The conversations with one kind of user."""
    return [row for row in rows if row.gameable is kind]


def lines_of(rows: Sequence[ScoreRow], columns: Sequence[Column]) -> list[Line]:
    """The means of each score by kind of user, and the difference between the kinds."""
    found: list[Line] = []
    for column in columns:
        values, cells = [], []
        for users, kind in kinds_in(rows).items():
            members = belonging(of_kind(rows, kind), column)
            values.append(values_of(members, column))
            scored = len(values[-1].values)
            cells.append(
                Cell(users, values[-1].interval() if scored else None, scored, len(members) - scored)
            )
        if len(values) == 2:
            both = all(v.values for v in values)
            counts = (sum(c.scored for c in cells), sum(c.unscored for c in cells))
            cells.append(Cell(DIFFERENCE, values[0].minus(values[1]) if both else None, *counts))
        found.append(Line(column, cells))
    return found


def table(lines: Sequence[Line], kinds: Sequence[str]) -> list[str]:
    """The lines as text."""
    wide = max([12, *(len(line.column.title) + 2 for line in lines)])
    heads = [*kinds, DIFFERENCE] if len(kinds) == 2 else list(kinds)
    widths = [26 if head == DIFFERENCE else 24 for head in heads]
    titles = "".join(f"{head:<{width}}" for head, width in zip(heads, widths, strict=True))
    text = [" " * (wide + 2) + f"{'scale':<8}{titles}scored / unscored"]
    for line in lines:
        means = [cell_text(c.mean, signed=c.users == DIFFERENCE) for c in line.cells]
        cells = "".join(f"{cell:<{width}}" for cell, width in zip(means, widths, strict=True))
        counts = ", ".join(f"{c.scored} / {c.unscored}" for c in line.cells if c.users != DIFFERENCE)
        text.append(f"  {line.column.title:<{wide}}{line.column.asked.scale or '':<8}{cells}{counts}")
    return text


def cell_text(found: Interval | None, *, signed: bool = False) -> str:
    """A mean with its interval; `-` without one."""
    if found is None:
        return "-"
    sign = "+" if signed else ""
    if math.isnan(found.low):
        return f"{found.mean:{sign}.2f}"
    return f"{found.mean:{sign}.2f} [{found.low:{sign}.2f}, {found.high:{sign}.2f}]"


def turns_left_out(rows: Iterable[ScoreRow], columns: Sequence[Column]) -> Iterator[str]:
    """Which numbers are of some turns of a conversation only."""
    members = list(rows)
    counted: list[str] = []
    for column in columns:
        lost = [row.scores[column.asked].turns_unscored for row in members if is_scored(row, column)]
        if turns := sum(lost):
            conversations = sum(count > 0 for count in lost)
            counted.append(f"{column.title} {turns} in {conversations} of {len(lost)} conversations")
    if counted:
        yield f"  Turns without a usable answer, left out of a conversation's number: {'; '.join(counted)}."


def figures(lines: Sequence[Line], **where: str) -> Iterator[dict[str, Any]]:
    """A row of a file for each cell; None where there is no number.

    Args:
        lines: Of a table.
        where: What the table is of: log, task, model, status, topic.
    """
    for line in lines:
        asked = line.column.asked
        for cell in line.cells:
            ends = (math.nan, math.nan, math.nan) if cell.mean is None else cell.mean[:3]
            mean, low, high = (None if math.isnan(end) else end for end in ends)
            yield {
                **where,
                "score": asked.name,
                "scale": asked.scale,
                "form": asked.form or None,
                "judges": ", ".join(asked.judges) or None,
                "users": cell.users,
                "mean": mean,
                "low": low,
                "high": high,
                "scored": cell.scored,
                "unscored": cell.unscored,
            }


def log_figures(path: Path, task: str, model: str, status: str, topic: str) -> dict[str, str]:
    """What a row of a file says of its log; `topic` is empty for all."""
    return {"log": str(path), "task": task, "model": model, "status": status, "topic": topic}
