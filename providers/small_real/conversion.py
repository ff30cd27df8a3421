"""A GGUF file as a checkpoint that transformers and PEFT load, in float32, kept in the user's cache."""

import copy
import shutil
from pathlib import Path
from typing import Any

from providers.causal_models import loading_bar
from providers.kept_folders import Making, cache_folder, kept_folder
from providers.small_real.source import SMOLLM2, ModelFile, ModelFileError, check_file

ROOM = 700_000_000
"""Bytes that must be free: 538 MB of weights, the tokenizer, and something for others to write."""

FORM = 1
"""Raised when what is written changes."""


def checkpoint_of(path: Path, wanted: ModelFile = SMOLLM2) -> Path:
    """Folder of the checkpoint that is made of a file; made at the first call, for all processes.

    The file is checked whenever it has to be converted.

    Raises:
        ModelFileError: Not the file, no room for the checkpoint, or what the conversion needs is missing.
    """
    stem = wanted.name.removesuffix(".gguf")
    folder = cache_folder("small_real") / f"{stem}-{wanted.sha256[:12]}-{FORM}"

    def convert(made: Path) -> dict[str, Any]:
        check_file(path, wanted)
        check_room(made)
        convert_file(path, made)
        return {"file": wanted.name, "sha256": wanted.sha256}

    return kept_folder(folder, convert, Making(stem, "converting", "ten seconds or so"))


def check_room(folder: Path, needed: int = ROOM) -> None:
    """Refuse to begin what the disk cannot hold.

    Raises:
        ModelFileError: Fewer than `needed` bytes are free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ModelFileError(
            f"{folder.parent.parent}: the checkpoint needs {needed / 1e6:.0f} MB, {free / 1e6:.0f} MB are "
            "free: make room, or let INSPECT_INFLUENCE_CACHE name a folder on another disk"
        )


def convert_file(path: Path, folder: Path) -> None:
    """Write weights, settings and tokenizer of a GGUF file into a folder.

    Raises:
        ModelFileError: `gguf` is not installed, the content cannot be read, or the disk is full.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        import gguf  # noqa: F401  # pyright: ignore[reportMissingImports]  (transformers reads the format with it)
    except ModuleNotFoundError:
        raise ModelFileError("gguf is not installed; pip install -e '.[smol]' brings it") from None
    try:
        with loading_bar():
            tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
            read = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    except (OSError, ValueError, KeyError, RuntimeError, IndexError) as error:
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelFileError(f"{path} cannot be read as a model: {told}") from error
    try:
        _plain(read).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    except (OSError, SafetensorError) as error:
        raise ModelFileError(
            f"{folder.parent.parent}: the checkpoint cannot be written ({error}): make room, then give the "
            "same command again"
        ) from error


def _plain(read: Any) -> Any:
    """The model as one that was never quantized, which alone can be saved. Shares its weights."""
    import torch

    config = copy.deepcopy(read.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.device("meta"):
        plain = type(read)(config)
    plain.load_state_dict(read.state_dict(), assign=True)
    plain.tie_weights()
    plain.generation_config = read.generation_config
    return plain
