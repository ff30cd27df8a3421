"""Which of transformers' loaders knows a model that is spoken to with text."""

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
