"""Rows of tables as people have them: CSV and TSV, JSON lines, JSON, parquet; compressed or not.

One reader for all that takes rows: captures, static data for training, sheets of ratings. Whatever cannot be
read is an error that names file, row and column. Rows count from 1 as a spreadsheet shows them: in CSV the
head is row 1 and a cell of several lines is one row; in JSON lines the row is the line.
"""

import csv
import difflib
import io
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from scenarios.files.compressed import kind_of, readable
from scenarios.files.encodings import open_text
from scenarios.files.strict_json import JsonError, parse_json
from scenarios.mistakes import UserMistake

KINDS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")
"""Ends of names; .gz, .bz2, .xz or .zst may follow."""

DELIMITERS = ",;\t|"

SAMPLE = 1 << 18
"""Characters at the start of a file from which the delimiter is told."""

SAMPLED_ROWS = 50
"""Rows of them, at most."""

BATCH = 256
"""Rows of a parquet file that are in memory at a time."""

MEMBERS = ("data", "rows", "examples")
"""Members of a JSON object that may hold the rows."""

MISREAD = "\u00ef\u00bb\u00bf"
"""A byte order mark of UTF-8 that was read as Western European."""

_TOLD = re.compile(r"sep=(.)[ \t]*(?:\r\n|\r|\n)")
"""A first line that Excel writes and does not show."""

_SPACE = re.compile(r"[ \t\r\n]*")

Opened = Callable[[], TextIO]

csv.field_size_limit(2**31 - 1)  # a conversation is longer than the 131,072 characters that Python allows


class TableError(UserMistake):
    """A table, or a row of one, that cannot be read: `file:row: column: problem`."""


class TableRow(NamedTuple):
    """One row."""

    where: str
    """`file:row`, for messages."""

    cells: dict[str, Any]
    """Column -> value. Of CSV all are texts."""

    @property
    def number(self) -> int:
        """Its number in the file."""
        return int(self.where.rpartition(":")[2])


def is_table(path: Path) -> bool:
    """Whether a file's name is one of a table."""
    return kind_of(path) in KINDS


def read_table(
    path: Path, *, encoding: str | None = None, from_spreadsheet: bool = False, option: str = "--encoding"
) -> Iterator[TableRow]:
    """The rows of a table, one in memory at a time (all of a `.json`).

    Args:
        path: A file whose name ends in one of `KINDS`, perhaps followed by that of a compression.
        encoding: Of a text file; told from the bytes if not given.
        from_spreadsheet: In CSV the last cells of a row may be missing, and are empty then; a mark of UTF-8
            that became letters is passed over, though other texts have become letters too.
        option: With which option users say the encoding, for messages.

    Raises:
        TableError: Another kind of file; a row that cannot be read; a column or a key that comes twice; NaN,
            half a character; not as many cells as the head has. Names file, row and column.
        TextError: The file is no text, or in no encoding that can be told.
        UnreadableError: The file cannot be read.
    """
    kind, opened = kind_of(path), partial(open_text, path, encoding, option=option)
    if kind == ".parquet":
        yield from _parquet_rows(path)
    elif kind in (".csv", ".tsv"):
        yield from _separated_rows(path, opened, "\t" if kind == ".tsv" else None, lenient=from_spreadsheet)
    elif kind in (".jsonl", ".ndjson"):
        yield from _json_lines(path, opened)
    elif kind == ".json":
        yield from _json_rows(path, opened)
    else:
        raise TableError(f"{path}: no table: its name must end in one of {', '.join(KINDS)}{_advice(kind)}")


def column_in(row: TableRow, name: str) -> Any:
    """The cell of a column.

    Raises:
        TableError: There is no such column; names those that there are, and the nearest.
    """
    if name not in row.cells:
        raise TableError(f"{row.where}: {no_column(name, list(row.cells))}")
    return row.cells[name]


def no_column(name: str, there: Sequence[str]) -> str:
    """What to tell if a column is missing."""
    close = difflib.get_close_matches(name, there, n=1)
    advice = f"; did you mean {close[0]!r}?" if close else ""
    return f"no column {name!r}; there are {', '.join(there)}{advice}"


def _advice(kind: str) -> str:
    if kind in (".xlsx", ".xls", ".ods"):
        return "; save the sheet as CSV UTF-8"
    if kind in (".pkl", ".pickle", ".pt"):
        return "; pickles run code when they are loaded and are not read: convert it to JSON lines"
    return ""


# -- separated values -----------------------------------------------------------------------------


def _separated_rows(
    path: Path, opened: Opened, delimiter: str | None, *, lenient: bool
) -> Iterator[TableRow]:
    columns: list[str] | None = None
    with opened() as file, readable(path):
        start = file.read(SAMPLE) + file.readline()
        if told := _TOLD.match(start):
            start, delimiter = start[told.end() :], delimiter or told[1]
        delimiter = delimiter or _delimiter(start)
        records = csv.reader(chain(io.StringIO(start, newline=""), file), delimiter=delimiter, strict=True)
        for number, record in _numbered(path, records):
            if not any(cell.strip() for cell in record):
                continue
            if columns is None:
                columns = _head(path, number, record, lenient=lenient)
                continue
            cells = [*record, *[""] * (len(columns) - len(record))] if lenient else record
            if len(cells) < len(columns) or any(cells[len(columns) :]):
                raise TableError(
                    f"{path}:{number}: not as many fields as the header has: {len(record)}, not "
                    f"{len(columns)}; they are parted by {_named(delimiter)}; quote a text with one in it"
                )
            named = zip(columns, cells, strict=False)
            yield TableRow(f"{path}:{number}", {name: cell for name, cell in named if name})
    if columns is None:
        raise TableError(f"{path}:1: the table is empty; its first row must name the columns")


