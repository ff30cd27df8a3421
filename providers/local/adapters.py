"""LoRA adapters beside a base: looked at before they are loaded, and loaded whole or not at all.

PEFT leaves out tensors that find no place in the model, with a warning at most.
"""

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

logger = logging.getLogger(__name__)

BASE = "__base__"
"""PEFT's name for no adapter."""

ADAPTER, WEIGHTS, PICKLED = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"

CHANGING = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Beginnings of `init_lora_weights` that take their start out of the base's weights, which are less by it."""

SHOWN = 3
"""Tensors that a message names."""


class AdapterError(ValueError):
    """An adapter that does not fit its base, or cannot be used here. The message says why."""


def check_adapter(folder: Path) -> None:
    """Look at an adapter's files; nothing is loaded.

    Raises:
        FileNotFoundError: The folder is not there or holds no LoRA adapter.
        AdapterError: It is pickled, cut off, or an adapter of another kind.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder, so no LoRA adapter either")
    if not (folder / ADAPTER).exists():
        raise FileNotFoundError(f"{folder} holds no LoRA adapter (no {ADAPTER})")
    if not (folder / WEIGHTS).exists():
        if (folder / PICKLED).exists():
            raise AdapterError(
                f"{folder} has its weights in {PICKLED} alone, a pickle, which is not loaded; "
                f"save the adapter with safetensors, as {WEIGHTS}"
            )
        raise FileNotFoundError(f"{folder} holds no LoRA adapter ({ADAPTER}, but no {WEIGHTS})")
    _stored_tensors(folder)
    kind = str(_config(folder).get("peft_type"))
    if "PROMPT" in kind or kind in ("None", "PREFIX_TUNING", "P_TUNING", "CPT", "XLORA"):
        raise AdapterError(f"{folder}: an adapter of PEFT's kind {kind} is not taken here; LoRA is")


def made_for(folder: Path, base: str) -> str | None:
    """Another base than this one for which an adapter was made; None if it was this one, maybe moved."""
    named = _config(folder).get("base_model_name_or_path")
    if not named or named.rstrip("/").rpartition("/")[2] == base.rstrip("/").rpartition("/")[2]:
        return None
    return None if Path(base).exists() and Path(named).exists() and Path(base).samefile(named) else named


def changes_base(folder: Path) -> str | None:
    """Why an adapter cannot share the base's weights with others, in a word; None: it can."""
    config = _config(folder)
    if config["peft_type"] != "LORA":
        return f"peft_type={config['peft_type']}"  # PEFT puts no two kinds on one base
    if config.get("bias", "none") != "none":
        return f"bias={config['bias']}"
    start = config.get("init_lora_weights")
    if isinstance(start, str) and start.startswith(CHANGING):
        return f"init_lora_weights={start}"
    for name in ("layer_replication", "trainable_token_indices"):  # the second stands in others' way
        if config.get(name):
            return name
    kept = tuple(config.get("modules_to_save") or ())
    for name in sorted(_stored_tensors(folder)):
        module, _, leaf = name.rpartition(".")
        if leaf in ("weight", "bias") and "lora_" not in name and not module.endswith(kept):
            return f"{name} of its own"  # PEFT stores resized embeddings so
    return None


def load_adapter(model: Any, folder: Path, name: str) -> Any:
    """A model with one adapter more, none of whose tensors is left out.

    Args:
        model: Bare or in PEFT's wrapper. It is changed; if the adapter does not fit, it is as it was.
        folder: Of the adapter.
        name: For it; not used before.

    Returns:
        PEFT's wrapper.

    Raises:
        AdapterError: It does not fit: tensors without a place, places without a tensor, other sizes.
    """
    from peft import PeftConfig, PeftModel, get_peft_model

    source = str(folder)
    wrapped = model
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what they tell of is looked at here
            if not isinstance(model, PeftModel):
                config = PeftConfig.from_pretrained(source)
                config.inference_mode = True
                wrapped = get_peft_model(model, config, adapter_name=name)
            result: Any = wrapped.load_adapter(source, adapter_name=name)
        problem = _misfit(result.unexpected_keys, result.missing_keys, name)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        problem = _in_one_line(error)
    if problem is None:
        return wrapped.eval()
    if isinstance(model, PeftModel):
        if name in model.peft_config:
            model.delete_adapter(name)
    else:
        _take_out(model)
    raise AdapterError(f"{folder}: this adapter does not fit the base that it is loaded on: {problem}")


