"""What an experiment is: cells to compute, a table, and figures that are drawn from files alone."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from probes.experiments.book import Book
from probes.experiments.cells import Cell, Row
from probes.experiments.study import Study


class Results(NamedTuple):
    """What figures and tables are made of; all of it is in files."""

    rows: list[Row]
    """Of the table, of all cells."""

    book: Book | None
    """Scores of monitors, where the experiment is made of them."""

    settings: Mapping[str, Any]
    """Those that the experiment depends on, as in the file of options."""


class Picture(NamedTuple):
    """A figure that was drawn, and the numbers in it."""

    file: str
    caption: str
    rows: list[Row]
    """Written as CSV beside it."""


class Table(NamedTuple):
    """Of the page."""

    head: list[str]
    rows: list[list[str]]


class Experiment(NamedTuple):
    """One experiment."""

    name: str
    """In commands and files."""

    title: str
    asks: str
    """The question that it answers, for the page."""

    uses: tuple[str, ...]
    """Options on which every cell depends; two runs that differ in one are of two configurations."""

    cells: Callable[[Study, Book | None], list[Cell]]
    """Each gives a list of rows."""

    table: Callable[[Results], Table]
    draw: Callable[[Results, Path], list[Picture]]
    lacks: Callable[[Study], str | None] = lambda _: None
    """Why it cannot be made of this study; None if it can."""

    on_scores: bool = False
    """Its cells are computed from the scores of monitors."""

    notes: Callable[[Results], Sequence[str]] = lambda _: ()
    """What a reader must know."""

    version: int = 1
    """Raised when the same settings give other numbers."""
