"""What a monitor costs: its head, beside the forward pass; replies, and a whole eval, without and with it.

    python benchmarks/probes/monitoring_cost.py [--states 8] [--turns 3] [--repeats 3]
        [--only heads|replies|eval]

Replies are those of a random Llama (hidden 512, 8 blocks) to 16 prompts at once; the eval is the therapy task
on the miniature. Each is run without a monitor; with one that reads along while the model generates; with one
whose conversations go through the model a second time: in turn, and the fastest of each is shown. Processor
seconds say more than wall clock on a machine that others use too.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import anyio
from inspect_ai import Task, eval  # noqa: A004
from inspect_ai.log import EvalLog
from inspect_ai.model import ChatMessageUser, GenerateConfig, ModelOutput, get_model

from benchmarks.probes.heads import score_each
from miniature.checkpoint import base_checkpoint
from probes.monitors.agents import Reading
from probes.monitors.serving import ServedMonitor
from scenarios.loader import load_family
from scorers.stakes import stakes
from tasks.families.assembly import influence_task
from tasks.families.options import Options, chosen
from tests.support.spoken_models import LETTERS, fitted_monitor, spoken_model

AGENT = "miniature/agent"


NONE, ALONG, AGAIN = "no monitor", "from the generation pass", "from a second pass"
ROWS, PROMPT, REPLY = 16, 200, 64
MANY_LETTERS = LETTERS + "".join(map(chr, range(0x4E00, 0x4E00 + 4000)))
"""So many that the random model hardly ever writes a special token, of which no conversation tells."""

Cost = tuple[float, float]
"""Seconds on the wall, seconds of the processor."""


class Run(NamedTuple):
    """One eval."""

    clock: float
    """Seconds on the wall."""

    processor: float
    """Seconds of all threads."""

    log: EvalLog


def measured(make: Callable[[], Task], folder: str) -> Run:
    """Time a whole eval, from its start to its log."""
    task = make()
    clock, processor = time.perf_counter(), time.process_time()
    (log,) = eval(
        task, model=AGENT, log_dir=folder, display="none", log_realtime=False, seed=1, max_samples=1000
    )
    taken = Run(time.perf_counter() - clock, time.process_time() - processor, log)
    if log.status != "success":
        raise SystemExit(log.error)
    return taken


def evals(monitor: Path, states: int, turns: int) -> dict[str, Callable[[], Task]]:
    """The three evals, by name."""
    family = load_family("therapy")
    options: Options = {"states": states, "turns": turns}
    return {
        NONE: lambda: influence_task(family, chosen(options, {})),
        ALONG: lambda: influence_task(family, chosen(options, {"monitor": str(monitor)})),
        # the monitor's own model reads: nothing is taken from the generation
        AGAIN: lambda: influence_task(
            family, chosen(options, {}), [stakes(monitor=str(monitor), any_model=True)]
        ),
    }


def compare(states: int, turns: int, repeats: int, head: str) -> None:
    """Print the three evals side by side."""
    with tempfile.TemporaryDirectory() as folder:
        monitor = fitted_monitor(
            base_checkpoint(), Path(folder) / "monitor", head, layers=(2,), tokens="assistant"
        )
        kinds = evals(monitor, states, turns)
        for make in evals(monitor, 1, 1).values():
            measured(make, folder)  # one-off costs: registries, first kernels, the second copy of the model
        runs: dict[str, list[Run]] = {name: [] for name in kinds}
        for _ in range(repeats):
            for name, make in kinds.items():
                runs[name].append(measured(make, folder))
        show(runs, turns, head)


def show(runs: dict[str, list[Run]], turns: int, head: str) -> None:
    """Print the table; the logs are read for it."""
    usage = runs[NONE][0].log.stats.model_usage[AGENT]
    samples = len(runs[NONE][0].log.samples or [])
    print(
        f"\ntherapy on the miniature: {samples} conversations x {turns} turns, head {head}; "
        f"{usage.output_tokens} tokens written"
    )
    costs = {name: [(r.clock, r.processor) for r in found] for name, found in runs.items()}
    print_table(costs, {name: counted(passes(found[-1].log)) for name, found in runs.items()})
    difference = largest_difference(runs[ALONG][-1].log, runs[AGAIN][-1].log)
    print(f"largest difference between the two logits of a conversation: {difference:.1e}")


def passes(log: EvalLog) -> list[str]:
    """That its conversations were scored from."""
    told = [(s.scores or {}).get("stakes") for s in log.samples or []]
    return [str((score.metadata or {})["source"]) for score in told if score is not None]


def largest_difference(one: EvalLog, other: EvalLog) -> float:
    """Of the logits; both evals draw the same conversations."""
    logits = [
        {(s.id, s.epoch): ((s.scores or {})["stakes"].metadata or {})["logit"] for s in log.samples or []}
        for log in (one, other)
    ]
    return max(abs(value - logits[1][key]) for key, value in logits[0].items())


async def reply(agent: str, served: ServedMonitor | None, seed: int) -> list[str]:
    """Answer all prompts, and score what comes of it; returns the passes that it was scored from."""
    model = get_model(agent)
    config = GenerateConfig(temperature=1.0, max_tokens=REPLY, seed=seed)
    random = Random(seed)
    asked = ["".join(random.choices("abcdefgh ", k=PROMPT)) for _ in range(ROWS)]
    passes: list[str] = []

    async def one(text: str) -> None:
        said = ChatMessageUser(content=text)
        output = await model.api.generate([said], [], "none", config)
        if served is not None and isinstance(output, ModelOutput):
            met = served.meet(agent, getattr(model.api, "local", None))
            found = await served.score(met, agent, [said, output.message], [], [1])
            passes.append(found.source or "")

    async with anyio.create_task_group() as group:
        for text in asked:
            group.start_soon(one, text)
    return passes


def measured_reply(agent: str, monitor: Path, name: str, seed: int) -> tuple[Cost, list[str]]:
    """Time it with a monitor that is made anew, and gone afterwards, so that it reads no others' replies."""
    served = None if name == NONE else ServedMonitor(monitor, Reading(any_model=name == AGAIN))
    if served is not None:
        served.meet(agent, getattr(get_model(agent).api, "local", None))
        anyio.run(reply, agent, served, 0)  # loads the second copy of the model, where one is needed
    clock, processor = time.perf_counter(), time.process_time()
    passes = anyio.run(reply, agent, served, seed)
    return (time.perf_counter() - clock, time.process_time() - processor), passes


