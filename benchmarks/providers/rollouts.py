"""Rollouts per second: `local/`, stock `hf/` and a bare `model.generate` loop, side by side.

    python benchmarks/providers/rollouts.py [--conversations 1 16 64] [--turns 3] [--model PATH]

The same checkpoint, prompts, canned user lines and sampling for all three; the two providers run through
a whole Inspect eval, which the bare loop does without. Loading the weights is not timed.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "2")

import torch
from inspect_ai import Task, eval  # noqa: A004
from inspect_ai.dataset import MemoryDataset
from inspect_ai.model import ChatMessageUser, Model, get_model
from inspect_ai.solver import Generate, Solver, TaskState, solver
from transformers import AutoModelForCausalLM, AutoTokenizer

from miniature.checkpoint import base_checkpoint
from scenarios.loader import load_family
from scenarios.samples import scenario_dataset

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


def through_inspect(model: Model, count: int, turns: int, max_connections: int | None = None) -> float:
    """Seconds for a whole eval."""
    task = Task(dataset=samples(count), solver=canned_user(turns))
    with tempfile.TemporaryDirectory() as logs:
        started = time.perf_counter()
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
        seconds = time.perf_counter() - started
    assert log.status == "success", log.error
    return seconds


def bare_loop(path: str) -> Callable[[int, int], float]:
    """A function that gives the seconds of the same rollouts without Inspect."""
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.padding_side = "left"
    model: Any = AutoModelForCausalLM.from_pretrained(path, dtype="float32").eval()

    @torch.inference_mode()
    def run(count: int, turns: int) -> float:
        dialogues = [[{"role": m.role, "content": m.text} for m in s.input] for s in samples(count)]  # pyright: ignore
        started = time.perf_counter()
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
        return time.perf_counter() - started

    return run


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--conversations", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3, help="the best of so many runs is shown")
    parser.add_argument("--model", help="folder of a checkpoint; the miniature by default")
    parser.add_argument("--skip-hf", action="store_true")
    arguments = parser.parse_args()
    path = str(Path(arguments.model).resolve()) if arguments.model else str(base_checkpoint())
    bare = bare_loop(path)
    local = get_model(f"local/{path}")
    hf = None if arguments.skip_hf else get_model(f"hf/{path}", device="cpu")
    through_inspect(local, 2, 1)  # one-off costs: registries, first kernels
    bare(2, 1)
    print(
        f"{arguments.turns} turns, {MAX_TOKENS} tokens a reply at most, "
        f"{torch.get_num_threads()} threads, {path}"
    )
    print(
        f"{'conversations':>13} {'bare loop s':>12} {'local/ s':>9} {'hf/ s':>8} "
        f"{'local vs hf':>12} {'local vs bare':>14}"
    )
    for count in arguments.conversations:
        best = min(bare(count, arguments.turns) for _ in range(arguments.repeats))
        own = min(through_inspect(local, count, arguments.turns, 64) for _ in range(arguments.repeats))
        stock = through_inspect(hf, count, arguments.turns) if hf is not None else float("nan")
        print(
            f"{count:>13} {best:>12.2f} {own:>9.2f} {stock:>8.2f} {stock / own:>11.1f}x {best / own:>13.0%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
