"""Sampling that belongs to a row: its own seed, its own length, and the log-probabilities before warping."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteria
from transformers.generation.logits_process import (
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)


class Settings(NamedTuple):
    """What all rows of a batch share."""

    temperature: float = 1.0
    """0 is greedy."""

    top_p: float = 1.0
    top_k: int = 0
    """0 keeps all tokens."""

    top_logprobs: int | None = None
    """Alternatives kept per token; None keeps no log-probabilities."""

    stop: tuple[str, ...] = ()


class KeepLogprobs(LogitsProcessor):
    """Keeps the log-probabilities (natural, temperature 1) of each generated token and its best rivals.

    It must stand before every processor that changes the scores. Only the numbers kept are stored, not the
    vocabulary's: a batch of 64 with 300 tokens would need 10 GB otherwise.
    """

    def __init__(self, alternatives: int) -> None:
        self.alternatives = alternatives
        self.top: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.chosen: list[torch.Tensor] = []
        self._last: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.settle(input_ids)
        self._last = torch.log_softmax(scores.float(), dim=-1)
        values, indices = self._last.topk(min(max(self.alternatives, 1), scores.shape[-1]), dim=-1)
        self.top.append((values.cpu(), indices.cpu()))
        return scores

    def settle(self, input_ids: torch.Tensor) -> None:
        """Read off the probability of the token that was chosen last, the last column of `input_ids`."""
        if self._last is not None:
            chosen = input_ids[:, -1:].to(self._last.device)
            self.chosen.append(self._last.gather(1, chosen)[:, 0].cpu())
            self._last = None


class SeededNoise(LogitsProcessor):
    """Adds Gumbel noise from one generator per row, so that the largest score is a sample of the softmax.

    A row's draw depends on its seed alone, not on the rows beside it.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        noise = torch.empty_like(scores, dtype=torch.float32)
        for row, generator in enumerate(self.generators):
            noise[row].exponential_(generator=generator)
        return scores.float() - noise.log_()


class RowLengths(StoppingCriteria):
    """Ends each row at its own number of new tokens."""

    def __init__(self, prompt_length: int, lengths: Sequence[int], device: torch.device) -> None:
        self.prompt_length = prompt_length
        self.lengths = torch.tensor(lengths, device=device)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: object) -> torch.Tensor:  # noqa: ARG002
        return (input_ids.shape[1] - self.prompt_length) >= self.lengths


def sampling_processors(
    settings: Settings, seeds: Sequence[int], device: torch.device
) -> tuple[LogitsProcessorList, KeepLogprobs | None]:
    """The processors that make greedy choice of the result a sample by `settings`, in their right order."""
    processors = LogitsProcessorList()
    keep = KeepLogprobs(settings.top_logprobs) if settings.top_logprobs is not None else None
    if keep is not None:
        processors.append(keep)
    if settings.temperature > 0:
        if settings.temperature != 1.0:
            processors.append(TemperatureLogitsWarper(settings.temperature))
        if settings.top_k > 0:
            processors.append(TopKLogitsWarper(settings.top_k))
        if settings.top_p < 1.0:
            processors.append(TopPLogitsWarper(settings.top_p))
        processors.append(SeededNoise(seeds, device))
    return processors, keep
