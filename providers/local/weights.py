"""Where a model's weights lie, and with what options they are loaded and run."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from transformers import AutoConfig

from providers.causal_models import loader_of, loading_bar
from providers.chat.errors import ModelOptionError
from providers.local.adapters import ADAPTER

HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
"""What the hub takes for a name; a folder may look so too."""


def check_base(path: str) -> None:
    """Raise at once what loading would only tell later, if that can be seen without a network.

    Raises:
        FileNotFoundError: No such folder, and no name on the hub either; or a folder without a model.
    """
    folder = Path(path)
    if not folder.exists():
        if path[:1] in ".~" or not HUB_NAME.fullmatch(path):
            raise FileNotFoundError(f"local/{path}: there is no such folder")
        return
    if (folder / "config.json").exists():
        return
    if (folder / ADAPTER).exists():
        base = json.loads((folder / ADAPTER).read_text(encoding="utf-8")).get("base_model_name_or_path")
        raise FileNotFoundError(
            f"{folder} holds a LoRA adapter, no model; name both: local/{base or '<base>'}:{path}"
        )
    raise FileNotFoundError(f"{folder} holds no model (no config.json)")


def load_model(
    path: str,
    device: torch.device,
    *,
    revision: str | None,
    dtype: str | None,
    device_map: str | None,
    attn_implementation: str | None,
) -> Any:
    """A causal language model, of a model of images and text the whole, which is spoken to with text.

    Args:
        path: Folder or hub id.
        device: Where it goes, unless `device_map` says otherwise.
        revision: Of a hub model.
        dtype: None: float32 on the CPU, elsewhere as stored.
        device_map: As in transformers.
        attn_implementation: As in transformers; None: the best there is.

    Raises:
        OSError: No model there.
        ValueError: A model of another kind.
    """
    config = AutoConfig.from_pretrained(path, revision=revision)
    loader = loader_of(config, path)
    arguments: dict[str, Any] = {
        "dtype": dtype or ("float32" if device.type == "cpu" else "auto"),
        "revision": revision,
        "config": config,
    }
    if attn_implementation is not None:
        arguments["attn_implementation"] = attn_implementation
    # in the middle of an eval, whose display a bar would break
    with loading_bar(shown=False):
        if device_map is not None:
            return loader.from_pretrained(path, device_map=device_map, **arguments).eval()
        return loader.from_pretrained(path, **arguments).to(device).eval()


def device_called(name: str | None) -> torch.device:
    """The device of this name; the best there is if none is given."""
    if name is not None:
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def context_of(config: Any) -> int:
    """Most tokens that a model takes."""
    text = config.get_text_config()
    return int(getattr(text, "max_position_embeddings", None) or 2**31)


def end_tokens_of(model: Any, tokenizer: Any) -> list[int]:
    """Tokens that end a generation, by the checkpoint and by its tokenizer."""
    own = model.generation_config.eos_token_id
    found = own if isinstance(own, list) else [own]
    return sorted({t for t in (*found, tokenizer.eos_token_id) if t is not None})


class EngineOptions(NamedTuple):
    """What makes two engines different. Models that agree in all of it share one copy of the weights."""

    path: str
    revision: str | None = None
    dtype: str | None = None
    device: str | None = None
    device_map: str | None = None
    attn_implementation: str | None = None
    batch_size: int = 64
    window: float = 0.02
    """Seconds without a new request after which a batch that is not full is run."""

    prefix_cache: float = 512
    """Megabytes for keys and values that are kept from call to call; 0: none."""

    @classmethod
    def of(cls, path: str, options: Mapping[str, Any]) -> Self:
        """The options of a model as they are given; numbers may be text, as a command line has them.

        Raises:
            ModelOptionError: A value of another kind than its option takes.
        """
        known = {name: _KINDS.get(name, _name)(name, value) for name, value in options.items()}
        return cls(path=path, **known)


def _count(name: str, value: Any) -> int:
    number = _finite_number(value)
    if number is None or number < 1 or number != int(number):
        raise _wrong(name, value, "a whole number of 1 or more")
    return int(number)


def _seconds(name: str, value: Any) -> float:
    number = _finite_number(value)
    if number is None or number < 0:
        raise _wrong(name, value, "a number of seconds")
    return number


def _megabytes(name: str, value: Any) -> float:
    number = _finite_number(value)
    if number is None or number < 0:
        raise _wrong(name, value, "a number of megabytes, 0 to keep nothing")
    return number


def _name(name: str, value: Any) -> Any:
    if isinstance(value, bool | int | float | list):
        raise _wrong(name, value, "a name")
    return value


def _finite_number(value: Any) -> float | None:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _wrong(name: str, value: Any, kind: str) -> ModelOptionError:
    return ModelOptionError(f"{name}={value!r} must be {kind}; give it with -M {name}=<value>")


_KINDS = {"batch_size": _count, "window": _seconds, "prefix_cache": _megabytes}
"""Options that are no names."""
