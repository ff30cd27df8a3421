"""Choosing the next token of each row by the row's own random numbers, alike whatever rows are beside it."""

import math
import random
from collections.abc import Sequence
from typing import NamedTuple

import torch
from transformers.generation.logits_process import TopPLogitsWarper

ROUNDING = {torch.float32: 2e-4, torch.float64: 1e-12}
"""By how much, at most, the difference of two logits of a row may change with the rows beside it and with
what of the row was read before. Measured in float32: 1e-4 (a model of 135M parameters). In half precision
nearly every draw would be in doubt, so none is."""

NUCLEUS_ROUNDING = 1e-4
"""The same of a cumulated probability."""


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


class Drawn(NamedTuple):
    """The next tokens."""

    tokens: torch.Tensor
    """Shape (row,)."""

    doubtful: torch.Tensor
    """Whether rounding alone could have given another token, shape (row,)."""


def draw_keys(randoms: Sequence[random.Random], device: torch.device) -> torch.Tensor:
    """What decides the next draw of each row, shape (row, 2), int32: from each row's numbers the next one."""
    halves = [own.getrandbits(64) for own in randoms]
    keys = [(_int32(both >> 32), _int32(both)) for both in halves]
    return torch.tensor(keys, dtype=torch.int32, device=device)


class Sampler:
    """Draws tokens from logits, for each row by the row's own random numbers.

    All tokens race: each arrives after a time that is exponential with its probability as the rate, and the
    first is drawn, which is a draw from the distribution (the Gumbel-max trick, Gumbel 1954; Maddison et al.
    2014, A* sampling). The times are a hash of the row's number and the token, so a draw depends on nothing
    but the row's numbers and its logits: not on the rows beside it, on how many there are, or on the device.

    A row's logits are rounded otherwise beside other rows. One number looked up in the cumulated
    distribution would fall into another token whenever it is that close to any of its thousand borders; here
    only the first two of the race can change places, and who is so close to the first is told.
    """

    def __init__(self, settings: SamplingSettings) -> None:
        self.settings = settings

    def draw(self, logits: torch.Tensor, keys: torch.Tensor) -> Drawn:
        """The next tokens.

        Args:
            logits: Shape (row, vocabulary).
            keys: Of each row, see `draw_keys`.
        """
        rounding = ROUNDING.get(logits.dtype, 0.0)
        if self.settings.temperature == 0:
            return _largest(logits.float(), rounding)
        scores = logits.float() / self.settings.temperature
        rounding /= self.settings.temperature
        speed = torch.softmax(scores, dim=-1).div_(_waits(keys, logits.shape[-1]))
        if self.settings.top_k <= 0 and self.settings.top_p >= 1.0:
            return _fastest(speed, rounding)
        kept, surely, possibly = self._kept(scores, rounding)
        tokens, doubtful = _fastest(speed * kept, rounding)
        for others in (surely, possibly):
            doubtful |= _fastest(speed * others, 0.0).tokens != tokens
        return Drawn(tokens, doubtful)

    def _kept(self, scores: torch.Tensor, rounding: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Tokens that take part; those that would whatever the rounding; those that could by it."""
        most, share = self.settings.top_k, self.settings.top_p
        if 0 < most < scores.shape[-1]:
            last = scores.topk(most, dim=-1).values[:, -1:]
            among = scores.masked_fill(scores < last, -torch.inf)
        else:
            among = scores
        spread = NUCLEUS_ROUNDING if rounding else 0.0
        few, many = _nucleus(among, share - spread), _nucleus(among, share + spread)
        best_left_out = scores.masked_fill(few, -torch.inf).amax(dim=-1, keepdim=True)
        worst_taken = scores.masked_fill(~many, torch.inf).amin(dim=-1, keepdim=True)
        return (
            _nucleus(among, share),
            few & (scores > best_left_out + rounding),
            scores >= worst_taken - rounding,
        )


def _nucleus(scores: torch.Tensor, share: float) -> torch.Tensor:
    """The likeliest tokens that together have this probability."""
    none: torch.Tensor = None  # pyright: ignore[reportAssignmentType]  # it does not look at the ids
    warped = TopPLogitsWarper(share)(none, scores) if 0 < share < 1 else scores  # pyright: ignore
    return warped > -torch.inf


def _largest(logits: torch.Tensor, rounding: float) -> Drawn:
    best = logits.topk(2, dim=-1)
    return Drawn(best.indices[:, 0], best.values[:, 0] - best.values[:, 1] < rounding)


def _fastest(speed: torch.Tensor, rounding: float) -> Drawn:
    best = speed.topk(2, dim=-1)
    return Drawn(best.indices[:, 0], best.values[:, 1] > best.values[:, 0] * math.exp(-rounding))


def _waits(keys: torch.Tensor, count: int) -> torch.Tensor:
    """Exponential times, shape (row, count)."""
    bits = _hash(keys, count) & 0x7FFFFFFF
    # close to 0 a float is fine enough for the most unlikely token to win as seldom as it should
    uniform = (bits.float() + 0.5) * 2.0**-31
    return torch.log1p(uniform.neg_()).neg_()


def _hash(keys: torch.Tensor, count: int) -> torch.Tensor:
    """32 random-looking bits for each row and number below `count`, int32, shape (row, count).

    Source: the two-round 32-bit finaliser "lowbias32" of C. Wellons' hash prospector (2018), with a key
    before each multiplication.
    """
    numbers = torch.arange(count, device=keys.device) * 0x9E3779B9 & 0xFFFFFFFF
    bits = numbers.to(torch.int32)[None] ^ keys[:, :1]
    bits ^= (bits >> 16) & 0xFFFF
    bits *= _int32(0x7FEB352D)
    bits ^= keys[:, 1:]
    bits ^= (bits >> 15) & 0x1FFFF
    bits *= _int32(0x846CA68B)
    bits ^= (bits >> 16) & 0xFFFF
    return bits


def _int32(bits: int) -> int:
    """The signed number with these lowest 32 bits."""
    bits &= 0xFFFFFFFF
    return bits - 2**32 if bits >= 2**31 else bits
