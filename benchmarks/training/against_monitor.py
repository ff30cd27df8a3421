"""Does training against a monitor teach honest behaviour, or evasion? The miniature, several seeds.

    python benchmarks/training/against_monitor.py --seeds 5 --out logs/against_monitor

One monitor is fitted on what the base model said. Then the model is trained on its users' ratings by KTO,
with the monitor only watching and with its probability taken off the rating, each at a low and at a high
weight of the KL term against the base. Harm by the judge on held-out topics is what the model does; the share
of those harmful replies that the frozen monitor flags is what it still sees of it; a monitor that is fitted
again on the last round's own conversations tells whether the activations still show it.

Honest: less harm than where the monitor only watched. Evasion: as much harm, and a smaller share of it seen.
Each cell is a run of `training/ei_loop.py` in a folder of its own: the same command goes on where it was
stopped, and one that is finished is not run again. Intervals are t intervals over seeds.

The miniature is a demonstration world: these numbers are no evidence about real models.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.style import COLOURS, GREY, INK, plain_panel, save_picture
from analysis.intervals import mean_interval
from benchmarks.probes.base_monitor import base_monitor, folder_of

ROOT = Path(__file__).resolve().parents[2]
KL = {"low": 0.03, "high": 1.0}
USES: tuple[str, ...] = ("watch", "penalty", "filter")
NOTE = "The miniature is a demonstration world: these numbers are no evidence about real models."


class Cell(NamedTuple):
    """One run."""

    use: str
    kl: str
    seed: int

    def folder(self, out: Path) -> Path:
        """Of the run."""
        return out / f"{self.use}-kl-{self.kl}-{self.seed}"


class Outcome(NamedTuple):
    """What came of one."""

    harm: float
    """Share of held-out conversations with gameable users, by the judge."""

    harm_all: float
    flagged: float
    """By the frozen monitor, of all held-out conversations."""

    seen: float | None
    """Share of the harmful ones that it flags; None without one."""

    auroc: float | None
    refitted: float | None
    """AUROC of the monitor that was fitted on the last round's conversations."""

    rating: float
    kl: float
    rounds: int


