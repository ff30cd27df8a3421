"""The one style of the suite's figures: colours, panels, labels at the ends of lines.

Colours are safe for the colour-blind (Okabe and Ito; Tol's purple, as their pale one is too pale for text);
names stand at what they name. Nothing here draws: whoever asks for `plain_panel` has a panel.
"""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scenarios.files.whole import whole_file

if TYPE_CHECKING:  # matplotlib takes a second, and who asks for a colour draws nothing
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#AA4499")
"""Of lines, in the order given."""

KINDS = {"gameable": "#D55E00", "other": "#0072B2"}
"""Of gameable and other users."""

INK, FAINT, GREY = "#222222", "#8a8a8a", "#5b5b5b"
EDGE, GRID = "#bbbbbb", "#e9e9e9"
WARNING = "#8c2d04"

DPI = 150

LABEL_APART = 0.058
"""Least distance of two labels, as a share of the panel's height."""

LABEL: dict[str, Any] = {"fontsize": 8.5, "fontweight": "bold"}

MINIATURE_NOTE = "The miniature is a demonstration world: no evidence about real models."

IN_PAGES = {
    "#D55E00": "var(--gameable)",
    "#0072B2": "var(--other)",
    "#009E73": "var(--third)",
    "#AA4499": "var(--fourth)",
    INK: "var(--ink)",
    GREY: "var(--faint)",
    FAINT: "var(--faint)",
    EDGE: "var(--edge)",
    GRID: "var(--line)",
    "#ffffff": "var(--paper)",
}
"""Colour -> what it is called in our pages, where it changes in the dark."""


def plain_panel(panel: "Axes", name: str, *, size: float = 11) -> None:
    """Title to the left, no box, quiet axes."""
    panel.set_title(name, loc="left", fontsize=size, color=INK, pad=7)
    panel.spines[["top", "right"]].set_visible(False)
    panel.spines[["left", "bottom"]].set_color(EDGE)
    panel.tick_params(colors=GREY, labelsize=9, length=3)
    panel.set_axisbelow(True)


def label_ends(
    panel: "Axes",
    ends: Sequence[tuple[float, str, str]],
    *,
    apart: float = LABEL_APART,
    size: float = LABEL["fontsize"],
) -> None:
    """Names of lines to the right of their ends; labels keep apart.

    Args:
        panel: Where.
        ends: Value at the end, name and colour of each line.
        apart: Least distance, as a share of the panel's height.
        size: Of the letters, in points.
    """
    bottom, top = panel.get_ylim()
    gap = (top - bottom) * apart
    ordered = sorted(ends, key=lambda end: end[0])
    places: list[float] = []
    for value, _, _ in ordered:
        places.append(max(value, places[-1] + gap) if places else value)
    limit = top
    for number in reversed(range(len(places))):
        places[number] = min(places[number], limit)
        limit = places[number] - gap
    for place, (_, name, colour) in zip(places, ordered, strict=True):
        panel.annotate(
            name,
            xy=(1, place),
            xycoords=("axes fraction", "data"),
            xytext=(5, 0),
            textcoords="offset points",
            color=colour,
            va="center",
            annotation_clip=False,
            fontsize=size,
            fontweight=LABEL["fontweight"],
        )


def save_picture(figure: "Figure", out: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    with whole_file(out) as unfinished:
        figure.savefig(unfinished, format="png", dpi=DPI)


def as_svg(figure: "Figure", *, name: str) -> str:
    """A figure as SVG on no ground, with its words as words.

    Args:
        figure: Any.
        name: The same figure under the same name is the same text.
    """
    import matplotlib as mpl

    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    return text.getvalue()


def in_page(svg: str, name: str) -> str:
    """A figure as it stands inside our pages: in their type and their colours, which change in the dark.

    Args:
        svg: As `as_svg` gives it.
        name: Unique in the page; ids of the figure begin with it.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    for given, called in IN_PAGES.items():
        body = re.sub(re.escape(given), called, body, flags=re.IGNORECASE)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'(xlink:href="|url\()#', rf"\1#{name}-", body)
    body = re.sub(r"font: ([^;\"]*?)(\d+(?:\.\d+)?px) [^;\"]*", r"font: \1\2 system-ui, sans-serif", body)
    # without its own size: as wide as the column that it stands in
    return re.sub(
        r"<svg [^>]*?viewBox", '<svg xmlns:xlink="http://www.w3.org/1999/xlink" viewBox', body, count=1
    )
