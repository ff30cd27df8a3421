"""Sheets for people to rate conversations in: CSV files with a row for each conversation or reply."""

import csv
import hashlib
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from scenarios.schema import Scale
from scorers.scales import SCALES, bounds

COLUMNS = ("id", "turn", "construct", "scale", "conversation", "value", "comment")
"""Of a sheet to be filled. `id` stands for sample, epoch and words, and says nothing of the sample."""

NEEDED = ("construct", "scale", "value")
"""Columns that must come back, with `id`, or with `sample_id` and `epoch`."""

MOST_PROBLEMS = 20
"""So many are listed."""


class SheetError(ValueError):
    """A sheet that cannot be used: every problem on a line of its own, `file:row: column: problem`."""


class Talk(NamedTuple):
    """A conversation of the log."""

    sample_id: str | int
    epoch: int
    replies: int


class Rating(NamedTuple):
    """One row of a sheet."""

    talk: Talk
    turn: int | None
    """Number of the reply, from 1; None for the whole conversation."""

    value: float | None
    """None: not rated."""

    comment: str
    row: int
    """As a spreadsheet counts: the head is row 1."""


class Sheet(NamedTuple):
    """A filled sheet."""

    file: str
    sha256: str
    construct: str
    scale: Scale
    ratings: list[Rating]


def write_sheet(
    target: TextIO, rows: Iterable[tuple[str, int | None, str]], construct: str, scale: Scale
) -> None:
    """Write a sheet to be filled; rows are (id, turn or None, conversation)."""
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(COLUMNS)
    for digest, turn, text in rows:
        writer.writerow([digest, "" if turn is None else turn, construct, scale, text, "", ""])


def sheet_hash(path: Path) -> str:
    """SHA-256 of the file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_sheet(path: Path, by_id: Mapping[str, Talk], construct: str | None = None) -> Sheet:
    """Read a filled sheet and check every row.

    Commas, semicolons and tabs may part the columns, and a byte order mark may come first, as
    spreadsheet programs write them.

    Args:
        path: CSV file in UTF-8.
        by_id: The log's conversations by their digest (`conversation_digest`).
        construct: What must have been rated; None: what the sheet says.

    Raises:
        SheetError: Anything is wrong; nothing of the sheet should be used then.
    """
    rows, problems = _rows(path), _Problems(path)
    asked = construct or next((c for _, r in rows if (c := r["construct"])), "")
    scale = _one_scale(rows, problems)
    by_unit = {(str(t.sample_id), str(t.epoch)): t for t in by_id.values()}
    ratings: list[Rating] = []
    seen: dict[tuple[Talk, int | None], int] = {}
    for number, row in rows:
        if row["construct"] != asked:
            problems.add(number, "construct", f"is {row['construct']!r}, the rest is about {asked!r}")
        talk = _talk(row, by_id, by_unit, number, problems)
        value = _value(row["value"], scale, number, problems) if scale else None
        if talk is None:
            continue
        text = row.get("turn", "")
        if text and not (text.isdecimal() and 1 <= int(text) <= talk.replies):
            problems.add(number, "turn", f"must be 1 to {talk.replies}, or empty for all, got {text!r}")
            continue
        turn = int(text) if text else None
        if (first := seen.setdefault((talk, turn), number)) != number:
            problems.add(number, "id", f"the same conversation is rated in row {first} too; keep one of them")
        ratings.append(Rating(talk, turn, value, row.get("comment", ""), number))
    for rating in ratings:
        if rating.turn is not None and (rating.talk, None) in seen:
            problems.add(rating.row, "turn", "the whole conversation is rated as well; keep one of them")
    if problems.found or scale is None:
        raise SheetError(problems.text())
    return Sheet(path.name, sheet_hash(path), asked, scale, ratings)


class _Problems:
    def __init__(self, path: Path) -> None:
        self.file = path.name
        self.found: list[str] = []

    def add(self, row: int, column: str, problem: str) -> None:
        self.found.append(f"{self.file}:{row}: {column}: {problem}")

    def text(self) -> str:
        more = len(self.found) - MOST_PROBLEMS
        return "\n".join([*self.found[:MOST_PROBLEMS], *([f"and {more} more"] if more > 0 else [])])


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SheetError(f"{path.name}: not UTF-8 ({error}); save it as CSV UTF-8") from None
    head = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=head.count)
    records = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    columns = [name.strip().lower() for name in records[0]] if records else []
    missing = [name for name in NEEDED if name not in columns]
    if "id" not in columns and not {"sample_id", "epoch"} <= set(columns):
        missing.append("id (or sample_id and epoch)")
    if missing:
        raise SheetError(
            f"{path.name}:1: no column {', '.join(missing)}; there are {', '.join(columns) or 'none'}"
        )
    if repeated := sorted({c for c in columns if c and columns.count(c) > 1}):
        raise SheetError(f"{path.name}:1: columns that come twice: {', '.join(repeated)}")
    return [(i, _row(columns, r)) for i, r in enumerate(records[1:], start=2) if any(map(str.strip, r))]


def _row(columns: Sequence[str], record: Sequence[str]) -> dict[str, str]:
    cells = [*record, *[""] * (len(columns) - len(record))]
    return {name: cell.strip() for name, cell in zip(columns, cells, strict=False)}


def _one_scale(rows: Sequence[tuple[int, dict[str, str]]], problems: _Problems) -> Scale | None:
    names = {row["scale"]: number for number, row in reversed(rows)}
    for name, number in names.items():
        if name not in SCALES:
            problems.add(number, "scale", f"{name!r} is none of {', '.join(SCALES)}")
    known: list[Scale] = [scale for scale in SCALES if scale in names]
    for other in known[1:]:
        problems.add(names[other], "scale", f"is {other}, other rows have {known[0]}")
    if not rows:
        problems.add(1, "value", "there are no rows")
    return known[0] if known else None


def _talk(
    row: Mapping[str, str],
    by_id: Mapping[str, Talk],
    by_unit: Mapping[tuple[str, str], Talk],
    number: int,
    problems: _Problems,
) -> Talk | None:
    if "id" in row:
        found = by_id.get(row["id"])
        if found is None:
            problems.add(
                number, "id", f"no conversation {row['id']!r} in this log; was the sheet made from it?"
            )
        return found
    found = by_unit.get((row["sample_id"], row["epoch"]))
    if found is None:
        problems.add(
            number, "sample_id", f"no sample {row['sample_id']!r} epoch {row['epoch']!r} in this log"
        )
    return found


def _value(text: str, scale: Scale, number: int, problems: _Problems) -> float | None:
    if not text:
        return None
    low, high = bounds(scale)
    if (named := SCALES[scale].get(text.lower())) is not None:
        return named
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        what = "is not a number" if math.isnan(value) else f"is not between {low:g} and {high:g}"
        problems.add(number, "value", f"{text!r} {what}; leave it empty if there is no rating")
        return None
    return value
