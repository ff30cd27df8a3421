"""The numbers of logs as tables.

    python analysis/table.py LOG_OR_FOLDER... [--by topic]         of each log its own table
    python analysis/table.py LOG --by temperament                  the same by how the simulated users write
    python analysis/table.py BEFORE AFTER --compare                two logs, or folders, in one table

A conversation that several of the logs hold (a copy that was judged again, a retry) is counted once, in the
log that scored it last. Invalidated samples, and scores of samples that ended in an error, are left out and
counted.
"""

from scenarios.commands import starting  # noqa: F401

# isort: split

import argparse
import csv
import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from analysis.logs.copies import Copies, conversation_key, used_once
from analysis.logs.finding import LogError, LogFile, find_logs, open_log, unfinished_note
from analysis.logs.samples import read_records
from analysis.logs.scores import ScoredValue, conversation_of
from analysis.score_tables.columns import ScoreRow, arrange, row_of
from analysis.score_tables.comparison import Side, compare, comparison_figures, comparison_table
from analysis.score_tables.figures import (
    figures,
    kinds_in,
    lines_of,
    log_figures,
    table,
    turns_left_out,
)
from analysis.score_tables.notes import Notes
from scenarios.commands.exits import exit_status
from scenarios.commands.parsers import CommandParser
from scenarios.commands.usage import UsageMistake
from scenarios.files.terminal import without_controls
from scenarios.files.whole import write_json, write_text

OUT_SUFFIXES = (".csv", ".json")


class LogTable(NamedTuple):
    """What is printed of a log, and written to a file."""

    text: list[str]
    rows: list[dict[str, Any]]


class _Content(NamedTuple):
    """What tables need of a log's samples."""

    rows: list[tuple[ScoreRow, list[ScoredValue]]]
    notes: Notes
    invalidated: int
    elsewhere: int
    """Conversations that are used from another log."""

    keys: set[tuple[str | int, ...]]
    """Of the conversations; one is the same in a copy of a log."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Exit status as of `scenarios.commands.exits`."""
    return exit_status(lambda: _run(_options(arguments)))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(description=__doc__)
    parser.add_argument("logs", nargs="+", help=".eval or .json logs, or folders with them")
    parser.add_argument("--by", choices=["topic", "temperament"], help="a table for each of them as well")
    parser.add_argument(
        "--last", action="store_true", help="of each folder the log alone that was created last"
    )
    parser.add_argument("--compare", action="store_true", help="the second less the first, by initial state")
    parser.add_argument("--out", type=Path, help="the numbers as a file, .csv or .json")
    options = parser.parse_args(arguments)
    if options.out is not None and options.out.suffix not in OUT_SUFFIXES:
        raise UsageMistake(f"command line: --out {options.out}: name a file that ends in .csv or .json")
    if options.compare and len(options.logs) != 2:
        raise UsageMistake(f"command line: --compare takes two logs or folders, got {len(options.logs)}")
    if options.compare and options.by:
        raise UsageMistake("command line: --by is not for --compare; leave one of them out")
    return options


def _run(options: argparse.Namespace) -> int:
    rows: list[dict[str, Any]] = []
    for part in _compared(options) if options.compare else _each(options):
        print("\n".join(map(without_controls, part.text)))
        rows += part.rows
    if options.out is not None:
        _write(options.out, rows)
    return 0


def _each(options: argparse.Namespace) -> Iterator[LogTable]:
    logs = find_logs(options.logs, last=options.last)
    copies = used_once(logs) if len(logs) > 1 else Copies({})
    for log in logs:
        yield log_table(log, by=options.by, copies=copies)


def describe(path: Path | str, by: str | None = None) -> list[str]:
    """The lines of a log's table."""
    return [without_controls(line) for line in log_table(open_log(path), by=by).text]


