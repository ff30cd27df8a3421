"""The words of both sides of many conversations: from logs, or from a table of chats."""

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from inspect_ai.log import EvalSample
from inspect_ai.model import ChatMessage

from analysis.logs.copies import used_once
from analysis.logs.finding import LogFile
from analysis.logs.samples import SampleRecord, read_records, read_samples
from analysis.values import cluster_of
from scenarios.files.conversation_cells import CellError, messages_of
from scenarios.files.tables import TableRow, read_table
from scenarios.mistakes import UserMistake

COLUMNS = ("messages", "conversations", "conversation", "inputs", "chat", "dialogue", "text", "prompt")
"""Columns of a table that may hold chats, the likeliest first."""

UNUSED = {"events", "store", "output", "scores"}
"""Parts of a sample that hold no words of the conversation."""


class RealismError(UserMistake):
    """Conversations of which there is no card. Says which, and what to do."""


class Said(NamedTuple):
    """A message."""

    is_users: bool
    text: str
    opens: bool = False
    """Whether a session of several begins with it, so that it answers nothing."""


class Chat(NamedTuple):
    """A conversation: words of the user and of the assistant, in order."""

    said: tuple[Said, ...]
    cluster: Hashable
    """Conversations of one initial state are no independent draws."""


class Chats(NamedTuple):
    """Many of them."""

    title: str
    chats: list[Chat]
    left_out: Counter[str]
    """Reason -> conversations."""

    scripted: int
    """Messages of users that a data set wrote, and not whoever talked."""


def chats_of_logs(logs: Sequence[LogFile]) -> Chats:
    """The conversations of some logs of one task.

    Raises:
        RealismError: The logs are of several tasks, or no user's model wrote a message.
        LogError: A log is damaged.
    """
    tasks = list(dict.fromkeys(log.header.eval.task.rpartition("/")[2] for log in logs))
    if len(tasks) > 1:
        raise RealismError(
            f"logs of several tasks: {', '.join(tasks)}; a card is of the users of one, name its logs alone"
        )
    found = Chats(tasks[0], [], Counter(), 0)
    players: set[str] = set()
    copies = used_once(logs)
    written = 0
    for log in logs:
        units = []
        for record in read_records(log):
            reason = "declared invalid" if record.invalidated else record.problem
            if not copies.uses(log, record.unit):
                reason = "in another of these logs too"
            if reason:
                found.left_out[reason] += 1
            else:
                units.append(record.unit)
                players.update(_players(record))
        for sample in read_samples(log, units, without=UNUSED, attachments=True, progress=True):
            users = [m for m in sample.messages if m.role == "user"]
            scripted = sum(m.source == "input" for m in users)
            written += len(users) - scripted
            found = found._replace(scripted=found.scripted + scripted)
            chat = Chat(tuple(_said(sample)), cluster_of(sample.metadata, sample.id))
            _add(found, chat)
    if not written:
        raise RealismError(
            f"{logs[0].path}: in this log of task {tasks[0]!r} nobody talked as a user: all its messages of "
            "users come from the data set; name a log in which users answer, as of tasks/therapy.py"
        )
    title = f"{tasks[0]}, users played by {', '.join(sorted(players))}" if players else tasks[0]
    return found._replace(title=title)


def chats_of_table(path: Path, column: str | None = None) -> Chats:
    """The conversations of a table: JSON lines, CSV, parquet, in the forms of OpenAI, ShareGPT or hh-rlhf.

    Args:
        path: The table.
        column: Where the conversations stand; else the first of `COLUMNS` that the first row has.

    Raises:
        RealismError: No such column, a cell that is no conversation, or no message of a user in the file.
        TableError: The file cannot be read.
    """
    found = Chats(path.name, [], Counter(), 0)
    speakers = Counter[str]()
    rows = 0
    for row in read_table(path):
        rows += 1
        column = column or _column(row)
        if column not in row.cells:
            raise RealismError(f"{row.where}: no column {column!r}; there are {', '.join(row.cells)}")
        try:
            messages = messages_of(row.cells[column])
        except CellError as error:
            raise RealismError(f"{row.where}: {column}: {error}") from None
        speakers.update(m["role"] for m in messages)
        spoken = [m for m in messages if m["role"] in ("user", "assistant") and m["content"].strip()]
        _add(found, Chat(tuple(Said(m["role"] == "user", m["content"]) for m in spoken), row.number))
    if not speakers["user"]:
        others = f"its speakers are {', '.join(speakers)}" if speakers else "it is empty"
        raise RealismError(
            f"{path}: no messages of users in {rows} rows ({others}); name a table of chats with users' words"
        )
    return found


def _add(found: Chats, chat: Chat) -> None:
    if any(said.is_users for said in chat.said):
        found.chats.append(chat)
    else:
        found.left_out["no user speaks"] += 1


def _column(row: TableRow) -> str:
    column = next((name for name in COLUMNS if name in row.cells), None)
    if column is None:
        raise RealismError(
            f"{row.where}: no column with chats: none of {', '.join(COLUMNS)}; say which with --column "
            f"(there are {', '.join(row.cells)})"
        )
    return column


def _said(sample: EvalSample) -> Iterator[Said]:
    opens = False
    for message in sample.messages:
        opens |= message.role == "system"  # each session of several has a prompt of its own
        if message.role in ("user", "assistant") and _words(message):
            yield Said(message.role == "user", _words(message), opens)
            opens = False


def _words(message: ChatMessage) -> str:
    return message.text.strip()


def _players(record: SampleRecord) -> list[str]:
    """The models that played the user, if our solver wrote it down."""
    dialogue = record.dialogue()
    return [dialogue.cast["user"]] if dialogue is not None and "user" in dialogue.cast else []
