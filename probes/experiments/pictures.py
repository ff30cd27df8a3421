"""Pictures that an evaluation has none of: curves with bands, heat maps, bars, clouds of points.

In the style of `probes/evaluation/pages/figures.py`. Colours are told apart by the colour-blind, and never
alone: lines have marks of their own, bars hatches, cells their number.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, NullLocator

from analysis.figures.style import save_picture
from probes.evaluation.pages.figures import (
    COLOURS,
    DPI,
    GREY,
    INK,
    LETTER,
    key_beside,
    name_axes,
    panel_grid,
    plain_panel,
)

MORE_COLOURS = (*COLOURS, "#7A5C00", "#222222")
MARKS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1, 2)), "-", (0, (4, 2)))
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "++++")
MOST_LINES = len(MARKS)


class Point(NamedTuple):
    """A number with its ends; NaN where it has none."""

    x: float
    value: float
    low: float = math.nan
    high: float = math.nan


class Curve(NamedTuple):
    """Of one thing in one panel."""

    points: list[Point]
    level: bool = False
    """One value that does not depend on x: a line from side to side, without marks."""


class Heat(NamedTuple):
    """One panel of numbers."""

    rows: list[str]
    columns: list[str]
    values: list[list[float]]
    """NaN where there is none."""


class Bar(NamedTuple):
    """One bar with its interval."""

    value: float
    low: float
    high: float


def draw_curves(
    panels: Mapping[str, Mapping[str, Curve]],
    out: Path,
    *,
    title: str,
    subtitle: str,
    x: str,
    y: str = "AUROC",
    log_x: bool = False,
    ends: tuple[float, float] | None = (0.4, 1.01),
    at: Sequence[float] | None = None,
    mark: Mapping[str, float] | None = None,
) -> None:
    """Lines with bands, a panel for each data set.

    Args:
        panels: Panel -> name of the line -> its points, ascending in x; the same names mean the same thing.
        out: PNG file, written whole or not at all.
        title: Of the picture.
        subtitle: What bands are.
        x: Name of the axis.
        y: Name of the axis.
        log_x: On a logarithmic axis.
        ends: Of the vertical axis; as the values ask for if None.
        at: Where the horizontal axis is labelled.
        mark: Panel -> x at which an upright line stands.
    """
    names = list(dict.fromkeys(name for of in panels.values() for name in of))
    figure, axes = panel_grid(title, subtitle, panels, 2)
    for (name, curves), panel in zip(panels.items(), axes, strict=True):
        panel.axhline(0.5, color="#cccccc", linewidth=1.2, zorder=1)
        key = []
        for line, curve in curves.items():
            style = _style(names.index(line))
            xs = [point.x for point in curve.points]
            values = [point.value for point in curve.points]
            if curve.level:
                panel.axhline(values[0], **(style | {"linestyle": (0, (1, 1.5)), "marker": None}))
            else:
                panel.plot(xs, values, **style)
            if not curve.level and not all(math.isnan(point.low) for point in curve.points):
                panel.fill_between(
                    xs,
                    [p.low for p in curve.points],
                    [p.high for p in curve.points],
                    color=style["color"],
                    alpha=0.13,
                    linewidth=0,
                )
            key.append((line, style | ({"linestyle": (0, (1, 1.5)), "marker": None} if curve.level else {})))
        key_beside(panel, key)
        if mark is not None and name in mark:
            panel.axvline(mark[name], color="#999999", linewidth=1, linestyle=(0, (2, 2)), zorder=1)
        if log_x:
            panel.set_xscale("log", base=2)
            panel.xaxis.set_minor_locator(NullLocator())
        if at is not None:
            panel.xaxis.set_major_locator(FixedLocator(list(at)))
            panel.set_xticklabels([f"{value:g}" for value in at], rotation=0 if len(at) < 9 else 60)
        if ends is not None:
            panel.set_ylim(*_wide_enough(curves.values(), ends))
    name_axes(axes, x, y)
    save_picture(figure, out)


def _wide_enough(curves: Any, ends: tuple[float, float]) -> tuple[float, float]:
    values = [point.value for curve in curves for point in curve.points if not math.isnan(point.value)]
    return min([ends[0], *(value - 0.03 for value in values)]), ends[1]


def draw_heat(
    panels: Mapping[str, Heat], out: Path, *, title: str, subtitle: str, middle: float = 0.5
) -> None:
    """Heat maps with their numbers; `middle` is white, below it orange, above it purple."""
    longest = max(len(name) for heat in panels.values() for name in [*heat.rows, *heat.columns])
    margin = 0.35 + LETTER * 0.95 * longest
    cell = 0.62
    widths = [margin + cell * len(heat.columns) + 0.3 for heat in panels.values()]
    heights = [0.72 * margin + cell * 0.72 * len(heat.rows) + 0.75 for heat in panels.values()]
    rows = _packed(widths, 13.0)
    width = max(8.5, *(sum(widths[i] for i in row) + 0.3 for row in rows))
    height = 1.0 + sum(max(heights[i] for i in row) for row in rows)
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    values = [v for heat in panels.values() for row in heat.values for v in row if not math.isnan(v)]
    norm = TwoSlopeNorm(middle, min([0.3, *values]), 1.0)
    top = height - 1.0
    for row in rows:
        left = 0.2
        for number in row:
            name, heat = list(panels.items())[number]
            size = cell * len(heat.columns), cell * 0.72 * len(heat.rows)
            panel = figure.add_axes(
                (
                    (left + margin) / width,
                    (top - 0.4 - size[1]) / height,
                    size[0] / width,
                    size[1] / height,
                )
            )
            _heat_panel(panel, name, heat, norm)
            left += widths[number]
        top -= max(heights[i] for i in row)
    figure.text(0.2 / width, 1 - 0.36 / height, title, fontsize=14, fontweight="bold", color=INK)
    figure.text(0.2 / width, 1 - 0.63 / height, subtitle, fontsize=10, color=GREY)
    save_picture(figure, out)


def _packed(widths: Sequence[float], most: float) -> list[list[int]]:
    rows: list[list[int]] = [[]]
    for number, width in enumerate(widths):
        if rows[-1] and sum(widths[i] for i in rows[-1]) + width > most:
            rows.append([])
        rows[-1].append(number)
    return rows


def _heat_panel(panel: Axes, name: str, heat: Heat, norm: TwoSlopeNorm) -> None:
    values = np.array(heat.values)
    panel.set_facecolor("#eeeeee")
    panel.imshow(values, cmap="PuOr", norm=norm, aspect="auto")
    for i, j in np.ndindex(values.shape):
        value = values[i, j]
        dark = not math.isnan(value) and abs(float(norm(value)) - 0.5) > 0.22
        panel.text(
            j,
            i,
            "-" if math.isnan(value) else f"{value:.2f}".removeprefix("0"),
            ha="center",
            va="center",
            fontsize=8.5,
            color="white" if dark else INK,
            fontweight="bold" if i < len(heat.columns) and heat.rows[i] == heat.columns[j] else "normal",
        )
    panel.set_title(name, loc="left", fontsize=11, color=INK, pad=7)
    panel.set_xticks(range(len(heat.columns)), heat.columns, rotation=40, ha="right", fontsize=8.5)
    panel.set_yticks(range(len(heat.rows)), heat.rows, fontsize=8.5)
    panel.tick_params(length=0, colors=INK)
    panel.spines[:].set_visible(False)
    panel.set_ylabel("fitted on", fontsize=9, color=GREY)


def draw_bars(
    sets: Sequence[str],
    bars: Mapping[str, Mapping[str, Bar]],
    kinds: Mapping[str, str],
    out: Path,
    *,
    title: str,
    subtitle: str,
    y: str = "AUROC",
    low: float = 0.4,
    line: float | None = 0.5,
) -> None:
    """Bars by data set with intervals; monitors of one kind have one colour, each a hatch of its own.

    Args:
        sets: From left to right.
        bars: Monitor -> data set -> its bar.
        kinds: Monitor -> what it is.
        out: PNG file, written whole or not at all.
        title: Of the picture.
        subtitle: What is drawn.
        y: Name of the axis.
        low: Where it begins.
        line: Where a level line stands, e.g. chance.
    """
    of_kind = list(dict.fromkeys(kinds.values()))
    letters = max(len(name) for name in bars)
    room = 0.9 + LETTER * letters
    width = 0.9 + max(4.0, len(sets) * (0.25 + 0.2 * len(bars))) + room
    height = 4.6
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    panel = figure.add_axes((0.75 / width, 0.75 / height, (width - 0.75 - room) / width, 2.8 / height))
    plain_panel(panel, "")
    panel.grid(axis="y", color="#e9e9e9", linewidth=0.8)
    if line is not None:
        panel.axhline(line, color="#999999", linewidth=1.2, zorder=1)
    handles = []
    shift = 0.84 / len(bars)
    for place, (name, of) in enumerate(bars.items()):
        kind = kinds[name]
        colour = GREY if kind == "control" else COLOURS[of_kind.index(kind) % len(COLOURS)]
        same = [other for other in bars if kinds[other] == kind]
        hatch = HATCHES[same.index(name) % len(HATCHES)]
        for number, column in enumerate(sets):
            bar = of.get(column)
            if bar is None or math.isnan(bar.value):
                continue
            x = number - 0.42 + (place + 0.5) * shift
            panel.bar(
                x, bar.value - low, shift * 0.88, low, color=colour, alpha=0.78, hatch=hatch,
                edgecolor="white", linewidth=0.4,
            )  # fmt: skip
            if not math.isnan(bar.low):
                panel.plot([x, x], [max(low, bar.low), bar.high], color=INK, linewidth=1.1, zorder=4)
        handles.append(Patch(facecolor=colour, alpha=0.78, hatch=hatch, edgecolor="white", label=name))
    panel.set_xticks(range(len(sets)), list(sets), fontsize=9)
    panel.tick_params(axis="x", length=0, colors=INK)
    panel.set_xlim(-0.6, len(sets) - 0.4)
    panel.set_ylim(low, 1.02)
    panel.set_ylabel(y, fontsize=9.5, color=GREY)
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(1 - (room - 0.1) / width, 1 - 0.95 / height),
        frameon=False, fontsize=9, handlelength=2.2, handleheight=1.3, labelcolor=INK,
    )  # fmt: skip
    figure.text(0.2 / width, 1 - 0.36 / height, title, fontsize=14, fontweight="bold", color=INK)
    figure.text(0.2 / width, 1 - 0.63 / height, subtitle, fontsize=10, color=GREY)
    save_picture(figure, out)


def draw_clouds(
    panels: Mapping[str, Mapping[str, np.ndarray]],
    out: Path,
    *,
    title: str,
    subtitle: str,
    x: str,
    y: str,
) -> None:
    """Points in the plane; a panel each, names with colours and marks of their own.

    Args:
        panels: Panel -> name -> [points, 2].
        out: PNG file, written whole or not at all.
        title: Of the picture.
        subtitle: What is drawn.
        x: Name of the axis.
        y: Name of the axis.
    """
    figure, axes = panel_grid(title, subtitle, panels, 2)
    every = np.concatenate([points for of in panels.values() for points in of.values()])
    low, high = every.min(axis=0), every.max(axis=0)
    pad = 0.05 * (high - low) + 1e-9
    for of, panel in zip(panels.values(), axes, strict=True):
        key = []
        for number, (name, points) in enumerate(of.items()):
            style = _style(number)
            panel.scatter(
                points[:, 0],
                points[:, 1],
                s=13,
                marker=style["marker"],
                color=style["color"],
                alpha=0.5,
                linewidths=0,
            )
            key.append((name, style | {"linestyle": "none"}))
        key_beside(panel, key)
        panel.set_xlim(low[0] - pad[0], high[0] + pad[0])
        panel.set_ylim(low[1] - pad[1], high[1] + pad[1])
        panel.set_xticks([])
        panel.set_yticks([])
    name_axes(axes, x, y)
    save_picture(figure, out)


def _style(number: int) -> dict[str, Any]:
    return {
        "color": MORE_COLOURS[number % len(MORE_COLOURS)],
        "marker": MARKS[number % len(MARKS)],
        "linestyle": DASHES[number % len(DASHES)],
        "linewidth": 1.8,
        "markersize": 4.5,
        "zorder": 3,
    }
