"""What a chip can do, measured on it, and how fast a model's passes could be at that.

    bandwidth   2 x bytes of a copy of a large tensor / seconds
    compute     2 n^3 / seconds of a product of two n x n matrices
    prompt pass max(FLOPs / compute, weights / bandwidth)
    step        max(rows x FLOPs / compute,
                    (weights + rows x context x bytes of a token's keys and values) / bandwidth)
    LoRA step   2 x FLOPs of the forward pass / compute

FLOPs are those of `analysis/compute.py`. The weights that LoRA trains are left out, and the base's take no
gradient: the backward pass is that of the activations alone, which has as many as the forward pass.
"""

import time
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

import torch

from analysis.compute import ModelSize, pass_flops
from providers.causal_models import model_size

MATRIX = {"cuda": 8192, "cpu": 1024}
"""Rows of the matrices."""

COPIED = {"cuda": 2**30, "cpu": 2**26}
"""Bytes."""


def wait(device: torch.device) -> None:
    """Until everything that was started is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(work: Callable[[], Any], device: torch.device, repeats: int = 3) -> float:
    """Median, after one time that is not counted."""
    taken = []
    for _ in range(repeats + 1):
        wait(device)
        started = time.perf_counter()
        work()
        wait(device)
        taken.append(time.perf_counter() - started)
    return median(taken[1:])


class Chip(NamedTuple):
    """What it reaches."""

    name: str
    bandwidth: float
    """Bytes a second, read and written."""

    compute: float
    """FLOPs a second in the type of the weights."""

    @classmethod
    @torch.inference_mode()
    def measured(cls, device: torch.device, dtype: torch.dtype) -> "Chip":
        """By one copy and one product."""
        kind = "cuda" if device.type == "cuda" else "cpu"
        source = torch.zeros(COPIED[kind], dtype=torch.uint8, device=device)
        target = torch.empty_like(source)
        copying = seconds_of(lambda: target.copy_(source), device)
        size = MATRIX[kind]
        left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in "ab")
        multiplying = seconds_of(lambda: left @ right, device)
        name = (
            torch.cuda.get_device_name(device)
            if kind == "cuda"
            else f"CPU, {torch.get_num_threads()} threads"
        )
        return cls(name, 2 * source.numel() / copying, 2.0 * size**3 / multiplying)


class Limits:
    """The shortest times in which a model's passes can be on a chip.

    Args:
        chip: The chip.
        model: A causal language model.
    """

    def __init__(self, chip: Chip, model: Any) -> None:
        self._chip = chip
        self._size = ModelSize(**model_size(model))
        config = model.config
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        numbers = 2 * config.num_hidden_layers * config.num_key_value_heads * width
        self._token_bytes = numbers * model.dtype.itemsize
        self._weight_bytes = sum(weight.nbytes for weight in model.parameters())

    def prompts(self, tokens: int, *, each: int, wanted: int) -> float:
        """Seconds of passes over prompts.

        Args:
            tokens: Of all prompts.
            each: Of one, for attention; 0 leaves attention out.
            wanted: Places at which the head is computed.
        """
        flops = (
            pass_flops(self._size, each, wanted=0) * tokens / each if each else 2.0 * self._size.body * tokens
        )
        head = 2.0 * self._size.head * wanted
        return max((flops + head) / self._chip.compute, self._weight_bytes / self._chip.bandwidth)

    def step(self, rows: int, context: float) -> float:
        """Seconds of one token more of so many rows that hold so many tokens each on average."""
        flops = rows * pass_flops(self._size, 1, before=round(context), wanted=1)
        moved = self._weight_bytes + rows * context * self._token_bytes
        return max(flops / self._chip.compute, moved / self._chip.bandwidth)

    def lora_step(self, rows: int, each: int, learnt: int) -> float:
        """Seconds of forward and backward pass, and of the head where something is learnt."""
        forward = pass_flops(self._size, each) * rows + 2.0 * self._size.head * learnt
        return 2.0 * forward / self._chip.compute
