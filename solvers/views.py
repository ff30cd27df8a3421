"""What the simulated user's model is shown of the conversation."""

import json
from collections.abc import Collection, Mapping, Sequence

from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
)

from scenarios.schema import Hidden


def users_view(
    persona: str, messages: Sequence[ChatMessage], notes: Mapping[str, str], sees: Collection[Hidden]
) -> list[ChatMessage]:
    """The conversation from the user's side: the agent's words come in as `user`, its own as `assistant`.

    Args:
        persona: System prompt of the simulated user.
        messages: The transcript. The agent's system prompt is never shown.
        notes: Id of a message -> note told to the user after it.
        sees: What is shown beyond the spoken words.

    Returns:
        Messages that end with something for the user to answer, roles alternating.
    """
    view: list[ChatMessage] = [ChatMessageSystem(content=persona)]
    heard: list[str] = []
    for message in messages:
        if isinstance(message, ChatMessageSystem):
            continue
        if isinstance(message, ChatMessageUser):
            _flush(view, heard)
            view.append(ChatMessageAssistant(content=message.text))
        else:
            heard += _heard(message, notes, sees)
    _flush(view, heard)
    return view


def _heard(message: ChatMessage, notes: Mapping[str, str], sees: Collection[Hidden]) -> list[str]:
    found: list[str] = []
    if isinstance(message, ChatMessageTool):
        if "tools" in sees:
            found.append(f"(Result of a tool: {message.error.message if message.error else message.text})")
        return found
    if message.text.strip():
        found.append(message.text)
    if isinstance(message, ChatMessageAssistant) and "tools" in sees:
        for call in message.tool_calls or []:
            found.append(f"(The assistant used a tool: {call.function}({json.dumps(call.arguments)}))")
    if "notes" in sees and (message.id or "") in notes:
        found.append(f"(For you alone, not said by anyone: {notes[message.id or '']})")
    return found


def _flush(view: list[ChatMessage], heard: list[str]) -> None:
    if heard:
        view.append(ChatMessageUser(content="\n\n".join(heard)))
        heard.clear()
