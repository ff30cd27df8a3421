"""Sheets for people to rate conversations in: CSV files with a row for each conversation or reply."""

import csv
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from scenarios.files.decimal_numbers import number_in
from scenarios.files.tables import read_table
from scenarios.mistakes import UserMistake
from scenarios.schema import Scale, ends_of
from scorers.judging.scales import ANSWERS

COLUMNS = ("id", "turn", "construct", "scale", "conversation", "value", "comment")
"""Of a sheet to be filled. `id` stands for sample, epoch and words, and says nothing of the sample."""

NEEDED = ("construct", "scale", "value")
"""Columns that must come back, with `id`, or with `sample_id` and `epoch`."""

MOST_PROBLEMS = 20
"""So many are listed."""


WRITTEN: dict[Scale, str] = {
    s: " or ".join(reversed(ANSWERS[s])) if s == "yes-no" else s.replace("-", " to ") for s in ANSWERS
}
"""Scale -> how a sheet names it."""

ID_MARK = "c"
"""Before every id: of sixteen hexadecimal digits some are digits alone, or have one e."""

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of what spreadsheets compute."""

LONGEST = 32_767
"""Characters that Excel shows of a cell."""

_READ: dict[str, Scale] = {name: scale for scale in ANSWERS for name in (scale, WRITTEN[scale])}

_DATE = re.compile(
    r"\d{1,4}([-/. ]+)\d{1,2}\1\d{1,4}( \d.*)?"  # 2026-01-05, 01/05/26
    r"|\d{1,4}[-/. ]+[^\W\d]{3,}\.?([-/. ]+\d{1,4})?"  # 05-Jan, 1. Mai
    r"|[^\W\d]{3,}\.?[-/. ]+\d{1,4}(,? \d{1,4})?"  # Jan-05, May 1
    r"|\d{5}"  # the days since 1899
)

_NUMBER = re.compile(r"\d+(\.\d+)?([eE][+-]?\d+)?")


class SheetError(UserMistake):
    """A sheet that cannot be used: every problem on a line of its own, `file:row: column: problem`."""

    several = True


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
    """Write a sheet to be filled; rows are (id, turn or None, conversation).

    No cell is one that a spreadsheet takes for something else than text: `1-5` would become a day of
    January, an id of digits a number, a text that begins with `=` a formula.
    """
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(COLUMNS)
    for digest, turn, text in rows:
        shown = f" {text}" if text[:1] in FORMULA else text
        # half a character cannot be written
        shown = shown.encode("utf-8", "replace").decode()
        where = "" if turn is None else turn
        writer.writerow([f"{ID_MARK}{digest}", where, construct, WRITTEN[scale], shown, "", ""])


def sheet_hash(path: Path) -> str:
    """SHA-256 of the file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_sheet(
    path: Path,
    by_id: Mapping[str, Talk],
    construct: str | None = None,
    *,
    scale: Scale | None = None,
    scales: Mapping[str, Scale] | None = None,
    encoding: str | None = None,
) -> Sheet:
    """Read a filled sheet and check every row.

    What spreadsheet programs make of a sheet is read: other delimiters and encodings, rows without their
    last cells, `2,5`, scales that have become dates.

    Args:
        path: A table (`scenarios/files/tables.py`).
        by_id: The log's conversations by their digest (`conversation_digest`).
        construct: What must have been rated; None: what the sheet says.
        scale: The scale of rows that do not say one any more.
        scales: Construct -> its scale, if `scale` is not given.
        encoding: Of the file; None: told from its bytes.

    Raises:
        SheetError: Anything is wrong, or nothing is rated; nothing of the sheet should be used then.
        UserMistake: The file cannot be read.
    """
    rows, problems = _rows(path, encoding), _Problems(path)
    asked = construct or next((c for _, r in rows if (c := r["construct"])), "")
    on = _one_scale(rows, scale or (scales or {}).get(asked), problems)
    by_unit = _units(by_id.values())
    ratings: list[Rating] = []
    seen: dict[tuple[Talk, int], int] = {}
    for number, row in rows:
        if row["construct"] != asked:
            problems.add(number, "construct", f"is {row['construct']!r}, the rest is about {asked!r}")
        talk = _talk(row, by_id, by_unit, number, problems)
        value = _value(row["value"], on, number, problems) if on else None
        if talk is None or (turn := _turn(row.get("turn", ""), talk, number, problems)) is None:
            continue
        if (first := seen.setdefault((talk, turn), number)) != number:
            problems.add(number, "id", f"the same conversation is rated in row {first} too; keep one of them")
        ratings.append(Rating(talk, turn or None, value, row.get("comment", ""), number))
    for rating in ratings:
        if rating.turn is not None and (rating.talk, 0) in seen:
            problems.add(rating.row, "turn", "the whole conversation is rated as well; keep one of them")
    if problems.found or on is None:
        raise SheetError(problems.text())
    if all(rating.value is None for rating in ratings):
        raise SheetError(
            f"{path.name}: not filled: none of its {len(ratings)} rows has a value; nothing is imported"
        )
    return Sheet(path.name, sheet_hash(path), asked, on, ratings)


