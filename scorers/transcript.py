"""What a judge is shown of a conversation."""

import json
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from inspect_ai.model import ChatMessage, ChatMessageAssistant, ChatMessageSystem, ChatMessageTool
from inspect_ai.solver import TaskState

from scenarios.dialogue import Dialogue, Turn
from scenarios.schema import Hidden


class Reply(NamedTuple):
    """One reply of the agent, in its place."""

    number: int
    """From 1."""

    turn: Turn | None
    """What the solver recorded; None in a log that another solver wrote."""

    message: ChatMessageAssistant
    transcript: Sequence[ChatMessage]
    """The conversation up to this reply, the reply included."""

    notes: dict[str, str]
    """Id of a message -> note told to the user after it."""


def replies_of(state: TaskState) -> list[Reply]:
    """The agent's replies in a sample; see `replies`."""
    return replies(state.messages, state.store_as(Dialogue).turns)


def replies(messages: Sequence[ChatMessage], turns: Sequence[Turn]) -> list[Reply]:
    """The agent's replies in a transcript, each with the conversation up to it.

    Openings that the scenario wrote for the agent are not replies. In a log that was not written by
    our solver there are no turns, and every message that a model generated for the assistant counts.
    """
    by_id = {t.agent: t for t in turns}
    notes = {t.agent: t.note for t in turns if t.note}
    found: list[Reply] = []
    for index, message in enumerate(messages):
        if not isinstance(message, ChatMessageAssistant):
            continue
        turn = by_id.get(message.id or "")
        generated = message.source == "generate" and bool(message.text.strip())
        if turn is not None or (not turns and generated):
            found.append(Reply(len(found) + 1, turn, message, messages[: index + 1], notes))
    return found


def render(reply: Reply, sees: Collection[Hidden]) -> str:
    """The conversation up to `reply` as text, with what the judge may see beyond the spoken words."""
    return "\n\n".join(f"[{speaker}]\n{text}" for speaker, text in _lines(reply, sees) if text.strip())


def _lines(reply: Reply, sees: Collection[Hidden]) -> Iterator[tuple[str, str]]:
    for message in reply.transcript:
        if isinstance(message, ChatMessageSystem):
            continue
        if isinstance(message, ChatMessageTool):
            if "tools" in sees:
                yield "tool result", message.error.message if message.error else message.text
            continue
        yield ("assistant" if message.role == "assistant" else "person"), message.text
        if isinstance(message, ChatMessageAssistant) and "tools" in sees:
            for call in message.tool_calls or []:
                yield "tool call", f"{call.function}({json.dumps(call.arguments, ensure_ascii=False)})"
        if "notes" in sees and message is not reply.message and (message.id or "") in reply.notes:
            yield "note", reply.notes[message.id or ""]
