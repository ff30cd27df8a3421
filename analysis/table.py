"""The numbers of one or more logs as a table: `python analysis/table.py LOG_OR_FOLDER... [--by topic]`.

Everything comes from the logs' sample summaries; of several logs each gets its own table.
"""

import argparse
import math
import sys
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from inspect_ai.log import EvalLog, list_eval_logs, read_eval_log

from analysis.intervals import Interval
from analysis.scores_in_log import ScoredValue, scored_conversations
from analysis.table_notes import Notes
from analysis.values import Values, cluster_of, plain
from scenarios.schema import Scale

TITLES = {
    "preference": "rating",
    "influence": "harm",
    "simulator": "user flaws",
    "stay": "replies",
}


class Row(NamedTuple):
    """One sample in one epoch, as far as the table needs it."""

    state: Hashable
    group: str
    gameable: bool
    scores: dict[str, ScoredValue]


class Column(NamedTuple):
    """A score on one scale: a line of the table."""

    name: str
    scale: Scale | None
    title: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table for each log."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("logs", nargs="+", help=".eval files, or folders with them")
    parser.add_argument("--by", choices=["topic"], help="a table for each topic as well")
    parser.add_argument("--last", action="store_true", help="of each folder the newest log alone")
    options = parser.parse_args(arguments)
    paths = list(_paths(options.logs, last=options.last))
    if not paths:
        print(f"no .eval logs in {', '.join(options.logs)}", file=sys.stderr)
        return 1
    for path in paths:
        print("\n".join(describe(path, by=options.by)))
    return 0


def _paths(sources: Sequence[str], *, last: bool) -> Iterator[str]:
    for source in sources:
        if Path(source).is_file():
            yield source
        else:
            found = sorted(info.name for info in list_eval_logs(source))  # names begin with the time
            yield from found[-1:] if last else found


def describe(path: str, by: str | None = None) -> list[str]:
    """The lines of a log's table."""
    header = read_eval_log(path, header_only=True)
    rows = list(_rows(path))
    columns = _columns(rows)
    lines = ["", _title(header, len(rows))]
    lines += _table(rows, columns)
    if by is not None:
        for group in sorted({r.group for r in rows}):
            lines += ["", f"  {group}", *_table([r for r in rows if r.group == group], columns)]
    lines += [
        "",
        "  Means with 95 % intervals, clustered by initial state. Unscored: no usable answer; never 0.",
        *_turns_left_out(rows, columns),
    ]
    return [*lines, *Notes.of(path).lines(header)]


def _title(header: EvalLog, samples: int) -> str:
    return f"{header.eval.task} | {header.eval.model} | {samples} conversations | {header.status}"


def _rows(path: str) -> Iterator[Row]:
    for conversation in scored_conversations(path):
        facts = conversation.facts
        yield Row(
            state=cluster_of(facts, conversation.sample),
            group=str(plain(facts.get("topic", "-"))),
            gameable=bool(facts.get("gameable", False)),
            scores={one.name: one for one in conversation.values},
        )


def _columns(rows: Sequence[Row]) -> list[Column]:
    """The lines of a table: a score whose numbers name several scales has one for each.

    What is unscored and names no scale counts with the scale that most of the score's numbers name.
    """
    scales: dict[str, Counter[Scale | None]] = {}
    for one in (one for row in rows for one in row.scores.values()):
        counts = scales.setdefault(one.name, Counter())
        counts[one.scale] += not math.isnan(one.value)
    found: list[Column] = []
    for name, counts in scales.items():
        used: list[Scale | None] = [scale for scale, count in counts.most_common() if count] or [
            counts.most_common(1)[0][0]
        ]
        title = _shown_name(name, list(scales))
        found += [
            Column(name, scale, title if len(used) == 1 else f"{title} ({scale or 'no scale named'})")
            for scale in used
        ]
    return found


def _table(rows: Sequence[Row], columns: Sequence[Column]) -> list[str]:
    wide = max([12, *(len(column.title) + 2 for column in columns)])
    heads = f"{'scale':<8}{'gameable users':<24}{'other users':<24}{'difference':<26}scored / unscored"
    lines = [" " * (wide + 2) + heads]
    first = {column.name: column for column in reversed(columns)}
    for column in columns:
        found = [
            _of_column([r for r in rows if r.gameable is flag], column, first[column.name] == column)
            for flag in (True, False)
        ]
        both = [_values(group, column) for group in found]
        cells = [_cell(v.interval()) if v.values else "-" for v in both]
        cells.append(_cell(both[0].minus(both[1]), signed=True) if all(v.values for v in both) else "-")
        counts = ", ".join(
            f"{len(v.values)} / {len(group) - len(v.values)}" for v, group in zip(both, found, strict=True)
        )
        head = f"  {column.title:<{wide}}{column.scale or '':<8}"
        lines.append(f"{head}{cells[0]:<24}{cells[1]:<24}{cells[2]:<26}{counts}")
    return lines


def _of_column(rows: Sequence[Row], column: Column, is_first: bool) -> list[Row]:
    """Conversations that belong on a line: those on its scale, and on a score's first line those on none."""

    def belongs(row: Row) -> bool:
        one = row.scores.get(column.name)
        if one is None or math.isnan(one.value):
            return is_first
        return one.scale == column.scale

    return [row for row in rows if belongs(row)]


def _shown_name(name: str, names: Sequence[str]) -> str:
    """The title of a score, unless another score has that name."""
    title = TITLES.get(name, name)
    return name if title in names else title


def _values(rows: Sequence[Row], column: Column) -> Values:
    scored = [(row.scores[column.name].value, row.state) for row in rows if _is_scored(row, column)]
    return Values([v for v, _ in scored], [c for _, c in scored], column.scale)


def _is_scored(row: Row, column: Column) -> bool:
    one = row.scores.get(column.name)
    return one is not None and not math.isnan(one.value)


def _turns_left_out(rows: Sequence[Row], columns: Sequence[Column]) -> Iterator[str]:
    """Which numbers are of some turns of a conversation only."""
    told: list[str] = []
    for column in columns:
        lost = [
            row.scores[column.name].turns_unscored
            for row in rows
            if _is_scored(row, column) and row.scores[column.name].scale == column.scale
        ]
        if turns := sum(lost):
            conversations = sum(count > 0 for count in lost)
            told.append(f"{column.title} {turns} in {conversations} of {len(lost)} conversations")
    if told:
        yield f"  Turns without a usable answer, left out of a conversation's number: {'; '.join(told)}."


def _cell(found: Interval, *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    if math.isnan(found.low):
        return f"{found.mean:{sign}.2f}"
    return f"{found.mean:{sign}.2f} [{found.low:{sign}.2f}, {found.high:{sign}.2f}]"


if __name__ == "__main__":
    sys.exit(main())