def _numbered(path: Path, records: Any) -> Iterator[tuple[int, list[str]]]:
    number = 0
    while True:
        number += 1
        try:
            yield number, next(records)
        except StopIteration:
            return
        except csv.Error as error:
            raise TableError(f"{path}:{number}: not CSV: {error} (line {records.line_num})") from None


def _head(path: Path, number: int, record: Sequence[str], *, lenient: bool) -> list[str]:
    """Names of the columns; empty where there is none, as over the numbers that pandas writes first."""
    if record[0].startswith(MISREAD) and not lenient:
        raise TableError(
            f"{path}:{number}: the head begins with {MISREAD}: a program read UTF-8 as a code page and saved "
            "what it saw, so texts are damaged; open the file that it was made from as UTF-8, and save that"
        )
    columns = [name.strip() for name in (record[0].removeprefix(MISREAD), *record[1:])]
    if repeated := next((c for c in columns if c and columns.count(c) > 1), None):
        places = " and ".join(str(place) for place, c in enumerate(columns, start=1) if c == repeated)
        raise TableError(
            f"{path}:{number}: {repeated}: this column is here twice, as column {places}; rename one"
        )
    return columns


def _named(delimiter: str) -> str:
    return "tabs" if delimiter == "\t" else repr(delimiter)


def _delimiter(start: str) -> str:
    """What parts the head and gives the most of the first rows as many fields as the head has."""
    best, most = ",", (0.0, 0)
    for delimiter in DELIMITERS:
        records = csv.reader(io.StringIO(start, newline=""), delimiter=delimiter)
        first = list(islice((len(record) for record in records if record), SAMPLED_ROWS))
        if first and first[0] > 1:
            most_now = sum(n == first[0] for n in first) / len(first), first[0]
            best, most = (delimiter, most_now) if most_now > most else (best, most)
    return best


# -- JSON -----------------------------------------------------------------------------------------


def _json_lines(path: Path, opened: Opened) -> Iterator[TableRow]:
    # not `splitlines`: a text may hold Unicode's own line ends
    with opened() as file, readable(path):
        for number, line in enumerate(file, start=1):
            line = line.strip("\ufeff \t\r\n")
            if line == "[" or (line.startswith("[{") and number == 1):
                raise TableError(f"{path}:{number}: a JSON list, not JSON lines; its name must end in .json")
            if line:
                yield _object(f"{path}:{number}", line)


def _object(where: str, text: str) -> TableRow:
    try:
        value = parse_json(text)
    except JsonError as error:
        raise TableError(f"{where}: {error}") from None
    return _as_row(where, value)


def _as_row(where: str, value: Any) -> TableRow:
    if not isinstance(value, dict):
        raise TableError(f"{where}: {type(value).__name__} instead of an object with columns")
    return TableRow(where, value)


def _json_rows(path: Path, opened: Opened) -> Iterator[TableRow]:
    with opened() as file, readable(path):
        text = file.read().strip("\ufeff \t\r\n")
    if text.startswith("["):
        for number, item in _items(path, text):
            yield _object(f"{path}:{number}", item)
    elif text:
        yield from _objects(path, text)


def _objects(path: Path, text: str) -> Iterator[TableRow]:
    """Rows of a file that begins with an object: JSON lines, or a list in one of a few members."""
    try:
        parse_json(text.split("\n", 1)[0])
    except JsonError as error:
        if not str(error).startswith("not JSON"):
            raise TableError(f"{path}:1: {error}") from None
    else:
        yield from _json_lines(path, lambda: io.StringIO(text))
        return
    try:
        whole = parse_json(text)
    except JsonError as error:
        raise TableError(f"{path}: {error}") from None
    rows = next((whole[name] for name in MEMBERS if isinstance(whole.get(name), list)), None)
    if rows is None:
        raise TableError(
            f"{path}: one object, not rows; write a list of objects "
            '(of pandas: to_json(..., orient="records")), or one object a line'
        )
    for number, row in enumerate(rows, start=1):
        yield _as_row(f"{path}:{number}", row)


def _items(path: Path, text: str) -> Iterator[tuple[int, str]]:
    """The items of a JSON list, as texts, so that what is wrong with one is told with its number."""
    decoder, place, number = json.JSONDecoder(), 1, 0
    while True:
        place = _SPACE.match(text, place).end()  # pyright: ignore[reportOptionalMemberAccess]
        if number == 0 and text[place : place + 1] == "]":
            return
        number += 1
        try:
            _, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            told = getattr(error, "msg", None) or "too many levels, or too long a number"
            line = text.count("\n", 0, place) + 1
            raise TableError(f"{path}:{number}: not JSON: {told} (the row begins on line {line})") from None
        yield number, text[place:end]
        place = _SPACE.match(text, end).end()  # pyright: ignore[reportOptionalMemberAccess]
        if text[place : place + 1] == "]":
            return
        if text[place : place + 1] != ",":
            raise TableError(
                f"{path}:{number}: not JSON: the list is cut off or lacks a comma after this row"
            )
        place += 1


# -- parquet --------------------------------------------------------------------------------------


def _parquet_rows(path: Path) -> Iterator[TableRow]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise TableError(f"{path}: reading parquet needs pyarrow: pip install pyarrow") from None
    try:
        with readable(path), parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if repeated := next((name for name in names if names.count(name) > 1), None):
                raise TableError(f"{path}: {repeated}: this column is here twice")
            number = 0
            for batch in file.iter_batches(batch_size=BATCH):
                for cells in batch.to_pylist():
                    number += 1
                    yield TableRow(
                        f"{path}:{number}", {k: None if _is_nan(v) else v for k, v in cells.items()}
                    )
    except ArrowException as error:
        raise TableError(f"{path}: not a parquet file that can be read: {error}") from None


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
