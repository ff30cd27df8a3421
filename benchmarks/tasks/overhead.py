"""What the suite adds to Inspect: CPU seconds per model call, and memory over the number of samples.

    python benchmarks/tasks/overhead.py [--samples 504] [--turns 5] [--memory 504 5040]

The therapy task with all judges against the simplest solver and scorers that make the same calls with
prompts of the same lengths, both on a model that answers at once. Each measurement has its own process.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from inspect_ai import Task, eval  # noqa: A004
from inspect_ai.model import ChatMessage, ChatMessageSystem, ChatMessageUser, GenerateConfig, Model, get_model
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver

from scenarios.loader import load_family
from scenarios.samples import scenario_dataset
from tasks.therapy import therapy
from tests.support.told import told

REPLY = "I hear you, and I would like to think about this with you before anything is decided. " * 3
LOGPROBS = GenerateConfig(max_tokens=16, temperature=1.0, top_p=1.0, logprobs=True, top_logprobs=20)
RUBRIC = "You predict how a person rates the replies of an assistant. " * 25


def instant() -> tuple[Model, dict[str, str | Model]]:
    """Models that answer at once: the agent and user with text, the judge with a distribution."""

    def judge(prompt: list[ChatMessage]) -> dict[str, float]:
        ask = prompt[-1].text[-200:]
        if "yes or no" in ask:
            return {"no": 1.0}
        return {"0": 0.9, "1": 0.1} if "with 0" in ask else {str(i): 0.1 for i in range(1, 11)}

    agent, user, judges = told(REPLY, "agent"), told("I see what you mean.", "user"), told(judge, "judge")
    for model in (agent, user, judges):
        model.api.keeps = False  # pyright: ignore[reportAttributeAccessIssue]
    return agent, {"user": user, "judge": judges}


@solver
def simplest_dialogue(turns: int) -> Solver:
    """The same calls as our conversation, and nothing else."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        for turn in range(turns):
            state = await generate(state)
            await get_model(role="judge").generate(_ask(state.messages), config=LOGPROBS)
            if turn < turns - 1:
                output = await get_model(role="user").generate(_swapped(state.messages))
                state.messages.append(ChatMessageUser(content=output.completion))
        return state

    return solve


@scorer(metrics=[mean()], name="simplest")
def simplest_judge() -> Scorer:
    """One call for each reply, the first token taken as it is."""

    async def score(state: TaskState, target: Target) -> Score:
        del target
        values = []
        for index, message in enumerate(state.messages):
            if message.role == "assistant":
                output = await get_model(role="judge").generate(
                    _ask(state.messages[: index + 1]), config=LOGPROBS
                )
                values.append(float(output.completion) if output.completion.isdigit() else 0.0)
        return Score(value=sum(values) / len(values))

    return score


def _ask(messages: list[ChatMessage]) -> list[ChatMessage]:
    text = "\n\n".join(m.text for m in messages if m.role != "system")
    return [ChatMessageSystem(content=RUBRIC), ChatMessageUser(content=f"{text}\n\nAnswer with 1 to 10.")]


def _swapped(messages: list[ChatMessage]) -> list[ChatMessage]:
    return [ChatMessageSystem(content=RUBRIC), *messages[1:]]


def measure(kind: str, samples: int, turns: int) -> dict[str, float]:
    """Run one eval in this process and count its costs."""
    states, left = divmod(samples, 12)
    if left:
        raise SystemExit(f"samples must be a multiple of the 12 train topics, got {samples}")
    epochs = -(-states // 80)
    agent, roles = instant()
    if kind == "suite":
        task = therapy(states=states // epochs, turns=turns)
    else:
        dataset = scenario_dataset(load_family("therapy"), states=states // epochs)
        task = Task(
            dataset=dataset, solver=simplest_dialogue(turns), scorer=[simplest_judge(), simplest_judge()]
        )
    started, clock = time.process_time(), time.perf_counter()
    with tempfile.TemporaryDirectory() as logs:
        (log,) = eval(
            task,
            model=agent,
            model_roles=dict(roles),
            epochs=epochs,
            log_dir=logs,
            display="none",
            log_samples=True,
            log_realtime=False,
            max_samples=50,
            max_connections=50,
        )
    assert log.status == "success", log.error
    calls = sum(m.api.calls for m in (agent, *roles.values()))  # pyright: ignore
    return {
        "cpu": time.process_time() - started,
        "wall": time.perf_counter() - clock,
        "calls": calls,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def in_own_process(kind: str, samples: int, turns: int) -> dict[str, float]:
    """`measure` in a fresh interpreter."""
    command = [sys.executable, __file__, "--measure", kind, "--samples", str(samples), "--turns", str(turns)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=504)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--memory", type=int, nargs="*", default=[504, 5040], help="samples of two turns")
    parser.add_argument("--repeats", type=int, default=2, help="the best of so many runs is shown")
    parser.add_argument("--measure", choices=["suite", "simplest"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.samples, arguments.turns)))
        return
    print(f"{arguments.samples} samples x {arguments.turns} turns, instant models, all judges")
    print(f"{'':>10} {'calls':>8} {'CPU s':>8} {'ms a call':>10} {'wall s':>8} {'peak MB':>8}")
    costs = {}
    for kind in ("simplest", "suite"):
        runs = [in_own_process(kind, arguments.samples, arguments.turns) for _ in range(arguments.repeats)]
        found = min(runs, key=lambda run: run["cpu"])
        costs[kind] = 1000 * found["cpu"] / found["calls"]
        print(
            f"{kind:>10} {found['calls']:>8.0f} {found['cpu']:>8.1f} {costs[kind]:>10.2f} "
            f"{found['wall']:>8.1f} {found['peak_mb']:>8.0f}"
        )
    print(f"suite / simplest: {costs['suite'] / costs['simplest']:.2f}")
    for kind in ("simplest", "suite"):
        peaks = {samples: in_own_process(kind, samples, 2)["peak_mb"] for samples in arguments.memory}
        told = ", ".join(f"{peak:.0f} MB at {samples} samples" for samples, peak in peaks.items())
        if len(peaks) > 1:
            (fewest, low), (most, high) = min(peaks.items()), max(peaks.items())
            told += f"; {1024 * (high - low) / (most - fewest):.0f} KB a sample"
        if peaks:
            print(f"{kind:>10} x 2 turns, peak memory: {told}", flush=True)


if __name__ == "__main__":
    main()
