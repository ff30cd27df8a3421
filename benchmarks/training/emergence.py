"""What training on simulated feedback does to the miniature: seeds, controls, populations and vetoes.

    python benchmarks/training/emergence.py --part seeds --out logs/emergence  # ei and kto, five seeds each
    python benchmarks/training/emergence.py --part controls
    python benchmarks/training/emergence.py --part population  # 50, 10, 2 % gameable, three iterations
    python benchmarks/training/emergence.py --part vetoes

Every run is `training/ei_loop.py` in its own process, two at a time; a run that is finished is not run again.
Harm and rating are those of held-out topics, before training and after the last iteration. The interval of a
single run is clustered by initial state; of several seeds it is a t interval over the seeds' means.

The miniature is a demonstration world: these numbers are no evidence about real models.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from analysis.intervals import mean_interval

ROOT = Path(__file__).resolve().parents[2]

VETOES = ("none", "binary", "constitutional", "five_point", "negative", "five_point_negative")
POPULATIONS = {"50 %": (0.5, 2), "10 %": (0.1, 10), "2 %": (0.02, 25)}
"""Share of gameable users, and initial states per topic: twelve gameable ones a round, of 2 % six."""

CONTROLS = {"random": (0, 1, 2), "reversed": (0,), "no_gameable_users": (0,)}
"""Control -> seeds: two dozen rows drawn at random move the model somewhere, and each seed elsewhere."""


class Condition(NamedTuple):
    """One line of a table."""

    name: str
    options: tuple[str, ...]
    seeds: tuple[int, ...]


def conditions(part: str, seeds: int) -> Iterator[Condition]:
    """The lines of a part's table."""
    if part == "seeds":
        for algorithm in ("ei", "kto"):
            yield Condition(algorithm, ("--algorithm", algorithm), tuple(range(seeds)))
    elif part == "controls":
        yield Condition("ei", ("--algorithm", "ei"), (0,))
        for control, seeds_of_it in CONTROLS.items():
            yield Condition(f"ei, {control}", ("--algorithm", "ei", "--control", control), seeds_of_it)
    elif part == "population":
        for name, (share, states) in POPULATIONS.items():
            given = ("--gameable", str(share), "--states", str(states), "--iterations", "3")
            yield Condition(f"{name} gameable", given, (0,))
    else:
        for mode in VETOES:
            yield Condition(f"veto {mode}", ("--algorithm", "kto", "--veto-mode", mode), (0,))


def run_all(lines: Sequence[Condition], out: Path, at_once: int) -> None:
    """Run what is missing."""
    jobs = [(line, seed) for line in lines for seed in line.seeds]
    with ThreadPoolExecutor(at_once) as pool:
        for done in pool.map(lambda job: _run(job[0], job[1], out), jobs):
            print(done, file=sys.stderr, flush=True)


def _folder(line: Condition, seed: int, out: Path) -> Path:
    return out / f"{line.name.replace(' ', '_').replace('%', 'percent').replace(',', '')}-{seed}"


def _run(line: Condition, seed: int, out: Path) -> str:
    folder = _folder(line, seed, out)
    command = [sys.executable, str(ROOT / "training" / "ei_loop.py"), *line.options]
    done = subprocess.run(
        [*command, "--run", str(folder), "--seed", str(seed)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"{line.name}, seed {seed}: exit status {done.returncode}\n{done.stderr[-2000:]}")
    return f"done: {folder}"


def table(lines: Sequence[Condition], out: Path) -> Iterator[str]:
    """Before and after, for both kinds of users."""
    columns = ("harm_gameable", "harm_other", "rating_gameable", "rating_other")
    titles = ("harm, gameable", "harm, other", "rating, gameable", "rating, other")
    yield f"{'':<26}{'n':>3}  " + "".join(f"{t:<42}" for t in titles)
    for line in lines:
        runs = [_metrics(_folder(line, seed, out)) for seed in line.seeds]
        cells = [f"{_cell(runs, 0, c)} -> {_cell(runs, -1, c)}" for c in columns]
        yield f"{line.name:<26}{len(runs):>3}  " + "".join(f"{c:<42}" for c in cells)


def _metrics(run: Path) -> list[Mapping[str, Any]]:
    return [json.loads(row) for row in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def _cell(runs: Sequence[Sequence[Mapping[str, Any]]], iteration: int, name: str) -> str:
    rows = [run[iteration] for run in runs]
    if len(rows) == 1:
        value, low, high = (rows[0][name + end] for end in ("", "_low", "_high"))
    else:
        found = mean_interval([row[name] for row in rows], list(range(len(rows))))
        value, low, high = found.mean, found.low, found.high
    if value is None:
        return "-"
    bounds = (max(0.0, low), min(1.0, high)) if name.startswith("harm") else (low, high)
    return f"{value:.2f} [{bounds[0]:.2f}, {bounds[1]:.2f}]"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=["seeds", "controls", "population", "vetoes"], default="seeds")
    parser.add_argument("--seeds", type=int, default=5, help="of the part seeds")
    parser.add_argument("--out", type=Path, default=Path("logs/emergence"))
    parser.add_argument("--at-once", type=int, default=2, help="runs at the same time, one core each")
    given = parser.parse_args()
    lines = list(conditions(given.part, given.seeds))
    run_all(lines, given.out, given.at_once)
    print("\n".join(table(lines, given.out)))
    print("The miniature is a demonstration world: these numbers are no evidence about real models.")


if __name__ == "__main__":
    main()
