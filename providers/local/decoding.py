"""The decoding loop: a batch of prompts in, tokens out, rows dropped as they end.

`model.generate` does the same for one batch, but it carries every finished row along to the end of the
longest, copies the whole key-value cache at every step and adds about a millisecond to each; for small models
that is most of the time (benchmarks/rollouts.py shows the difference).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from providers.local.sampling import Sampler, Settings
from providers.local.watching import Trace

COMPACT = 0.75
"""Finished rows are taken out of the batch when no more than this share goes on."""


class Row(NamedTuple):
    """One prompt."""

    prompt: Sequence[int]
    max_tokens: int
    seed: int
    adapter: str


class Written(NamedTuple):
    """What came after one prompt."""

    tokens: list[int]
    """Everything that was generated, the end token included."""

    chosen: list[float]
    """Log-probability (natural, temperature 1) of each token, if asked for."""

    top: list[list[tuple[int, float]]]
    """The most likely (token, log-probability) at each place, if asked for."""


Forward = Callable[..., Any]
"""The model: `(adapters=..., **inputs)` gives an output with `.logits`."""


@torch.inference_mode()
def decode(
    forward: Forward,
    config: Any,
    rows: Sequence[Row],
    settings: Settings,
    *,
    end_tokens: Sequence[int],
    pad: int,
    device: torch.device,
    said_stop: Callable[[list[int]], bool] | None = None,
    trace: Trace | None = None,
) -> list[Written]:
    """Continue every prompt until its end token, its length, or a stop string.

    Args:
        forward: The model.
        config: Its configuration, from which the cache is built.
        rows: The prompts.
        settings: Sampling, the same for all.
        end_tokens: Any of them ends a row.
        pad: Fills the left of shorter prompts; masked.
        device: Where the inputs go.
        said_stop: Tells from a row's tokens whether a stop string was written.
        trace: Reads along; rows may then be in the batch a little longer. What is written is the same.
    """
    written = [Written([], [], []) for _ in rows]
    sampler = Sampler(settings, [r.seed for r in rows])
    first, copies = _once_each(rows)
    ids, mask = _left_padded(first, pad, device)
    width = ids.shape[1]
    longest = max(r.max_tokens for r in rows) + (trace.room if trace is not None else 0)
    room = torch.ones(len(first), longest, dtype=mask.dtype, device=device)
    mask = torch.cat([mask, room], dim=1)
    positions = (mask[:, :width].cumsum(dim=1) - 1).clamp(min=0)
    cache = _growing_cache(config)
    alive = list(range(len(rows)))  # rows in the batch, in order
    done: set[int] = set()
    owed: dict[int, list[int]] = {}  # row that is done -> tokens that are still to be read
    started = False
    while True:
        logits = forward(
            adapters=[rows[i].adapter for i in alive] if started else [r.adapter for r in first],
            input_ids=ids,
            attention_mask=mask[:, :width],
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]
        if trace is not None:
            trace.step_read(alive) if started else trace.prompts_read(copies)
        if not started:
            started = True
            if len(first) < len(rows):
                spread = torch.tensor(copies, device=device)
                cache.batch_select_indices(spread)
                logits, positions, mask = logits[spread], positions[spread], mask[spread]
        tokens = sampler.draw(logits, alive)
        _note(written, alive, tokens, logits, settings, done)
        for i in alive:
            if i not in done and _ended(rows[i], written[i].tokens, end_tokens, said_stop):
                done.add(i)
                if trace is not None:
                    owed[i] = trace.owed(i, written[i].tokens)
        over = {i for i in done if not owed.get(i)}
        if len(over) == len(rows):
            return written
        for place, i in enumerate(alive):
            if owed.get(i):
                tokens[place] = owed[i].pop(0)
        ids, positions, width = tokens[:, None], positions[:, -1:] + 1, width + 1
        going = [place for place, i in enumerate(alive) if i not in over]
        if len(going) <= COMPACT * len(alive):
            keep = torch.tensor(going, device=device)
            cache.batch_select_indices(keep)
            ids, positions, mask = ids[keep], positions[keep], mask[keep]
            alive = [alive[place] for place in going]


def _once_each(rows: Sequence[Row]) -> tuple[list[Row], list[int]]:
    """Rows with different prompts or adapters, and for each row which of them it begins like.

    The epochs of a sample have one prompt, which then is read once.
    """
    places: dict[tuple[str, tuple[int, ...]], int] = {}
    first: list[Row] = []
    for row in rows:
        key = (row.adapter, tuple(row.prompt))
        if key not in places:
            places[key] = len(first)
            first.append(row)
    return first, [places[row.adapter, tuple(row.prompt)] for row in rows]


def _left_padded(rows: Sequence[Row], pad: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, shape (row, longest prompt)."""
    longest = max(len(r.prompt) for r in rows)
    ids = torch.full((len(rows), longest), pad, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for place, row in enumerate(rows):
        ids[place, longest - len(row.prompt) :] = torch.tensor(row.prompt)
        mask[place, longest - len(row.prompt) :] = 1
    return ids.to(device), mask.to(device)


def _note(
    written: Sequence[Written],
    alive: Sequence[int],
    tokens: torch.Tensor,
    logits: torch.Tensor,
    settings: Settings,
    done: set[int],
) -> None:
    chosen: list[float] = []
    top: list[list[tuple[int, float]]] = []
    if settings.top_logprobs is not None:
        logprobs = torch.log_softmax(logits.float(), dim=-1)
        chosen = logprobs.gather(1, tokens[:, None])[:, 0].tolist()
        best = logprobs.topk(min(settings.top_logprobs, logprobs.shape[-1]), dim=-1)
        top = [
            list(zip(t, p, strict=True))
            for t, p in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]
    for place, (i, token) in enumerate(zip(alive, tokens.tolist(), strict=True)):
        if i in done:
            continue
        written[i].tokens.append(token)
        if settings.top_logprobs is not None:
            written[i].chosen.append(chosen[place])
            written[i].top.append(top[place])


def _ended(
    row: Row, tokens: list[int], end_tokens: Sequence[int], said_stop: Callable[[list[int]], bool] | None
) -> bool:
    return (
        tokens[-1] in end_tokens
        or len(tokens) >= row.max_tokens
        or (said_stop is not None and said_stop(tokens))
    )


class _GrowingLayer(DynamicLayer):
    """A cache layer with room ahead, so that a step writes its own keys and values and copies no others."""

    ROOM = 128

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._buffers: list[torch.Tensor] = []

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append; returns all keys and values, shape (row, head, position, width)."""
        del args, kwargs
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        old = self.get_seq_length()
        new = old + key_states.shape[-2]
        if not self._buffers or self._buffers[0].shape[-2] < new:
            held = (self.keys, self.values) if old else (None, None)
            self._buffers = [
                self._moved(h, s, new) for h, s in zip(held, (key_states, value_states), strict=True)
            ]
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, old:new] = states
        self.keys, self.values = (buffer[:, :, :new] for buffer in self._buffers)
        return self.keys, self.values

    def _moved(self, held: torch.Tensor | None, states: torch.Tensor, length: int) -> torch.Tensor:
        buffer = states.new_empty(*states.shape[:2], length + self.ROOM, states.shape[-1])
        if held is not None:
            buffer[:, :, : held.shape[-2]] = held
        return buffer

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep some rows."""
        super().batch_select_indices(indices)
        self._buffers = []


def _growing_cache(config: Any) -> DynamicCache:
    """The model's own kind of cache, its plain layers with room to grow."""
    cache = DynamicCache(config=config)
    cache.layers = [_GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
