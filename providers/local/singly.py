"""One row after another through the model's `generate`: for models whose state cannot be put into a batch.

Slow, and right for whatever `generate` is right for (RWKV, xLSTM, MiniMax's lightning attention, ...).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from providers.local.batch import PromptRow
from providers.local.decoding import Written, ended, note
from providers.local.sampling import Sampler, SamplingSettings
from providers.local.watching import Trace

Generate = Callable[..., Any]
"""The model's `generate`: `(adapter=..., **inputs)`."""


@torch.inference_mode()
def decode_singly(
    generate: Generate,
    rows: Sequence[PromptRow],
    settings: SamplingSettings,
    *,
    end_tokens: Sequence[int],
    pad: int,
    device: torch.device,
    said_stop: Callable[[list[int]], bool] | None = None,
    trace: Trace | None = None,
) -> list[Written]:
    """Continue every prompt until its end token, its length, or a stop string; see `decoding.decode`.

    Args:
        generate: The model's, which must have no settings of its own that change its logits.
        rows: The prompts.
        settings: Sampling, the same for all.
        end_tokens: Any of them ends a row.
        pad: Any token.
        device: Where the inputs go.
        said_stop: Tells from a row's tokens whether a stop string was written.
        trace: Reads along.
    """
    sampler = Sampler(settings, [r.seed for r in rows])
    found: list[Written] = []
    for i, row in enumerate(rows):
        writer = _Writer(i, row, sampler, settings, end_tokens, said_stop, trace, len(rows))
        ids = torch.tensor([list(row.prompt)], device=device)
        generate(
            adapter=row.adapter,
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            logits_processor=LogitsProcessorList([writer]),
            stopping_criteria=StoppingCriteriaList([_Over(writer)]),
            generation_config=GenerationConfig(
                max_new_tokens=row.max_tokens + (trace.room if trace is not None else 0),
                do_sample=False,
                pad_token_id=pad,
            ),
        )
        found.append(writer.written)
    return found


class _Writer(LogitsProcessor):
    """Draws the next token of one row, and leaves `generate` no other."""

    def __init__(
        self,
        number: int,
        row: PromptRow,
        sampler: Sampler,
        settings: SamplingSettings,
        end_tokens: Sequence[int],
        said_stop: Callable[[list[int]], bool] | None,
        trace: Trace | None,
        rows: int,
    ) -> None:
        self.written = Written([], [], [])
        self.over = False
        self._number, self._row, self._sampler, self._settings = number, row, sampler, settings
        self._end_tokens, self._said_stop, self._trace, self._rows = end_tokens, said_stop, trace, rows
        self._owed: list[int] | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Called after each pass; `scores` are its logits, shape (1, vocabulary)."""
        del input_ids
        if self._trace is not None:
            self._read_along(self._trace)
        if self._owed is None:
            token = int(self._draw(scores))
            if not ended(self._row, self.written.tokens, self._end_tokens, self._said_stop):
                return _nothing_but(token, scores)
            self._owed = [] if self._trace is None else self._trace.owed(self._number, self.written.tokens)
        self.over = not self._owed
        return _nothing_but(0 if self.over else self._owed.pop(0), scores)

    def _draw(self, scores: torch.Tensor) -> torch.Tensor:
        tokens = self._sampler.draw(scores, [self._number])
        note([(0, self.written)], tokens, scores, self._settings)
        return tokens[0]

    def _read_along(self, trace: Trace) -> None:
        if self.written.tokens:
            trace.step_read([self._number])
        else:
            trace.prompts_read([0 if i == self._number else None for i in range(self._rows)])


class _Over(StoppingCriteria):
    """Ends `generate` when its writer has what it wants."""

    def __init__(self, writer: _Writer) -> None:
        self._writer = writer

    def __call__(self, input_ids: torch.Tensor, scores: Any = None, **kwargs: Any) -> Any:
        """Shape (1,), of bool."""
        del scores, kwargs
        return torch.full((len(input_ids),), self._writer.over, device=input_ids.device)


def _nothing_but(token: int, scores: torch.Tensor) -> torch.Tensor:
    only = torch.full_like(scores, -torch.inf)
    only[:, token] = 0
    return only
