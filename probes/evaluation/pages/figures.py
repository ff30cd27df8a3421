"""Pictures of an evaluation: ROC, reliability, AUROC by length, and all monitors on all data sets.

Colours are safe for the colour-blind (Okabe and Ito); names stand at what they name; controls are grey.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, PercentFormatter
from scipy.special import expit
from sklearn.metrics import roc_curve

from analysis.figures.panels import Drawn, write_figure
from analysis.figures.style import (
    COLOURS,
    DPI,
    EDGE,
    GREY,
    GRID,
    INK,
    LABEL,
    LABEL_APART,
    label_ends,
    plain_panel,
)
from analysis.ranking import Ranked, auroc
from probes.evaluation.metrics import ASKED_FPR, BINS, calibration_error, reliability, usable_rows

DASHES = ((0, (4, 2)), (0, (1, 1.6)), (0, (6, 2, 1, 2)))
"""Of controls, in the order given."""

PANEL = 3.5
"""Inches."""

COLUMNS = 3
"""Of panels in a row, one less where labels are long."""

LOWEST_FPR = 1e-3
"""Where the logarithmic axis begins."""

LETTER = 0.077
"""Inches that a letter of a label takes up, at most."""

WIDEST = 2.2
"""Inches of labels beside which three panels still fit into a row."""

DOTS_TELL = "AUROC, 95 % intervals by group; hollow: controls, of shuffled labels the range of permutations"
"""Below the title of a picture of dots, if nothing else is said."""

ROWS_IN_BIN = 20
"""At least so many, on average, in a bin of the reliability picture."""


class Line(NamedTuple):
    """Scores of a monitor or a control on a data set."""

    labels: np.ndarray
    """[rows], in 0..1."""

    logits: np.ndarray
    """[rows]."""

    groups: Sequence[str]
    """Of each row."""

    control: bool = False
    beside: bool = False
    """Of a model that is asked or fine-tuned: drawn with dashes."""


class Bin(NamedTuple):
    """AUROC of a part of a data set."""

    name: str
    found: Ranked | None
    """None of one class only."""

    rows: int


class Dot(NamedTuple):
    """AUROC of one monitor (one seed of it) or control on a data set."""

    found: Ranked
    control: bool = False
    beside: bool = False
    """Of a model that is asked or fine-tuned: a square."""


def draw_roc(sets: Mapping[str, Mapping[str, Line]], out: Path, *, title: str, log_x: bool = True) -> Drawn:
    """ROC curves, a panel for each data set; those of one class only are left empty.

    Args:
        sets: Data set -> monitor -> scores; at most four monitors, four beside them and three controls.
        out: SVG or PNG; both are written.
        title: What was evaluated.
        log_x: False-positive rates on a logarithmic axis from 0.1 %.
    """
    told_of = [f"ROC; the grey line is {_percent(ASKED_FPR)} FPR"]
    if any(line.beside for lines in sets.values() for line in lines.values()):
        told_of += ["dashes in colour: asked or fine-tuned models", "grey: controls"]
    figure, panels = panel_grid(title, "; ".join(told_of), sets, 6)
    for panel, lines in zip(panels, sets.values(), strict=True):
        panel.axvline(ASKED_FPR, color=EDGE, linewidth=1.2, zorder=1)
        chance = np.geomspace(LOWEST_FPR, 1, 200)
        panel.plot(chance, chance, color=EDGE, linewidth=1, linestyle=(0, (2, 2)), zorder=1)
        told = []
        for (name, line), style in zip(lines.items(), _styles(lines), strict=True):
            usable = usable_rows(line.labels)
            if not usable.both_classes:
                continue
            positive = line.labels[usable.rows] > 0.5
            fpr, recall, _ = roc_curve(positive, line.logits[usable.rows], drop_intermediate=False)
            if log_x:
                panel.step(np.maximum(fpr, LOWEST_FPR / 10), recall, where="post", **style)
            else:
                panel.plot(fpr, recall, **style)
            area = auroc(line.labels, line.logits, line.groups).value
            told.append((area, f"{area:.3f} {name}", style))
        key_beside(panel, [one[1:] for one in sorted(told, key=lambda one: -one[0])])
        if log_x:
            panel.set_xscale("log")
            panel.set_xlim(LOWEST_FPR, 1)
            panel.xaxis.set_major_locator(FixedLocator([1e-3, 1e-2, 1e-1, 1]))
            panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _percent(value)))
            panel.xaxis.set_minor_formatter(NullFormatter())
        else:
            panel.set_xlim(0, 1)
            panel.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
        panel.set_ylim(0, 1.005)
        panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    name_axes(panels, "false-positive rate", "recall")
    return write_figure(figure, out, title)


def draw_reliability(sets: Mapping[str, Mapping[str, Line]], out: Path, *, title: str) -> Drawn:
    """Probabilities against what happened, in bins of equal mass; a dot's area is its share of the rows.

    Ten bins, fewer where there are few rows.

    Args:
        sets: Data set -> monitor -> logits.
        out: SVG or PNG; both are written.
        title: What was evaluated.
    """
    figure, panels = panel_grid(
        title,
        "in bins of equal mass; on the diagonal positives are as frequent as the monitor says",
        sets,
        10,
    )
    for panel, lines in zip(panels, sets.values(), strict=True):
        panel.plot([0, 1], [0, 1], color=EDGE, linewidth=1.2, zorder=1)
        told = []
        for (name, line), style in zip(lines.items(), _styles(lines), strict=True):
            probabilities = expit(line.logits)
            bins = max(2, min(BINS, len(probabilities) // ROWS_IN_BIN))
            found = reliability(line.labels, probabilities, bins=bins)
            panel.plot(found.probability, found.share, **style)
            sizes = 260 * found.rows / found.rows.sum()
            panel.scatter(found.probability, found.share, s=sizes, color=style["color"], zorder=4, alpha=0.75)
            error = calibration_error(line.labels, probabilities)
            told.append((f"ECE {error:.3f} {name}", style))
        key_beside(panel, told)
        panel.set_xlim(-0.02, 1.02)
        panel.set_ylim(-0.02, 1.02)
    name_axes(panels, "probability that the monitor gives", "share of positives")
    return write_figure(figure, out, title)


def draw_lengths(
    sets: Mapping[str, Mapping[str, Sequence[Bin]]],
    out: Path,
    *,
    title: str,
    controls: Sequence[str] = (),
) -> Drawn:
    """AUROC by length, with intervals; bins of one class only leave a gap.

    Args:
        sets: Data set -> monitor or control -> bins, shortest first, the same for all of a data set.
        out: SVG or PNG; both are written.
        title: What was evaluated.
        controls: Which names are controls.
    """
    subtitle = "AUROC by length in tokens, with 95 % intervals by group; hollow: too few rows for an interval"
    figure, panels = panel_grid(title, subtitle, sets)
    for panel, lines in zip(panels, sets.values(), strict=True):
        panel.axhline(0.5, color=EDGE, linewidth=1.2, zorder=1)
        ends: list[tuple[float, str, str]] = []
        styles = _styles(dict.fromkeys(lines), controls)
        for place, ((name, bins), style) in enumerate(zip(lines.items(), styles, strict=True)):
            shift = (place - (len(lines) - 1) / 2) * 0.09
            values = [math.nan if one.found is None else one.found.value for one in bins]
            sure = [one.found is not None and not math.isnan(one.found.low) for one in bins]
            at = np.arange(len(bins)) + shift
            joined = [value if known else math.nan for value, known in zip(values, sure, strict=True)]
            panel.plot(at, joined, marker="o", markersize=4, **style)
            alone = [math.nan if known else value for value, known in zip(values, sure, strict=True)]
            panel.plot(at, alone, "o", markersize=4, color=style["color"], markerfacecolor="white")
            for x, one, known in zip(at, bins, sure, strict=True):
                if one.found is not None and known:
                    ends_at = [one.found.low, one.found.high]
                    panel.plot([x, x], ends_at, color=style["color"], linewidth=1, alpha=0.55)
            told = [value for value in joined if not math.isnan(value)]
            if told:
                ends.append((told[-1], name, style["color"]))
        bins = next(iter(lines.values()), [])
        panel.set_xticks(range(len(bins)), [f"{one.name}\nn {one.rows}" for one in bins], fontsize=8)
        panel.set_xlim(-0.4, len(bins) - 0.6 if bins else 1)
        panel.set_ylim(0, 1.02)
        label_ends(panel, ends)
    name_axes(panels, "tokens", "AUROC")
    return write_figure(figure, out, title)


def draw_dots(
    rows: Mapping[str, Mapping[str, Sequence[Dot]]],
    out: Path,
    *,
    title: str,
    x: str = "AUROC",
    subtitle: str = DOTS_TELL,
) -> Drawn | None:
    """Every head and control on every data set, with intervals; seeds of a head lie above each other.

    Args:
        rows: Head or control -> data set -> a dot for each seed.
        out: SVG or PNG; both are written; none if nothing is ranked.
        title: What was evaluated.
        x: Name of the axis.
        subtitle: What is drawn.
    """
    columns = list(dict.fromkeys(name for of in rows.values() for name in of))
    if not columns:  # one class everywhere: no AUROC
        for stale in (out.with_suffix(".svg"), out.with_suffix(".png")):
            stale.unlink(missing_ok=True)
        return None
    margin = 0.25 + LETTER * max((len(name) for name in rows), default=1)
    size = (margin + 1.95 * len(columns) + 0.25, 1.75 + 0.30 * len(rows))
    figure = Figure(figsize=size, dpi=DPI, facecolor="white")
    left, top = margin / size[0], 1 - 1.15 / size[1]
    grid = figure.add_gridspec(
        1, len(columns), left=left, right=1 - 0.2 / size[0], top=top, bottom=0.55 / size[1], wspace=0.2
    )
    dots = [dot.found for of in rows.values() for mine in of.values() for dot in mine]
    low = min([0.45, *(dot.low for dot in dots if not math.isnan(dot.low))])
    for number, column in enumerate(columns):
        panel = figure.add_subplot(grid[0, number])
        plain_panel(panel, column)
        panel.grid(axis="x", color=GRID, linewidth=0.8)
        panel.axvline(0.5, color=EDGE, linewidth=1.2, zorder=1)
        for place, of in enumerate(rows.values()):
            mine = of.get(column, [])
            for seed, dot in enumerate(mine):
                y = place + (seed - (len(mine) - 1) / 2) * 0.2
                colour = GREY if dot.control else COLOURS[0]
                panel.plot([dot.found.low, dot.found.high], [y, y], color=colour, linewidth=1.3, alpha=0.55)
                face = "none" if dot.control else colour
                shape = "s" if dot.beside else "o"
                panel.plot(dot.found.value, y, shape, color=colour, markersize=4.5, markerfacecolor=face)
        panel.set_ylim(len(rows) - 0.4, -0.6)
        panel.set_xlim(max(0.0, low - 0.02), 1.01)
        panel.set_yticks(range(len(rows)), list(rows) if number == 0 else [""] * len(rows), fontsize=9.5)
        panel.tick_params(axis="y", length=0, colors=INK)
        panel.set_xlabel(x, fontsize=9.5, color=GREY)
    figure.text(0.12 / size[0], 1 - 0.38 / size[1], title, fontsize=14, fontweight="bold", color=INK)
    figure.text(
        0.12 / size[0],
        1 - 0.66 / size[1],
        subtitle,
        fontsize=10,
        color=GREY,
    )
    return write_figure(figure, out, title)


def _styles(lines: Mapping[str, object], controls: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Colours for monitors, grey dashes for controls."""
    styles: list[dict[str, Any]] = []
    monitors = plain = 0
    for name, line in lines.items():
        if name in controls or (isinstance(line, Line) and line.control):
            dash = DASHES[plain % len(DASHES)]
            styles.append({"color": GREY, "linewidth": 1.3, "linestyle": dash, "zorder": 2})
            plain += 1
        else:
            colour = COLOURS[monitors % len(COLOURS)]
            dash = (0, (3, 1.2)) if isinstance(line, Line) and line.beside else "-"
            styles.append({"color": colour, "linewidth": 1.9, "linestyle": dash, "zorder": 3})
            monitors += 1
    return styles


