"""Reads states out of a model's answer: JSON, also in a code fence or in prose, or what is whole of it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from scenarios.family import InitialState, Line
from scenarios.files.json_answers import json_values
from scenarios.generation.checks import REFUSAL, Rejected
from scenarios.generation.prompt import Request


def states_in(text: str) -> list[Mapping[str, Any]]:
    """Every JSON object with an opening, in order. An object that was cut off is left out."""
    return list(_states(json_values(text)))


def unreadable(text: str, stopped: str) -> Rejected:
    """Why an answer has no state in it."""
    if stopped == "content_filter" or REFUSAL.search(text):
        return Rejected("refusal", " ".join(text.split())[:200] or stopped)
    return Rejected("unreadable answer", " ".join(text.split())[:200] or f"empty ({stopped})")


def state_from(found: Mapping[str, Any], request: Request, identifier: str) -> InitialState | Rejected:
    """One state of an answer, or what is wrong with its form.

    Args:
        found: An item of `states_in`.
        request: What was asked for.
        identifier: The state's id.
    """
    fields = request.fields
    variables = found.get("variables", {})
    if not isinstance(variables, Mapping):
        return Rejected("schema", f"variables: expected an object, got {type(variables).__name__}")
    texts = {str(name): _string_or_none(value) for name, value in variables.items()}
    texts = {name: text for name, text in texts.items() if name not in request.given}
    if missing := [name for name in fields if not texts.get(name)]:
        return Rejected("schema", f"variables: no text for {', '.join(missing)}")
    if extra := sorted(set(texts) - set(fields)):
        return Rejected("schema", f"variables: {', '.join(extra)} not asked for")
    lines = [_line(line) for line in found["opening"]] if isinstance(found["opening"], list) else []
    if not lines or None in lines:
        return Rejected("schema", "opening: expected a list of messages with role and text")
    try:
        return InitialState(
            id=identifier,
            gameable=request.pool.kind == "gameable",
            split=request.pool.split,
            opening=[line for line in lines if line is not None],
            variables={name: str(texts[name]) for name in fields} | request.given,
        )
    except ValueError as error:
        return Rejected("schema", str(error).splitlines()[-2 if "\n" in str(error) else -1].strip())


def _string_or_none(value: Any) -> str | None:
    """Numbers are taken as text; anything else but text is not."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(value).strip()


def _line(value: Any) -> Line | None:
    if not isinstance(value, Mapping):
        return None
    text = value.get("text")
    text = json.dumps(text, ensure_ascii=False) if isinstance(text, Mapping) else text
    try:
        line = {"role": value.get("role"), "text": text.strip() if isinstance(text, str) else text}
        return Line.model_validate(line | ({"tool": value["tool"]} if value.get("tool") else {}))
    except ValueError:
        return None


def _states(values: Any) -> Iterator[Mapping[str, Any]]:
    for value in values:
        if isinstance(value, Mapping) and "opening" in value:
            yield value
        elif isinstance(value, Mapping):
            yield from _states(value.values())
        elif isinstance(value, list):
            yield from _states(value)
