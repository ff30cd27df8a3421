"""From Inspect's messages and tools to the rows that chat templates take."""

from collections.abc import Sequence
from typing import Any

from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageTool,
    Content,
    ContentReasoning,
    ContentText,
)
from inspect_ai.tool import ToolInfo

from providers.chat.errors import NotTextError

THINK = "<think>\n{}\n</think>"

OPENAI_STYLE = frozenset(
    {"azureai", "fireworks", "groq", "openai", "openai-api", "openrouter", "sglang", "together", "vllm"}
)
"""Providers that send messages in OpenAI's form, where the error of a tool is told as `Error: ...`."""


def is_served(model: str) -> bool:
    """Whether a model, as Inspect names it, is a server's that takes messages in OpenAI's form."""
    return model.partition("/")[0] in OPENAI_STYLE


def error_prefix(model: str) -> str:
    """What a model, as Inspect names it, is told before the error of a tool."""
    return "Error: " if is_served(model) else ""


def chat_message(message: ChatMessage, *, model: str = "") -> dict[str, Any]:
    """A message as chat templates take it: role and content, with tool traffic and reasoning.

    Arguments of tool calls stay objects: `ChatTemplate` gives them to a template in the form that it takes.
    Reasoning that the provider hid is left out.

    Args:
        message: A message of the transcript, or of a model's input.
        model: That it was given to, as Inspect names it. To a server Inspect sends thoughts and the words
        after
            them in a form of its own.

    Raises:
        NotTextError: An image, or anything else but text and reasoning.
    """
    if foreign := _foreign(message):
        raise NotTextError(f"a message of the {message.role} holds {foreign}, not only text")
    row: dict[str, Any] = {"role": message.role, "content": message.text}
    if isinstance(message, ChatMessageAssistant):
        if is_served(model) and not isinstance(message.content, str):
            row |= _as_sent(message.content)
        elif reasoning := _reasoning(message):
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
            row["content"] = error_prefix(model) + message.error.message
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


def _as_sent(parts: Sequence[Content]) -> dict[str, Any]:
    """Parts of an assistant's message as Inspect sends them to a server.

    A thought that the server itself has told apart goes back apart; any other stands in the words. A line
    break stands before every part. Source: `inspect_ai.model.messages_to_openai`, inspect-ai 0.3.285.
    """
    content, row = "", dict[str, Any]()
    for part in parts:
        if isinstance(part, ContentReasoning):
            if str(part.internal) in ("reasoning", "reasoning_content", "reasoning_details"):
                row["reasoning_content"] = part.reasoning
            else:
                content += f"\n{THINK.format(part.reasoning)}\n"
        elif isinstance(part, ContentText):
            content += f"\n{part.text}"
    return {**row, "content": content}


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
