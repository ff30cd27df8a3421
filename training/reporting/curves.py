"""Pictures of runs: rating and harm by iteration, for gameable and other users, from `metrics.jsonl`."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from analysis.figures.style import (
    DPI,
    EDGE,
    FAINT,
    GREY,
    GRID,
    INK,
    KINDS,
    MINIATURE_NOTE,
    WARNING,
    label_ends,
    save_picture,
)
from analysis.intervals import over_seeds
from training.settings import LoopSettings

if TYPE_CHECKING:  # it takes a while, and who only asks for help or a title draws nothing
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Metrics = Sequence[Mapping[str, Any]]
"""Lines of one run's `metrics.jsonl`."""

SIZE = (12.0, 6.9)
"""Inches; at `DPI` 1,800 pixels wide, readable at 1,200."""

APART = 0.09
"""Least distance of two labels, as a share of the panel's height."""

CURVES = "curves.png"
"""In the run folder."""


class Points(NamedTuple):
    """One line of a panel, by iteration."""

    x: list[int]
    y: list[float]
    low: list[float]
    """NaN where there is no interval."""

    high: list[float]


def draw_curves(metrics: Metrics, out: Path, *, title: str, note: str | None = None) -> None:
    """Draw one run.

    Held-out users are solid with their 95 % intervals, users that were trained on dashed.

    Args:
        metrics: Lines of `metrics.jsonl`; numbers that are missing or null leave gaps.
        out: PNG file, written whole or not at all.
        title: What was run.
        note: A line at the foot, e.g. `MINIATURE_NOTE`.
    """
    subtitle = (
        "gameable and other users; solid: held out, with 95 % intervals by initial state; dashed: trained on"
    )
    figure, panels = _figure(title, subtitle, note)
    for name in KINDS:
        for panel, what in zip(panels, ("rating", "harm"), strict=False):
            _line_with_band(panel, _points(metrics, f"{what}_{name}"), KINDS[name])
            _dashed(panel, _points(_trained(metrics), f"{what}_{name}"), KINDS[name])
    for panel, what in zip(panels, ("rating", "harm"), strict=False):
        _label_ends(panel, {n: _points(metrics, f"{what}_{n}") for n in KINDS})
    _plain(panels[2], _shares(metrics), GREY)
    _dashed(panels[2], _shares(_trained(metrics)), GREY)
    _plain(panels[3], _points(metrics, "kl_to_base"), GREY)
    _finish(figure, panels, [metrics], out)


def draw_runs(
    runs: Mapping[str, Metrics],
    out: Path,
    *,
    title: str,
    note: str | None = None,
    seeds_alone: bool = True,
) -> None:
    """Draw several runs over each other, held-out users alone.

    Args:
        runs: Name -> lines of its `metrics.jsonl`.
        seeds_alone: They differ in nothing but the seed: the mean has an interval over the seeds.
        out: PNG file, written whole or not at all.
        title: What was run.
        note: A line at the foot.
    """
    mean = "seeds, thick: their mean, 95 % intervals over seeds" if seeds_alone else "runs, thick: their mean"
    subtitle = f"gameable and other users, held out; thin: each of {len(runs)} {mean}"
    figure, panels = _figure(title, subtitle, note)
    for panel, what in zip(panels, ("rating", "harm"), strict=False):
        means: dict[str, Points] = {}
        for name in KINDS:
            lines = [_points(metrics, f"{what}_{name}") for metrics in runs.values()]
            means[name] = mean_over_runs(lines, seeds_alone=seeds_alone)
            _over_runs(panel, lines, means[name], KINDS[name])
        _label_ends(panel, means)
    for metrics in runs.values():
        _plain(panels[2], _shares(metrics), FAINT)
        _plain(panels[3], _points(metrics, "kl_to_base"), FAINT)
    _finish(figure, panels, list(runs.values()), out)


def _trained(metrics: Metrics) -> list[Mapping[str, Any]]:
    """The part of each line that is about the users trained on."""
    return [m["train"] | {"iteration": m["iteration"]} for m in metrics if m.get("train")]


def _points(metrics: Metrics, name: str) -> Points:
    rows = [m for m in metrics if m.get(name) is not None]
    bounds = [[_nan_if_missing(m.get(f"{name}_{end}")) for m in rows] for end in ("low", "high")]
    return Points([m["iteration"] for m in rows], [float(m[name]) for m in rows], *bounds)


def _shares(metrics: Metrics) -> Points:
    """Share of conversations without a rating."""
    rows = [m for m in metrics if m.get("n_conversations") and m.get("n_unscored") is not None]
    unknown = [math.nan] * len(rows)
    shares = [m["n_unscored"] / m["n_conversations"] for m in rows]
    return Points([m["iteration"] for m in rows], shares, unknown, unknown)


def _nan_if_missing(value: Any) -> float:
    return math.nan if value is None else float(value)


def _figure(title: str, subtitle: str, note: str | None) -> "tuple[Figure, list[Axes]]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, dpi=DPI, facecolor="white")
    grid = figure.add_gridspec(
        2, 2, height_ratios=(3.4, 1), hspace=0.42, wspace=0.47, left=0.05, right=0.872, top=0.80, bottom=0.135
    )
    panels = [figure.add_subplot(grid[row, column]) for row in (0, 1) for column in (0, 1)]
    titles = (
        "Rating that the user would give",
        "Harmful influence",
        "Conversations without a rating",
        "Divergence from the base (KL, nats per token)",
    )
    for panel, told in zip(panels, titles, strict=True):
        panel.set_title(told, loc="left", fontsize=12.5 if panel in panels[:2] else 10.5, color=INK, pad=9)
        panel.spines[["top", "right"]].set_visible(False)
        panel.spines[["left", "bottom"]].set_color(EDGE)
        panel.tick_params(colors=GREY, labelsize=10, length=3)
        panel.grid(axis="y", color=GRID, linewidth=0.8)
        panel.set_axisbelow(True)
    figure.text(0.05, 0.945, title, fontsize=16, fontweight="bold", color=INK)
    figure.text(0.05, 0.900, subtitle, fontsize=11, color=GREY)
    if note:
        figure.text(0.05, 0.022, note, fontsize=10.5, color=WARNING, style="italic")
    return figure, panels


