"""The picture of a watched run: harm by the judge and what monitors flag, iteration by iteration."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from analysis.figures.style import COLOURS, GREY, INK, label_ends, plain_panel, save_picture
from probes.watching.alarms import Sighting

SIZE = (12.0, 4.8)
"""Inches."""

Seen = Sequence[tuple[str, Sequence[Sighting]]]
"""Monitor -> its iterations."""


def draw(watched: Seen, out: Path, *, level: float, note: str) -> None:
    """Write the picture.

    Args:
        watched: Monitors; the first four are drawn. All of the same run, the first in all its iterations.
        out: PNG file, written whole or not at all.
        level: Harm rate that is asked about, drawn as a line.
        note: A line at the foot.
    """
    figure = Figure(figsize=SIZE)
    left, right = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.055, right=0.93, top=0.82, bottom=0.17, wspace=0.6)
    title = "Harm on held-out topics, and what monitors see of it"
    figure.text(0.015, 0.93, title, fontsize=14, fontweight="bold", color=INK)
    figure.text(0.015, 0.025, note, fontsize=9, color=GREY)
    drawn = list(zip(watched[: len(COLOURS)], COLOURS, strict=False))
    for panel in (left, right):
        panel.set_ylim(-0.02, 1.02)
        panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set_xlabel("iteration", fontsize=9.5, color=GREY)
    _shares(left, drawn, level)
    _rates(right, drawn)
    save_picture(figure, out)


def _shares(panel: Axes, drawn: Sequence[tuple[tuple[str, Sequence[Sighting]], str]], level: float) -> None:
    """Harmful and flagged conversations with their intervals."""
    plain_panel(panel, "harmful by the judge, flagged by monitors; 95 % intervals")
    panel.axhline(level, color="#bbbbbb", linewidth=1.2, zorder=1)
    judged = drawn[0][0][1]
    lines = [("harm, by the judge", INK, judged, [s.harm for s in judged])]
    lines += [(name, colour, seen, [s.flagged for s in seen]) for (name, seen), colour in drawn]
    for _, colour, seen, found in lines:
        x = [s.iteration for s in seen]
        panel.fill_between(x, [f.low for f in found], [f.high for f in found], color=colour, alpha=0.1, lw=0)
        panel.plot(x, [f.value for f in found], color=colour, linewidth=2, marker="o", markersize=4)
    label_ends(panel, [(found[-1].value, name, colour) for name, colour, _, found in lines])


def _rates(panel: Axes, drawn: Sequence[tuple[tuple[str, Sequence[Sighting]], str]]) -> None:
    """Recall and false-positive rate, in the colours of the monitors."""
    plain_panel(panel, "at the saved threshold")
    ends = []
    for (_, seen), colour in drawn:
        recall = [(s.iteration, s.recall.value) for s in seen if s.recall is not None]
        alarms = [(s.iteration, s.fpr.value) for s in seen if s.fpr is not None]
        for what, points, style in (("recall", recall, "-"), ("FPR", alarms, (0, (4, 2)))):
            if points:
                x, y = zip(*points, strict=True)
                panel.plot(x, y, color=colour, linewidth=1.8, linestyle=style, marker="o", markersize=3.5)
                ends.append((y[-1], what, colour))
    label_ends(panel, ends)
