"""Conversations from tables: JSONL, CSV, and data sets of the Hugging Face hub."""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from probes.conversations import Conversation
from probes.labels import DataError, LabelOptions, LeftOut, row_label

TEXT_COLUMNS = ("messages", "inputs")
ID_COLUMNS = ("id", "ids")
CALL_KEYS = ("id", "type", "function")


class TableOptions(LabelOptions):
    """Which columns of a table hold what."""

    text_column: str | None = Field(
        None, title="data", description="column with the conversation; messages or inputs if not given"
    )
    id_column: str | None = Field(
        None, title="data", description="column with the id; id or ids if not given"
    )
    tools_column: str | None = Field(
        None, title="data", description="column with the JSON schemas of tools; tools if there is one"
    )
    group_column: str | None = Field(
        None, title="data", description="column of rows that stay together, e.g. pair_id; the id if not given"
    )
    facts: list[str] = Field([], title="data", description="columns by which results are broken down")
    split: str = Field("train", title="data", description="split of a hub data set")
    subset: str | None = Field(None, title="data", description="configuration of a hub data set")
    data_revision: str | None = Field(None, title="data", description="commit of a hub data set")


def table_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a JSONL or CSV file, each with where it stands.

    Raises:
        DataError: A line that is not a JSON object; a file of another kind.
    """
    if path.suffix == ".csv":
        yield from _csv_rows(path)
    elif path.suffix in (".jsonl", ".ndjson"):
        yield from _jsonl_rows(path)
    else:
        raise DataError(f"{path}: neither .jsonl, .csv, an .eval log, a folder, nor a data set of the hub")


def hub_rows(name: str, options: TableOptions) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a data set on the Hugging Face hub, or of a folder of its files.

    Raises:
        DataError: There is no such data set, split or configuration, or the hub cannot be reached.
    """
    import datasets

    try:
        found = datasets.load_dataset(
            name, options.subset, split=options.split, revision=options.data_revision, streaming=True
        )
    except (OSError, ValueError) as error:
        raise DataError(f"data set {name}, split {options.split}: {error}") from error
    for number, row in enumerate(found):
        yield f"{name}, {options.split} row {number}", dict(row)


def conversation_of(row: Mapping[str, Any], options: TableOptions, where: str) -> Conversation:
    """The conversation of a row.

    Raises:
        LeftOut: No usable label, or nothing was said.
        DataError: A column is missing, or holds something else than it should.
    """
    identity = str(row[_column(row, options.id_column, ID_COLUMNS, "--id-column", where)])
    text = _column(row, options.text_column, TEXT_COLUMNS, "--text-column", where)
    for column in (options.group_column, options.tools_column, *options.facts):
        if column is not None and column not in row:
            raise DataError(f"{where}: no column {column!r}; there are {', '.join(row)}")
    label = row_label(row, options, where)
    messages = messages_of(row[text], f"{where}, {text}")
    if not any(m["content"].strip() or m.get("tool_calls") for m in messages):
        raise LeftOut("nothing was said")
    group = "" if options.group_column is None else _told(row[options.group_column])
    return Conversation(
        id=identity,
        messages=messages,
        tools=_tools(row.get(options.tools_column or "tools"), where),
        label=label,
        group=group or identity,
        facts={name: _told(row[name]) for name in options.facts},
    )


def messages_of(value: Any, where: str) -> list[dict[str, Any]]:
    """Messages as chat templates take them, from a list, from JSON of one, or from the words of a user.

    Raises:
        DataError: A message without role, or with contents that are not text.
    """
    if isinstance(value, str):
        listed = _json_list(value)
        if listed is None:
            return [{"role": "user", "content": value}]
        value = listed
    if value is None:
        return []
    if not isinstance(value, list):
        raise DataError(f"{where}: {type(value).__name__} instead of a text or a list of messages")
    return [_message(message, f"{where}, message {i}") for i, message in enumerate(value)]


def _csv_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    csv.field_size_limit(2**31 - 1)
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, strict=True)
        try:
            for row in rows:
                if None in row or None in row.values():
                    raise DataError(f"{path}:{rows.line_num}: not as many fields as the header has")
                yield f"{path}:{rows.line_num}", dict(row)
        except csv.Error as error:
            raise DataError(f"{path}:{rows.line_num}: not CSV: {error}") from None


def _jsonl_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"{path}:{number}: not JSON: {error}") from None
            if not isinstance(row, dict):
                raise DataError(f"{path}:{number}: {type(row).__name__} instead of an object with columns")
            yield f"{path}:{number}", row


def _column(row: Mapping[str, Any], given: str | None, usual: tuple[str, ...], flag: str, where: str) -> str:
    wanted = usual if given is None else (given,)
    found = next((name for name in wanted if name in row), None)
    if found is None:
        raise DataError(
            f"{where}: no column {' or '.join(map(repr, wanted))}; there are {', '.join(row)}. "
            f"Say {flag} COLUMN"
        )
    return found


def _json_list(text: str) -> list[Any] | None:
    """The list of messages that a text holds as JSON; None if it is words."""
    if not text.lstrip().startswith("["):
        return None
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return None
    listed = isinstance(value, list) and all(isinstance(m, dict) and "role" in m for m in value)
    return value if listed else None


def _message(message: Any, where: str) -> dict[str, Any]:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise DataError(f"{where}: not an object with a role")
    told: dict[str, Any] = {"role": message["role"], "content": _text(message.get("content"), where)}
    for name in ("reasoning_content", "name", "tool_call_id"):
        if message.get(name):
            told[name] = str(message[name])
    if calls := message.get("tool_calls"):
        told["tool_calls"] = [_call(call, where) for call in calls]
    return told


def _text(content: Any, where: str) -> str:
    if isinstance(content, list):
        texts = [part.get("text") if isinstance(part, dict) else part for part in content]
        if all(isinstance(text, str) for text in texts):
            return "\n".join(texts)  # pyright: ignore[reportArgumentType, reportCallIssue]
        raise DataError(f"{where}: holds something else than text")
    if content is None:
        return ""
    if not isinstance(content, str):
        raise DataError(f"{where}: content is {type(content).__name__}, not text")
    return content


def _call(call: Any, where: str) -> dict[str, Any]:
    """A tool call with its arguments as an object, which templates write as JSON themselves."""
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise DataError(f"{where}: a tool call without function and name")
    given = function.get("arguments") or {}
    try:
        arguments = json.loads(given) if isinstance(given, str) else given
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: arguments of {function['name']} are not JSON: {error}") from None
    if not isinstance(arguments, dict):
        raise DataError(f"{where}: arguments of {function['name']} are not an object")
    kept = {name: call[name] for name in CALL_KEYS if name in call}
    return {"type": "function", **kept, "function": {"name": function["name"], "arguments": arguments}}


def _tools(value: Any, where: str) -> list[dict[str, Any]] | None:
    try:
        tools = json.loads(value) if isinstance(value, str) and value else value
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: tools are not JSON: {error}") from None
    if not tools:
        return None
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise DataError(f"{where}: tools are not a list of JSON schemas")
    return tools


def _told(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