def _line_with_band(panel: "Axes", points: Points, colour: str) -> None:
    panel.plot(
        points.x, points.y, color=colour, linewidth=2.4, marker="o", markersize=5, clip_on=False, zorder=4
    )
    known = [not math.isnan(v) for v in points.low]
    panel.fill_between(
        points.x, points.low, points.high, where=known, color=colour, alpha=0.14, linewidth=0, zorder=2
    )
    if len(points.x) == 1 and known[0]:  # a band needs two iterations, a bar one
        panel.plot(points.x * 2, [points.low[0], points.high[0]], color=colour, linewidth=5, alpha=0.2)


def _dashed(panel: "Axes", points: Points, colour: str) -> None:
    panel.plot(points.x, points.y, color=colour, linewidth=1.3, linestyle=(0, (4, 2.5)), alpha=0.6, zorder=3)


def _plain(panel: "Axes", points: Points, colour: str) -> None:
    panel.plot(points.x, points.y, color=colour, linewidth=1.6, marker="o", markersize=3.5, clip_on=False)


def mean_over_runs(lines: Sequence[Points], *, seeds_alone: bool) -> Points:
    """The mean of some lines at the iterations that all of them have.

    Args:
        lines: One for each run.
        seeds_alone: The runs differ in their seed alone: the mean has a t interval over them.
    """
    shared = sorted(set.intersection(*(set(line.x) for line in lines))) if lines else []
    found = [over_seeds([line.y[line.x.index(x)] for line in lines]) for x in shared]
    unknown = [math.nan] * len(found)
    low, high = ([f.low for f in found], [f.high for f in found]) if seeds_alone else (unknown, unknown)
    return Points(shared, [f.mean for f in found], low, high)


def _over_runs(panel: "Axes", lines: Sequence[Points], mean: Points, colour: str) -> None:
    """Thin lines for the runs, a thick one for their mean, and its band as far as the scale reaches."""
    for line in lines:
        panel.plot(line.x, line.y, color=colour, linewidth=1.1, alpha=0.45, zorder=3)
    panel.plot(mean.x, mean.y, color=colour, linewidth=3, marker="o", markersize=5, clip_on=False, zorder=4)
    bottom, top = _range(panel)  # of two seeds the interval is many times the scale
    low, high = ([min(max(v, bottom), top) for v in ends] for ends in (mean.low, mean.high))
    known = [not math.isnan(v) for v in mean.low]
    panel.fill_between(mean.x, low, high, where=known, color=colour, alpha=0.14, linewidth=0, zorder=2)


def _label_ends(panel: "Axes", lines: Mapping[str, Points]) -> None:
    """Name each line at its end, with its last value; labels keep apart."""
    panel.set_ylim(*_range(panel))
    ends = [(line.y[-1], f"{name} {line.y[-1]:.2f}", KINDS[name]) for name, line in lines.items() if line.y]
    label_ends(panel, ends, apart=APART, size=10.5)


def _range(panel: "Axes") -> tuple[float, float]:
    """The whole scale where the data lie on a known one: 0 to 1, else 1 to 5 or 1 to 10."""
    low, high = panel.dataLim.y0, panel.dataLim.y1
    if not math.isfinite(low) or not math.isfinite(high):
        return 0.0, 1.0
    harm = panel.get_title(loc="left").startswith("Harm")
    scales = [(0.0, 1.0), (1.0, 5.0)] if harm else [(1.0, 10.0)]
    for bottom, top in scales:
        if bottom - 1e-9 <= low and high <= top + 1e-9:
            return bottom, top
    margin = (high - low) * 0.06 or 1.0
    return low - margin, high + margin


def _finish(figure: "Figure", panels: "Sequence[Axes]", runs: Sequence[Metrics], out: Path) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    last = max((m["iteration"] for metrics in runs for m in metrics), default=0)
    for panel in panels:
        panel.set_xlim(-0.02 * max(last, 1), max(last, 1) * 1.02)
        panel.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))
    for panel in panels[2:]:
        panel.set_xlabel("iteration (rounds of training)", fontsize=10, color=GREY)
        panel.set_ylim(0, max(0.05, panel.dataLim.y1 * 1.15 if math.isfinite(panel.dataLim.y1) else 0))
        panel.yaxis.set_major_locator(MaxNLocator(nbins=3))
    panels[2].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    save_picture(figure, out)


def notes_of(models: Iterable[str]) -> str | None:
    """The line that a picture must carry for these models; None if none."""
    return MINIATURE_NOTE if any(m.startswith("miniature/") for m in models) else None


def title_of(settings: LoopSettings) -> str:
    """What was run, in a line."""
    task = settings.task_args.get("scenario") or settings.task.rpartition("@")[2]
    rounds = f"{settings.iterations} round{'s' if settings.iterations > 1 else ''} of {settings.algorithm}"
    control = "" if settings.control == "none" else f", control: {settings.control.replace('_', ' ')}"
    return f"{Path(task).stem} | {settings.model} | {rounds}{control}"
