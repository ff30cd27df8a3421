"""Which way a model can take several rows at once, found out when it is loaded."""

import inspect
import logging
from collections.abc import Sequence
from statistics import pstdev
from typing import Any

import torch

from providers.local.batches.batch import Batching, Forward
from providers.local.batches.prompts import PromptRow
from providers.local.decoding import Decoder, Ending, Written, decode
from providers.local.kv_cache.layers import ATTENTION, STATE, growing_cache
from providers.local.sampling import SamplingSettings
from providers.local.singly import Generate, decode_singly

logger = logging.getLogger(__name__)

CACHE_NAMES = ("past_key_values", "cache_params")
"""Under which models take a cache of several rows."""

TRIAL = ((3, 5, 4), (6, 4), (3, 5, 4), (7, 3, 5, 6, 4))
"""Prompts of the trial, as token ids: two are alike, and three lengths."""

ALIKE = 0.1
"""Two ways agree if their log-probabilities differ by no more than this share of their spread; rounding in
bfloat16 makes a few hundredths of it."""


def batching_of(model: Any, forward: Forward, generate: Generate, device: torch.device) -> Batching:
    """How `Decoder` is to batch a causal language model.

    Attention is told by a mask what is padding. A model with layers that keep a state is tried: a few tokens
    in a batch must be what its own `generate` makes of each prompt alone. If they are not, or a layer is of a
    kind that is not known here, rows are run one after another, and a warning says so. Positions that turn
    otherwise from some length on (`longrope`) do so for a whole batch, so longer rows stay out of it.

    Args:
        model: Bare, without adapters.
        forward: Its forward pass.
        generate: Its `generate`.
        device: Where its inputs go.
    """
    takes = inspect.signature(model.forward).parameters
    catch_all = any(p.kind is p.VAR_KEYWORD for p in takes.values())
    name = next((name for name in CACHE_NAMES if name in takes), None)
    if name is not None:
        positions = "position_ids" in takes or catch_all
        kinds = _cache_layers(model.config)
        if kinds and kinds <= set(ATTENTION) and name == CACHE_NAMES[0]:
            return Batching("padded", name, positions, _turning(model.config))
        joined = Batching("joined", name, positions, _turning(model.config))
        if kinds and kinds <= {*ATTENTION, *STATE} and _holds(joined, model, forward, generate, device):
            return joined
    logger.warning(
        "%s keeps something of each conversation that cannot be put into a batch: they are run one after "
        "another, which is slow",
        type(model).__name__,
    )
    return Batching("singly")


def _cache_layers(config: Any) -> set[type]:
    """Kinds of the cache's layers; none if transformers has no cache for this configuration."""
    try:
        return {type(layer) for layer in growing_cache(config).layers}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        logger.debug("no cache for %s: %s", type(config).__name__, error)
        return set()


def _turning(config: Any) -> int:
    """Length from which on positions are embedded in another way than before."""
    rope = getattr(config.get_text_config(decoder=True), "rope_parameters", None) or {}
    kinds = [rope, *(part for part in rope.values() if isinstance(part, dict))]  # maybe by kind of layer
    lengths = [k.get("original_max_position_embeddings") for k in kinds if k.get("rope_type") == "longrope"]
    return min((length for length in lengths if length), default=2**31)


def _holds(
    batching: Batching, model: Any, forward: Forward, generate: Generate, device: torch.device
) -> bool:
    """Whether a batch gives what each prompt gives alone."""
    rows = [PromptRow(prompt, 3, 0, "", SamplingSettings(temperature=0, top_logprobs=50)) for prompt in TRIAL]
    common: dict[str, Any] = {"ending": Ending((), None, 2**31), "pad": 0, "device": device}
    try:
        together = decode(Decoder(forward, batching, model.config, **common), rows)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        logger.debug("%s in a batch: %s", type(model).__name__, error)
        return False
    alone = [decode_singly(generate, row, **common).written for row in rows]
    return all(_alike(a, b) for a, b in zip(together, alone, strict=True))


def _alike(one: Written, other: Written) -> bool:
    """Whether two continuations agree, as far as they go on from the same tokens."""
    for place in range(min(len(one.tokens), len(other.tokens))):
        if one.tokens[:place] != other.tokens[:place]:
            return place > 1  # the first step after the prompts is the one that shows a wrong state
        if not _near(one.top[place], other.top[place]):
            return False
    return True


def _near(one: Sequence[tuple[int, float]], other: Sequence[tuple[int, float]]) -> bool:
    first, second = dict(one), dict(other)
    common = [token for token in first if token in second]
    if len(common) < len(first) / 2:
        return False
    spread = pstdev(first[token] for token in common)
    apart = max(abs(first[token] - second[token]) for token in common)
    return apart <= ALIKE * spread + 1e-4
