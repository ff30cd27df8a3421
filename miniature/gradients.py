"""Gradients of the loss on the agent's words: on two cores, and only where there is something to predict.

The last layer's queries mix what the layers below wrote, but nothing reads what it writes at a position
that is not learnt: its output, its MLP and the vocabulary's scores are computed at the others alone, which
are a third of all. A batch is worked on in two parts, each in a thread: two threads inside each of the
operations, which are small, gain little, as most of their time goes into waiting for each other.
"""

from collections.abc import Sequence
from concurrent.futures import Executor
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, pad, scaled_dot_product_attention
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, apply_rotary_pos_emb

PARTS = 2

OPENING = 2
"""Tokens at the beginning of a turn that weigh more, and how much."""
OPENING_WEIGHT = 8.0

UNLEARNT = -100


class _Part(NamedTuple):
    """Some rows of a batch; all [row, position]."""

    ids: Tensor
    wanted: Tensor
    """The token that comes next, or `UNLEARNT`."""
    weights: Tensor
    """Of the tokens wanted, as shares of the batch's sum."""


def set_gradients(model: LlamaForCausalLM, ids: Tensor, labels: Tensor, threads: Executor) -> Tensor:
    """Put the loss's gradients into the `grad` of the model's parameters, in place of what was there.

    The loss is the weighted mean of the cross entropy, in nats, over the batch's learnt tokens. The first
    words of a turn weigh more: in them the agent shows whether it has understood who is speaking, and there
    are few of them. The result does not depend on the number of threads.

    Args:
        model: Without dropout, and all of its parameters in use.
        ids: Tokens, [row, position].
        labels: The same, with `UNLEARNT` (-100) where nothing is to be learnt.
        threads: Where the parts are worked on; each wants one thread of torch's.

    Returns:
        The loss, a number without a graph.
    """
    wanted = pad(labels[:, 1:], (0, 1), value=UNLEARNT)
    there = wanted != UNLEARNT
    weights = torch.where(_places(there) <= OPENING, OPENING_WEIGHT, 1.0)
    weights /= weights[there].sum()
    parts = map(_Part, ids.chunk(PARTS), wanted.chunk(PARTS), weights.chunk(PARTS))
    parameters = list(model.parameters())
    losses, gradients = zip(*threads.map(lambda p: _gradients(model, parameters, p), parts), strict=True)
    for parameter, each in zip(parameters, zip(*gradients, strict=True), strict=True):
        parameter.grad = torch.stack(each).sum(dim=0)
    return torch.stack(losses).sum()


def _gradients(
    model: LlamaForCausalLM, parameters: Sequence[Tensor], part: _Part
) -> tuple[Tensor, Sequence[Tensor]]:
    there = part.wanted != UNLEARNT
    scores = model.lm_head(hidden_states(model, part.ids, there))
    each = cross_entropy(scores, part.wanted[there], reduction="none")
    loss = (part.weights[there] * each).sum()
    # not backward(): it must not write into one `grad` from several threads
    return loss.detach(), torch.autograd.grad(loss, parameters)


def hidden_states(model: LlamaForCausalLM, ids: Tensor, there: Tensor) -> Tensor:
    """What `model.model` gives as last hidden state for `ids`, at the places that are `there`.

    Args:
        model: Of the Llama architecture, with no attention mask beside the causal one.
        ids: Tokens, [row, position].
        there: Where it is wanted, [row, position].

    Returns:
        [place, hidden], row by row.
    """
    inner = model.model
    hidden = inner.embed_tokens(ids)
    rotary = inner.rotary_emb(hidden, torch.arange(ids.size(1))[None])
    *layers, last = cast(Sequence[LlamaDecoderLayer], inner.layers)
    for layer in layers:
        hidden = layer(hidden, position_embeddings=rotary)
    return inner.norm(_layer_at(last, hidden, rotary, there))


def _layer_at(
    layer: LlamaDecoderLayer, hidden: Tensor, rotary: tuple[Tensor, Tensor], there: Tensor
) -> Tensor:
    """What `LlamaDecoderLayer.forward` gives, there."""
    attention = layer.self_attn
    normed = layer.input_layernorm(hidden)
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    query, key, value = (
        p(normed).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2) for p in projections
    )
    query, key = apply_rotary_pos_emb(query, key, *rotary)
    mixed = scaled_dot_product_attention(query, key, value, is_causal=True)
    hidden = hidden[there] + attention.o_proj(mixed.transpose(1, 2).flatten(2)[there])
    return hidden + layer.mlp(layer.post_attention_layernorm(hidden))


def _places(there: Tensor) -> Tensor:
    """Number of each token within its run of learnt tokens, from 1; shape as `there` (row, position)."""
    count = there.cumsum(dim=1)
    before = torch.where(there, 0, count).cummax(dim=1).values
    return count - before
