"""Tool calls in what a model wrote.

Three forms are read, whatever the model: `<tool_call>{...}</tool_call>` (Qwen, Hermes, the miniature);
a JSON object, or a list of them, as the whole answer (Llama 3, Mistral, whose marks are special tokens
and gone from the text). An object has a `name` and `arguments` or `parameters`.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import uuid4

from inspect_ai.tool import ToolCall, ToolInfo

_MARKED = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|\Z)", re.DOTALL)


def read_tool_calls(text: str, tools: Sequence[ToolInfo]) -> tuple[str, list[ToolCall]]:
    """What is said, and the calls.

    A call that cannot be read is a call with `parse_error`, which Inspect tells the model. Plain JSON
    counts as a call only if it names one of `tools`, since it may be an answer.
    """
    marked = _MARKED.findall(text)
    if marked:
        return _MARKED.sub("", text).strip(), [_call(body) for body in marked]
    found = _objects(text.strip())
    names = {t.name for t in tools}
    if found and all(isinstance(o, dict) and o.get("name") in names for o in found):
        return "", [_call_of(o) for o in found]
    return text, []


def _objects(text: str) -> list[Any]:
    """JSON objects that make up the whole text: a list, or one after the other with `;` or white space."""
    if not text.startswith(("{", "[")):
        return []
    try:
        return [o for value in _values(text) for o in (value if isinstance(value, list) else [value])]
    except ValueError:
        return []


def _values(text: str) -> Iterator[Any]:
    decoder = json.JSONDecoder()
    while text:
        value, end = decoder.raw_decode(text)
        yield value
        text = text[end:].lstrip(" \t\r\n;")


def _call(body: str) -> ToolCall:
    try:
        return _call_of(json.loads(body))
    except ValueError as error:
        return _unreadable(body, f"not valid JSON: {error}")


def _call_of(data: Any) -> ToolCall:
    if not isinstance(data, dict) or not isinstance(data.get("name"), str):
        return _unreadable(json.dumps(data), "expected an object with `name` and `arguments`")
    arguments = data.get("arguments", data.get("parameters", {}))
    if not isinstance(arguments, dict):
        return _unreadable(json.dumps(data), "`arguments` must be an object")
    return ToolCall(id=f"{data['name']}-{uuid4().hex[:12]}", function=data["name"], arguments=arguments)


def _unreadable(body: str, problem: str) -> ToolCall:
    return ToolCall(
        id=f"unreadable-{uuid4().hex[:12]}",
        function="unreadable",
        arguments={},
        parse_error=f"The tool call {body[:200]!r} cannot be read: {problem}.",
    )
