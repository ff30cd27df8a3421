"""Rows of stakes data: one conversation each, with the pair that it belongs to, its label and its facts.

    {"id": "c1-4-high", "pair": "c1", "messages": [{"role": "user", "content": "..."}], "label": 1,
     "facts": {"style": "question", "tone": "formal", "language": "English", "split": "train"}}

A file holds one row a line. Read are rows of this form, those of the earlier system (`inputs`, `ids`,
`labels`, `pair_id`), lists of messages in the form of OpenAI or ShareGPT under any usual name, and CSV whose
cells hold them. What cannot be meant is an error with file and row; what says nothing is counted.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from probes.conversations.labels import DataError, is_missing
from probes.conversations.table_rows import ID_COLUMNS, TEXT_COLUMNS
from scenarios.files.conversation_cells import CellError, NoConversationError, messages_of
from scenarios.files.strict_json import JsonError, parse_structure
from scenarios.files.tables import TableRow, no_column, read_table
from scenarios.files.whole import write_jsonl
from scenarios.schema import Frozen, Words

FACTS = ("style", "tone", "language", "length", "topic", "role", "impact", "split", "source")
"""Facts that the parts of the laboratory know; sets may have others."""

SPLITS = ("train", "dev", "test")

SPLIT_NAMES: Mapping[str, str] = {
    "training": "train",
    "validation": "dev",
    "valid": "dev",
    "val": "dev",
    "heldout": "test",
}
"""What others call splits -> what they are called here."""

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "messages": (*TEXT_COLUMNS, "conversation"),
    "id": ID_COLUMNS,
    "pair": ("pair", "pair_id"),
    "label": ("label", "labels", "high_stakes"),
    "style": ("style", "prompt_style"),
    "role": ("role", "role_of_user"),
    "impact": ("impact", "impact_factor"),
}
"""Part of a row -> the columns that may hold it, the first that is there. Other facts have their own name."""

AMBIGUOUS: Final = "ambiguous"

VOCABULARIES: Mapping[str, Mapping[str, Literal[0, 1] | None]] = {
    "0 and 1": {"0": 0, "1": 1, "2": None},
    "true and false": {"false": 0, "true": 1},
    "high-stakes and low-stakes": {"low-stakes": 0, "high-stakes": 1},
    "high and low": {"low": 0, "high": 1},
}
"""Words for labels, of which a file uses one set; 2 is the earlier system's code of `ambiguous`."""


class Rating(Frozen):
    """What one judge said of a row under one rubric."""

    judge: Words
    """Model, or `human/<name>`."""

    rubric: str
    """First digits of the SHA-256 of the rubric; what it is called where that is not known."""

    rating: float | None = Field(None, ge=1, le=10)
    """1 to 10; the mean over epochs. None: no usable answer."""

    confidence: float | None = Field(None, ge=1, le=10)
    """1 to 10. None: not told."""


class StakesRow(Frozen):
    """One labelled, or not yet labelled, conversation."""

    id: Words
    """Unique in its data set."""

    pair: Words
    """Rows with the same stay together in splits, folds and bootstraps: a situation told both ways."""

    messages: list[dict[str, Any]] = Field(min_length=1)
    """As chat templates take them: role, content, tool_calls (arguments as an object), tool_call_id, name."""

    tools: list[dict[str, Any]] | None = None
    """JSON schemas of the tools that were offered."""

    label: Literal[0, 1] | None = None
    """1: high stakes. None: not labelled, or ambiguous (`facts.class` tells)."""

    facts: dict[str, str] = Field(default_factory=dict)
    ratings: list[Rating] = Field(default_factory=list)

    @field_validator("facts")
    @classmethod
    def _split_is_known(cls, facts: dict[str, str]) -> dict[str, str]:
        if (split := facts.get("split")) is not None and split not in SPLITS:
            raise ValueError(f"split {split!r} is none of {', '.join(SPLITS)}")
        return facts

    @model_validator(mode="after")
    def _ambiguous_has_no_label(self) -> "StakesRow":
        if self.facts.get("class") == AMBIGUOUS and self.label is not None:
            raise ValueError("an ambiguous row has label null")
        return self

    @property
    def split(self) -> str | None:
        """`train`, `dev`, `test`, or None."""
        return self.facts.get("split")

    @property
    def text(self) -> str:
        """All that is said, calls of tools as JSON, one message below the other, without roles."""
        said: list[str] = []
        for message in self.messages:
            if message.get("content"):
                said.append(str(message["content"]))
            if message.get("tool_calls"):
                said.append(json.dumps(message["tool_calls"], ensure_ascii=False))
        return "\n".join(said)

    @property
    def digest(self) -> str:
        """16 hexadecimal digits of the SHA-256 of messages and tools."""
        return content_digest(self.messages, self.tools)

    def as_json(self) -> dict[str, Any]:
        """The row as it is written: without members that are empty, but always with its label."""
        return self.model_dump(mode="json", exclude_defaults=True) | {"label": self.label}


