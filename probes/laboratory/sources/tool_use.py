"""ToolACE: functions are JSON in the system prompt, calls stand in brackets; here they are tools and calls.

`[Get Hot Topics(string_range="today")]` becomes a call of the tool `Get Hot Topics`; the list of functions
leaves the system prompt and becomes the tools that are offered; the rest of the system prompt stays.
"""

import ast
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from probes.laboratory.sources.source import Excluded, SourceRow, said, text_in
from scenarios.files.conversation_cells import CellError, messages_of
from scenarios.files.strict_json import JsonError, check_values
from scenarios.files.tables import TableRow

_NAME = re.compile(r"[A-Za-z_][\w.\-]*")
_LIST = re.compile(r"\[\s*(?:\{|\])")


def toolace_rows(row: TableRow) -> Iterator[SourceRow]:
    """A conversation with the tools that it was offered.

    Calls that name no offered function, or whose arguments are not literals, stay text; the fact `calls`
    tells (`tools`, `text`, `none`).

    Raises:
        Excluded: A role that is not known; no messages.
    """
    system, tools = _tools(text_in(row, "system"))
    names = [str(tool["function"]["name"]) for tool in tools]
    try:
        messages = messages_of(row.cells.get("conversations"))
    except CellError as error:
        raise Excluded("a role that is not known, or a message that is none") from error
    if not messages:
        raise Excluded("no messages")
    told = _with_calls(messages, names)
    kinds = {_calls_kind(message, names) for message in told if message["role"] == "assistant"}
    calls = "text" if "text" in kinds else "tools" if "tools" in kinds else "none"
    yield SourceRow(
        str(row.number - 1),
        [*([said("system", system)] if system else []), *told],
        tools=tools or None,
        facts={"language": "English", "calls": calls},
    )


def _tools(system: str) -> tuple[str, list[dict[str, Any]]]:
    """The system prompt without its list of functions, and the functions as schemas in OpenAI's form.

    Where there is no such list, or an empty one, or one in a form of its own, the prompt stays as it is.
    """
    decoder = json.JSONDecoder()
    for start in _LIST.finditer(system):
        try:
            functions, end = decoder.raw_decode(system, start.start())
            check_values(functions)
        except (ValueError, RecursionError, JsonError):
            continue
        if functions and all(isinstance(f, dict) and isinstance(f.get("name"), str) for f in functions):
            rest = system[: start.start()].rstrip() + "\n" + system[end:].lstrip(". \n")
            return rest.strip(), [{"type": "function", "function": _schema(f)} for f in functions]
    return system, []


def _schema(function: dict[str, Any]) -> dict[str, Any]:
    parameters = function.get("parameters")
    return {
        "name": function["name"],
        "description": str(function.get("description") or ""),
        "parameters": _json_types(parameters) if isinstance(parameters, dict) else {"type": "object"},
    }


_TYPES = {
    "dict": "object",
    "float": "number",
    "int": "integer",
    "bool": "boolean",
    "list": "array",
    "str": "string",
}
"""Python's names of types, which the set writes, -> those of JSON schema."""


def _json_types(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _TYPES.get(part, part) if key == "type" and isinstance(part, str) else _json_types(part)
            for key, part in value.items()
        }
    return [_json_types(part) for part in value] if isinstance(value, list) else value


def _with_calls(messages: Sequence[dict[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    open_calls: list[dict[str, Any]] = []
    for message in messages:
        if message["role"] == "assistant" and (calls := _calls_in(message["content"], names)):
            open_calls = [
                {"type": "function", "id": f"call-{len(told)}-{place}", "function": call}
                for place, call in enumerate(calls)
            ]
            told.append({"role": "assistant", "content": "", "tool_calls": open_calls})
        elif message["role"] == "tool":
            told += _results(message["content"], open_calls)
            open_calls = []
        else:
            told.append(message)
    return told


def _results(content: str, calls: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One message for each call if the results are as many; otherwise all in one, of the first call."""
    try:
        values = json.loads(content)
    except ValueError:
        values = None
    if isinstance(values, list) and len(values) == len(calls):
        texts = [json.dumps(value, ensure_ascii=False) for value in values]
    else:
        texts, calls = [content], calls[:1]
    if not calls:
        return [said("tool", texts[0])]
    return [
        said("tool", text) | {"name": call["function"]["name"], "tool_call_id": call["id"]}
        for text, call in zip(texts, calls, strict=True)
    ]


def _calls_in(text: str, names: Sequence[str]) -> list[dict[str, Any]]:
    """The calls that a text consists of; none if it is anything else."""
    inside = text.strip()
    if not (inside.startswith("[") and inside.endswith("]")):
        return []
    rest = inside[1:-1].strip()
    calls: list[dict[str, Any]] = []
    while rest:
        name = max((n for n in names if rest.startswith(f"{n}(")), key=len, default=None)
        if name is None or (end := _closing(rest, len(name))) is None:
            return []
        arguments = _arguments(rest[len(name) + 1 : end])
        if arguments is None:
            return []
        calls.append({"name": name, "arguments": arguments})
        rest = rest[end + 1 :].lstrip()
        if rest and not rest.startswith(","):
            return []
        rest = rest[1:].lstrip()
    return calls


def _end_of_quote(text: str, start: int) -> int | None:
    """Place of the quotation mark that ends the text which begins at `start`."""
    place = start + 1
    while place < len(text):
        if text[place] == text[start]:
            return place
        place += 2 if text[place] == "\\" else 1
    return None


def _closing(text: str, start: int) -> int | None:
    """Place of the bracket that closes the one at `start`, outside of quotes."""
    depth, place = 0, start
    while place < len(text):
        sign = text[place]
        if sign in "\"'":
            end = _end_of_quote(text, place)
            if end is None:
                return None
            place = end
        elif sign in "([{":
            depth += 1
        elif sign in ")]}":
            depth -= 1
            if depth == 0:
                return place
        place += 1
    return None


_JSON_WORDS = {"true": True, "false": False, "null": None}


class _Literals(ast.NodeTransformer):
    """JSON's words are constants in calls, as models write them."""

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Constant(_JSON_WORDS[node.id]) if node.id in _JSON_WORDS else node


def _arguments(text: str) -> dict[str, Any] | None:
    """Arguments by name; None if one is not by name, or no literal that JSON knows.

    Names may be words that Python keeps for itself, as `from` is.
    """
    found: dict[str, Any] = {}
    for argument in _parted(text):
        name, mark, value = argument.partition("=")
        name = name.strip()
        if not mark or not _NAME.fullmatch(name) or name in found:
            return None
        try:
            tree = _Literals().visit(ast.parse(value.strip(), mode="eval"))
            found[name] = ast.literal_eval(tree)
            json.dumps(found[name], allow_nan=False)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            return None
    return found


def _parted(text: str) -> list[str]:
    """The parts between commas that stand outside of brackets and quotes."""
    parts, start, place = [], 0, 0
    while place < len(text):
        if text[place] in "([{\"'":
            end = _end_of_quote(text, place) if text[place] in "\"'" else _closing(text, place)
            place = len(text) if end is None else end
        elif text[place] == ",":
            parts.append(text[start:place])
            start = place + 1
        place += 1
    return [part for part in [*parts, text[start:]] if part.strip()]


def _calls_kind(message: dict[str, Any], names: Sequence[str]) -> str:
    if message.get("tool_calls"):
        return "tools"
    words = message["content"].lstrip("[ ")
    return "text" if any(words.startswith(f"{name}(") for name in names) else "none"
