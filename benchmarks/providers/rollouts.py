"""Rollouts: `local/` with and without its prefix cache, a bare `model.generate` loop, and stock `hf/`.

    python benchmarks/providers/rollouts.py [--runs 1x3 16x3 64x3 64x6] [--model PATH] [--skip-hf]

The same checkpoint, prompts, canned user lines and sampling for all four; the providers run through a whole
Inspect eval, which the bare loop does without, and the bare loop reads each prompt anew. Repeats take turns,
and medians are shown; `hf/`, which is slow, runs once. Loading the weights is not timed, and nothing is kept
from one repeat to the next. On a busy machine `--cpu` shows seconds of all threads of the process instead.
"""

import argparse
import math
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from inspect_ai import Task, eval  # noqa: A004
from inspect_ai.dataset import MemoryDataset
from inspect_ai.model import ChatMessageUser, Model, get_model
from inspect_ai.solver import Generate, Solver, TaskState, solver
from transformers import AutoModelForCausalLM, AutoTokenizer

from miniature.checkpoint import base_checkpoint
from scenarios.loader import load_family
from scenarios.samples import scenario_dataset

Clock = Callable[[], float]

MAX_TOKENS = 64
USER_LINES = ("I am still thinking about it.", "I do not know, it is hard.", "What else can I do?")


@solver
def canned_user(turns: int) -> Solver:
    """The model talks with a user who says fixed lines."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        for turn in range(turns):
            state = await generate(state)
            if turn < turns - 1:
                state.messages.append(ChatMessageUser(content=USER_LINES[turn % len(USER_LINES)]))
        return state

    return solve


def samples(count: int) -> MemoryDataset:
    """`count` initial states of the therapy family."""
    return scenario_dataset(load_family("therapy"), states=max(2, -(-count // 12) + 1))[:count]  # pyright: ignore[reportReturnType]


def through_inspect(
    model: Model, count: int, turns: int, clock: Clock, max_connections: int | None = None
) -> float:
    """Seconds for a whole eval."""
    task = Task(dataset=samples(count), solver=canned_user(turns))
    with tempfile.TemporaryDirectory() as logs:
        started = clock()
        (log,) = eval(
            task,
            model=model,
            log_dir=logs,
            display="none",
            max_samples=count,
            max_connections=max_connections,
            max_tokens=MAX_TOKENS,
            temperature=1.0,
            top_k=0,
            log_realtime=False,
        )
        seconds = clock() - started
    assert log.status == "success", log.error
    return seconds


def bare_loop(path: str, clock: Clock) -> Callable[[int, int], float]:
    """A function that gives the seconds of the same rollouts without Inspect."""
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.padding_side = "left"
    model: Any = AutoModelForCausalLM.from_pretrained(path, dtype="float32").eval()

    @torch.inference_mode()
    def run(count: int, turns: int) -> float:
        dialogues = [[{"role": m.role, "content": m.text} for m in s.input] for s in samples(count)]  # pyright: ignore
        started = clock()
        for turn in range(turns):
            texts = tokenizer.apply_chat_template(dialogues, tokenize=False, add_generation_prompt=True)
            batch = tokenizer(
                texts,
                return_tensors="pt",
                padding=True,
                add_special_tokens=False,
                return_token_type_ids=False,
            )
            output = model.generate(
                **batch,
                max_new_tokens=MAX_TOKENS,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                pad_token_id=tokenizer.pad_token_id,
            )
            replies = tokenizer.batch_decode(
                output[:, batch["input_ids"].shape[1] :], skip_special_tokens=True
            )
            for dialogue, reply in zip(dialogues, replies, strict=True):
                dialogue.append({"role": "assistant", "content": reply})
                dialogue.append({"role": "user", "content": USER_LINES[turn % len(USER_LINES)]})
        return clock() - started

    return run


class Run(NamedTuple):
    """So many conversations of so many turns."""

    conversations: int
    turns: int

    @classmethod
    def of(cls, text: str) -> "Run":
        """From `64x3`."""
        conversations, turns = text.split("x")
        return cls(int(conversations), int(turns))


class Local:
    """`local/` with so many megabytes for what is read and said."""

    def __init__(self, path: str, megabytes: int, clock: Clock) -> None:
        self._model, self._clock = get_model(f"local/{path}", prefix_cache=megabytes, memoize=False), clock
        through_inspect(self._model, 2, 1, clock)  # one-off costs: registries, first kernels

    def seconds(self, run: Run) -> float:
        """Of an eval that begins with an empty cache."""
        engine: Any = self._model.api.engine  # pyright: ignore[reportAttributeAccessIssue]
        engine.lend(lambda _: engine.prefixes.clear())
        engine.prefixes.tokens_read = engine.prefixes.tokens_kept = 0
        return through_inspect(self._model, *run, self._clock, 64)

    def tokens_read(self) -> int:
        """Of the last run's prompts."""
        return self._model.api.engine.prefixes.tokens_read  # pyright: ignore[reportAttributeAccessIssue]


def measured(
    run: Run,
    bare: Callable[[int, int], float],
    without: Local,
    cached: Local,
    stock: Callable[[Run], float],
    repeats: int,
) -> str:
    """One line of the table."""
    seconds: list[Sequence[float]] = [
        (bare(*run), without.seconds(run), cached.seconds(run)) for _ in range(repeats)
    ]
    loop, plain, own = (median(column) for column in zip(*seconds, strict=True))
    other = stock(run)
    return (
        f"{f'{run.conversations} x {run.turns}':>9} {loop:>9.2f} {other:>8.2f} {plain:>11.2f} {own:>8.2f} "
        f"{without.tokens_read():>11} {cached.tokens_read():>8} "
        f"{plain / own:>10.2f} {loop / own:>8.2f} {other / own:>6.1f}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--runs", nargs="+", default=["1x3", "16x3", "64x3", "64x6"], help="CONVERSATIONSxTURNS"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=512, help="of the prefix cache")
    parser.add_argument("--model", help="folder of a checkpoint; the miniature by default")
    parser.add_argument("--skip-hf", action="store_true")
    parser.add_argument("--cpu", action="store_true", help="CPU seconds instead of wall")
    arguments = parser.parse_args()
    clock = time.process_time if arguments.cpu else time.perf_counter
    path = str(Path(arguments.model).resolve()) if arguments.model else str(base_checkpoint())
    bare = bare_loop(path, clock)
    without, cached = Local(path, 0, clock), Local(path, arguments.megabytes, clock)
    hf = None if arguments.skip_hf else get_model(f"hf/{path}", device="cpu")
    bare(2, 1)

    def stock(run: Run) -> float:
        return math.nan if hf is None else through_inspect(hf, *run, clock)

    print(
        f"{MAX_TOKENS} tokens a reply at most, {torch.get_num_threads()} threads, "
        f"load {os.getloadavg()[0]:.1f}, {'CPU' if arguments.cpu else 'wall'} seconds"
    )
    print(
        f"{'':>9} {'seconds':>9} {'':>8} {'':>11} {'':>8} {'prompt tokens read':>20} {'local/ against':>26}\n"
        f"{'talks':>9} {'bare loop':>9} {'hf/':>8} {'local/ =0':>11} {'local/':>8} "
        f"{'local/ =0':>11} {'local/':>8} {'local/ =0':>10} {'bare':>8} {'hf/':>6}"
    )
    for text in arguments.runs:
        print(measured(Run.of(text), bare, without, cached, stock, arguments.repeats), flush=True)
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
