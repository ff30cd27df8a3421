"""One row after another through the model's `generate`: for models whose state cannot be put into a batch.

Slow, and right for whatever `generate` is right for (RWKV, xLSTM, MiniMax's lightning attention, ...).
"""

from collections.abc import Callable
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from providers.local.batches.prompts import PromptRow
from providers.local.decoding import Continued, Ending, note
from providers.local.kv_cache.prefixes import Found
from providers.local.sampling import Sampler, draw_keys
from providers.local.watching import Readers

Generate = Callable[..., Any]
"""The model's `generate`: `(adapter=..., **inputs)`."""


@torch.inference_mode()
def decode_singly(
    generate: Generate,
    row: PromptRow,
    *,
    ending: Ending,
    pad: int,
    device: torch.device,
    readers: Readers | None = None,
) -> Continued:
    """Continue a prompt until its end token, its length, or a stop string; see `decoding.Decoder`.

    Args:
        generate: The model's, which must have no settings of its own that change its logits.
        row: The prompt.
        ending: What ends it.
        pad: Any token.
        device: Where the inputs go.
        readers: Those who read along; None if nobody does.
    """
    own = Continued(row, ending)
    if readers is not None:
        readers.open_for(own.trace.watches)
    writer = _Writer(own, readers)
    ids = torch.tensor([list(row.prompt)], device=device)
    generate(
        adapter=row.adapter,
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        logits_processor=LogitsProcessorList([writer]),
        stopping_criteria=StoppingCriteriaList([_Over(writer)]),
        generation_config=GenerationConfig(
            max_new_tokens=row.max_tokens + own.trace.room, do_sample=False, pad_token_id=pad
        ),
    )
    return own


class _Writer(LogitsProcessor):
    """Draws the next token of one row, and leaves `generate` no other."""

    def __init__(self, own: Continued, readers: Readers | None) -> None:
        self.own = own
        self._readers = readers
        self._sampler = Sampler(own.row.settings)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Called after each pass; `scores` are its logits, shape (1, vocabulary)."""
        del input_ids
        own = self.own
        if self._readers is not None:
            self._read_along(self._readers)
        if own.writing:
            token = self._sampler.draw(scores, draw_keys([own.random], scores.device)).tokens
            note([(0, own.written)], token, scores, own.row.settings)
            own.drawn()
        return _nothing_but(own.next_token() or 0, scores)

    def _read_along(self, readers: Readers) -> None:
        found = readers.read()
        if self.own.written.tokens:
            self.own.trace.token_read({watch: numbers[0, -1] for watch, numbers in found.items()})
        else:
            self.own.trace.prompt_read(
                Found(0, []), {watch: numbers[0].cpu() for watch, numbers in found.items()}
            )


class _Over(StoppingCriteria):
    """Ends `generate` when its writer has what it wants."""

    def __init__(self, writer: _Writer) -> None:
        self._writer = writer

    def __call__(self, input_ids: torch.Tensor, scores: Any = None, **kwargs: Any) -> Any:
        """Shape (1,), of bool."""
        del scores, kwargs
        return torch.full((len(input_ids),), self._writer.own.over, device=input_ids.device)


def _nothing_but(token: int, scores: torch.Tensor) -> torch.Tensor:
    only = torch.full_like(scores, -torch.inf)
    only[:, token] = 0
    return only
