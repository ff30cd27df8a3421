"""Choosing the next token of each row by the row's own random numbers."""

import random
from collections.abc import Sequence
from typing import NamedTuple

import torch
from transformers.generation.logits_process import TopKLogitsWarper, TopPLogitsWarper


class SamplingSettings(NamedTuple):
    """How the next token is drawn, and what is told of it."""

    temperature: float = 1.0
    """0 is greedy."""

    top_p: float = 1.0
    top_k: int = 0
    """0 keeps all tokens."""

    top_logprobs: int | None = None
    """Alternatives kept per token; None keeps no log-probabilities."""

    stop: tuple[str, ...] = ()


class Sampler:
    """Draws tokens from logits, for each row by the row's own random numbers.

    A row's draws depend on its numbers and its logits, not on the rows beside it, on how many there are, or
    on the device: one uniform number per token, looked up in the cumulated distribution. (Adding noise to
    every logit, as `torch.multinomial` does, takes a third of a small model's time.)
    """

    def __init__(self, settings: SamplingSettings) -> None:
        self.settings = settings
        self._warpers = []
        if settings.top_k > 0:
            self._warpers.append(TopKLogitsWarper(settings.top_k))
        if settings.top_p < 1.0:
            self._warpers.append(TopPLogitsWarper(settings.top_p))

    def draw(self, logits: torch.Tensor, randoms: Sequence[random.Random]) -> torch.Tensor:
        """The next tokens.

        Args:
            logits: Shape (row, vocabulary).
            randoms: Of each row.

        Returns:
            Token ids, shape (row,).
        """
        if self.settings.temperature == 0:
            return logits.argmax(dim=-1)
        scores = logits.float() / self.settings.temperature
        for warp in self._warpers:
            scores = warp(None, scores)  # pyright: ignore[reportArgumentType]  # it does not look at the ids
        cumulated = torch.softmax(scores, dim=-1).cumsum(dim=-1)
        # just below 1, so that rounding never reaches past the last token that has any probability
        uniform = [min(own.random(), 1 - 1e-6) for own in randoms]
        at = torch.tensor(uniform, device=logits.device)[:, None] * cumulated[:, -1:]
        return torch.searchsorted(cumulated, at, right=True)[:, 0]
