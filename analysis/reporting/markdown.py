"""Parts of a page as Markdown that is readable as it is: what commands print in a terminal."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from scenarios.files.shown_text import in_markdown

if TYPE_CHECKING:  # templates are of an extra, and who prints a table needs none
    from analysis.reporting.page import Section, Table

NOTHING = "-"
"""A number that is not known."""


def as_markdown(sections: Sequence["Section"]) -> str:
    """Headings, texts and tables of a page; figures are left out.

    Texts are of others, too: none of them makes a row, a tag or a link.
    """
    return "\n\n".join(block for section in sections for block in _blocks(section))


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table with aligned columns, the first to the left; no cell makes a row, a tag or a link."""
    escaped = [[str(in_markdown(cell)) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[i]) for row in escaped) for i in range(len(head))]
    lines = [
        "| "
        + " | ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in escaped
    ]
    rule = (
        "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    )
    return "\n".join([lines[0], rule, *lines[1:]])


def interval(
    value: float | None, low: float | None, high: float | None, digits: int = 3, *, sign: str = ""
) -> str:
    """A number with its interval, as far as there are any."""
    if value is None:
        return NOTHING
    if low is None or high is None:
        return f"{value:{sign}.{digits}f}"
    return f"{value:{sign}.{digits}f} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"


def _blocks(section: "Section") -> Iterator[str]:
    yield f"## {in_markdown(section.title)}"
    yield from map(in_markdown, section.texts)
    for part in section.parts:
        if part.heading:
            yield f"### {in_markdown(part.heading)}"
        yield from map(in_markdown, part.texts)
        for one in part.tables:
            yield from _table(one)


def _table(one: "Table") -> Iterator[str]:
    if one.caption:
        yield in_markdown(one.caption)
    yield table(one.head, [[getattr(cell, "text", cell) for cell in row] for row in one.rows])
    yield from map(in_markdown, one.notes)
