"""Texts of others where they are shown: names in a page of Markdown, words in a terminal."""

import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

_MARKS = {"|": r"\|", "<": "&lt;", ">": "&gt;", "`": "'", "](": r"]\("}
"""What makes a cell, a tag, a span of code or a link. Harmless in a span of code and outside of one."""


_DIRECTIONS = {chr(c) for c in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
"""Controls that turn the direction of writing, so that a name is read as another."""


class Markdown(str):
    """Text that is Markdown already, e.g. a page's metadata."""

    __slots__ = ()


def one_line(text: str) -> str:
    """`text` in one line, without codes that a terminal would obey: these and line breaks become spaces."""
    plain = "".join(
        " " if unicodedata.category(c) in ("Cc", "Zl", "Zp", "Cs") or c in _DIRECTIONS else c for c in text
    )
    return " ".join(plain.split())


def in_markdown(value: Any) -> Any:
    """A value as it may stand in a page of Markdown.

    Args:
        value: A text becomes one line that can make no row, tag, code or link; `Markdown`, and what is no
            text, stays as it is.
    """
    if not isinstance(value, str) or isinstance(value, Markdown):
        return value
    return re.sub("|".join(map(re.escape, _MARKS)), lambda m: _MARKS[m[0]], one_line(value))


def markdown_templates(folder: Path) -> "Environment":
    """Templates of Markdown pages, in which what is filled in can make no row, tag, code or link."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # of an extra

    return Environment(
        loader=FileSystemLoader(folder),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=in_markdown,
    )
