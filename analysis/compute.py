"""What a pass of a transformer costs, in floating-point operations; an addition and a multiplication are two.

    2 * body * tokens + 2 * head * wanted + 2 * layers * width * ((before + tokens)^2 - before^2)

The last term is that of attention: each token meets those before it and itself, once for the weights and once
for the values. Norms, activations and sampling are left out.

Source: Hoffmann et al. 2022 (arXiv:2203.15556), appendix F, without backward pass, embeddings that are looked
up, and the half of the attention that a causal mask leaves out. For 80 layers of width 8192 the attention is
1,310,720 times the square of the tokens.
"""

from collections.abc import Sequence
from typing import NamedTuple


class ModelSize(NamedTuple):
    """What the arithmetic of a pass depends on."""

    body: int
    """Weights that every token is multiplied with; of experts, those that one token goes through."""

    head: int = 0
    """Weights of the head, which is computed only where a next token is wanted."""

    layers: int = 0
    """0: not known, and attention is left out."""

    width: int = 0
    """Heads times their width: of the queries."""


def pass_flops(size: ModelSize, tokens: int, *, before: int = 0, wanted: int = 0) -> float:
    """Of a pass over some tokens.

    Args:
        size: Of the model.
        tokens: That go through it.
        before: That went through it before, and are met by attention.
        wanted: Places at which the head is computed.
    """
    attention = 2.0 * size.layers * size.width * ((before + tokens) ** 2 - before**2)
    return 2.0 * size.body * tokens + 2.0 * size.head * wanted + attention


def generation_flops(size: ModelSize, prompt: int, generated: int) -> float:
    """Of an answer of so many tokens after a prompt; its last token is not read."""
    return pass_flops(size, prompt + max(0, generated - 1), wanted=generated)


def completions_flops(
    size: ModelSize, prompt: int, completions: Sequence[int], *, prompt_passes: int = 1
) -> float:
    """Of the likelihoods of several completions of one prompt.

    Args:
        size: Of the model.
        prompt: Tokens of the prompt, and of what all completions begin with.
        completions: Tokens of each beyond that; the last is not read.
        prompt_passes: How often the prompt is read: once, or for each.
    """
    read = prompt_passes * pass_flops(size, prompt, wanted=1)
    return read + sum(pass_flops(size, own - 1, before=prompt, wanted=own - 1) for own in completions)
