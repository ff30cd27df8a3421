"""Requests for the likelihoods of given completions."""

import logging
from collections.abc import Callable, Sequence
from functools import partial

import torch

from providers.local.adapters import BASE
from providers.local.batches.batch import Batching
from providers.local.kv_cache.prefixes import PrefixCache
from providers.local.likelihood import Weighed, weigh, weigh_singly
from providers.local.request import Request
from providers.local.scheduling.passes import Passes

logger = logging.getLogger(__name__)


class Weighing:
    """Answers them, in as few batches as memory takes.

    Args:
        passes: The model.
        batching: How it takes a batch.
        prefixes: What was read and said before.
        pad: Fills the left of shorter prompts.
        device: Where inputs go.
    """

    def __init__(
        self, passes: Passes, batching: Batching, prefixes: PrefixCache, *, pad: int, device: torch.device
    ) -> None:
        self._passes, self._batching, self._prefixes = passes, batching, prefixes
        self._pad, self._device = pad, device

    def answer(self, requests: Sequence[Request]) -> None:
        """All of them.

        Raises:
            torch.OutOfMemoryError: There is no memory for one alone.
        """
        parts: dict[tuple[str, bool], list[Request]] = {}
        for request in requests:
            length = len(request.prompt) + max(map(len, request.completions))
            singly = self._batching.way == "singly" or length > self._batching.most
            parts.setdefault((BASE if self._passes.mixes else request.adapter, singly), []).append(request)
        for (_, singly), part in parts.items():
            self._halved(part, partial(self._weighed, singly=singly))

    def _halved(self, requests: Sequence[Request], run: Callable[[Sequence[Request]], list[Weighed]]) -> None:
        try:
            for request, weighed in zip(requests, run(requests), strict=True):
                request.weighed = weighed
            return
        except torch.OutOfMemoryError:
            self._prefixes.clear()
            if len(requests) == 1:
                raise
        torch.cuda.empty_cache()
        half = len(requests) // 2
        logger.warning("out of memory with %d conversations at once; trying %d", len(requests), half)
        for part in (requests[:half], requests[half:]):
            self._halved(part, run)

    def _weighed(self, requests: Sequence[Request], *, singly: bool) -> list[Weighed]:
        prompts, completions = [r.prompt for r in requests], [r.completions for r in requests]
        adapters = [r.adapter for r in requests]
        if singly:
            given = {"adapters": adapters, "device": self._device}
            return weigh_singly(self._passes.logits, prompts, completions, **given)
        return weigh(
            self._passes.forward,
            self._batching,
            self._passes.model.config,
            prompts,
            completions,
            adapters=adapters,
            pad=self._pad,
            device=self._device,
            prefixes=self._prefixes,
        )
