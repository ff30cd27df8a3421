"""What a builder of an evaluation set says of its source, and what all builders share."""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from probes.conversations.labels import is_missing
from scenarios.files.tables import TableError, TableRow, column_in


class Excluded(Exception):
    """A row that makes no conversation; the message is the reason that it is counted under."""


class SourceRow(NamedTuple):
    """A conversation out of a row of a source."""

    id: str
    """Unique within the file."""

    messages: list[dict[str, Any]]
    pair: str = ""
    """Rows with the same stay in one split; the id if empty."""

    tools: list[dict[str, Any]] | None = None
    label: Literal[0, 1] | None = None
    """Only where the source is made of twins; otherwise judges rate the rows."""

    facts: Mapping[str, str] = {}


class Source(NamedTuple):
    """A published data set, and how its rows become conversations."""

    name: str
    where: str
    """Where its files are, for people."""

    needs: tuple[str, ...]
    """Columns without which a file is not one of this source."""

    rows: Callable[[TableRow], Iterator[SourceRow]]
    """The conversations of a row. Raises Excluded."""

    test_files: re.Pattern[str] | None = None
    """Names of files that are the test; the others are for development. None: pairs are drawn."""

    notes: str = ""
    """What is done with the texts."""


def text_in(row: TableRow, column: str) -> str:
    """The text of a cell.

    Raises:
        TableError: There is no such column, or it holds something else.
        Excluded: It is empty, or what data frames write for nothing.
    """
    value = column_in(row, column)
    if is_missing(value) or (isinstance(value, str) and value.strip().lower() in ("", "nan", "none", "null")):
        raise Excluded(f"no {column}")
    if not isinstance(value, str):
        raise TableError(f"{row.where}: {column}: {type(value).__name__} instead of a text")
    return value.strip()


def optional_text(row: TableRow, column: str) -> str:
    """The text of a cell; empty if there is none."""
    try:
        return text_in(row, column) if column in row.cells else ""
    except Excluded:
        return ""


def words_digest(text: str) -> str:
    """`w` and 16 hexadecimal digits, for texts that are the same but for case, spaces and punctuation."""
    return "w" + hashlib.sha256(" ".join(re.findall(r"\w+", text.lower())).encode()).hexdigest()[:16]


def said(role: str, text: str) -> dict[str, Any]:
    """A message."""
    return {"role": role, "content": text}
