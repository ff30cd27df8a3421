"""The decoding loop: a batch of prompts in, tokens out, rows dropped as they end.

`model.generate` does the same for one batch, but it carries every finished row along to the end of the
longest, copies the whole key-value cache at every step and adds about a millisecond to each; for small models
that is most of the time (benchmarks/providers/rollouts.py shows the difference).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from providers.local.batch import Batch, Batching, Forward, PromptRow
from providers.local.kv_cache.prefixes import PrefixCache
from providers.local.sampling import Sampler, SamplingSettings
from providers.local.watching import Trace

COMPACT = 0.75
"""Finished rows are taken out of the batch when no more than this share goes on."""


class Written(NamedTuple):
    """What came after one prompt."""

    tokens: list[int]
    """Everything that was generated, the end token included."""

    chosen: list[float]
    """Log-probability (natural, temperature 1) of each token, if asked for."""

    top: list[list[tuple[int, float]]]
    """The most likely (token, log-probability) at each place, if asked for."""


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
    prefixes: PrefixCache | None = None,
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
        prefixes: What is kept of earlier prompts and replies, for attention alone; None: nothing.
        said_stop: Tells from a row's tokens whether a stop string was written.
        trace: Reads along; rows may then be in the batch a little longer. What is written is the same.
    """
    written = [Written([], [], []) for _ in rows]
    sampler = Sampler(settings, [r.seed for r in rows])
    batch = Batch(forward, batching, config, pad, device, prefixes or PrefixCache(0))
    logits = batch.read_prompts(rows, trace)
    alive = list(range(len(rows)))  # rows in the batch, in order
    done: set[int] = set()
    over: set[int] = set()  # done, and owes nothing
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
        for place, i in enumerate(alive):
            if i in done and i not in over and not owed.get(i):
                over.add(i)
                read = ([*rows[i].prompt, *written[i].tokens[:-1]], {})
                if trace is not None:
                    read = trace.read_of(i, written[i].tokens)
                batch.remember(place, rows[i].adapter, *read)
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
