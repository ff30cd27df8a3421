"""One vector per row, kept beside the shards: mean, last and maximum over a row's tokens."""

import errno
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from probes.activations.mapped import Mapped, Place
from probes.activations.ragged import Block
from probes.activations.shards.shard import Shard
from probes.activations.whole_files import StoreError, write_whole

Pooling = Literal["mean", "last", "max"]

FOLDER = "pooled"


def pooled(places: Sequence[Place], kind: Pooling, layer: int) -> torch.Tensor:
    """[rows, hidden], float32. What is not on disk yet is computed for the whole shard, and kept.

    Raises:
        ValueError: A kind that does not exist.
        StoreError: A shard is damaged.
    """
    if kind not in get_args(Pooling):
        raise ValueError(f"pooling {kind!r}; there are {', '.join(get_args(Pooling))}")
    features: dict[str, torch.Tensor] = {}
    for place in places:
        if place.shard.name not in features:
            features[place.shard.name] = _of_shard(place.shard, kind, layer)
    if not places:
        return torch.empty(0, 0)
    return torch.stack([features[place.shard.name][place.row] for place in places])


def pool(block: Block) -> dict[Pooling, torch.Tensor]:
    """Of each row of a block: kind -> [rows, hidden], float32."""
    lengths = block.offsets.diff()
    return {
        "mean": torch.segment_reduce(block.values, "mean", lengths=lengths, axis=0),
        "last": block.values[block.offsets[1:] - 1],
        "max": torch.segment_reduce(block.values, "max", lengths=lengths, axis=0),
    }


def files_of(shard: Shard) -> list[Path]:
    """Pooled features that are kept for a shard."""
    return sorted((shard.path.parent / FOLDER).glob(f"{shard.name}-layer_*.safetensors"))


def damaged(path: Path) -> str | None:
    """What is wrong with a file of pooled features; None if nothing is."""
    try:
        with safe_open(path, framework="pt") as file:
            told = (file.metadata() or {}).get("sha256")
            if told == _digest({name: file.get_tensor(name) for name in file.keys()}):  # noqa: SIM118
                return None
    except (SafetensorError, OSError) as error:
        return f"{path}: {error}; delete it, it is computed again when it is needed"
    return f"{path}: its contents have changed; delete it, it is computed again when it is needed"


def _of_shard(shard: Shard, kind: Pooling, layer: int) -> torch.Tensor:
    path = shard.path.parent / FOLDER / f"{shard.name}-layer_{layer}.safetensors"
    if (kept := _kept(path, shard, kind)) is not None:
        return kept
    rows = Mapped([Place(shard, row) for row in range(len(shard.sidecar.rows))], layer)
    blocks = [pool(block) for block in rows.blocks()]
    tensors = {name: torch.cat([block[name] for block in blocks]) for name in get_args(Pooling)}
    _keep(path, shard, tensors)
    return tensors[kind]


def _kept(path: Path, shard: Shard, kind: Pooling) -> torch.Tensor | None:
    """None if there is no such file, or one that was made of something else."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("shard") != shard.sidecar.sha256:
                return None
            return file.get_tensor(kind).clone()
    except SafetensorError:
        return None


def _keep(path: Path, shard: Shard, tensors: dict[str, torch.Tensor]) -> None:
    metadata = {"shard": shard.sidecar.sha256, "sha256": _digest(tensors)}
    try:
        write_whole(path, save(tensors, metadata))
    except (StoreError, OSError) as error:
        # a store that can only be read, or a full disk: nothing is lost but the time to compute them again
        reason = error.__cause__ if isinstance(error, StoreError) else error
        if getattr(reason, "errno", None) not in (
            errno.EROFS,
            errno.EACCES,
            errno.EPERM,
            errno.ENOSPC,
            errno.EDQUOT,
        ):
            raise


def _digest(tensors: dict[str, torch.Tensor]) -> str:
    whole = hashlib.sha256()
    for name in sorted(tensors):
        whole.update(tensors[name].contiguous().numpy().tobytes())
    return whole.hexdigest()
