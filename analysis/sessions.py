"""Every measure session by session, with its slope, for logs in which the same person comes back.

    python analysis/sessions.py LOG_OR_FOLDER...       of each log its own table
    python analysis/sessions.py logs --last --out sessions.csv

Means with 95 % intervals, clustered by initial state. A slope is that of one person's sessions, the mean is
over people. What has no number is left out and counted.
"""

from scenarios.commands import starting  # noqa: F401

# isort: split

import argparse
import csv
import io
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.intervals import Interval
from analysis.logs.finding import LogFile, find_logs, unfinished_note
from analysis.over_sessions.measures import Notes, OverSessions, courses_of, over_sessions
from scenarios.commands.exits import exit_status
from scenarios.commands.parsers import CommandParser
from scenarios.commands.usage import UsageMistake
from scenarios.files.terminal import without_controls
from scenarios.files.whole import write_json, write_text

OUT_SUFFIXES = (".csv", ".json")


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Exit status as of `scenarios.commands.exits`."""
    return exit_status(lambda: _run(_options(arguments)))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(description=__doc__)
    parser.add_argument("logs", nargs="+", help=".eval or .json logs, or folders with them")
    parser.add_argument(
        "--last", action="store_true", help="of each folder the log alone that was created last"
    )
    parser.add_argument("--out", type=Path, help="the numbers as a file, .csv or .json")
    options = parser.parse_args(arguments)
    if options.out is not None and options.out.suffix not in OUT_SUFFIXES:
        raise UsageMistake(f"command line: --out {options.out}: name a file that ends in .csv or .json")
    return options


def _run(options: argparse.Namespace) -> int:
    rows: list[dict[str, Any]] = []
    for log in find_logs(options.logs, last=options.last):
        courses, notes = courses_of(log)
        found = list(over_sessions(courses))
        print("\n".join(map(without_controls, _table(log, found, notes))))
        rows += [row for one in found for row in _rows(log, one)]
    if options.out is not None:
        _write(options.out, rows)
    return 0


# -- as text ---------------------------------------------------------------------------------------


def _table(log: LogFile, found: Sequence[OverSessions], notes: Notes) -> Iterator[str]:
    numbers = sorted({number for one in found for number in one.sessions})
    yield ""
    yield (
        f"{log.header.eval.task.rpartition('/')[2]} | {log.model} | {notes.persons} people | memory "
        f"{', '.join(sorted(notes.memory)) or 'unknown'} | {log.header.status}"
    )
    names = [f"{one.measure}, {one.users}" for one in found]
    width = max(map(len, names), default=0)
    head = "".join(f"{n:>7}" for n in numbers)
    yield f"  {'session':{width}}{head}    slope per session"
    for name, one in zip(names, found, strict=True):
        cells = "".join(f"{_mean(one.sessions.get(n)):>7}" for n in numbers)
        lost = f"   {one.unscored} without a number" if one.unscored else ""
        yield f"  {name:{width}}{cells}    {_with_ends(one.slope)}{lost}"
    yield ""
    yield "  Means over people; slopes with 95 % intervals, clustered by initial state."
    yield f"  sessions ended by: {_counted(notes.ended)}"
    if notes.written:
        wrong = _counted(notes.problems) or "nothing"
        yield f"  notes written: {notes.written}; what was wrong with them: {wrong}"
    if (unfinished := unfinished_note(log)) is not None:
        yield f"  {unfinished}"


def _mean(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval.mean:.2f}"


def _with_ends(interval: Interval | None) -> str:
    if interval is None:
        return "-"
    if math.isnan(interval.low):
        return f"{interval.mean:+.3f}"
    return f"{interval.mean:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def _counted(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{n} {what}" for what, n in sorted(counts.items()))


# -- as a file -------------------------------------------------------------------------------------


def _rows(log: LogFile, one: OverSessions) -> Iterator[dict[str, Any]]:
    cells: list[tuple[int | str, Interval]] = [*one.sessions.items()]
    if one.slope is not None:
        cells.append(("slope", one.slope))
    for session, interval in cells:
        yield {
            "log": log.name,
            "measure": one.measure,
            "users": one.users,
            "session": session,
            "mean": interval.mean,
            "low": None if math.isnan(interval.low) else interval.low,
            "high": None if math.isnan(interval.high) else interval.high,
            "n": interval.n,
            "clusters": interval.clusters,
        }


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    if path.suffix == ".json":
        write_json(path, list(rows))
        return
    text = io.StringIO()
    columns = ["log", "measure", "users", "session", "mean", "low", "high", "n", "clusters"]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


if __name__ == "__main__":
    sys.exit(main())
