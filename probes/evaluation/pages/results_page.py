"""The results of an evaluation: as a page, and as what the command prints."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from analysis.figures.panels import Drawn
from analysis.reporting.markdown import as_markdown
from analysis.reporting.page import Part, Section, environment
from probes.evaluation.pages.results_sections import Found, further_sections, main_sections
from scenarios.files.shown_text import in_markdown

TEMPLATE = "results.html.jinja"


class ResultFile(NamedTuple):
    """A file beside the page."""

    name: str
    what: str

    @property
    def href(self) -> str:
        """As a link has it."""
        return quote(self.name)


def results_page(found: Found, figures: Sequence[Drawn] = (), files: Sequence[ResultFile] = ()) -> str:
    """All tables and figures as HTML that asks no other host for anything.

    Args:
        found: By the evaluation.
        figures: Of it, which lie beside the page.
        files: Beside the page.
    """
    drawn = [Section("figures", "Figures", [], [Part(figures=list(figures), broad=True)])] if figures else []
    made = environment(Path(__file__).parent)
    made.filters["short"] = _short
    return made.get_template(TEMPLATE).render(
        title="Evaluation of monitors",
        summary=_summary(found),
        notes=found.notes,
        sections=[*main_sections(found), *drawn, *further_sections(found)],
        files=files,
    )


def headline(found: Found) -> str:
    """Data sets, AUROC and recall, as Markdown that is readable as it is."""
    return "\n\n".join([*map(in_markdown, found.notes), as_markdown(main_sections(found))])


def _summary(found: Found) -> str:
    monitors = {row["monitor"] for row in found.rows if row["control"] is None}
    rows = sum(len(data.labels) for data in found.sets)
    counts = (len(monitors), "monitor"), (len(found.sets), "data set"), (rows, "conversation")
    return "{} on {}, {}.".format(*(f"{n:,} {what}{'' if n == 1 else 's'}" for n, what in counts))


def _short(title: str) -> str:
    """What a title begins with."""
    return title.partition(",")[0].partition(":")[0]
