"""Rows of stakes data as Inspect samples, and back: tools stay tools, turns stay turns."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    ContentReasoning,
    ContentText,
)
from inspect_ai.tool import ToolCall

from probes.conversations.labels import DataError
from probes.laboratory.rows import StakesRow, read_rows
from scenarios.files.given_paths import where_meant

TARGETS: Mapping[int | None, str] = {1: "high-stakes", 0: "low-stakes", None: ""}


def stakes_sample(row: StakesRow) -> Sample:
    """A sample whose input is the conversation and whose target is the label, empty without one.

    Metadata: `pair`, `label`, `facts`, `tools`, `content` (the row's digest), `initial_state`, the pair
    again, by which scores are clustered, and `given_conversation`, by which judges and people who rate know
    that the input is what they judge.
    """
    return Sample(
        id=row.id,
        input=chat_messages(row.messages),
        target=TARGETS[row.label],
        metadata={
            "initial_state": row.pair,
            "pair": row.pair,
            "label": row.label,
            "facts": row.facts,
            "tools": row.tools,
            "content": row.digest,
            "given_conversation": True,
        },
    )


def stakes_dataset(rows: Iterable[StakesRow], name: str = "stakes") -> MemoryDataset:
    """Samples of all rows, in order.

    Raises:
        DataError: There are none.
    """
    samples = [stakes_sample(row) for row in rows]
    if not samples:
        raise DataError(f"{name}: no rows")
    return MemoryDataset(samples, name=name)


def given_rows(data: str) -> list[StakesRow]:
    """The rows of the file that a task was given.

    Args:
        data: `-T data=`, relative to the folder that the command was given in.

    Raises:
        DataError: None was given, or as `read_rows`.
    """
    if not data:
        raise DataError("-T data=<file> says which rows: JSON lines, CSV or parquet")
    return read_rows(where_meant(Path(data)))


def chat_messages(messages: Sequence[Mapping[str, Any]]) -> list[ChatMessage]:
    """Inspect's messages of those that chat templates take."""
    return [_chat_message(message, number) for number, message in enumerate(messages)]


def _chat_message(message: Mapping[str, Any], number: int) -> ChatMessage:
    role, content = message["role"], str(message.get("content") or "")
    if role == "system":
        return ChatMessageSystem(content=content)
    if role == "user":
        return ChatMessageUser(content=content)
    if role == "tool":
        return ChatMessageTool(
            content=content, function=message.get("name"), tool_call_id=message.get("tool_call_id")
        )
    calls = [
        ToolCall(
            id=str(call.get("id") or f"call-{number}-{place}"),
            function=call["function"]["name"],
            arguments=dict(call["function"].get("arguments") or {}),
        )
        for place, call in enumerate(message.get("tool_calls") or [])
    ]
    if thought := message.get("reasoning_content"):
        parts = [ContentReasoning(reasoning=str(thought)), ContentText(text=content)]
        return ChatMessageAssistant(content=list(parts), tool_calls=calls or None)
    return ChatMessageAssistant(content=content, tool_calls=calls or None)
