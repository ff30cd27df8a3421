"""The opening of an initial state as messages: what was said and done before the agent answers."""

from collections.abc import Mapping, Sequence
from typing import Any

from inspect_ai.model import ChatMessage, ChatMessageAssistant, ChatMessageTool, ChatMessageUser
from inspect_ai.tool import ToolCall

from scenarios.family import Line
from scenarios.files.strict_json import JsonError, parse_json
from scenarios.templates import fill


def opening_messages(lines: Sequence[Line], variables: Mapping[str, str], state_id: str) -> list[ChatMessage]:
    """The lines with every template filled.

    Args:
        lines: Of the initial state.
        variables: Values of the templates' variables.
        state_id: Names the calls of tools.

    Raises:
        ValueError: A variable without a value, or a tool's traffic that is none.
    """
    messages: list[ChatMessage] = []
    for number, line in enumerate(lines):
        text = fill(line.text, variables)
        if line.role == "user":
            messages.append(ChatMessageUser(content=text, source="input"))
        elif line.role == "agent":
            messages.append(ChatMessageAssistant(content=text, source="input"))
        elif line.role == "tool_call":
            call = ToolCall(
                id=f"{state_id}-{number}", function=line.tool or "tool", arguments=_arguments(text)
            )
            messages.append(ChatMessageAssistant(content="", tool_calls=[call], source="input"))
        else:
            messages.append(_tool_result(messages, text))
    return messages


def _arguments(text: str) -> dict[str, Any]:
    try:
        arguments = parse_json(text)
    except JsonError as error:
        raise ValueError(f"tool_call: the text must be a JSON object: {error}") from None
    if not isinstance(arguments, dict):
        raise ValueError(f"tool_call: the text must be a JSON object, got {type(arguments).__name__}")
    return arguments


def _tool_result(messages: Sequence[ChatMessage], text: str) -> ChatMessageTool:
    last = messages[-1] if messages else None
    if not isinstance(last, ChatMessageAssistant) or not last.tool_calls:
        raise ValueError("tool_result: must follow a tool_call")
    call = last.tool_calls[0]
    return ChatMessageTool(content=text, tool_call_id=call.id, function=call.function)
