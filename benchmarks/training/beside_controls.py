"""A run beside its controls: rating and harm by iteration, and what lies between them on the same users.

    python training/ei_loop.py --config training/configs/small_real.yaml --run logs/small_real
    python training/ei_loop.py --config training/configs/small_real.yaml --run logs/random --control random
    python benchmarks/training/beside_controls.py logs/small_real logs/random --out docs/small-real.png

Beside the judges' numbers stand some that need no judge: words of a reply, the share of replies in which a
sentence stands twice, and how many different first four words there are. The first run is compared with each
of the others, iteration by iteration: harm less the control's, paired by initial state, with a 95 % interval.
Iterations are several looks at one thing, and runs of one seed; the intervals are over initial states and
know nothing of other seeds.
"""

import argparse
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.style import COLOURS, GREY, label_ends, plain_panel, save_picture
from analysis.intervals import Interval
from analysis.logs.finding import open_log
from analysis.logs.samples import read_samples
from analysis.reporting.markdown import table
from analysis.trajectories import Trajectory, read_trajectories
from analysis.values import Values
from training.runs.run_folder import RunFolder, read_run

KINDS = {"gameable": True, "other": False}
MEASURES = {"harm": "Harm by the judge, 0 to 1", "rating": "Rating by the judge, 1 to 10"}
SENTENCES = re.compile(r"(?<=[.!?])\s+")

STEPS = ("heldout", "rollout", "train")
"""Seconds of which the metrics tell."""


class Wording(NamedTuple):
    """How held-out replies read, in numbers that need no judge."""

    words: float
    """Mean of a reply."""

    repeats: float
    """Share of replies in which a sentence stands twice."""

    openings: int
    """Different first four words."""

    replies: int
    """Of so many; conversations without a reply have none."""


class Run(NamedTuple):
    """A run with what its held-out users met."""

    name: str
    metrics: list[dict[str, Any]]
    heldout: list[list[Trajectory]]
    """Of each iteration."""

    words: list["Wording"]
    """Of each iteration."""


def read(path: Path) -> Run:
    """A run folder."""
    folder: RunFolder = read_run(path)
    logs = [
        sorted((path / f"iteration_{row['iteration']:02d}" / "heldout").glob("*.eval"))
        for row in folder.metrics
    ]
    heldout = [read_trajectories(found[-1], rating="preference", harm="influence") for found in logs]
    control = folder.settings.control
    name = "best by rating" if control == "none" else control.replace("_", " ")
    return Run(name, folder.metrics, heldout, [wording(found[-1]) for found in logs])


def wording(log: Path) -> Wording:
    """Of the last reply of each conversation."""
    samples = read_samples(open_log(log), without=("events", "attachments"))
    spoken = [[m.text for m in s.messages if m.role == "assistant"] for s in samples]
    replies = [said[-1] for said in spoken if said]
    sentences = [[part.strip() for part in SENTENCES.split(reply) if part.strip()] for reply in replies]
    return Wording(
        sum(len(reply.split()) for reply in replies) / len(replies),
        sum(len(set(own)) < len(own) for own in sentences) / len(replies),
        len({tuple(reply.split()[:4]) for reply in replies}),
        len(replies),
    )


def harm(found: Sequence[Trajectory], gameable: bool) -> Values:
    """Of the held-out users of one kind."""
    own = [t for t in found if t.gameable == gameable and math.isfinite(t.harm)]
    return Values([t.harm for t in own], [t.cluster for t in own], "0-1")


def shown(found: Interval | None, *, signed: bool = False) -> str:
    """With its ends."""
    if found is None:
        return "-"
    form = "+.2f" if signed else ".2f"
    return f"{found.mean:{form}} [{found.low:{form}}, {found.high:{form}}]"


def numbers(run: Run) -> str:
    """The run's own table."""
    rows = []
    for row, words in zip(run.metrics, run.words, strict=True):
        cells = [
            "{:.2f} [{:.2f}, {:.2f}]".format(
                *(row[f"{measure}_{kind}{end}"] for end in ("", "_low", "_high"))
            )
            for measure in ("rating", "harm")
            for kind in KINDS
        ]
        seconds = [row.get(f"seconds_{step}") for step in STEPS]
        told = [f"{words.words:.0f}", f"{words.repeats:.2f}", f"{words.openings} of {words.replies}"]
        rows.append(
            [str(row["iteration"]), *cells, *told, *("-" if s is None else f"{s:.0f}" for s in seconds)]
        )
    heads = [
        "iteration",
        *(f"{m}, {k}" for m in ("rating", "harm") for k in KINDS),
        *("words", "repeat", "openings"),
        *(f"{s}, s" for s in STEPS),
    ]
    return table(heads, rows)


def between(first: Run, other: Run) -> str:
    """Harm of the first less the other's, on the users that both met."""
    rows = []
    for row, own, its in zip(first.metrics, first.heldout, other.heldout, strict=False):
        cells = [shown(harm(own, kind).minus(harm(its, kind)), signed=True) for kind in KINDS.values()]
        rows.append([str(row["iteration"]), *cells])
    return table(["iteration", *(f"harm less that of {other.name}, {kind}" for kind in KINDS)], rows)


def draw(runs: Sequence[Run], out: Path) -> None:
    """Two panels by measure, one for each kind of user."""
    figure = Figure(figsize=(9.2, 6.4))
    panels = figure.subplots(2, 2, sharex=True)
    figure.subplots_adjust(left=0.07, right=0.84, top=0.93, bottom=0.09, wspace=0.62, hspace=0.28)
    for line, (measure, title) in zip(panels, MEASURES.items(), strict=True):
        for panel, kind in zip(line, KINDS, strict=True):
            _draw_panel(panel, runs, measure, kind)
            plain_panel(panel, f"{title}\n{kind} users", size=10)
            panel.set_ylim(*((0, 1) if measure == "harm" else (1, 10)))
            ends = [
                (run.metrics[-1][f"{measure}_{kind}"], run.name, colour)
                for run, colour in zip(runs, COLOURS, strict=False)
            ]
            label_ends(panel, ends)
    for panel in panels[-1]:
        panel.set_xlabel("iteration", color=GREY)
    save_picture(figure, out)


def _draw_panel(panel: Axes, runs: Sequence[Run], measure: str, kind: str) -> None:
    for number, (run, colour) in enumerate(zip(runs, COLOURS, strict=False)):
        x = [row["iteration"] + 0.06 * number for row in run.metrics]
        means, lows, highs = (
            [row[f"{measure}_{kind}{end}"] for row in run.metrics] for end in ("", "_low", "_high")
        )
        spread = [
            [m - a for m, a in zip(means, lows, strict=True)],
            [b - m for m, b in zip(means, highs, strict=True)],
        ]
        panel.errorbar(
            x, means, yerr=spread, color=colour, marker="o", markersize=4, linewidth=1.6, elinewidth=0.8
        )
    panel.set_xticks([row["iteration"] for row in runs[0].metrics])


def main() -> None:
    """Print the tables and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, help="run folders, the one without a control first")
    parser.add_argument("--out", type=Path, help="PNG")
    given = parser.parse_args()
    runs = [read(path) for path in given.runs]
    for run in runs:
        print(f"{run.name}\n\n{numbers(run)}\n")
    for other in runs[1:]:
        print(between(runs[0], other), end="\n\n")
    if given.out is not None:
        draw(runs, given.out)


if __name__ == "__main__":
    main()
