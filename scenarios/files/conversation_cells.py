"""Conversations as the cells of tables hold them, as messages of a chat.

Read are lists of messages in the form of OpenAI (`role`, `content`) and of ShareGPT (`from`, `value`),
objects with such a list (`messages`, `conversations`), both also as text: as JSON or as the Python literal
that a data frame writes; transcripts in the form of hh-rlhf; and any other text as the words of one user.

Differs from `trl.maybe_convert_to_chatml`, which renames the keys of lists but neither their speakers (a
`human` stays one) nor reads texts.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from scenarios.files.strict_json import JsonError, TooDeepError, parse_json, parse_literal
from scenarios.mistakes import UserMistake

Message = dict[str, Any]
"""`role`, `content` (a text) and, where there are any, `tool_calls` (arguments as objects), `tool_call_id`,
`name`, `reasoning_content`."""

ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bing", "bard", "bot", "model", "ai"), "assistant"),
    **dict.fromkeys(("tool", "function", "function_response", "observation", "ipython"), "tool"),
    "function_call": "assistant",
}
"""Speaker, in small letters -> role. What is not here is an error: a guess would put words in a mouth."""

LISTS = ("messages", "conversations", "conversation")
"""Members of an object that may hold the messages."""

SPEAKER_KEYS = ("role", "from")
CONTENT_KEYS = ("content", "value")
CALL_KEYS = ("id", "type", "function")

_SPEAKER = re.compile(r"(?:\A\s*|\n\s*\n\s*)(Human|Assistant):")
_TRANSCRIPT = re.compile(
    r"\A(?:\s*\n\s*\n\s*(?:Human|Assistant):|\s*Human:.*\n\s*\n\s*Assistant:)", re.DOTALL
)
_LIKELY = re.compile(
    r"""\A\s*(?:\[\s*\{[^{}]{0,200}?["'](?:role|from)["']\s*:|\{\s*["'](?:messages|conversations?)["']\s*:)"""
)


class CellError(UserMistake):
    """A cell that should hold a conversation and does not."""


class NoConversationError(CellError):
    """A text that begins like a conversation and is none; it may be what a user said."""


def messages_of(value: Any, *, plain: bool = False, any_role: bool = False) -> list[Message]:
    """The messages in a cell; none if it is empty.

    Args:
        value: The cell.
        plain: Take a text as the words of a user, however it begins.
        any_role: Leave speakers that are not known as they are.

    Raises:
        NoConversationError: A text that begins like a list or an object and is no conversation.
        CellError: A speaker that is not known, unless `any_role`; a message without content, or with
            something else than text.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return []
    if isinstance(value, str):
        return [_said("user", value)] if plain else _from_text(value, any_role)
    return _from_value(value, any_role)


def looks_like_messages(text: str) -> bool:
    """Whether a text begins as a list of messages does, whole or not, or as a transcript."""
    return bool(_LIKELY.match(text) or _TRANSCRIPT.match(text))


def _from_text(text: str, any_role: bool) -> list[Message]:
    if text.lstrip()[:1] in ("[", "{") and text.strip():
        return _from_value(_parsed(text), any_role)
    if _TRANSCRIPT.match(text):
        return _transcript(text)
    return [_said("user", text)]


def _parsed(text: str) -> Any:
    try:
        return parse_json(text)
    except TooDeepError as error:
        raise NoConversationError(f"begins like a conversation and is none: {error}") from None
    except JsonError as error:
        told = str(error)
        if not told.startswith("not JSON"):
            raise CellError(told) from None
    try:
        return parse_literal(text)
    except JsonError as error:
        if not str(error).startswith("not "):
            raise CellError(str(error)) from None
        raise NoConversationError(
            f"begins like a conversation and is none: {told}, and {error}: {_start(text)}"
        ) from None


def _from_value(value: Any, any_role: bool) -> list[Message]:
    if isinstance(value, Mapping):
        value = _listed(value)
    if not isinstance(value, list | tuple):
        raise CellError(f"{type(value).__name__} instead of a text or a list of messages: {_start(value)}")
    if not all(isinstance(item, Mapping) for item in value):
        raise NoConversationError(f"a list of something else than messages: {_start(value)}")
    return [_message(item, f"message {number}", any_role) for number, item in enumerate(value)]


def _listed(value: Mapping[str, Any]) -> Any:
    """The messages of an object: one of its members, its columns, or itself."""
    for name in LISTS:
        if isinstance(value.get(name), list | tuple):
            return value[name]
    columns = {k: v for k, v in value.items() if k in (*SPEAKER_KEYS, *CONTENT_KEYS)}
    if len(columns) == 2 and all(isinstance(v, list | tuple) for v in columns.values()):
        (first, speakers), (second, texts) = columns.items()  # as `datasets` keeps sequences of structures
        if len(speakers) == len(texts):
            return [{first: who, second: said} for who, said in zip(speakers, texts, strict=True)]
    if any(key in value for key in SPEAKER_KEYS):
        return [value]
    raise NoConversationError(f"an object without {' or '.join(LISTS)}; it has {', '.join(map(str, value))}")


def _message(given: Mapping[str, Any], where: str, any_role: bool) -> Message:
    # what one message lacks, a table fills with nulls
    message = {key: value for key, value in given.items() if value is not None}
    speaker = next((message[key] for key in SPEAKER_KEYS if key in message), None)
    if not isinstance(speaker, str):
        raise CellError(
            f"{where}: not an object with a role; it has {', '.join(map(str, given)) or 'nothing'}"
        )
    role = ROLES.get(speaker.strip().lower(), speaker if any_role else None)
    if role is None:
        raise CellError(f"{where}: unknown role {speaker!r}; known are {', '.join(ROLES)}")
    calls = message.get("tool_calls")
    content = next((message[key] for key in CONTENT_KEYS if key in message), None)
    if content is None and not calls and not any(key in given for key in CONTENT_KEYS):
        raise CellError(f"{where}: no content; it has {', '.join(map(str, given))}")
    if speaker == "function_call":
        return _said(role, "") | {"tool_calls": [_written_call(content, where)]}
    told = _said(role, _text(content, where))
    for name in ("reasoning_content", "name", "tool_call_id"):
        if message.get(name):
            told[name] = str(message[name])
    if calls:
        if not isinstance(calls, list | tuple):
            raise CellError(f"{where}: tool_calls: {type(calls).__name__} instead of a list")
        told["tool_calls"] = [_call(call, where) for call in calls]
    return told


def _said(role: str, text: str) -> Message:
    return {"role": role, "content": text}


def _text(content: Any, where: str) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list | tuple):
        raise CellError(f"{where}: content is {type(content).__name__}, not text")
    return "\n".join(_part(part, f"{where}, part {number}") for number, part in enumerate(content))


def _part(part: Any, where: str) -> str:
    if isinstance(part, str):
        return part
    text = part.get("text") if isinstance(part, Mapping) else None
    if not isinstance(text, str):
        kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
        raise CellError(f"{where}: holds something else than text: {kind}")
    return text


def _call(call: Any, where: str) -> dict[str, Any]:
    """A tool call with its arguments as an object, which templates write as JSON themselves."""
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise CellError(f"{where}: a tool call without function and name")
    name, arguments = function["name"], function.get("arguments") or {}
    if isinstance(arguments, str):
        try:
            arguments = parse_json(arguments)
        except JsonError as error:
            raise CellError(f"{where}: arguments of {name} are not JSON: {error}") from None
    if not isinstance(arguments, Mapping):
        raise CellError(f"{where}: arguments of {name} are not an object")
    kept = {key: call[key] for key in CALL_KEYS if call.get(key) is not None}
    return {"type": "function", **kept, "function": {"name": name, "arguments": dict(arguments)}}


def _written_call(content: Any, where: str) -> dict[str, Any]:
    """The call that a ShareGPT message of a `function_call` writes as JSON."""
    try:
        value = parse_json(content) if isinstance(content, str) else content
    except JsonError as error:
        raise CellError(f"{where}: a function_call: {error}") from None
    return _call({"function": value}, where)


def _transcript(text: str) -> list[Message]:
    """Turns that begin with an empty line and `Human:` or `Assistant:`, the two in turn, the human first.

    An `Assistant:` at the end that says nothing asks for the answer.
    """
    parts = _SPEAKER.split(text)[1:]
    turns = [
        _said("user" if who == "Human" else "assistant", words.strip())
        for who, words in zip(parts[::2], parts[1::2], strict=True)
    ]
    if turns[-1] == _said("assistant", ""):
        turns.pop()
    for number, turn in enumerate(turns):
        if turn["role"] != ("assistant" if number % 2 else "user"):
            raise CellError(f"message {number}: a transcript of Human and Assistant, but not in turn")
        if not turn["content"]:
            raise CellError(
                f"message {number}: a transcript of Human and Assistant, in which one says nothing"
            )
    return turns


def _start(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = " ".join(text.split())
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
