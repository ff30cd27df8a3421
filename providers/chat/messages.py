"""From Inspect's messages and tools to the rows that chat templates take."""

from collections.abc import Sequence
from typing import Any

from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageTool,
    ContentReasoning,
    ContentText,
)
from inspect_ai.tool import ToolInfo

from providers.chat.errors import NotTextError

OPENAI_STYLE = frozenset(
    {"azureai", "fireworks", "groq", "openai", "openai-api", "openrouter", "sglang", "together", "vllm"}
)
"""Providers that send messages in OpenAI's form, where the error of a tool is told as `Error: ...`."""


def error_prefix(model: str) -> str:
    """What a model, as Inspect names it, is told before the error of a tool."""
    return "Error: " if model.partition("/")[0] in OPENAI_STYLE else ""


def chat_message(message: ChatMessage, *, tool_error: str = "") -> dict[str, Any]:
    """A message as chat templates take it: role and content, with tool traffic and reasoning.

    Arguments of tool calls stay objects: `ChatTemplate` gives them to a template in the form that it takes.
    Reasoning that the provider hid is left out.

    Args:
        message: A message of the transcript, or of a model's input.
        tool_error: Put before the error of a tool, see `error_prefix`.

    Raises:
        NotTextError: An image, or anything else but text and reasoning.
    """
    if foreign := _foreign(message):
        raise NotTextError(f"a message of the {message.role} holds {foreign}, not only text")
    row: dict[str, Any] = {"role": message.role, "content": message.text}
    if isinstance(message, ChatMessageAssistant):
        if reasoning := _reasoning(message):
            row["reasoning_content"] = reasoning
        if message.tool_calls:
            row["tool_calls"] = [
                {
                    "type": "function",
                    "id": call.id,
                    "function": {"name": call.function, "arguments": call.arguments},
                }
                for call in message.tool_calls
            ]
    if isinstance(message, ChatMessageTool):
        if message.error is not None:
            row["content"] = tool_error + message.error.message
        row |= {"name": message.function, "tool_call_id": message.tool_call_id}
    return row


def tool_schemas(tools: Sequence[ToolInfo]) -> list[dict[str, Any]] | None:
    """JSON schemas of tools as chat templates and OpenAI take them; None if there are none."""
    if not tools:
        return None
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters.model_dump(exclude_none=True),
            },
        }
        for tool in tools
    ]


def _foreign(message: ChatMessage) -> str | None:
    """The first kind of content that is neither text nor reasoning."""
    if isinstance(message.content, str):
        return None
    parts = (c for c in message.content if not isinstance(c, ContentText | ContentReasoning))
    return next((part.type for part in parts), None)


def _reasoning(message: ChatMessageAssistant) -> str:
    if isinstance(message.content, str):
        return ""
    parts = (c for c in message.content if isinstance(c, ContentReasoning) and not c.redacted)
    return "\n".join(part.reasoning for part in parts)
