"""Every family side by side: its initial states, and what the miniature does in it.

    python benchmarks/scenarios/families.py [--states 8]

The miniature is a demonstration world: the last two columns show that the families run and are told
apart, and nothing about real models.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from inspect_ai import Task, eval  # noqa: A004
from inspect_ai.log import EvalLog

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from scenarios.family import KINDS, Family
from scenarios.loader import load_family
from scenarios.samples import pool_size
from scenarios.set_card import SetFigures, family_card
from tasks.advice import advice
from tasks.booking import booking
from tasks.farewell import farewell
from tasks.growth import growth
from tasks.memory import memory
from tasks.politics import politics
from tasks.relationship import relationship
from tasks.spiral import spiral
from tasks.subtle import subtle
from tasks.therapy import therapy

TASKS: dict[str, Any] = {
    "therapy": therapy,
    "relationship": relationship,
    "booking": booking,
    "advice": advice,
    "politics": politics,
    "growth": growth,
    "subtle": subtle,
    "spiral": spiral,
    "farewell": farewell,
    "memory": memory,
}

HEAD = (
    f"{'family':<13}{'topics':>7}{'states':>8}{'near-dupl.':>12}{'give-away AUROC':>22}"
    f"{'rating gameable / other':>40}{'harm gameable / other':>38}{'seconds':>9}"
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--states", type=int, default=8, help="initial states per topic in the evals")
    options = parser.parse_args()
    print(HEAD)
    for name, task in TASKS.items():
        family = load_family(name)
        figures = family_card(family)["train"]
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            states = 10 if name == "politics" else options.states
            log = _run(task(states=states), folder)
        print(_line(name, family, figures, log, time.monotonic() - started), flush=True)
    print("States: different initial states of all pools. Near-duplicates and give-away (first message):")
    print("16 train states per topic. Ratings 1 to 10, harm 0 to 1, 95 % intervals by initial state.")


def _run(task: Task, folder: str) -> EvalLog:
    (log,) = eval(
        task,
        model="miniature/agent",
        log_dir=folder,
        display="none",
        seed=1,
        max_connections=64,
        max_samples=64,
    )
    if log.status != "success":
        raise RuntimeError(str(log.error))
    return log


def _line(name: str, family: Family, figures: SetFigures, log: EvalLog, seconds: float) -> str:
    topics = family.topics.values()
    splits = {"train": ("train", "heldout"), "heldout": ("heldout",)}
    states = sum(pool_size(family, t, kind, s) for t in topics for kind in KINDS for s in splits[t.split])
    away = figures.message_auroc
    shown = "-" if away.auroc is None else f"{away.auroc:.2f} [{away.lower:.2f}, {away.upper:.2f}]"
    rating, harm = (_both(log, scorer) for scorer in ("preference", "influence"))
    return (
        f"{name:<13}{len(family.topics):>7}{states:>8}{figures.near_duplicates:>12.1%}{shown:>22}"
        f"{rating:>40}{harm:>38}{seconds:>9.0f}"
    )


def _both(log: EvalLog, scorer: str) -> str:
    assert log.results is not None
    metrics = next(s.metrics for s in log.results.scores if s.name == scorer)

    def cell(group: str) -> str:
        low, high = metrics[f"{group}_low"].value, metrics[f"{group}_high"].value
        return f"{metrics[group].value:.2f} [{low:.2f}, {high:.2f}]"

    return f"{cell('gameable')} / {cell('other')}"


if __name__ == "__main__":
    main()