def panel_grid(
    title: str, subtitle: str, sets: Mapping[str, Mapping[str, object]], figure_letters: int = 0
) -> tuple[Figure, list[Axes]]:
    """A panel for each data set, with room for the names of its lines to the right.

    Args:
        title: Of the picture.
        subtitle: What is drawn.
        sets: Data set -> names of lines.
        figure_letters: Of what stands beside a name.
    """
    letters = figure_letters + max((len(name) for lines in sets.values() for name in lines), default=0)
    room = 0.45 + LETTER * letters
    columns = min(COLUMNS if room < WIDEST else COLUMNS - 1, len(sets))
    rows = math.ceil(len(sets) / columns)
    width = 0.75 + columns * (PANEL + room) + (columns - 1) * 0.45 + 0.2
    height = 1.05 + rows * PANEL + (rows - 1) * 0.85 + 0.65
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    panels = []
    for number, name in enumerate(sets):
        row, column = divmod(number, columns)
        x = 0.75 + column * (PANEL + room + 0.45)
        y = height - 1.05 - PANEL - row * (PANEL + 0.85)
        panel = figure.add_axes((x / width, y / height, PANEL / width, PANEL / height))
        plain_panel(panel, name)
        panel.grid(color=GRID, linewidth=0.8)
        panels.append(panel)
    figure.text(0.2 / width, 1 - 0.36 / height, title, fontsize=14, fontweight="bold", color=INK)
    figure.text(0.2 / width, 1 - 0.63 / height, subtitle, fontsize=10, color=GREY)
    return figure, panels


def name_axes(panels: Sequence[Axes], x: str, y: str) -> None:
    """Name both axes; the vertical one in the first column alone."""
    for panel in panels:
        panel.set_xlabel(x, fontsize=9.5, color=GREY)
        if panel.get_position().x0 == panels[0].get_position().x0:
            panel.set_ylabel(y, fontsize=9.5, color=GREY)


def key_beside(panel: Axes, told: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """Names with figures to the right of the panel, from the top down, each with a piece of its line."""
    for number, (text, style) in enumerate(told):
        y = 1 - (number + 0.5) * LABEL_APART * 1.15
        line = {name: value for name, value in style.items() if name != "zorder"}
        # a mark, if there is one, in the middle alone
        panel.plot(
            [1.02, 1.0525, 1.085], [y] * 3, transform=panel.transAxes, clip_on=False, markevery=[1], **line
        )
        panel.text(1.1, y, text, transform=panel.transAxes, va="center", color=style["color"], **LABEL)


def _percent(value: float) -> str:
    return f"{100 * value:g} %"
