"""A monitor that reads along while its model generates: what its head needs of every token, and no pass more.

Of each token it keeps the numbers that the head's linear map makes of it, one to ten, not the activations.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from probes.activations.capture_spec import Point
from probes.activations.forward import check_layers, input_norm, transformer_blocks
from probes.heads.base import Head

KEPT_NUMBERS = 64_000_000
"""256 MB. Beyond it the oldest generations are forgotten; their conversations need a pass of their own."""

PIECE = 8192
"""Tokens that are mapped at once."""


class Passed(NamedTuple):
    """What went through the model to generate one message."""

    token_ids: np.ndarray
    """[tokens], int32: prompt, reply, and what the template writes after it."""

    channels: torch.Tensor
    """[tokens, channels], float32: what the head's map makes of them."""


class Tap:
    """Reads along for one monitor. `providers.local.watching` says how it is used.

    Args:
        head: Fitted.
        layers: That it takes, side by side.
        point: Where in the model; see `CaptureSpec`.
    """

    def __init__(self, head: Head, layers: Sequence[int], point: Point) -> None:
        self.layers = list(layers)
        self.point: Point = point
        self.width = head.channels
        self._weights = dict(zip(self.layers, head.weight_.chunk(len(self.layers)), strict=True))
        self._bias = head.bias_
        self._lock = threading.Lock()
        self._passed: OrderedDict[str, Passed] = OrderedDict()
        self._held = 0

    @contextmanager
    def reading(self, model: Any) -> Iterator[Callable[[], torch.Tensor]]:
        """Hooks in a causal model, bare or in PEFT's wrapper.

        The function gives what the last pass left, [rows, tokens, channels], and forgets it.

        Raises:
            WeightsError: The model does not have the layers.
        """
        found: dict[int, torch.Tensor] = {}
        bare = model.get_base_model() if hasattr(model, "get_base_model") else model
        blocks = transformer_blocks(bare)
        check_layers(self.layers, len(blocks), self.point)
        norms = {n: input_norm(bare, blocks[n]) for n in self.layers} if self.point == "normed" else {}
        handles = [self._hook(number, blocks, norms.get(number), found) for number in self.layers]

        def read() -> torch.Tensor:
            device = found[self.layers[-1]].device
            parts = [found.pop(number).to(device) for number in self.layers]
            return torch.stack(parts).sum(0) + self._bias.to(device)

        try:
            yield read
        finally:
            for handle in handles:
                handle.remove()

    def keep(self, message: str, tokens: Sequence[int], numbers: torch.Tensor) -> None:
        """Hold what was read until there is too much of it."""
        passed = Passed(np.asarray(tokens, dtype=np.int32), numbers)
        with self._lock:
            self._passed[message] = passed
            self._held += numbers.numel()
            while self._held > KEPT_NUMBERS:
                _, oldest = self._passed.popitem(last=False)
                self._held -= oldest.channels.numel()

    def latest(self, messages: Sequence[str]) -> Passed | None:
        """What was read for the last of these messages that was generated.

        Nothing is forgotten by it: who reads along turn by turn leaves the end to others, and a veto may take
        the last message back.
        """
        with self._lock:
            return next((self._passed[m] for m in reversed(messages) if m in self._passed), None)

    def _hook(
        self, number: int, blocks: nn.ModuleList, norm: nn.Module | None, found: dict[int, torch.Tensor]
    ) -> Any:
        def take(stream: torch.Tensor) -> None:
            found[number] = self._mapped(number, stream if norm is None else norm(stream))

        def before(block: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            del block
            take(given[0] if given else named["hidden_states"])

        def after(block: nn.Module, given: Any, output: Any) -> None:
            del block, given
            take(output[0] if isinstance(output, tuple) else output)

        if number == 0:
            return blocks[0].register_forward_pre_hook(before, with_kwargs=True)
        return blocks[number - 1].register_forward_hook(after)

    def _mapped(self, number: int, stream: torch.Tensor) -> torch.Tensor:
        """[rows, tokens, channels]; in float32, as heads read what is stored."""
        weight = self._weights[number] = self._weights[number].to(stream.device)
        pieces = [piece.float() @ weight for piece in stream.flatten(0, 1).split(PIECE)]
        return torch.cat(pieces).unflatten(0, stream.shape[:2])
