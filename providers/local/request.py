"""One prompt on its way to the thread that runs the model, and back."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import anyio
import anyio.from_thread
import anyio.lowlevel

from providers.local.decoding import Written
from providers.local.likelihood import Weighed
from providers.local.sampling import SamplingSettings
from providers.local.watching import Seen, Watch

logger = logging.getLogger(__name__)


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

    def goes_with(self, other: "Request") -> bool:
        """Whether both can be in one batch."""
        return self.settings == other.settings and bool(self.completions) == bool(other.completions)


def announce(batch: Sequence[Request]) -> None:
    """Wake the waiting tasks: one hop into each event loop, not one per request."""
    loops: dict[int, list[Request]] = {}
    for request in batch:
        loops.setdefault(id(request.token), []).append(request)
    for requests in loops.values():

        def wake(requests: list[Request] = requests) -> None:
            for request in requests:
                request.done.set()

        try:
            anyio.from_thread.run_sync(wake, token=requests[0].token)
        except RuntimeError:  # the event loop is gone, and with it everybody who waited
            logger.debug("nobody waits for a batch of %d any more", len(requests))
