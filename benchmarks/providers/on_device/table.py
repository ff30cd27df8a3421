"""The table of `benchmarks/providers/gpu.py`."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from benchmarks.providers.on_device.bare import Bare, bare_forward, bare_passes
from benchmarks.providers.on_device.engine_rollouts import EngineRollouts, Rollouts
from benchmarks.providers.on_device.limits import Chip, Limits
from benchmarks.providers.on_device.other_work import BATCH_TOKENS, captured, lora_step
from benchmarks.providers.on_device.random_model import SIZES, Work, save_model


class Row(NamedTuple):
    """One line."""

    name: str
    tokens: int
    seconds: float
    bare: float | None
    """Seconds that the bare passes take for it; None: it is one of them."""

    limit: float
    """Seconds that it takes at the least."""

    told: str = ""

    def __str__(self) -> str:
        bare = "" if self.bare is None else f"{self.bare / self.seconds:.1%}"
        return (
            f"{self.name:<28} {self.tokens:>8} {self.seconds:>9.3f} {self.tokens / self.seconds:>10.0f} "
            f"{bare:>8} {self.limit / self.seconds:>9.1%}   {self.told}"
        ).rstrip()


HEAD = f"{'':<28} {'tokens':>8} {'seconds':>9} {'tokens/s':>10} {'of bare':>8} {'of limit':>9}"


def print_table(device_name: str, size: str, repeats: int, megabytes: float) -> None:
    """Make the model, measure, and print line by line.

    Args:
        device_name: `cuda` or `cpu`.
        size: One of `SIZES`.
        repeats: Of the rollouts.
        megabytes: Of the prefix cache.
    """
    logging.disable_progress_bar()
    begun = time.perf_counter()
    device, work = torch.device(device_name), SIZES[size]
    dtype = torch.bfloat16 if device_name == "cuda" else torch.float32
    chip = Chip.measured(device, dtype)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = save_model(folder / "model", work, device, dtype)
        print(
            f"{chip.name}: {chip.bandwidth / 1e9:.0f} GB/s, {chip.compute / 1e12:.2f} TFLOP/s; "
            f"{weights / 1e9:.3g} billion weights, {str(dtype).removeprefix('torch.')}; "
            f"{work.conversations} conversations x {work.turns} turns\n{HEAD}"
        )
        model: Any = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=dtype)
        model = model.to(device).eval()
        for row in _rows(folder, model, work, chip, repeats, megabytes):
            print(row, flush=True)
    if device_name == "cuda":
        print(f"most memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")
    print(f"{time.perf_counter() - begun:.0f} s in all")


def _rows(folder: Path, model: Any, work: Work, chip: Chip, repeats: int, megabytes: float) -> Iterator[Row]:
    limits, rows = Limits(chip, model), work.conversations
    bare = bare_passes(model, rows, work.prompt)
    tokens = rows * work.prompt
    at_best = limits.prompts(tokens, each=work.prompt, wanted=rows)
    yield Row("bare pass over prompts", tokens, bare.prompt * tokens, None, at_best)
    yield Row("bare step", rows, bare.step * rows, None, limits.step(rows, bare.context))
    yield from _rollouts(folder / "model", model, work, limits, bare, repeats, megabytes)
    done = captured(folder, folder / "model", work)
    each = done.tokens // done.rows
    forward = bare_forward(model, done.rows, each, BATCH_TOKENS)
    at_best = limits.prompts(done.tokens, each=each, wanted=0)
    yield Row("capture of two layers", done.tokens, done.seconds, forward, at_best)
    step = lora_step(folder, folder / "model", work)
    each = step.tokens // step.rows
    forward = bare_forward(model, step.rows, each, step.tokens)
    at_best = limits.lora_step(step.rows, each, step.learnt)
    yield Row("LoRA step", step.tokens, step.seconds, forward, at_best, "bare: its forward pass alone")


def _rollouts(
    path: Path, model: Any, work: Work, limits: Limits, bare: Bare, repeats: int, megabytes: float
) -> Iterator[Row]:
    """Without and with the prefix cache, taking turns."""
    given = (str(path), work, model.device.type, str(model.dtype).removeprefix("torch."))
    engines = [EngineRollouts(*given, size) for size in (0, megabytes)]
    for engine in engines:
        engine.run()  # one-off costs
    runs: list[list[Rollouts]] = [[engine.run() for engine in engines] for _ in range(repeats)]
    for name, own in zip(("local/, prefix_cache=0", "local/"), zip(*runs, strict=True), strict=True):
        one, seconds = own[0], median(run.seconds for run in own)
        replies = work.conversations * work.turns
        at_best = limits.prompts(one.read, each=0, wanted=replies)
        at_best += one.written / work.conversations * limits.step(work.conversations, one.context)
        alone = one.read * bare.prompt + one.written * bare.step
        yield Row(name, one.written, seconds, alone, at_best, f"{one.read} tokens of prompts read")
