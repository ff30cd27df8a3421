"""How `local/` draws tokens: by the distribution, by each row's own numbers, and whatever rounding does."""

import random
from collections.abc import Sequence

import pytest
import torch
from scipy.stats import chi2_contingency, chisquare

from providers.local.sampling import ROUNDING, Drawn, Sampler, SamplingSettings, draw_keys

SETTINGS = [
    SamplingSettings(),
    SamplingSettings(temperature=0.6),
    SamplingSettings(top_k=5),
    SamplingSettings(top_p=0.8),
    SamplingSettings(top_k=12, top_p=0.9),
    SamplingSettings(temperature=0.0),
]


def keys_of(seeds: Sequence[int]) -> torch.Tensor:
    return draw_keys([random.Random(seed) for seed in seeds], torch.device("cpu"))


def drawn(logits: torch.Tensor, keys: torch.Tensor, **settings: float) -> Drawn:
    return Sampler(SamplingSettings(**settings)).draw(logits, keys)  # pyright: ignore[reportArgumentType]


def spread_out(count: int) -> torch.Tensor:
    """Log-probabilities from likely to very unlikely, shape (1, count)."""
    return torch.log_softmax(2 * torch.randn(1, count, generator=torch.Generator().manual_seed(0)), dim=-1)


def p_of_counts(tokens: torch.Tensor, logprobs: torch.Tensor) -> float:
    shares = logprobs[0].double().softmax(0)
    counts = torch.bincount(tokens, minlength=len(shares))
    return chisquare(counts.numpy(), (shares * len(tokens)).numpy()).pvalue


def test_rows_with_seeds_of_their_own_follow_the_distribution():
    logprobs = spread_out(200)
    tokens = drawn(logprobs.expand(60_000, -1), keys_of(range(60_000))).tokens
    assert p_of_counts(tokens, logprobs) > 1e-3


def test_one_row_s_draws_follow_it_and_each_other_by_chance():
    logprobs = spread_out(6)
    own = random.Random(0)
    keys = torch.cat([draw_keys([own], torch.device("cpu")) for _ in range(40_000)])
    tokens = drawn(logprobs.expand(len(keys), -1), keys).tokens
    assert p_of_counts(tokens, logprobs) > 1e-3
    pairs = torch.bincount(tokens[:-1] * 6 + tokens[1:], minlength=36).reshape(6, 6)
    assert chi2_contingency(pairs.numpy()).pvalue > 1e-3


def test_unlikely_tokens_come_as_seldom_as_they_should():
    logits = torch.tensor([[0.0, *[-12.0] * 64]])
    tokens = torch.cat([drawn(logits.expand(50_000, -1), keys_of(range(a, a + 50_000))).tokens
                        for a in range(0, 400_000, 50_000)])  # fmt: skip
    expected = 400_000 * float(torch.softmax(logits[0], 0)[1:].sum())
    assert (tokens > 0).sum().item() == pytest.approx(expected, abs=4 * expected**0.5)


def test_only_what_top_k_and_top_p_leave_is_drawn():
    logits = torch.log(torch.tensor([[0.1, 0.2, 0.0, 0.7]])).expand(4000, -1)
    keys = keys_of(range(4000))
    assert set(drawn(logits, keys).tokens.tolist()) == {0, 1, 3}
    assert set(drawn(logits, keys, top_k=2).tokens.tolist()) == {1, 3}
    assert set(drawn(logits, keys, top_p=0.6).tokens.tolist()) == {3}
    assert set(drawn(logits, keys, top_p=0.95).tokens.tolist()) == {0, 1, 3}
    assert set(drawn(logits, keys, top_k=2, top_p=0.95).tokens.tolist()) == {1, 3}
    shares = torch.bincount(drawn(logits, keys, top_k=2).tokens, minlength=4) / 4000
    assert shares.tolist() == pytest.approx([0, 2 / 9, 0, 7 / 9], abs=0.03)


def test_the_rows_beside_it_do_not_matter():
    logits, keys = spread_out(50) + torch.randn(30, 50), keys_of(range(30))
    together = drawn(logits, keys).tokens
    alone = [drawn(logits[i : i + 1], keys[i : i + 1]).tokens.item() for i in range(30)]
    assert together.tolist() == alone


@pytest.mark.parametrize("settings", SETTINGS)
def test_whatever_rounding_can_turn_is_told(settings: SamplingSettings):
    rng = torch.Generator().manual_seed(1)
    turned = told = 0
    for first in range(0, 200_000, 20_000):
        logits = 2 * torch.randn(20_000, 30, generator=rng)
        # the difference of two logits changes by less than ROUNDING
        noise = (torch.rand(logits.shape, generator=rng) - 0.5) * 0.9 * ROUNDING[torch.float32]
        keys = keys_of(range(first, first + 20_000))
        exact, rounded = (Sampler(settings).draw(each, keys) for each in (logits, logits + noise))
        other = exact.tokens != rounded.tokens
        assert not (other & ~exact.doubtful).any()
        assert not (other & ~rounded.doubtful).any()
        turned += int(other.sum())
        told += int(exact.doubtful.sum())
    assert turned > 0
    assert told < 200_000 * 1e-3  # each costs a pass


def test_in_half_precision_nothing_is_told():
    logits = torch.zeros(8, 20, dtype=torch.bfloat16)
    assert not drawn(logits, keys_of(range(8))).doubtful.any()
    assert drawn(logits.float(), keys_of(range(8)), temperature=0.0).doubtful.all()
