"""Chat templates rendered as transformers documents it, without the suite, and with a clock that stands."""

import json
from collections.abc import Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import Any

from jinja2 import Template, nodes
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

DAY = date(2021, 3, 4)
"""The day that templates are told."""

Row = Mapping[str, Any]
Tools = Sequence[Row] | None


class Refused(Exception):
    """The template does not render what it is given."""


class _Generation(Extension):
    """`{% generation %}`, with which some templates mark replies: what is inside is rendered."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def render(
    template: str,
    rows: Sequence[Row],
    *,
    tools: Tools = None,
    prompt: bool = False,
    tokens: Mapping[str, str] | None = None,
    variables: Mapping[str, Any] | None = None,
    day: date = DAY,
) -> str:
    """The text of a conversation.

    Args:
        template: A Jinja template.
        rows: Messages.
        tools: Their JSON schemas.
        prompt: Whether a reply is asked for.
        tokens: `bos_token` and the like.
        variables: Others that the template reads.
        day: What `strftime_now` tells.

    Raises:
        Refused: With the template's own words.
    """
    try:
        return _compiled(template).render(
            messages=[_aliased(row) for row in rows],
            tools=None if tools is None else [dict(t) for t in tools],
            documents=None,
            add_generation_prompt=prompt,
            strftime_now=day.strftime,
            **(tokens or {}),
            **(variables or {}),
        )
    except Exception as error:  # templates fail in every way
        raise Refused(f"{error}") from error


def _aliased(row: Row) -> dict[str, Any]:
    """Reasoning under the names that templates read."""
    thought = row.get("reasoning_content")
    return {**row} if thought is None else {"thinking": thought, **row}


@lru_cache(maxsize=512)
def _compiled(template: str) -> Template:
    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
    )
    made.filters["tojson"] = _json
    made.globals["raise_exception"] = _raise
    return made.from_string(template)


def _json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise(message: str) -> None:
    raise TemplateError(message)
