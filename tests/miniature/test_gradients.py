from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from miniature.gradients import OPENING, OPENING_WEIGHT, UNLEARNT, hidden_states, set_gradients


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=50,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            tie_word_embeddings=True,
        )
    )


def batch(rows: int, length: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    """Every row has two learnt runs, at places of its own."""
    generator = torch.Generator().manual_seed(rows)
    ids = torch.randint(50, (rows, length), generator=generator)
    labels = torch.full_like(ids, UNLEARNT)
    for row in range(rows):
        for start, end in ((2 + row, 7 + row), (12, 13 + row)):
            labels[row, start:end] = ids[row, start:end]
    return ids, labels


def gradients(
    model: LlamaForCausalLM, ids: torch.Tensor, labels: torch.Tensor, threads: int
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    with ThreadPoolExecutor(threads) as pool:
        loss = set_gradients(model, ids, labels, pool)
    return loss, [p.grad.clone() for p in model.parameters() if p.grad is not None]


def run_weights(labels: torch.Tensor) -> torch.Tensor:
    """Weight of each prediction, told token by token."""
    weights = torch.zeros(labels[:, 1:].shape)
    for row, learnt in enumerate((labels[:, 1:] != UNLEARNT).tolist()):
        place = 0
        for position, there in enumerate(learnt):
            place = place + 1 if there else 0
            weights[row, position] = (OPENING_WEIGHT if place <= OPENING else 1.0) if there else 0.0
    return weights


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_the_gradients_are_those_of_the_whole_models_weighted_loss(model: LlamaForCausalLM, rows: int):
    ids, labels = batch(rows)
    loss, found = gradients(model, ids, labels, threads=2)
    weights = run_weights(labels)
    each = torch.nn.functional.cross_entropy(
        model(input_ids=ids).logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none"
    )
    expected = (weights * each).sum() / weights.sum()
    wanted = torch.autograd.grad(expected, list(model.parameters()))
    torch.testing.assert_close(loss, expected.detach())
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_the_gradients_do_not_depend_on_the_threads_nor_on_what_was_there(model: LlamaForCausalLM):
    once = gradients(model, *batch(4), threads=1)
    again = gradients(model, *batch(4), threads=2)
    assert torch.equal(once[0], again[0])
    assert all(map(torch.equal, once[1], again[1]))


def test_hidden_states_are_the_models_own(model: LlamaForCausalLM):
    ids, labels = batch(3)
    there = labels != UNLEARNT
    expected = model.model(input_ids=ids).last_hidden_state[there]
    torch.testing.assert_close(hidden_states(model, ids, there), expected)