@contextmanager
def speaking(model: Any, name: str) -> Iterator[None]:
    """One adapter, or the base, has the word in every row."""
    if not hasattr(model, "disable_adapter"):
        yield
    elif name == BASE:
        with model.disable_adapter():
            yield
    else:
        model.set_adapter(name)
        yield


def mixed_forward(model: Any, names: Sequence[str], **inputs: Any) -> Any:
    """A pass in which each row has an adapter, or the base, of its own.

    PEFT hangs the names on every layer for the time of the pass, and leaves them there if it breaks off, for
    want of memory for instance: later passes would go by them.
    """
    try:
        return model(**inputs, adapter_names=list(names))
    except BaseException:
        for module in model.modules():
            hooks = module._forward_pre_hooks
            for number in [
                n for n, hook in hooks.items() if "adapter_names" in getattr(hook, "keywords", ())
            ]:
                del hooks[number]
                module._forward_pre_hooks_with_kwargs.pop(number, None)
        raise


@torch.inference_mode()
def mixes(model: Any, names: Sequence[str], device: torch.device) -> bool:
    """Whether rows of these adapters, and of the base, may be in one batch: tried with three tokens of each.

    PEFT does not mix weight-decomposed adapters (DoRA), those that bring whole modules, and layers to which
    rows come flattened, as a mixture's router.

    Args:
        model: In PEFT's wrapper.
        names: Of all adapters that are loaded.
        device: Where inputs go.
    """
    names = [BASE, *names]
    ids = torch.tensor([[3, 5, 4]] * len(names), device=device)
    try:
        together = mixed_forward(model, names, input_ids=ids).logits.float()
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        logger.debug("adapters do not mix: %s", error)
        return False
    for row, name in zip(together, names, strict=True):
        with speaking(model, name):
            alone = model(input_ids=ids[:1]).logits[0].float()
        if (row - alone).abs().max() > tolerance(model.dtype) * alone.std():
            return False
    return True


def tolerance(dtype: torch.dtype) -> float:
    """By how much of its spread a model's output may change with the rows beside it, by rounding alone."""
    return max(1e-3, 16 * torch.finfo(dtype).eps)


def _config(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / ADAPTER).read_text(encoding="utf-8"))
    except ValueError as error:
        raise AdapterError(f"{folder / ADAPTER} is no JSON: {error}") from error


def _stored_tensors(folder: Path) -> set[str]:
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            return set(file.keys())
    except (OSError, SafetensorError) as error:
        raise AdapterError(f"{folder / WEIGHTS} cannot be read: {error}") from error


def _misfit(homeless: Sequence[str], empty: Sequence[str], name: str) -> str | None:
    """Tensors without a place in the model, or else places without a tensor, in words."""
    for found, what in ((homeless, "of its tensors find no place"), (empty, "places find no tensor in it")):
        if found:
            shown = ", ".join(key.replace(f".{name}", "") for key in found[:SHOWN])
            return f"{len(found)} {what} ({shown}{', ...' if len(found) > SHOWN else ''})"
    return None


def _in_one_line(error: Exception) -> str:
    """In one line what PEFT and torch tell in many."""
    if isinstance(error, KeyError):
        return f"it has no tensor {error.args[0]}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    sizes = [line for line in lines if line.startswith("size mismatch")]
    return f"{len(sizes)} tensors of other sizes ({sizes[0]})" if sizes else lines[0]


def _take_out(model: Any) -> None:
    """Leave nothing of an adapter in a model that is not wrapped."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            own: Any = module.get_base_layer()
        elif isinstance(module, AuxiliaryTrainingWrapper):
            own = module.original_module
        else:
            continue
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, own)