class _Problems:
    def __init__(self, path: Path) -> None:
        self.file = path.name
        self.found: list[str] = []

    def add(self, row: int, column: str, problem: str) -> None:
        self.found.append(f"{self.file}:{row}: {column}: {problem}")

    def text(self) -> str:
        more = len(self.found) - MOST_PROBLEMS
        return "\n".join([*self.found[:MOST_PROBLEMS], *([f"and {more} more"] if more > 0 else [])])


def _rows(path: Path, encoding: str | None) -> list[tuple[int, dict[str, str]]]:
    rows: list[tuple[int, dict[str, str]]] = []
    for row in read_table(path, encoding=encoding, from_spreadsheet=True):
        cells = {name.lower(): _text(value) for name, value in row.cells.items()}
        missing = [name for name in NEEDED if name not in cells]
        if "id" not in cells and not {"sample_id", "epoch"} <= cells.keys():
            missing.append("id (or sample_id and epoch)")
        if missing:
            raise SheetError(f"{path.name}:1: no column {', '.join(missing)}; there are {', '.join(cells)}")
        if len(cells) < len(row.cells):
            raise SheetError(f"{path.name}:1: columns that come twice: {', '.join(sorted(row.cells))}")
        rows.append((row.number, cells))
    return rows


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _one_scale(
    rows: Sequence[tuple[int, dict[str, str]]], known: Scale | None, problems: _Problems
) -> Scale | None:
    """The scale of all rows; of cells that a spreadsheet has made dates of, the one that they were."""
    if not rows:
        problems.add(1, "value", "there are no rows")
    found: dict[Scale, int] = {}
    for text, number in {row["scale"]: number for number, row in reversed(rows)}.items():
        scale = _READ.get(text.lower())
        if scale is None and (not text or _DATE.fullmatch(text)):
            scale = known or _before_it_was_a_date(text)
            if scale is None:
                problems.add(
                    number,
                    "scale",
                    f"{text!r} is no scale; a spreadsheet may have made it of one: say --scale",
                )
                continue
        if scale is None:
            problems.add(number, "scale", f"{text!r} is none of {', '.join(ANSWERS)}")
        else:
            found[scale] = min(number, found.get(scale, number))
    if not found:
        return None
    first, *others = sorted(found, key=lambda scale: found[scale])
    for other in others:
        problems.add(found[other], "scale", f"is {other}, other rows have {first}")
    return first


def _before_it_was_a_date(text: str) -> Scale | None:
    """Of the scales only 1-5 and 1-10 are days of a month: one has a 5, the other a 10."""
    numbers = {int(n) for n in re.findall(r"\d+", text)}
    if (5 in numbers) == (10 in numbers):
        return None
    return "1-5" if 5 in numbers else "1-10"


def _talk(
    row: Mapping[str, str],
    by_id: Mapping[str, Talk],
    by_unit: Mapping[tuple[str, str], Talk | None],
    number: int,
    problems: _Problems,
) -> Talk | None:
    if "id" in row:
        found = by_id.get(row["id"]) or by_id.get(row["id"].removeprefix(ID_MARK))
        if found is None:
            made = "; a spreadsheet has made a number of it" if _NUMBER.fullmatch(row["id"]) else ""
            problems.add(
                number, "id", f"no conversation {row['id']!r} in this log{made}; was the sheet made from it?"
            )
        return found
    unit = (row["sample_id"], row["epoch"])
    found = by_unit.get(unit) or by_unit.get((_plain(unit[0]), _plain(unit[1])))
    if found is None:
        problems.add(
            number, "sample_id", f"no sample {row['sample_id']!r} epoch {row['epoch']!r} in this log"
        )
    return found


def _units(talks: Iterable[Talk]) -> dict[tuple[str, str], Talk | None]:
    """(sample, epoch) -> conversation; also as a spreadsheet writes them, unless that may be several."""
    found: dict[tuple[str, str], Talk | None] = {}
    exact: dict[tuple[str, str], Talk | None] = {}
    for talk in talks:
        exact[str(talk.sample_id), str(talk.epoch)] = talk
        plain = (_plain(str(talk.sample_id)), str(talk.epoch))
        found[plain] = None if plain in found else talk
    return found | exact


def _plain(text: str) -> str:
    """`7` of `007` and of `7.0`: a spreadsheet keeps of digits the number alone."""
    try:
        value = number_in(text)
    except ValueError:
        return text
    return str(int(value)) if value.is_integer() else str(value)


def _turn(text: str, talk: Talk, number: int, problems: _Problems) -> int | None:
    """The number of the reply; 0 for the whole conversation, None if it cannot be."""
    if not text:
        return 0
    plain = _plain(text)
    if plain.isdecimal() and 1 <= int(plain) <= talk.replies:
        return int(plain)
    problems.add(number, "turn", f"must be 1 to {talk.replies}, or empty for all, got {text!r}")
    return None


def _value(text: str, scale: Scale, number: int, problems: _Problems) -> float | None:
    if not text:
        return None
    low, high = ends_of(scale)
    if (named := ANSWERS[scale].get(text.lower())) is not None:
        return named
    try:
        value = number_in(text)
    except ValueError as error:
        problems.add(number, "value", f"{error}; leave it empty if there is no rating")
        return None
    if not low <= value <= high:
        between = f"{text!r} is not between {low:g} and {high:g}"
        problems.add(number, "value", f"{between}; leave it empty if there is no rating")
        return None
    return value
