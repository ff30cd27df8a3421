"""The decoding loop: a batch of prompts in, tokens out, rows dropped as they end.

`model.generate` does the same for one batch, but it carries every finished row along to the end of the
longest, copies the whole key-value cache at every step and adds about a millisecond to each; for small models
that is most of the time (benchmarks/providers/rollouts.py shows the difference).
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from transformers import DynamicCache

from providers.local.caches import growing_cache, keeps_positions, select_rows, side_by_side
from providers.local.sampling import Sampler, SamplingSettings
from providers.local.watching import Trace

COMPACT = 0.75
"""Finished rows are taken out of the batch when no more than this share goes on."""


class PromptRow(NamedTuple):
    """One prompt."""

    prompt: Sequence[int]
    max_tokens: int
    seed: int
    adapter: str
    over: Callable[[list[int]], bool] | None = None
    """Tells from the tokens so far that the row is over, asked after each."""


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


class Batching(NamedTuple):
    """How a model takes a batch. `providers.local.batching` finds it out."""

    way: Literal["padded", "joined", "singly"]
    """`padded`: prompts go through it in one pass, the shorter ones padded on the left. `joined`: a pass for
    each length, without padding, and one batch from then on. `singly`: see `providers.local.singly`."""

    cache_name: str = "past_key_values"
    """Under which it takes its cache."""

    takes_positions: bool = True

    most: int = 2**31
    """Positions up to which rows may be in a batch; from then on it is `singly`."""


@torch.inference_mode()
def decode(
    forward: Forward,
    batching: Batching,
    config: Any,
    rows: Sequence[PromptRow],
    settings: SamplingSettings,
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
        batching: How it takes a batch, `padded` or `joined`.
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
    batch = Batch(forward, batching, config, pad, device)
    logits = batch.read_prompts(rows, trace)
    alive = list(range(len(rows)))  # rows in the batch, in order
    done: set[int] = set()
    owed: dict[int, list[int]] = {}  # row that is done -> tokens that are still to be read
    while True:
        tokens = sampler.draw(logits, alive)
        going_on = [(place, written[i]) for place, i in enumerate(alive) if i not in done]
        note(going_on, tokens, logits, settings)
        for i in alive:
            if i not in done and ended(rows[i], written[i].tokens, end_tokens, said_stop):
                done.add(i)
                if trace is not None:
                    owed[i] = trace.owed(i, written[i].tokens)
        over = {i for i in done if not owed.get(i)}
        if len(over) == len(rows):
            return written
        for place, i in enumerate(alive):
            if owed.get(i):
                tokens[place] = owed[i].pop(0)
        going = [place for place, i in enumerate(alive) if i not in over]
        if len(going) <= COMPACT * len(alive):
            tokens = tokens[batch.keep(going)]
            alive = [alive[place] for place in going]
        logits = batch.step(tokens, [rows[i].adapter for i in alive])
        if trace is not None:
            trace.step_read(alive)


class Batch:
    """The rows that go through the model together, and what it remembers of them."""

    def __init__(
        self, forward: Forward, batching: Batching, config: Any, pad: int, device: torch.device
    ) -> None:
        self._forward, self._batching, self._config = forward, batching, config
        self._pad, self._device = pad, device
        self._cache: DynamicCache
        self._mask: torch.Tensor
        """Shape (row, position), with room for all that is to come."""

        self._positions: torch.Tensor
        """Of the last token of each row, shape (row, 1)."""

        self._width: int
        """Positions that were filled, padding included."""

    def read_prompts(self, rows: Sequence[PromptRow], trace: Trace | None) -> torch.Tensor:
        """Logits after each row's prompt, shape (row, vocabulary). Equal prompts are read once."""
        first, copies = _once_each(rows)
        passes = _equal_lengths(first) if self._batching.way == "joined" else [list(range(len(first)))]
        read = [self._prefill(first, places, copies, trace) for places in passes]
        order = [place for places in passes for place in places]
        ordered = [first[place] for place in order]
        longest = max(r.max_tokens for r in rows) + (trace.room if trace is not None else 0)
        _, mask = _left_padded(ordered, self._pad, self._device)
        self._width = mask.shape[1]
        self._mask = torch.cat([mask, mask.new_ones(len(first), longest)], dim=1)
        self._positions = torch.tensor([[len(r.prompt) - 1] for r in ordered], device=self._device)
        self._cache = side_by_side([cache for cache, _ in read])
        logits = torch.cat([logits for _, logits in read]) if len(read) > 1 else read[0][1]
        at = {place: row for row, place in enumerate(order)}
        spread = [at[place] for place in copies]
        return logits if spread == list(range(len(first))) else logits[self.keep(spread)]

    def step(self, tokens: torch.Tensor, adapters: Sequence[str]) -> torch.Tensor:
        """Logits after one more token of each row, shape (row, vocabulary)."""
        self._width += 1
        self._positions = self._positions + 1
        return self._run(
            tokens[:, None], self._mask[:, : self._width], self._positions, self._cache, adapters
        )

    def keep(self, places: Sequence[int]) -> torch.Tensor:
        """Go on with these rows, in this order, some of them several times; their places as a tensor."""
        rows = torch.tensor(places, device=self._device)
        select_rows(self._cache, rows)
        self._mask, self._positions = self._mask[rows], self._positions[rows]
        return rows

    def _prefill(
        self, first: Sequence[PromptRow], places: Sequence[int], copies: Sequence[int], trace: Trace | None
    ) -> tuple[DynamicCache, torch.Tensor]:
        """One pass over some of the prompts."""
        rows = [first[place] for place in places]
        ids, mask = _left_padded(rows, self._pad, self._device)
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        cache = growing_cache(self._config)
        logits = self._run(ids, mask, positions, cache, [r.adapter for r in rows])
        if trace is not None:
            at = {place: row for row, place in enumerate(places)}
            trace.prompts_read([at.get(place) for place in copies])
        return cache, logits

    def _run(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor,
        positions: torch.Tensor,
        cache: DynamicCache,
        adapters: Sequence[str],
    ) -> torch.Tensor:
        inputs: dict[str, Any] = {self._batching.cache_name: cache}
        if self._batching.takes_positions:
            inputs["position_ids"] = positions
        if keeps_positions(cache):
            inputs["attention_mask"] = mask
        return self._forward(adapters=adapters, input_ids=ids, use_cache=True, **inputs).logits[:, -1]