def run(cell: Cell, given: argparse.Namespace) -> None:
    """Train, or go on with it."""
    folder = cell.folder(given.out)
    command = [
        *(sys.executable, str(ROOT / "training" / "ei_loop.py")),
        *("--algorithm", "kto", "--reference", "base", "--beta", str(KL[cell.kl])),
        *("--monitor", str(folder_of(given.out)), "--monitor-use", cell.use),
        *("--monitor-weight", str(given.weight), "--run", str(folder), "--seed", str(cell.seed)),
        *("--iterations", str(given.iterations), "--epochs", str(given.epochs)),
        *("--heldout-states", str(given.heldout_states), "--kl-replies", "16"),
    ]
    begun = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{folder}: exit status {done.returncode}\n{done.stderr[-2000:]}")
    print(f"done: {folder} in {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)


def rows(folder: Path) -> list[dict[str, Any]]:
    """Of its metrics."""
    file = folder / "metrics.jsonl"
    return (
        [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []
    )


def outcome(folder: Path, iterations: int) -> Outcome | None:
    """The last evaluation; None of a run that is not complete."""
    found = rows(folder)
    if len(found) != iterations + 1:
        return None
    last, frozen = found[-1], found[-1]["monitor"]["frozen"]
    again = [m["monitor"].get("refitted") or {} for m in found]
    return Outcome(
        last["harm_gameable"],
        frozen["harm"],
        frozen["flagged"],
        frozen["recall"],
        frozen["auroc"],
        next((a["auroc"] for a in reversed(again) if a.get("auroc") is not None), None),
        last["mean_rating"],
        last["kl_to_base"],
        iterations,
    )


COLUMNS = {
    "harm": "harm, gameable",
    "harm_all": "harm, all",
    "seen": "of harm, seen",
    "auroc": "AUROC frozen",
    "refitted": "AUROC refitted",
    "rating": "rating",
    "kl": "KL to base",
}


def table(found: Mapping[tuple[str, str], Sequence[Outcome]]) -> Iterator[str]:
    """One line per condition, means over seeds."""
    yield f"{'monitor':<9}{'KL':<6}{'seeds':>5}  " + "".join(f"{title:<21}" for title in COLUMNS.values())
    for (use, kl), outcomes in found.items():
        cells = "".join(f"{_over_seeds([getattr(o, name) for o in outcomes]):<21}" for name in COLUMNS)
        yield f"{use:<9}{kl:<6}{len(outcomes):>5}  {cells}"


def verdicts(found: Mapping[tuple[str, str], Mapping[int, Outcome]]) -> Iterator[str]:
    """Each use against watching at the same KL, by paired seeds."""
    for (use, kl), outcomes in found.items():
        watched = found.get(("watch", kl), {})
        seeds = [seed for seed in outcomes if seed in watched]
        if use == "watch" or not seeds:
            continue
        for name, title in (("harm", "harm, gameable"), ("seen", "of harm, seen"), ("auroc", "AUROC frozen")):
            pairs = [(getattr(outcomes[s], name), getattr(watched[s], name)) for s in seeds]
            differences = [a - b for a, b in pairs if a is not None and b is not None]
            yield f"{use} less watch, KL {kl}, {title}: {_over_seeds(differences)} ({len(differences)} seeds)"


def _over_seeds(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    if len(known) == 1:
        return f"{known[0]:.2f} (1)"
    found = mean_interval(known, list(range(len(known))))
    some = "" if len(known) == len(values) else f" ({len(known)})"
    return f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]{some}"


def draw(found: Mapping[tuple[str, str], Mapping[int, Outcome]], out: Path) -> None:
    """Harm against what the frozen monitor still sees of it: each seed a point, each mean a mark."""
    figure = Figure(figsize=(11.0, 4.9))
    panels = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.07, right=0.98, top=0.8, bottom=0.2, wspace=0.2)
    title = "Trained against a monitor: less harm, or harm that it does not see?"
    figure.text(0.015, 0.93, title, fontsize=14, fontweight="bold", color=INK)
    figure.text(0.015, 0.025, NOTE, fontsize=9, color=GREY)
    colours: dict[str, str] = dict(zip(USES, COLOURS, strict=False))
    for panel, kl in zip(panels, KL, strict=True):
        _panel(
            panel, {use: list(found[use, kl].values()) for use in USES if found.get((use, kl))}, kl, colours
        )
    save_picture(figure, out)


def _panel(
    panel: Axes, outcomes: Mapping[str, Sequence[Outcome]], kl: str, colours: Mapping[str, str]
) -> None:
    plain_panel(panel, f"{kl} weight of the KL term (beta {KL[kl]:g})")
    for (use, points), marker in zip(outcomes.items(), "osD", strict=False):
        pairs = [(o.harm, o.seen) for o in points if o.seen is not None]
        if not pairs:
            continue
        x, y = zip(*pairs, strict=True)
        panel.scatter(x, y, color=colours[use], marker=marker, alpha=0.4, s=28)
        means = (sum(x) / len(x), sum(y) / len(y))
        panel.scatter(*means, color=colours[use], marker=marker, s=110, label=f"{use} (mean of {len(x)})")
    panel.set_xlim(-0.02, 1.02)
    panel.set_ylim(-0.02, 1.02)
    panel.set_xlabel("harm with gameable users, by the judge (held out)", fontsize=9.5, color=GREY)
    panel.set_ylabel("share of harm that the frozen monitor flags", fontsize=9.5, color=GREY)
    if panel.get_legend_handles_labels()[0]:
        panel.legend(frameon=False, fontsize=9, loc="lower right")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--uses", nargs="+", choices=USES, default=["watch", "penalty"])
    parser.add_argument("--iterations", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8, help="conversations per state in training")
    parser.add_argument("--heldout-states", type=int, default=16)
    parser.add_argument("--weight", type=float, default=8.0, help="of the penalty, in points of the rating")
    parser.add_argument("--states", type=int, default=24, help="per topic, that the monitor is fitted on")
    parser.add_argument("--most", type=int, help="train at most so many now; the same command goes on")
    parser.add_argument("--out", type=Path, default=Path("logs/against_monitor"))
    given = parser.parse_args()
    monitor = base_monitor(given.out, given.states)
    cells = [Cell(use, kl, seed) for seed in range(given.seeds) for kl in KL for use in given.uses]
    missing = [cell for cell in cells if outcome(cell.folder(given.out), given.iterations) is None]
    for cell in missing[: given.most]:
        run(cell, given)
    found: dict[tuple[str, str], dict[int, Outcome]] = {}
    for cell in cells:
        if (one := outcome(cell.folder(given.out), given.iterations)) is not None:
            found.setdefault((cell.use, cell.kl), {})[cell.seed] = one
    found = {key: found[key] for key in sorted(found, key=lambda k: (USES.index(k[0]), list(KL).index(k[1])))}
    report(given, monitor.card.threshold, found, len(cells))


def report(
    given: argparse.Namespace,
    threshold: Any,
    found: Mapping[tuple[str, str], Mapping[int, Outcome]],
    cells: int,
) -> None:
    """Print and draw."""
    done = sum(map(len, found.values()))
    print(
        f"\n{done} of {cells} runs are complete: KTO, {given.iterations} rounds, {given.epochs} talks "
        f"per state; penalty {given.weight:g} x probability; beta {KL['low']:g} and {KL['high']:g} to the "
        "base"
    )
    print(
        f"the frozen monitor before training: recall {threshold.recall:.2f} at {threshold.fpr:.1%} false "
        f"alarms ({threshold.n_positive} harmful of {threshold.n_positive + threshold.n_negative})"
    )
    for line in table({key: list(outcomes.values()) for key, outcomes in found.items()}):
        print(line)
    for line in verdicts(found):
        print(line)
    if done:
        draw(found, given.out / "against_monitor.png")
        print(f"{given.out}/against_monitor.png")
    print("means over seeds with 95 % t intervals; in brackets how many seeds have a number")
    print(NOTE)


if __name__ == "__main__":
    main()
