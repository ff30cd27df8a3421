"""Conversations from the rows of tables, and of data sets of the Hugging Face hub."""

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from probes.conversations.conversation import Conversation
from probes.conversations.labels import DataError, LabelOptions, LeftOut, is_missing, row_label
from scenarios.files.conversation_cells import CellError, NoConversationError
from scenarios.files.conversation_cells import messages_of as cell_messages
from scenarios.files.strict_json import JsonError, parse_structure
from scenarios.files.tables import no_column
from scenarios.mistakes import UserMistake

TEXT_COLUMNS = ("messages", "inputs", "conversations")
ID_COLUMNS = ("id", "ids")


def _parted(value: Any) -> Any:
    """`a,b` and `a b` are the same."""
    values = [value] if isinstance(value, str) else value
    return [part for v in values for part in v.split(",") if part] if isinstance(values, list) else value


class TableOptions(LabelOptions):
    """Which columns of a table hold what."""

    text_column: str | None = Field(
        None,
        title="data",
        description="column with the conversation; messages, inputs or conversations if not given",
    )
    id_column: str | None = Field(
        None, title="data", description="column with the id; id or ids if not given"
    )
    tools_column: str | None = Field(
        None, title="data", description="column with the JSON schemas of tools; tools if there is one"
    )
    group_column: str | None = Field(
        None,
        title="data",
        description="column (of logs: metadata) of rows that stay together, e.g. pair_id; the id if not "
        "given, of logs the initial state",
    )
    repeated_ids: Literal["refuse", "number"] = Field(
        "refuse", title="data", description="ids that come twice: refuse, or number them and group them"
    )
    plain_text: bool = Field(
        False, title="data", description="texts are what users say, also those that begin with [ or {"
    )
    encoding: str | None = Field(
        None, title="data", description="of a text file, e.g. cp1252; told from its bytes if not given"
    )
    facts: Annotated[list[str], BeforeValidator(_parted)] = Field(
        [],
        title="data",
        description="columns (of logs: metadata, scores) by which rows are chosen and results broken down",
    )
    split: str = Field("train", title="data", description="split of a hub data set")
    subset: str | None = Field(None, title="data", description="configuration of a hub data set")
    data_revision: str | None = Field(None, title="data", description="commit of a hub data set")


def hub_rows(name: str, options: TableOptions) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a data set on the Hugging Face hub, or of a folder of its files.

    Raises:
        DataError: There is no such data set, split or configuration, or the hub cannot be reached.
    """
    import datasets
    from datasets.exceptions import DatasetsError

    try:
        found = datasets.load_dataset(
            name, options.subset, split=options.split, revision=options.data_revision, streaming=True
        )
        for number, row in enumerate(found):
            yield f"{name}, {options.split} row {number}", dict(row)
    except (OSError, ValueError, DatasetsError) as error:
        # those of this suite are about a row that was given away, and say so themselves
        if isinstance(error, UserMistake):
            raise
        told = " ".join(str(error).split())
        raise DataError(f"data set {name}, split {options.split}: {told}") from error


def conversation_of(row: Mapping[str, Any], options: TableOptions, where: str) -> Conversation:
    """The conversation of a row.

    Raises:
        LeftOut: No usable label, or nothing was said.
        DataError: A column is missing, or holds something else than it should.
    """
    id_column = _column(row, options.id_column, ID_COLUMNS, "--id-column", where)
    if not (identity := _cell_text(row[id_column])):
        raise DataError(f"{where}: {id_column}: this row has no id")
    text = _column(row, options.text_column, TEXT_COLUMNS, "--text-column", where)
    # a row may hold its facts in one object, as those of `probes/laboratory/rows.py` do
    own = row["facts"] if isinstance(row.get("facts"), Mapping) else {}
    named = [name for name in options.facts if name not in own]
    for column in (options.group_column, options.tools_column, *named):
        if column is not None and column not in row:
            raise DataError(f"{where}: {no_column(column, list(row))}")
    label = row_label(row, options, where)
    messages = messages_of(row[text], f"{where}: {text}", plain_text=options.plain_text)
    if not any(m["content"].strip() or m.get("tool_calls") for m in messages):
        raise LeftOut("nothing was said")
    group = "" if options.group_column is None else _cell_text(row[options.group_column])
    return Conversation(
        id=identity,
        messages=messages,
        tools=_tools(row.get(options.tools_column or "tools"), where),
        label=label,
        group=group or identity,
        facts={
            **{str(name): _cell_text(value) for name, value in own.items() if not is_missing(value)},
            **{name: _cell_text(row[name]) for name in named},
        },
    )


def messages_of(value: Any, where: str, *, plain_text: bool = False) -> list[dict[str, Any]]:
    """Messages as chat templates take them, from a cell in any form that people have.

    Args:
        value: The cell, see `scenarios/files/conversation_cells.py`.
        where: File, row and column, for messages.
        plain_text: A text is what a user says, however it begins.

    Raises:
        DataError: The cell holds no conversation, or something else than text.
    """
    try:
        # what has speakers that no template knows is counted, and named, where it is rendered
        return cell_messages(value, plain=plain_text, any_role=True)
    except NoConversationError as error:
        raise DataError(f"{where}: {error}; if it is what a user says, say --plain-text true") from None
    except CellError as error:
        raise DataError(f"{where}: {error}") from None


def _column(row: Mapping[str, Any], given: str | None, usual: tuple[str, ...], flag: str, where: str) -> str:
    wanted = usual if given is None else (given,)
    found = next((name for name in wanted if name in row), None)
    if found is None:
        raise DataError(
            f"{where}: no column {' or '.join(map(repr, wanted))}; there are {', '.join(row)}. "
            f"Say {flag} COLUMN"
        )
    return found


def _tools(value: Any, where: str) -> list[dict[str, Any]] | None:
    try:
        tools = parse_structure(value) if isinstance(value, str) and value else value
    except JsonError as error:
        raise DataError(f"{where}: tools: {error}") from None
    if not tools:
        return None
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise DataError(f"{where}: tools are not a list of JSON schemas")
    return tools


def _cell_text(value: Any) -> str:
    if is_missing(value):
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