def _once_each(rows: Sequence[PromptRow]) -> tuple[list[PromptRow], list[int]]:
    """Rows with different prompts or adapters, and for each row which of them it begins like.

    The epochs of a sample have one prompt, which then is read once.
    """
    places: dict[tuple[str, tuple[int, ...]], int] = {}
    first: list[PromptRow] = []
    for row in rows:
        key = (row.adapter, tuple(row.prompt))
        if key not in places:
            places[key] = len(first)
            first.append(row)
    return first, [places[row.adapter, tuple(row.prompt)] for row in rows]


def _equal_lengths(rows: Sequence[PromptRow]) -> list[list[int]]:
    """Places of the rows, those with prompts of one length together."""
    found: dict[int, list[int]] = {}
    for place, row in enumerate(rows):
        found.setdefault(len(row.prompt), []).append(place)
    return list(found.values())


def _left_padded(
    rows: Sequence[PromptRow], pad: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, shape (row, longest prompt)."""
    longest = max(len(r.prompt) for r in rows)
    ids = torch.full((len(rows), longest), pad, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for place, row in enumerate(rows):
        ids[place, longest - len(row.prompt) :] = torch.tensor(row.prompt)
        mask[place, longest - len(row.prompt) :] = 1
    return ids.to(device), mask.to(device)


def note(
    writing: Sequence[tuple[int, Written]],
    tokens: torch.Tensor,
    logits: torch.Tensor,
    settings: SamplingSettings,
) -> None:
    """Write down the next tokens, with log-probabilities if they are asked for.

    Args:
        writing: Place in the batch, and what came after that row's prompt until now.
        tokens: Shape (row,).
        logits: From which they were drawn, shape (row, vocabulary).
        settings: Of the batch.
    """
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
    ids = tokens.tolist()
    for place, written in writing:
        written.tokens.append(ids[place])
        if settings.top_logprobs is not None:
            written.chosen.append(chosen[place])
            written.top.append(top[place])


def ended(
    row: PromptRow,
    tokens: list[int],
    end_tokens: Sequence[int],
    said_stop: Callable[[list[int]], bool] | None,
) -> bool:
    """Whether a row's last token was its last."""
    return (
        tokens[-1] in end_tokens
        or len(tokens) >= row.max_tokens
        or (row.over is not None and row.over(tokens))
        or (said_stop is not None and said_stop(tokens))
    )
