"""Which model and which adapter activations are of: a commit, or a digest of the files."""

import hashlib
import json
from pathlib import Path
from typing import Any

from scenarios.mistakes import UserMistake

PIECE = 1 << 20
WHOLE = 256 * PIECE
PIECES = 64

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
OF_THE_PLACE = ("base_model_name_or_path", "revision", "inference_mode")
"""Parts of an adapter's configuration that say where it was made, not what it does."""


class WeightsError(UserMistake):
    """A model or an adapter that cannot be used. Says why, and what to do."""


def model_revision(model: str, commit: str | None) -> str | None:
    """What tells two models of one name apart.

    Args:
        model: Hub id or folder.
        commit: What the hub said; used for models that are no folder.

    Returns:
        The commit, or 32 hex digits over configuration and weights of a folder. Files above 256 MB enter with
        their size and 64 pieces of 1 MB, evenly spread: fine-tuning changes every part of a matrix.

    Raises:
        WeightsError: A folder without a model.
    """
    folder = Path(model)
    if not folder.is_dir():
        return commit
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    if not (folder / "config.json").exists() or not files:
        raise WeightsError(
            f"{model}: no config.json with *.safetensors in this folder; name a model's folder"
        )
    whole = hashlib.sha256(_config(folder / "config.json", ("_name_or_path", "transformers_version")))
    for file in files:
        whole.update(f"{file.name} {file.stat().st_size}\n".encode())
        _update(whole, file)
    return whole.hexdigest()[:32]


def adapter_digest(folder: Path) -> str:
    """32 hex digits over the adapter's weights and what its configuration does with them.

    Raises:
        WeightsError: No LoRA adapter in this folder.
    """
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        if not (folder / name).is_file():
            raise WeightsError(f"{folder}: no {name}; name the folder of a LoRA adapter")
    whole = hashlib.sha256(_config(folder / ADAPTER_CONFIG, OF_THE_PLACE))
    with (folder / ADAPTER_WEIGHTS).open("rb") as file:
        whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()[:32]


def _config(path: Path, without: tuple[str, ...]) -> bytes:
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read: {error}") from error
    return json.dumps({k: v for k, v in config.items() if k not in without}, sort_keys=True).encode()


def _update(whole: Any, path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= WHOLE:
            whole.update(hashlib.file_digest(file, "sha256").digest())
            return
        for piece in range(PIECES):
            file.seek(piece * (size - PIECE) // (PIECES - 1))
            whole.update(file.read(PIECE))
