"""Pages: the one set of templates, filters and styles, and what a section is made of."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from analysis.figures.panels import Drawn

TEMPLATES = Path(__file__).parent / "templates"


class Shade(NamedTuple):
    """A cell of a table with a ground as deep as its number."""

    text: str
    share: float
    """0 to 1."""

    cold: bool = False


@dataclass
class Table:
    """A table of a page."""

    head: list[str]
    rows: list[list[Any]]
    """Texts and `Shade`s."""

    caption: str = ""
    notes: list[str] = field(default_factory=list)
    folded: bool = False
    """Shown when its caption is clicked."""


@dataclass
class Part:
    """Some figures and tables under a heading."""

    heading: str = ""
    texts: list[str] = field(default_factory=list)
    figures: list[Drawn] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    broad: bool = False
    """Figures have several panels: each gets a line of its own, and scrolls where the page is narrow."""


@dataclass
class Section:
    """What a page says on one question."""

    key: str
    title: str
    texts: list[str]
    parts: list[Part]


def environment(*folders: Path) -> Environment:
    """Jinja's, with every text escaped, and a mistake for a name that is not there.

    Args:
        folders: Of templates, which may extend those of this folder.
    """
    made = Environment(
        loader=FileSystemLoader([*folders, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"number": decimals, "plain": plain, "signed": "{:+z.2f}".format, "told": as_words}
    return made


def decimals(value: Any, digits: int = 2) -> str:
    """A number with that many decimals; what is not known is a dash, never 0."""
    if isinstance(value, float) and not math.isnan(value) and (value == 0 or 1e-3 <= abs(value) < 1e6):
        return f"{value:,.{digits}f}"
    return plain(value)


def plain(value: Any) -> str:
    """A setting or a count as it is."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, list | Mapping):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, float):
        return f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def as_words(value: str) -> str:
    """A name of a file's key as words."""
    return value.replace("_", " ")
