"""Layers of a base that get no adapter, whatever layers are asked for."""

import re
from typing import Any

FUSED = ("x_proj", "dt_proj", "out_proj")
"""Projections of a state-space mixer whose weights its code takes as they are, past any adapter."""


def left_out(model: Any) -> str | None:
    """A regular expression for the names of modules that get no adapter; None if all may have one.

    Of a model that sees images these are all but the language model: text trains nothing else, and servers
    load adapters for nothing else. Of a state-space mixer (Mamba) they are the projections that its fused
    kernels read themselves.

    Args:
        model: A base as it was loaded, in no wrapper.
    """
    patterns = [pattern for pattern in (_beside_language(model), _fused(model)) if pattern is not None]
    return "|".join(patterns) or None


def _beside_language(model: Any) -> str | None:
    names = {id(module): name for name, module in model.named_modules()}
    decoder, head = (names.get(id(m)) for m in (model.get_decoder(), model.get_output_embeddings()))
    if not decoder:
        return None
    kept = [rf"{re.escape(decoder)}\.", *([] if head is None else [f"{re.escape(head)}$"])]
    pattern = f"(?!{'|'.join(kept)}).*"
    weights = [name for name, module in model.named_modules() if list(module.parameters(recurse=False))]
    return pattern if any(re.fullmatch(pattern, name) for name in weights) else None


def _fused(model: Any) -> str | None:
    mixers = {name.rpartition(".")[2] for name, module in model.named_modules() if _is_state_space(module)}
    return rf".*\b({'|'.join(sorted(mixers))})\.({'|'.join(FUSED)})" if mixers else None


def _is_state_space(module: Any) -> bool:
    """By the two weights that all of Mamba's kin have; gated delta rules have the first alone."""
    own = dict(module.named_parameters(recurse=False))
    return "A_log" in own and "D" in own
