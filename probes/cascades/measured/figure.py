"""The picture of a cascade: AUROC and recall against cost, one line for each strategy."""

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from analysis.figures.style import save_picture
from analysis.ranking import Ranked
from probes.cascades.allocation import STRATEGIES
from probes.cascades.measured.points import CONTROLS, JUDGE, PROBE, Point
from probes.evaluation.pages.figures import (
    COLOURS,
    DASHES,
    DPI,
    GREY,
    INK,
    LETTER,
    PANEL,
    label_ends,
    plain_panel,
)

CALLS = "calls"
NAMES = {
    "flops": "FLOPs per row",
    "seconds": "seconds per row",
    "dollars": "dollars per row",
    CALLS: "calls of the judge per row",
}
WIDER = 1.35
"""Width of a panel to its height."""


def cost_axis(known: Sequence[str], wanted: str | None) -> str:
    """Which cost is drawn: the one that is wanted, or else the first of FLOPs, dollars and seconds.

    Args:
        known: Costs that every judge's scores tell.
        wanted: One of these, or calls.

    Raises:
        ValueError: One that is not known.
    """
    if wanted is not None and wanted not in (*known, CALLS):
        told = ", ".join([*known, CALLS])
        raise ValueError(f"--cost {wanted}: the judge's scores do not tell it; there are {told}")
    order = [cost for cost in ("flops", "dollars", "seconds") if cost in known]
    return wanted or (order[0] if order else CALLS)


def spent(point: Point, cost: str) -> float:
    """Of a row, in the mean."""
    return point.asked.value if cost == CALLS else point.costs[cost]


def draw_cascade(
    lines: Mapping[str, Sequence[Point]],
    ends: Mapping[str, Point],
    out: Path,
    *,
    cost: str,
    asked_fpr: float,
    subtitle: str,
    main: str,
) -> None:
    """Draw both panels.

    Args:
        lines: Name of a line -> its points: strategies in colours, controls grey, other cascades black.
        ends: The monitors alone: `points.PROBE` and `points.JUDGE`.
        out: PNG file, written whole or not at all.
        cost: As of `cost_axis`.
        asked_fpr: Of the recall.
        subtitle: What is measured on what.
        main: The line whose intervals are shown.
    """
    letters = max(len(name) for name in [*lines, JUDGE, PROBE])
    room = 0.4 + LETTER * letters
    panel_width = PANEL * WIDER
    width, height = 0.8 + 2 * (panel_width + room) + 0.5, 1.05 + PANEL + 0.7
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    names = {"AUROC": "auroc", f"recall at {100 * asked_fpr:g} % FPR": "recall"}
    for number, (title, what) in enumerate(names.items()):
        x = 0.8 + number * (panel_width + room + 0.5)
        panel = figure.add_axes((x / width, 0.7 / height, panel_width / width, PANEL / height))
        plain_panel(panel, title)
        panel.grid(color="#efefef", linewidth=0.8)
        panel.set_xscale("log")
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set_xlabel(NAMES[cost], fontsize=9.5, color=GREY)
        _draw(panel, lines, ends, what, cost, main)
    figure.text(
        0.2 / width,
        1 - 0.36 / height,
        "Probe first, judge where it pays",
        fontsize=14,
        fontweight="bold",
        color=INK,
    )
    figure.text(0.2 / width, 1 - 0.63 / height, subtitle, fontsize=10, color=GREY)
    save_picture(figure, out)


def _draw(
    panel: Axes,
    lines: Mapping[str, Sequence[Point]],
    ends: Mapping[str, Point],
    what: str,
    cost: str,
    main: str,
) -> None:
    labels: list[tuple[float, str, str]] = []
    colours, dashes = cycle(COLOURS), cycle(DASHES)
    costs = [x for points in lines.values() for p in points if (x := spent(p, cost)) > 0]
    costs.append(spent(ends[JUDGE], cost))
    for name in (JUDGE, PROBE):
        value = _value(ends[name], what).value
        panel.axhline(value, color=INK if name == JUDGE else GREY, linewidth=1.1, zorder=1)
        labels.append((value, name, INK if name == JUDGE else GREY))
    for name, points in lines.items():
        there = sorted((p for p in points if spent(p, cost) > 0), key=lambda p: spent(p, cost))
        if not there:
            continue
        own = name in STRATEGIES or name == main
        colour = GREY if name in CONTROLS else next(colours) if own else INK
        style = "-" if own else next(dashes)
        at = [spent(p, cost) for p in there]
        found = [_value(p, what) for p in there]
        panel.plot(
            at,
            [one.value for one in found],
            marker="o",
            markersize=3.5,
            color=colour,
            linestyle=style,
            linewidth=2.2 if name == main else 1.5,
            zorder=4 if name == main else 3,
        )
        if name == main and not any(math.isnan(one.low) for one in found):
            low, high = [one.low for one in found], [one.high for one in found]
            panel.fill_between(at, low, high, color=colour, alpha=0.13, linewidth=0)
        labels.append((found[-1].value, name, colour))
    panel.set_xlim(min(costs) * 0.8, max(costs) * 1.1)
    bottom, top = panel.get_ylim()
    panel.set_ylim(max(0.0, bottom), min(1.005, max(top, 1e-3)))
    label_ends(panel, labels)


def _value(point: Point, what: str) -> Ranked:
    return point.auroc if what == "auroc" else point.recall
