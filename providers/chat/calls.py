"""Calls of tools in what a model wrote: forms as data (`formats.yaml`), and what reads them."""

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict

Kind = Literal["json", "named", "keyed", "tags", "python", "quoted", "alone"]

Tools = Sequence[Mapping[str, Any]] | None


CDATA = re.compile(r"\A<!\[CDATA\[(.*)\]\]>\Z", re.DOTALL)


class UnreadableCallError(ValueError):
    """A call that begins as one and cannot be read."""


class Call(NamedTuple):
    """One call as it was written."""

    name: str
    arguments: dict[str, Any]
    id: str | None
    problem: str | None = None
    """Why it cannot be read; name and arguments are then empty."""


class CallFormat(BaseModel):
    """One form of calls; see `formats.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Kind
    open: str
    close: str | None = None
    param: str | None = None
    item: str | None = None
    around: str | None = None

    def read(self, text: str, tools: Tools = None) -> tuple[str, list[Call]]:
        """The words, and the calls in order.

        Args:
            text: What was written, control tokens included, without thoughts.
            tools: Types of the arguments, where the form itself tells none; and what may be called, where a
                call is not marked as one.
        """
        words, calls, _ = self._words_and_calls(text, tools)
        if not calls:
            return text, []
        return re.sub(self.around, "", words) if self.around else words, calls

    def end(self, text: str, tools: Tools = None) -> int:
        """Where the last call ends; 0 without one."""
        return self._words_and_calls(text, tools)[2]

    def _words_and_calls(self, text: str, tools: Tools) -> tuple[str, list[Call], int]:
        words, calls, at = list[str](), list[Call](), 0
        while begin := re.compile(self.open, re.DOTALL).search(text, at):
            read, end = self._calls(text, begin, tools)
            if not read:
                break
            words.append(text[at : begin.start()])
            calls += read
            at = end
        return "".join([*words, text[at:]]), calls, at

    def _calls(self, text: str, begin: re.Match[str], tools: Tools) -> tuple[list[Call], int]:
        """The calls that begin here, and where they end; none if it is no call after all."""
        found = begin.groupdict()
        name, identity = found.get("name") or found.get("name2") or "", found.get("id")
        try:
            body, end = self._body(text, begin.end())
            calls = list(self._calls_in_body(name, identity, body, tools))
        except UnreadableCallError as error:
            if self.kind == "alone":
                return [], begin.end()
            return [unreadable(text[begin.start() :], str(error))], self._end(text, begin.end())
        if self.kind == "alone" and not _all_offered(calls, tools):
            return [], begin.end()
        return calls, end

    def _body(self, text: str, start: int) -> tuple[Any, int]:
        """What stands between the marks, read as JSON where it is, and where the closing mark ends."""
        if self.kind == "json":
            return self._listed(text, start)
        if self.kind in ("named", "keyed"):
            value, end = _json_at(text, start)
            return value, self._closed(text, end)
        if self.kind == "alone":
            return list(_json_values(text[start:])), len(text)
        close = re.compile(self.close or r"\Z", re.DOTALL).search(text, start)
        if close is None and self.kind != "python":
            raise UnreadableCallError("it is cut off")
        return text[start : close.start() if close else len(text)], close.end() if close else len(text)

    def _listed(self, text: str, start: int) -> tuple[list[Any], int]:
        """Objects one after the other, in a list or not, up to the closing mark."""
        values = list[Any]()
        while True:
            value, start = _json_at(text, start)
            values += value if isinstance(value, list) else [value]
            more = re.compile(r"[\s,;]*(?=\{)").match(text, start)
            if not more or self.close is None:
                return values, self._closed(text, start)
            start = more.end()

    def _closed(self, text: str, end: int) -> int:
        close = re.compile(self.close, re.DOTALL).match(text, end) if self.close else None
        return close.end() if close else end

    def _end(self, text: str, start: int) -> int:
        close = re.compile(self.close, re.DOTALL).search(text, start) if self.close else None
        return close.end() if close else len(text)

    def _calls_in_body(self, name: str, identity: str | None, body: Any, tools: Tools) -> Iterator[Call]:
        if self.kind in ("json", "alone"):
            for item in body if isinstance(body, list) else [body]:
                yield _of_object(item)
        elif self.kind == "keyed":
            for item in body:
                yield from (Call(key, _arguments(value), None) for key, value in item.items())
        elif self.kind == "named":
            yield Call(name, _arguments(body), identity)
        elif self.kind == "tags":
            assert self.param is not None
            given = {m["key"].strip(): m for m in re.finditer(self.param, body, re.DOTALL)}
            yield Call(name, {k: self._value(m, name, k, tools) for k, m in given.items()}, identity)
        elif self.kind == "quoted":
            yield Call(name, _arguments(_with_quotes(body)), identity)
        else:
            yield from _python_calls(body)

    def _value(self, found: re.Match[str], function: str, key: str, tools: Tools) -> Any:
        if self.item is not None and (items := re.findall(self.item, found["value"], re.DOTALL)):
            return items
        return _typed(found, function, key, tools)


@cache
def call_formats() -> tuple[CallFormat, ...]:
    """All forms, in the order in which they are tried."""
    text = files("providers.chat").joinpath("formats.yaml").read_text(encoding="utf-8")
    return tuple(CallFormat.model_validate(item) for item in yaml.safe_load(text))


def _json_at(text: str, start: int) -> tuple[Any, int]:
    blank = re.compile(r"\s*").match(text, start)
    assert blank is not None
    try:
        return json.JSONDecoder().raw_decode(text, blank.end())
    except ValueError as error:
        raise UnreadableCallError(f"not valid JSON: {error}") from None


def _json_values(text: str) -> Iterator[Any]:
    """JSON values that make up a whole text, with `;` or white space between them; lists one by one."""
    rest = text.strip()
    while rest:
        value, end = _json_at(rest, 0)
        yield from value if isinstance(value, list) else [value]
        rest = rest[end:].lstrip(" \t\r\n;")


def _of_object(data: Any) -> Call:
    if isinstance(data, dict) and isinstance(data.get("function"), dict):
        data = {**data["function"], "id": data.get("id")}
    name = data.get("name", data.get("tool_name")) if isinstance(data, dict) else None
    if not isinstance(name, str):
        raise UnreadableCallError("expected an object with `name` and `arguments`")
    identity = data.get("id", data.get("tool_call_id"))
    given = data.get("arguments", data.get("parameters", {}))
    return Call(name, _arguments(given), str(identity) if identity else None)


def _arguments(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        value, _ = _json_at(value, 0)
    if not isinstance(value, dict):
        raise UnreadableCallError("the arguments must be an object")
    return value


def _all_offered(calls: Sequence[Call], tools: Tools) -> bool:
    """Plain JSON may be an answer; it is a call if it names a tool."""
    names = {str(tool.get("function", tool).get("name")) for tool in tools or []}
    return bool(calls) and all(call.name in names for call in calls)


def _typed(found: re.Match[str], function: str, key: str, tools: Tools) -> Any:
    """A value that was written as text, in the type that it has: as marked, as declared, else text."""
    text, marks = CDATA.sub(r"\1", found["value"]), found.groupdict()
    declared = _declared(function, key, tools)
    if "typed" in marks:
        return _value(text) if marks["typed"] is not None else text
    if declared is None or "string" in declared:
        return text
    value = _value(text)
    return text if isinstance(value, str) else value


def _declared(function: str, key: str, tools: Tools) -> set[str] | None:
    for tool in tools or []:
        schema = tool.get("function", tool)
        if schema.get("name") == function:
            field = ((schema.get("parameters") or {}).get("properties") or {}).get(key) or {}
            kinds = [field, *(field.get("anyOf") or []), *(field.get("oneOf") or [])]
            named = [kind.get("type") for kind in kinds if kind.get("type")]
            return {t for n in named for t in (n if isinstance(n, list) else [n])} or None
    return None


def _value(text: str) -> Any:
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text.strip())
        except (ValueError, SyntaxError):
            continue
    return text


def _with_quotes(text: str) -> Any:
    """JSON with bare keys, and strings between `<|"|>`."""
    strings: list[str] = []

    def keep(found: re.Match[str]) -> str:
        strings.append(found[1])
        return f'"\x00{len(strings) - 1}"'

    told = re.sub(r'<\|"\|>(.*?)<\|"\|>', keep, text, flags=re.DOTALL)
    told = re.sub(r"(?<=[{,])\s*([\w.-]+)\s*:", r'"\1":', told)
    try:
        value = json.loads(told, strict=False)
    except ValueError as error:
        raise UnreadableCallError(f"not valid arguments: {error}") from None
    return _put_back(value, strings)


def _put_back(value: Any, strings: Sequence[str]) -> Any:
    if isinstance(value, str) and value.startswith("\x00"):
        return strings[int(value[1:])]
    if isinstance(value, dict):
        return {key: _put_back(item, strings) for key, item in value.items()}
    return [_put_back(item, strings) for item in value] if isinstance(value, list) else value


def _python_calls(text: str) -> Iterator[Call]:
    """`[f(a=1), g()]`, values as literals; JSON's words for true, false and none are taken too."""
    names = {"true": True, "false": False, "null": None}
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise UnreadableCallError(f"not Python: {error}") from None
    for node in tree.elts if isinstance(tree, ast.List) else [tree]:
        if not isinstance(node, ast.Call) or node.args or any(k.arg is None for k in node.keywords):
            raise UnreadableCallError("expected calls with named arguments")
        try:
            given = {str(k.arg): _literal(k.value, names) for k in node.keywords}
        except ValueError as error:
            raise UnreadableCallError(f"an argument is no plain value: {error}") from None
        yield Call(ast.unparse(node.func), given, None)


def _literal(node: ast.expr, names: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Name) and node.id in names:
        return names[node.id]
    return ast.literal_eval(node)


def unreadable(text: str, problem: str) -> Call:
    """A call that begins this text, and why it cannot be read."""
    return Call("", {}, None, f"The tool call {text[:200]!r} cannot be read: {problem}.")
