"""How likely given completions are after a prompt, which is read once for all of them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from providers.chat.errors import ChatTemplateError
from providers.local.batches.batch import Batch, Batching, Forward
from providers.local.batches.prompts import PromptRow
from providers.local.kv_cache.prefixes import PrefixCache

OPTION = "completions"
"""In `extra_body` of a call's config: texts whose likelihoods are asked for instead of an answer."""

ENDED = "ended"
"""Beside it: true if each of them is to be a whole reply, so that the end of the turn comes after it."""


class Weighed(NamedTuple):
    """What the model makes of the completions of one prompt."""

    logprobs: list[list[float]]
    """[completions][tokens], natural, of each token after the prompt and those before it."""

    prompt_passes: int
    """How often the prompt was read: once, or for each completion."""


def token_prefix(completions: Sequence[Sequence[int]]) -> int:
    """How many tokens all completions begin with alike.

    Raises:
        ValueError: Fewer than two, an empty one, or one that another begins with, which is never less likely.
    """
    if len(completions) < 2 or not all(completions):
        raise ValueError(f"{OPTION}: at least two are compared, and none is empty")
    for number, one in enumerate(completions):
        for other in completions[number + 1 :]:
            if list(one[: len(other)]) == list(other[: len(one)]):
                raise ValueError(
                    f"{OPTION}: one begins with the whole of another; their likelihoods say nothing"
                )
    shortest = min(map(len, completions))
    return next((n for n in range(shortest) if len({one[n] for one in completions}) > 1), shortest)


@torch.inference_mode()
def weigh(
    forward: Forward,
    batching: Batching,
    config: Any,
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[Sequence[int]]],
    *,
    adapters: Sequence[str],
    pad: int,
    device: torch.device,
    prefixes: PrefixCache | None = None,
) -> list[Weighed]:
    """Log-probabilities of completions, all prompts in one batch and each read once.

    Args:
        forward: The model; see `decoding.Decoder`.
        batching: How it takes a batch, `padded` or `joined`.
        config: Its configuration.
        prompts: Token ids.
        completions: Of each prompt, token ids.
        adapters: Of each prompt.
        pad: Fills shorter prompts, and completions that are over.
        device: Where the inputs go.
        prefixes: See `decoding.Decoder`.
    """
    longest = max(len(one) for of_prompt in completions for one in of_prompt)
    rows = [PromptRow(p, longest, 0, adapter) for p, adapter in zip(prompts, adapters, strict=True)]
    batch = Batch(forward, batching, config, pad, device, prefixes or PrefixCache(0))
    after_prompts = batch.read_prompts(rows)
    spread = [number for number, of_prompt in enumerate(completions) for _ in of_prompt]
    logits = after_prompts[batch.keep(spread)]
    flat = [one for of_prompt in completions for one in of_prompt]
    found: list[list[float]] = [[] for _ in flat]
    for place in range(longest):
        tokens = torch.tensor([one[place] if place < len(one) else pad for one in flat], device=device)
        logprobs = torch.log_softmax(logits.float(), dim=-1).gather(1, tokens[:, None])[:, 0].tolist()
        for own, one, logprob in zip(found, flat, logprobs, strict=True):
            if place < len(one):
                own.append(logprob)
        if place + 1 < longest:
            logits = batch.step(tokens, [adapters[number] for number in spread])
    return _by_prompt(found, completions, shared=True)


@torch.inference_mode()
def weigh_singly(
    logits_of: Callable[..., torch.Tensor],
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[Sequence[int]]],
    *,
    adapters: Sequence[str],
    device: torch.device,
) -> list[Weighed]:
    """The same by a whole pass for each completion: for models whose state cannot be put into a batch.

    Args:
        logits_of: `(adapter=..., input_ids=...)` gives the logits of all positions, [1, tokens, vocabulary].
        prompts: Token ids.
        completions: Of each prompt, token ids.
        adapters: Of each prompt.
        device: Where the inputs go.
    """
    found: list[list[float]] = []
    for prompt, of_prompt, adapter in zip(prompts, completions, adapters, strict=True):
        for one in of_prompt:
            ids = torch.tensor([[*prompt, *one]], device=device)
            logits = logits_of(adapter=adapter, input_ids=ids)[0, len(prompt) - 1 : -1]
            logprobs = torch.log_softmax(logits.float(), dim=-1)
            found.append(logprobs.gather(1, ids[0, len(prompt) :, None])[:, 0].tolist())
    return _by_prompt(found, completions, shared=False)


class Completions(NamedTuple):
    """What is to be weighed."""

    texts: list[str]
    ended: bool
    """Each as a whole reply."""


def asked_completions(extra: dict[str, Any] | None) -> Completions | None:
    """The completions that a call's `extra_body` asks for, None if it is a plain call.

    Raises:
        ValueError: Anything else in it.
    """
    if not extra:
        return None
    given, ended = extra.get(OPTION), extra.get(ENDED, False)
    if (
        not isinstance(given, list)
        or not all(isinstance(text, str) for text in given)
        or not isinstance(ended, bool)
        or not set(extra) <= {OPTION, ENDED}
    ):
        raise ValueError(
            f"local/ takes {{{OPTION}: [text, text]}}, with {ENDED}: true if they are whole replies, as "
            f"extra_body, got {extra!r}"
        )
    return Completions(given, ended)


def tokens_of(
    completions: Sequence[str],
    encode: Callable[[str], list[int]],
    *,
    opened: bool,
    end: Sequence[int] = (),
) -> list[list[int]]:
    """Token ids of completions, as they come behind a prompt for a reply, and of what comes behind each.

    Raises:
        ChatTemplateError: The prompt ends within a thought: what comes next there is no answer.
    """
    if opened:
        raise ChatTemplateError(
            "the model's template opens a thought before its answer, so an answer has no likelihood there; "
            "turn thoughts off with -M thinking=false, or ask for a generated answer"
        )
    return [[*encode(one), *end] for one in completions]


def _by_prompt(
    found: list[list[float]], completions: Sequence[Sequence[Any]], *, shared: bool
) -> list[Weighed]:
    rest = iter(found)
    return [Weighed([next(rest) for _ in own], 1 if shared else len(own)) for own in completions]