def compare_replies(repeats: int, head: str) -> None:
    """Print the cost of answering all prompts, and of scoring what comes of it."""
    with tempfile.TemporaryDirectory() as folder:
        model = spoken_model(Path(folder) / "model", hidden=512, blocks=8, letters=MANY_LETTERS)
        monitor = fitted_monitor(model, Path(folder) / "monitor", head, layers=(6,), tokens="assistant")
        costs: dict[str, list[Cost]] = {NONE: [], ALONG: [], AGAIN: []}
        passes: dict[str, list[str]] = {name: [] for name in costs}
        measured_reply(f"local/{model}", monitor, NONE, 0)
        for _ in range(repeats):
            for name in costs:
                cost, found = measured_reply(f"local/{model}", monitor, name, 1)
                costs[name].append(cost)
                passes[name] = found
    print(f"\n{ROWS} prompts of {PROMPT} tokens, replies of at most {REPLY}, random Llama, head {head}")
    print_table(costs, {name: counted(found) for name, found in passes.items()})


def print_table(costs: dict[str, list[Cost]], notes: dict[str, str]) -> None:
    """The fastest of each kind, and what it costs beside no monitor."""
    best = {name: (min(c for c, _ in found), min(p for _, p in found)) for name, found in costs.items()}
    print(f"{'':>26} {'wall s':>8} {'CPU s':>8} {'more CPU':>9}  scored from generation / second pass")
    for name, (clock, processor) in best.items():
        more = processor / best[NONE][1] - 1
        print(f"{name:>26} {clock:>8.2f} {processor:>8.2f} {more:>8.1%}  {notes[name]}", flush=True)


def counted(passes: list[str]) -> str:
    """Conversations by the pass that they were scored from."""
    return f"{passes.count('generation')} / {passes.count('second pass')}" if passes else ""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--states", type=int, default=8, help="initial states per topic; there are 12 topics")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3, help="the fastest of so many runs is shown")
    parser.add_argument("--head", default="attention", help="of the monitor in the eval")
    parser.add_argument("--only", choices=["heads", "replies", "eval"], help="one of the three tables")
    arguments = parser.parse_args()
    if arguments.only in (None, "heads"):
        score_each()
    if arguments.only in (None, "replies"):
        compare_replies(arguments.repeats, arguments.head)
    if arguments.only in (None, "eval"):
        compare(arguments.states, arguments.turns, arguments.repeats, arguments.head)


if __name__ == "__main__":
    main()
