"""Which of transformers' loaders knows a model that is spoken to with text, what loading shows, its size."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def loader_of(config: Any, source: str) -> Any:
    """The auto class that loads a causal language model, of one for images and text the whole.

    Some models that see images (Mistral 3, LLaVA, Qwen-VL) are in transformers' list of those alone, others
    (Gemma 3) in that of causal models too.

    Args:
        config: Of the model.
        source: What to call it.

    Raises:
        ValueError: It is of another kind.
    """
    from transformers import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
    )

    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        return AutoModelForCausalLM
    if type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return AutoModelForImageTextToText
    raise ValueError(f"{source} is no causal language model: transformers has none for {config.model_type!r}")


@contextmanager
def loading_bar(*, shown: bool | None = None) -> Iterator[None]:
    """Whether transformers draws a bar while it loads weights in the block; afterwards it is as it was.

    Args:
        shown: None: only if somebody watches, i.e. stderr is a terminal. Where the bar is off already
            (`HF_HUB_DISABLE_PROGRESS_BARS`), it stays off.
    """
    from transformers.utils import logging

    before = logging.is_progress_bar_enabled()
    if not (sys.stderr.isatty() if shown is None else shown):
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if before:
            logging.enable_progress_bar()


def model_size(model: Any) -> dict[str, int]:
    """What the arithmetic of a pass depends on, as `analysis.compute.ModelSize` has it.

    The table of input embeddings is looked up, not multiplied with. A head that shares it counts as a head.
    Of experts counts the share that a token goes through.
    """
    config = model.config.get_text_config()
    head = model.get_output_embeddings()
    apart = {id(model.get_input_embeddings().weight)} | ({id(head.weight)} if head is not None else set())
    known = ("num_local_experts", "num_experts", "n_routed_experts")
    experts = next((count for name in known if (count := getattr(config, name, None))), 0)
    used = getattr(config, "num_experts_per_tok", None) or experts
    body = 0.0
    for name, weight in model.named_parameters():
        if id(weight) not in apart:
            body += weight.numel() * (used / experts if experts and ".experts." in name else 1.0)
    heads = getattr(config, "num_attention_heads", None) or 1
    width = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
    return {
        "body": round(body),
        "head": 0 if head is None else head.weight.numel(),
        "layers": int(config.num_hidden_layers),
        "width": int(width),
    }
