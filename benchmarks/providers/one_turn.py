"""Turns whose agent, user and three judges are one model, without and with the prefix cache.

    python benchmarks/providers/one_turn.py [--model FOLDER] [--states 1] [--turns 2] [--repeats 3]

The therapy family through a whole Inspect eval, once without and once with the cache in each repeat; tokens
of prompts that were read, and medians of seconds. A repeat begins with an empty cache. All seeds are the same
for both, and it is checked that the conversations are.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from inspect_ai import eval  # noqa: A004
from inspect_ai.log import EvalLog
from inspect_ai.model import GenerateConfig, Model, get_model

from miniature.checkpoint import base_checkpoint
from tasks.therapy import therapy

MAX_TOKENS = 64


class Turns(NamedTuple):
    """What a run took."""

    seconds: float
    cpu: float
    read: int
    """Tokens of prompts that went through the model."""

    kept: int
    """Tokens of prompts that did not need to."""

    said: list[list[str]]


def run(model: Model, states: int, turns: int) -> Turns:
    """One eval, from an empty cache."""
    engine: Any = model.api.engine  # pyright: ignore[reportAttributeAccessIssue]
    prefixes = engine.prefixes
    engine.lend(lambda _: prefixes.clear())
    read, kept = prefixes.tokens_read, prefixes.tokens_kept
    with tempfile.TemporaryDirectory() as logs:
        started, cpu = time.perf_counter(), time.process_time()
        (log,) = eval(
            therapy(states=states, turns=turns, topics="smoking", gameable=1.0),
            model=model,
            model_roles={"user": model, "judge": model},  # which keep their own seed
            log_dir=logs,
            display="none",
            log_realtime=False,
        )
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        assert log.status == "success", log.error
        words = said(log)
    return Turns(seconds, cpu, prefixes.tokens_read - read, prefixes.tokens_kept - kept, words)


def said(log: EvalLog) -> list[list[str]]:
    """The words of each conversation."""
    return [[message.text for message in sample.messages] for sample in log.samples or []]


def main() -> None:
    """Print both sides."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="folder of a checkpoint; the miniature's by default")
    parser.add_argument("--states", type=int, default=1)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=512)
    arguments = parser.parse_args()
    path = str(Path(arguments.model).resolve()) if arguments.model else str(base_checkpoint())
    config = GenerateConfig(seed=1, max_tokens=MAX_TOKENS)
    models = [
        get_model(f"local/{path}", prefix_cache=size, config=config, memoize=False)
        for size in (0, arguments.megabytes)
    ]
    run(models[0], 1, 1)  # one-off costs
    pairs = [
        [run(model, arguments.states, arguments.turns) for model in models] for _ in range(arguments.repeats)
    ]
    talks, same = len(pairs[0][0].said), all(plain.said == kept.said for plain, kept in pairs)
    print(
        f"{Path(path).name}: {talks} conversations x {arguments.turns} turns, agent, user and judges; "
        f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}; "
        f"conversations {'the same' if same else 'NOT THE SAME'}"
    )
    print(f"{'':>14} {'tokens read':>12} {'kept':>8} {'seconds':>9} {'CPU seconds':>12}")
    for name, runs in zip(("without", "prefix cache"), zip(*pairs, strict=True), strict=True):
        read, kept, seconds, cpu = (
            median(getattr(one, field) for one in runs) for field in ("read", "kept", "seconds", "cpu")
        )
        print(f"{name:>14} {read:>12.0f} {kept:>8.0f} {seconds:>9.2f} {cpu:>12.2f}")


if __name__ == "__main__":
    main()
