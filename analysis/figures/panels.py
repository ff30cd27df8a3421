"""Small figures that stand beside each other in a page: curves by iteration, means with intervals."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from analysis.figures.style import (
    COLOURS,
    GREY,
    GRID,
    INK,
    KINDS,
    as_svg,
    in_page,
    label_ends,
    plain_panel,
    save_picture,
)
from analysis.intervals import Interval
from scenarios.files.whole import write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (4.4, 2.9)
"""Inches of a panel of curves, with room for names at its right."""

MARGIN = 0.06
"""Of the panel's height, above and below what is drawn where a measure has no ends."""

DASHES = (0, (4, 2.5))

Look = Literal["solid", "dashed", "thin"]


class Point(NamedTuple):
    """A mean at an iteration."""

    x: float
    mean: Interval


class Curve(NamedTuple):
    """One line of a panel."""

    name: str
    """At its end; empty for none."""

    colour: str
    points: list[Point]
    look: Look = "solid"


class Dot(NamedTuple):
    """A mean by its name."""

    name: str
    colour: str
    mean: Interval | None
    hollow: bool = False


class Drawn(NamedTuple):
    """A figure in a page."""

    title: str
    svg: str
    files: tuple[str, str]
    """Names of the SVG and of the PNG."""

    inches: float
    """How wide it is meant to be."""


def colour_of(users: str) -> str:
    """Of a kind of user."""
    return next((colour for kind, colour in KINDS.items() if users.startswith(kind)), COLOURS[2])


def draw_curves(
    curves: Sequence[Curve],
    out: Path,
    *,
    title: str,
    x: str = "iteration",
    y: str,
    ends: tuple[float, float] | None,
) -> Drawn:
    """Lines by iteration with their intervals as bands.

    Args:
        curves: With at least one point each.
        out: SVG; a PNG is written beside it. Its folder is one that nobody reads yet.
        title: Of the panel.
        x: What is along.
        y: What is up, with its unit.
        ends: Of the scale, all of which is shown; None: as far as the numbers go.
    """
    figure, panel = _panel(title, SIZE, right=0.72)
    for curve in curves:
        _line(panel, curve)
    _limits(panel, ends, [p.mean for curve in curves if curve.look != "thin" for p in curve.points])
    label_ends(
        panel,
        [
            (c.points[-1].mean.mean, f"{c.name} {_short(c.points[-1].mean.mean)}", c.colour)
            for c in curves
            if c.name
        ],
        apart=0.075,
    )
    from matplotlib.ticker import MaxNLocator

    panel.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    panel.set_xlabel(x, fontsize=9, color=GREY)
    panel.set_ylabel(y, fontsize=9, color=GREY)
    panel.grid(axis="y", color=GRID, linewidth=0.8)
    return write_figure(figure, out, title)


def draw_dots(
    dots: Sequence[Dot],
    out: Path,
    *,
    title: str,
    x: str,
    ends: tuple[float, float] | None,
    zero: bool = False,
) -> Drawn:
    """Means with intervals, one below the other, each by its name.

    Args:
        dots: From the top down; names that are the same as the one above are not repeated.
        out: SVG; a PNG is written beside it. Its folder is one that nobody reads yet.
        title: Of the panel.
        x: What is along, with its unit.
        ends: Of the scale; None: as far as the numbers go.
        zero: Draw a line at 0.
    """
    names = [dot.name for dot in dots]
    longest = min(44, max(map(len, names), default=0))
    wide = max(SIZE[0], 2.4 + 0.075 * longest)
    high = 0.75 + 0.24 * len(dots)
    figure, panel = _panel(title, (wide, high), left=0.075 * longest / wide + 0.03, right=0.97, inches=high)
    if zero:
        panel.axvline(0, color=GREY, linewidth=1, zorder=1)
    for place, dot in enumerate(dots):
        if dot.mean is None:
            where = {"transform": panel.get_yaxis_transform(), "va": "center", "ha": "center"}
            panel.text(0.5, place, "not scored", fontsize=8, color=GREY, **where)
            continue
        if not math.isnan(dot.mean.low):
            panel.plot(
                [dot.mean.low, dot.mean.high], [place, place], color=dot.colour, linewidth=1.8, alpha=0.6
            )
        face = "none" if dot.hollow else dot.colour
        panel.plot(dot.mean.mean, place, "o", color=dot.colour, markersize=5.5, markerfacecolor=face)
    shown = [n if not p or names[p - 1] != n else "" for p, n in enumerate(names)]
    panel.set_yticks(range(len(dots)), [_brief(n) for n in shown], fontsize=8.5)
    panel.tick_params(axis="y", length=0, colors=INK)
    panel.set_ylim(len(dots) - 0.4, -0.6)
    panel.grid(axis="x", color=GRID, linewidth=0.8)
    panel.set_xlabel(x, fontsize=9, color=GREY)
    if ends is not None:
        panel.set_xlim(*_with_room(ends))
    return write_figure(figure, out, title)


