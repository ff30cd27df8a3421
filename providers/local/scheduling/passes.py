"""A model's passes, whoever speaks in a row."""

import inspect
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch

from providers.local.adapters import mixed_forward, speaking


class Passes:
    """A model with its adapters. Of one thread at a time.

    Which adapter speaks is a switch in each of the model's layers; it is left as it is until a pass wants
    another.

    Args:
        model: Bare or in PEFT's wrapper.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.mixes = True
        """Whether rows of different adapters may be in one batch."""

        takes = inspect.signature(model.forward).parameters
        self._last_logits = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
        self._speaker: str | None = None
        self._switched = ExitStack()

    def forward(self, *, adapters: Sequence[str], **inputs: Any) -> Any:
        """A pass whose output has the logits of the last position at least; `adapters` is of each row."""
        if len(set(adapters)) > 1:
            self.rest()
            return mixed_forward(self.model, adapters, **inputs, **self._last_logits)
        self._let_speak(adapters[0])
        return self.model(**inputs, **self._last_logits)

    def generate(self, *, adapter: str, **inputs: Any) -> Any:
        """The model's own `generate`."""
        self._let_speak(adapter)
        return self.model.generate(**inputs)

    def logits(self, *, adapter: str, **inputs: Any) -> torch.Tensor:
        """Of all positions."""
        self._let_speak(adapter)
        return self.model(**inputs).logits

    def rest(self) -> None:
        """Leave the model as others expect it."""
        self._speaker = None
        self._switched.close()

    def _let_speak(self, name: str) -> None:
        if name != self._speaker:
            self.rest()
            self._switched.enter_context(speaking(self.model, name))
            self._speaker = name