def content_digest(messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] | None = None) -> str:
    """16 hexadecimal digits of the SHA-256 of what a conversation says."""
    content = json.dumps([messages, tools or None], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def read_rows(
    path: Path,
    left_out: Counter[str] | None = None,
    *,
    encoding: str | None = None,
    facts: Mapping[str, str] | None = None,
) -> list[StakesRow]:
    """The rows of a file, in its order.

    A row without an id gets the digest of its content, one without a pair is a pair of its own.

    Args:
        path: JSON lines, JSON, CSV, TSV or parquet; see `scenarios/files/tables.py`.
        left_out: Counts rows in which nothing is said, by reason; None: such a row is an error.
        encoding: Of a text file; told from its bytes if not given.
        facts: Facts for rows that do not have them, e.g. source or split.

    Raises:
        DataError: `file:row: field: problem`. No such file; a cell that holds no conversation; a role that
            is not known; a label that is not known or of another vocabulary than those before; an id that
            comes twice; a pair that lies in two splits.
        TableError: The file cannot be read as a table.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    vocabulary: dict[str, str] = {}
    rows: list[StakesRow] = []
    places: list[str] = []
    ids: dict[str, str] = {}
    for row in read_table(path, encoding=encoding):
        read = _stakes_row(row, vocabulary, facts or {})
        if read is None:
            if left_out is None:
                raise DataError(f"{row.where}: messages: nothing is said")
            left_out["nothing is said"] += 1
            continue
        if read.id in ids:
            raise DataError(f"{row.where}: id: {read.id!r} is there twice, first at {ids[read.id]}")
        ids[read.id] = row.where
        rows.append(read)
        places.append(row.where)
    check_pairs(rows, places)
    return rows


def check_pairs(rows: Sequence[StakesRow], places: Sequence[str] | None = None) -> None:
    """Refuse a pair that lies in two splits: what is tested would have been learnt.

    Args:
        rows: Of one data set.
        places: `file:row` of each, for messages; ids if not given.

    Raises:
        DataError: Names both rows, their splits, and how many pairs are so.
    """
    first: dict[str, tuple[str, str]] = {}
    broken: dict[str, str] = {}
    for row, where in zip(rows, places or [row.id for row in rows], strict=True):
        if row.split is None:
            continue
        there, split = first.setdefault(row.pair, (where, row.split))
        if split != row.split:
            told = f"{where}: split: pair {row.pair!r} lies in {row.split} here and in {split} at {there}"
            broken.setdefault(row.pair, told)
    if broken:
        others = f" ({len(broken)} pairs are so)" if len(broken) > 1 else ""
        raise DataError(f"{next(iter(broken.values()))}; a pair stays in one split{others}")


def write_rows(path: Path, rows: Iterable[StakesRow]) -> None:
    """One row a line, whole or not at all.

    Raises:
        WriteError: The file cannot be written.
    """
    write_jsonl(path, (row.as_json() for row in rows))


# -- one row --------------------------------------------------------------------------------------


def _stakes_row(row: TableRow, vocabulary: dict[str, str], given: Mapping[str, str]) -> StakesRow | None:
    """A row, or None if nothing is said in it."""
    column = _column(row, "messages")
    if column is None:
        there = no_column("messages", list(row.cells))
        raise DataError(f"{row.where}: {there}; {' or '.join(COLUMNS['messages'])} holds the conversation")
    messages = _messages(row.cells[column], f"{row.where}: {column}")
    if not any(m["content"].strip() or m.get("tool_calls") for m in messages):
        return None
    tools = _structure(row, "tools", list)
    label, ambiguous = _label(row, vocabulary)
    facts = dict(given) | _facts(row) | ({"class": AMBIGUOUS} if ambiguous else {})
    identity = _text(row, "id") or content_digest(messages, tools)
    try:
        return StakesRow(
            id=identity,
            pair=_text(row, "pair") or identity,
            messages=messages,
            tools=tools or None,
            label=label,
            facts=facts,
            ratings=_ratings(row),
        )
    except ValidationError as error:
        told = error.errors()[0]
        field = ".".join(map(str, told["loc"]))
        problem = told["msg"].removeprefix("Value error, ")
        raise DataError(f"{row.where}: {field + ': ' if field else ''}{problem}") from None


def _column(row: TableRow, part: str) -> str | None:
    return next((name for name in COLUMNS.get(part, (part,)) if name in row.cells), None)


def _text(row: TableRow, part: str) -> str:
    column = _column(row, part)
    value = None if column is None else row.cells[column]
    if is_missing(value):
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _messages(value: Any, where: str) -> list[dict[str, Any]]:
    try:
        return messages_of(value)
    except NoConversationError as error:
        raise DataError(f"{where}: {error}; write it as a list of messages with role and content") from None
    except CellError as error:
        raise DataError(f"{where}: {error}") from None


def _structure(row: TableRow, column: str, kind: type) -> Any:
    """A cell with a list or an object, perhaps as text; None if there is none."""
    value = row.cells.get(column)
    if is_missing(value):
        return None
    try:
        found = parse_structure(value) if isinstance(value, str) else value
    except JsonError as error:
        raise DataError(f"{row.where}: {column}: {error}") from None
    if not isinstance(found, kind):
        raise DataError(f"{row.where}: {column}: {type(found).__name__} instead of {kind.__name__}")
    return found


def _label(row: TableRow, vocabulary: dict[str, str]) -> tuple[Literal[0, 1] | None, bool]:
    """The label of a row, and whether it is told to be ambiguous.

    Args:
        row: The row.
        vocabulary: The one that the file uses -> where it was first; filled by the first label.
    """
    column = _column(row, "label")
    value = None if column is None else row.cells[column]
    if is_missing(value):
        return None, False
    word = (value.strip() if isinstance(value, str) else json.dumps(value, default=str)).casefold()
    word = word.removesuffix(".0")
    if word == AMBIGUOUS:
        return None, True
    of = next((name for name, words in VOCABULARIES.items() if word in words), None)
    if of is None:
        known = "; ".join(VOCABULARIES)
        raise DataError(f"{row.where}: {column}: {value!r} is no label; known are {known}, and {AMBIGUOUS}")
    before = next(iter(vocabulary), of)
    if of != before:
        raise DataError(
            f"{row.where}: {column}: {value!r} is of the labels {of}, but the file uses {before} from "
            f"{vocabulary[before]} on; write them all in one way"
        )
    vocabulary.setdefault(of, row.where)
    label = VOCABULARIES[of][word]
    return label, label is None


def _facts(row: TableRow) -> dict[str, str]:
    """The facts in `facts`, and those that have a column of their own."""
    own = _structure(row, "facts", dict) or {}
    found = {str(k): v if isinstance(v, str) else json.dumps(v) for k, v in own.items() if not is_missing(v)}
    for name in FACTS:
        if name not in found and (value := _text(row, name)):
            found[name] = value
    if (split := found.get("split")) is not None:
        found["split"] = SPLIT_NAMES.get(split.lower(), split)
    return found


def _ratings(row: TableRow) -> list[Rating]:
    """Ratings as rows have them, or the one rating of a row of the earlier system."""
    told = _structure(row, "ratings", list)
    if told is not None:
        return told
    if not (rating := _text(row, "scale_labels")):
        return []
    judge = _text(row, "scale_label_model") or "unknown"
    confidence = _text(row, "scale_label_confidence")
    return [Rating(judge=judge, rubric="earlier", rating=_on_scale(rating), confidence=_on_scale(confidence))]


def _on_scale(text: str) -> float | None:
    """A rating from 1 to 10; None for anything else, which is no answer."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 1 <= value <= 10 else None
