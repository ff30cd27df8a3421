"""One prompt on its way to the thread that runs the model, and back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import anyio
import anyio.lowlevel

from providers.local.decoding import Written
from providers.local.likelihood import Weighed
from providers.local.sampling import SamplingSettings
from providers.local.watching import Seen, Watch


class Generated(NamedTuple):
    """One answer."""

    written: Written
    """Its tokens, the end token included, with log-probabilities if they were asked for."""

    stop: Literal["stop", "max_tokens"]
    end: int | None
    """The token that ended it; None if none did."""

    seen: list[Seen]
    """One for each watch of the request."""


@dataclass(eq=False)
class Request:
    """One prompt on its way."""

    prompt: list[int]
    max_tokens: int
    seed: int
    adapter: str
    settings: SamplingSettings
    watches: tuple[Watch, ...]
    closing: Sequence[int]
    """What the template writes after a reply."""

    over: Callable[[list[int]], bool] | None
    token: anyio.lowlevel.EventLoopToken
    completions: Sequence[Sequence[int]] = ()
    """Whose likelihoods are wanted; nothing is generated then."""

    done: anyio.Event = field(default_factory=anyio.Event)
    answer: Generated | None = None
    weighed: Weighed | None = None
    """In place of an answer, of completions."""

    error: BaseException | None = None
    abandoned: bool = False

    apart: bool = False
    """There was no memory for it beside others; it begins a batch."""

    beside: int = 2**31
    """In a batch of so many rows at most there may be memory for it."""

    singly: bool = False
    """It goes on where a batch has to end."""
