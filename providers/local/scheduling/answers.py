"""Requests as rows of the decoding loop, and what comes out of it as their answers."""

from collections.abc import Callable, Sequence
from typing import Any

from providers.local.batches.prompts import PromptRow
from providers.local.decoding import Continued, Ending
from providers.local.request import Generated, Request

Decode = Callable[..., str]
"""Of a tokenizer."""


def ending_of(decode: Decode, end_tokens: Sequence[int], most: int) -> Ending:
    """What ends a row of at most so many tokens."""

    def said(stop: Sequence[str], tokens: list[int]) -> bool:
        text = decode(tokens, skip_special_tokens=True)
        return any(each in text for each in stop)

    return Ending(end_tokens, said, most)


def row_of(request: Request, ending: Ending) -> PromptRow:
    """The row that is to be continued."""
    return PromptRow(
        request.prompt,
        min(request.max_tokens, ending.context - len(request.prompt)),
        request.seed,
        request.adapter,
        request.settings,
        request.over,
        request.watches,
        request.closing,
    )


def answer_of(own: Continued, ending: Ending) -> Generated:
    """Of a row that is over."""
    tokens: list[Any] = own.written.tokens
    last = tokens[-1] if tokens else None
    end = last if last in ending.tokens else None
    stop = own.row.settings.stop
    said = bool(stop) and ending.said is not None and ending.said(stop, tokens)
    return Generated(
        written=own.written,
        stop="stop" if end is not None or said else "max_tokens",
        end=end,
        seen=own.trace.seen(tokens),
    )
