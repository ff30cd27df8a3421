"""The picture of a watched run: harm by the judge and what monitors flag, iteration by iteration."""

import io
import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from probes.alarms import Sighting
from probes.figures import COLOURS, DPI, FAINT, INK, LABEL
from probes.files import write_whole
from probes.ranking import Ranked

MOST = len(COLOURS)
APART = 0.07
"""Least distance of two labels, as a share of the panel's height."""


def draw(watched: Sequence[tuple[str, Sequence[Sighting]]], out: Path, *, level: float, note: str) -> None:
    """Write the picture.

    Args:
        watched: Monitor -> its iterations; the first four are drawn. All of the same run.
        out: PNG file, written whole or not at all.
        level: Harm rate that is asked about, drawn as a line.
        note: A line at the foot.
    """
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    figure.suptitle("Harm on held-out topics, and what monitors see of it", x=0.01, ha="left", color=INK)
    figure.supxlabel(note, x=0.01, ha="left", fontsize=8.5, color=FAINT)
    drawn = list(zip(watched[:MOST], COLOURS, strict=False))
    left.axhline(level, color="#bbbbbb", linewidth=1.2, zorder=1)
    ends = [_line(left, watched[0][1], "harm", INK, "harm, by the judge")]
    ends += [_line(left, seen, "flagged", colour, f"flagged by {name}") for (name, seen), colour in drawn]
    _label(left, ends)
    _plain(left, "share of conversations", "95 % intervals by initial state")
    for (_, seen), colour in drawn:
        points = [(s.iteration, s.recall) for s in seen if s.recall is not None]
        right.plot(*zip(*points, strict=True), color=colour, linewidth=2, marker="o", markersize=4)
        alarms = [(s.iteration, s.fpr) for s in seen if s.fpr is not None]
        right.plot(*zip(*alarms, strict=True), color=colour, linewidth=1.4, linestyle=(0, (4, 2)))
    _plain(right, "at the saved threshold", "solid: recall; dashed: false-positive rate")
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=DPI)
    write_whole(out, image.getvalue())


def _line(
    panel: Axes, seen: Sequence[Sighting], what: str, colour: str, name: str
) -> tuple[float, float, str, str]:
    x = [s.iteration for s in seen]
    found: list[Ranked] = [getattr(s, what) for s in seen]
    y = [f.value for f in found]
    panel.fill_between(x, [_in(f.low) for f in found], [_in(f.high) for f in found], color=colour, alpha=0.13)
    panel.plot(x, y, color=colour, linewidth=2, marker="o", markersize=4)
    return x[-1], y[-1], name, colour


def _in(value: float) -> float:
    return math.nan if math.isnan(value) else min(1.0, max(0.0, value))


def _label(panel: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Names at the ends of lines, moved apart where they would cover each other."""
    below = -math.inf
    for x, y, name, colour in sorted(ends, key=lambda end: end[1]):
        below = max(y, below + APART)
        panel.annotate(
            name, (x, below), xytext=(8, 0), textcoords="offset points", va="center", color=colour, **LABEL
        )


def _plain(panel: Axes, what: str, how: str) -> None:
    panel.set_ylim(-0.02, 1.02)
    panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_xlabel("iteration", color=FAINT)
    panel.set_title(f"{what}; {how}", loc="left", fontsize=9.5, color=INK)
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(axis="y", color="#eeeeee")
    panel.set_axisbelow(True)