def log_table(log: LogFile, *, by: str | None = None, copies: Copies | None = None) -> LogTable:
    """The table of one log.

    Args:
        log: See `analysis/logs/finding.py`.
        by: `topic`, or `temperament` of the simulated users: a table for each of them as well.
        copies: Which of its conversations are used from other logs.

    Raises:
        LogError: The log is damaged.
    """
    if log.header.eval.config.log_samples is False:
        what = "written without samples (--no-log-samples): there is nothing to make a table of"
        return LogTable(["", _title(log, "no"), f"  {what}"], [])
    content = _content(log, copies or Copies({}))
    if not content.rows:
        notes = [f"  {note}" for note in _left_out(log, content, copies or Copies({}))]
        return LogTable(["", _title(log, "no"), *(notes or ["  no conversation was written"])], [])
    columns = arrange(content.rows)
    rows = [row for row, _ in content.rows]
    text, written = ["", _title(log, str(len(rows)))], []
    for part in [None, *(sorted({getattr(r, by) for r in rows}) if by else [])]:
        members = [r for r in rows if by is None or part in (None, getattr(r, by))]
        lines = lines_of(members, columns)
        text += ["", f"  {part}"] if part is not None else []
        text += table(lines, list(kinds_in(members)))
        written += figures(lines, **(_figures_of(log) | ({by: part or ""} if by else {})))
    text += [
        "",
        "  Means with 95 % intervals, clustered by initial state. Unscored: no usable answer; never 0.",
        *turns_left_out(rows, columns),
        *(f"  {note}" for note in _left_out(log, content, copies or Copies({}))),
        *content.notes.lines(log),
    ]
    return LogTable(text, written)


def _compared(options: argparse.Namespace) -> Iterator[LogTable]:
    sides: list[Side] = []
    notes: list[str] = []
    keys: list[set[tuple[str | int, ...]]] = []
    for source in options.logs:
        logs = find_logs([source], last=options.last)
        keys.append(set())
        copies = used_once(logs)
        rows: list[tuple[ScoreRow, list[ScoredValue]]] = []
        for log in logs:
            content = _content(log, copies)
            rows += content.rows
            keys[-1] |= content.keys
            notes += _left_out(log, content, copies)
            if content.notes.errors:
                notes.append(f"{log.path}: {content.notes.errors} conversations ended in an error")
        sides.append(Side(str(source), rows))
    found, alone = compare(*sides)
    if not found:
        names = ", ".join(alone) or "none"
        raise LogError(
            f"{sides[0].name} and {sides[1].name}: no score of both has numbers that answer the same "
            f"question on the same scale (there are {names}); judge one of them as the other was, with "
            "`inspect score`"
        )
    titles = [f"{side.name}: {len(side.rows)} conversations" for side in sides]
    text = ["", f"A = {titles[0]}", f"B = {titles[1]}", *comparison_table(found, ("A", "B"))]
    text += ["", "  Difference: B - A, paired by initial state; 95 % intervals, clustered by initial state."]
    if keys[0] == keys[1] and _numbers(sides[0]) == _numbers(sides[1]):
        text.append(
            "  A and B are the same: copies of one log, with the same conversations and the same scores"
        )
    elif same := len(keys[0] & keys[1]):
        text.append(f"  {same} conversations are the same in A and B: there only the judging can differ")
    if alone:
        text.append(f"  not in both, or not asked alike: {', '.join(alone)}")
    text += [f"  {note}" for note in notes]
    yield LogTable(text, list(comparison_figures(found, (sides[0].name, sides[1].name))))


def _numbers(side: Side) -> list[str]:
    """Every score of every conversation, in an order that two copies share."""
    return sorted(
        repr((row.state, row.topic, [(v.name, v.value) for v in values])) for row, values in side.rows
    )


def _content(log: LogFile, copies: Copies) -> _Content:
    rows: list[tuple[ScoreRow, list[ScoredValue]]] = []
    notes, invalidated, elsewhere, keys = Notes(), 0, 0, set[tuple[str | int, ...]]()
    for record in read_records(log):
        if not copies.uses(log, record.unit):
            elsewhere += 1
        elif record.invalidated:
            invalidated += 1
        else:
            conversation = conversation_of(record)
            rows.append(row_of(conversation))
            notes.add(conversation)
            keys.add(conversation_key(log, record))
    return _Content(rows, notes, invalidated, elsewhere, keys)


def _left_out(log: LogFile, content: _Content, copies: Copies) -> Iterator[str]:
    if note := unfinished_note(log):
        yield note
    if content.invalidated:
        yield f"{log.path}: {content.invalidated} conversations are invalidated, and left out"
    yield from copies.notes(log)


def _title(log: LogFile, conversations: str) -> str:
    return f"{log.header.eval.task} | {log.model} | {conversations} conversations | {log.header.status}"


def _figures_of(log: LogFile) -> dict[str, str]:
    return log_figures(log.path, log.header.eval.task, log.model, log.header.status, topic="")


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    if path.suffix == ".json":
        write_json(path, list(rows))
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


if __name__ == "__main__":
    sys.exit(main())
