"""Reads conversations from wherever they are: JSONL, CSV, a hub data set, a log, or a folder of logs."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from analysis.logs.copies import used_once
from analysis.logs.finding import LogFile, find_logs, is_log
from probes.conversations.conversation import Conversation
from probes.conversations.eval_logs import log_conversations
from probes.conversations.labels import DataError, LeftOut
from probes.conversations.log_columns import LogColumns
from probes.conversations.table_rows import TableOptions, conversation_of, hub_rows
from scenarios.files.tables import is_table, read_table
from scenarios.mistakes import UserMistake

HUB_NAME = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")


def logs_of(source: str) -> list[LogFile]:
    """The logs that a source consists of; none if it is a table.

    Raises:
        LogError: A log that cannot be read.
    """
    return find_logs([source]) if is_log(Path(source)) else []


def read_conversations(source: str, options: TableOptions, left_out: Counter[str]) -> Iterator[Conversation]:
    """The conversations of a source, in its order, one in memory at a time.

    Args:
        source: A table (`scenarios/files/tables.py` has the kinds), an `.eval` or `.json` log, a folder of
            logs (with subfolders; a conversation that several have is used once) or of a hub data set's
            files, or the name of a data set on the hub.
        options: Columns and labels.
        left_out: Counts conversations that are not captured, by reason: ambiguous or missing labels, nothing
            said, failed samples, contents that are not text.

    Raises:
        DataError: Nothing there, a row that cannot be read, a label outside the set, an id given twice.
        LogError: A log that cannot be read.
    """
    seen: dict[str, str] = {}
    times: Counter[str] = Counter()
    for where, conversation in _located(source, options, left_out):
        name = conversation.id
        times[name] += 1
        if times[name] > 1 and options.repeated_ids == "number":
            conversation = conversation._replace(id=f"{name}#{times[name]}")
        if conversation.id in seen:
            raise DataError(
                f"{where}: id {conversation.id!r} is there twice, first at {seen[conversation.id]}; name a "
                "column that tells the rows apart with --id-column, or say --repeated-ids number to make "
                f"this one {name}#{times[name]}, in the same group"
            )
        seen[conversation.id] = where
        yield conversation


def _located(
    source: str, options: TableOptions, left_out: Counter[str]
) -> Iterator[tuple[str, Conversation]]:
    if logs := logs_of(source):
        _check_columns(source, logs, options)
        score = None if options.label_score is None else options.label_score.partition(".")[0]
        copies = used_once(logs, score=score)
        for log in logs:
            for conversation in log_conversations(log, options, left_out, copies):
                yield str(log.path), conversation
        return
    path = Path(source)
    rows: Iterator[tuple[str, dict[str, Any]]]
    if path.is_file() or is_table(path):
        rows = _table_rows(path, options)
    elif path.is_dir() or HUB_NAME.fullmatch(source):
        rows = hub_rows(source, options)
    else:
        raise DataError(f"{source}: no such file or folder, and no name of a data set on the hub")
    if options.label_score is not None:
        raise DataError("--label-score is for logs; name a column of this table with --label-column")
    for where, row in rows:
        try:
            yield where, conversation_of(row, options, where)
        except LeftOut as reason:
            left_out[str(reason)] += 1


def _check_columns(source: str, logs: Sequence[LogFile], options: TableOptions) -> None:
    """Names that no log has, told before any conversation is read."""
    named = (options.label_column, options.scale_column, options.group_column, *options.facts)
    if wanted := [name for name in named if name is not None]:
        LogColumns(logs).check(wanted, source)


def _table_rows(path: Path, options: TableOptions) -> Iterator[tuple[str, dict[str, Any]]]:
    if not path.is_file():
        raise DataError(f"{path}: no such file or folder")
    try:
        yield from read_table(path, encoding=options.encoding)
    except UserMistake as error:
        raise DataError(str(error)) from None
