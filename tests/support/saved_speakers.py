"""Random models of many families, saved where `local/` finds them, and what is said to them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from inspect_ai.model import Model

from tests.support.tiny_architectures import speaker
from tests.support.tiny_models import tiny_model, tiny_tokenizer

PADDED = ("llama", "gemma3", "mistral", "llama4", "gpt-oss", "gpt2", "phi3")
"""Full attention, sliding windows and chunks shorter than the prompts, learnt positions, positions that turn."""

LINES = ["hello there, how are you", "you", "are you there today, are you", "how"]
SYSTEM = "how are you today, are you there today, hello there, how are you today"


def saved_in(root: Path) -> Callable[[str], Path]:
    """A function that gives the folder of a family's random model, which is made once."""

    def folder(family: str) -> Path:
        path = root / family
        if path.exists():
            return path
        if family == "llama":
            return tiny_model(path, context=512)
        tokenizer = tiny_tokenizer()
        speaker(family, len(tokenizer)).save_pretrained(path)
        tokenizer.save_pretrained(path)
        return path

    return folder


def engine_of(model: Model) -> Any:
    return model.api.engine  # pyright: ignore[reportAttributeAccessIssue]