def _short(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"


def _brief(name: str) -> str:
    return name if len(name) <= 44 else f"{name[:20]}…{name[-23:]}"


def _panel(
    title: str,
    size: tuple[float, float],
    *,
    left: float = 0.155,
    right: float = 0.97,
    inches: float | None = None,
) -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=size)
    high = inches or size[1]
    panel = figure.add_axes((left, 0.5 / high, right - left, 1 - 0.85 / high))
    plain_panel(panel, title, size=10)
    if inches is not None:  # names stand to the left of the panel: the title begins where they do
        panel.set_title("", loc="left")
        figure.text(0.02, 1 - 0.2 / high, title, fontsize=10, color=INK, va="center")
    return figure, panel


def _line(panel: "Axes", curve: Curve) -> None:
    x = [point.x for point in curve.points]
    means = [point.mean for point in curve.points]
    y = [mean.mean for mean in means]
    if curve.look == "thin":
        panel.plot(x, y, color=curve.colour, linewidth=1, alpha=0.5, marker="o", markersize=2)
        return
    solid = curve.look == "solid"
    style = (
        {"linewidth": 2.1, "marker": "o", "markersize": 4}
        if solid
        else {"linewidth": 1.2, "linestyle": DASHES}
    )
    panel.plot(x, y, color=curve.colour, zorder=4, **style)
    known = [not math.isnan(mean.low) for mean in means]
    if not solid or not any(known):
        return
    low, high = [m.low for m in means], [m.high for m in means]
    if len(x) == 1:
        panel.plot(x * 2, [low[0], high[0]], color=curve.colour, linewidth=4, alpha=0.25)
    else:
        panel.fill_between(x, low, high, where=known, color=curve.colour, alpha=0.15, linewidth=0, zorder=2)


def _limits(panel: "Axes", ends: tuple[float, float] | None, means: Sequence[Interval]) -> None:
    values = [v for m in means for v in (m.mean, m.low, m.high) if not math.isnan(v)]
    if ends is not None and all(ends[0] - 1e-9 <= m.mean <= ends[1] + 1e-9 for m in means):
        panel.set_ylim(*_with_room(ends))
    elif values:
        margin = (max(values) - min(values)) * MARGIN or 1.0
        panel.set_ylim(min(values) - margin, max(values) + margin)


def _with_room(ends: tuple[float, float]) -> tuple[float, float]:
    """A little beyond the ends, so that a line along one is seen."""
    room = (ends[1] - ends[0]) * 0.02
    return ends[0] - room, ends[1] + room


def write_figure(figure: "Figure", out: Path, title: str) -> Drawn:
    """Write a figure as SVG and as PNG, each whole or not at all, for a page in which it stands.

    Args:
        figure: Any.
        out: Either of the two files; no other figure of the page has its name.
        title: What is drawn.
    """
    svg, png = out.with_suffix(".svg"), out.with_suffix(".png")
    save_picture(figure, png)
    whole = as_svg(figure, name=out.stem)
    write_text(svg, whole)
    return Drawn(title, in_page(whole, out.stem), (svg.name, png.name), float(figure.get_figwidth()))
