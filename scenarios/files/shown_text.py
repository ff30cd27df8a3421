"""Texts of others where they are shown: names in a page of Markdown, words in a terminal."""

import re
import unicodedata
from typing import Any

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
    """A value as it may stand in a page of Markdown; for `jinja2.Environment(finalize=)`.

    Args:
        value: A text becomes one line that can make no row, tag, code or link; `Markdown`, and what is no
            text, stays as it is.
    """
    if not isinstance(value, str) or isinstance(value, Markdown):
        return value
    return re.sub("|".join(map(re.escape, _MARKS)), lambda m: _MARKS[m[0]], one_line(value))
