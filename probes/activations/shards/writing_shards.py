"""Writing shards: whole or not there, by any number of processes."""

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from probes.activations.capture_spec import StoredType
from probes.activations.shards.contents import ROWS, SIDES, rows_digest
from probes.activations.shards.locks import writing
from probes.activations.shards.shard import DTYPES, Shard, Sidecar, finished
from probes.activations.whole_files import digest, flushed, no_part_left, unique_name
from probes.tokens.roles import ROLES

UNFINISHED = ".unfinished"


class CapturedRow(NamedTuple):
    """One conversation's tokens that are kept, before they are stored."""

    key: str
    """Of what went through the model, and which of its tokens are kept."""

    token_ids: np.ndarray
    """[tokens], int32."""

    message: np.ndarray
    """[tokens], int32: number of the token's message, -1 if it belongs to none."""

    role: np.ndarray
    """[tokens], uint8: code in `activations.ROLES`."""

    layers: dict[int, torch.Tensor]
    """Layer -> [tokens, hidden], any float type, any device."""


def write_shard(folder: Path, rows: Sequence[CapturedRow], dtype: StoredType) -> Shard:
    """Write some rows as one shard. Of a row that is given twice the first is written.

    Raises:
        ValueError: Rows that do not fit together, or that `problem` objects to.
        StoreError: The disk is full; no part of the shard is left.
    """
    unique = list({row.key: row for row in reversed(rows)}.values())[::-1]
    _check_rows(unique, dtype)
    tensors = {
        f"layer_{n}": torch.cat([_stored(row.layers[n], dtype) for row in unique]) for n in unique[0].layers
    }
    sides = {name: torch.from_numpy(np.concatenate([getattr(r, name) for r in unique])) for name in SIDES}
    tensors["token_ids"] = sides["token_ids"].to(torch.int32)
    tensors["message"] = _smallest(sides["message"])
    tensors["role"] = sides["role"].to(torch.uint8)
    tensors["offsets"] = torch.from_numpy(np.cumsum([0, *(len(r.token_ids) for r in unique)], dtype=np.int64))
    return save_shard(folder, [row.key for row in unique], tensors, dtype)


def save_shard(
    folder: Path,
    keys: Sequence[str],
    tensors: Mapping[str, torch.Tensor],
    dtype: StoredType,
    *,
    alone: bool = False,
) -> Shard:
    """Write a shard's tensors and its sidecar, each whole or not there, the sidecar last.

    Args:
        folder: Of the entry.
        keys: Of the rows, in their order.
        tensors: By name.
        dtype: Of the layers.
        alone: Who calls holds the entry's lock for itself; to ask for a share of it would wait for ever.
    """
    layers = sorted(int(name.removeprefix("layer_")) for name in tensors if name.startswith("layer_"))
    path = folder / f"shard-{unique_name()}.safetensors"
    part = folder / UNFINISHED / path.name
    part_sidecar = part.with_suffix(".json")
    with nullcontext() if alone else writing(folder), no_part_left(path, part, part_sidecar):
        part.parent.mkdir(exist_ok=True)
        _save(tensors, part, keys)
        sidecar = Sidecar(
            layers=layers,
            hidden=tensors[f"layer_{layers[0]}"].shape[1],
            dtype=dtype,
            tokens=int(tensors["offsets"][-1]),
            bytes=part.stat().st_size,
            sha256=digest(part),
            rows=list(keys),
        )
        part_sidecar.write_text(sidecar.model_dump_json(), encoding="utf-8")
        # safetensors gives its files to their owner alone, whatever the umask
        part.chmod(part_sidecar.stat().st_mode)
        finish(part, part_sidecar, folder)
    return Shard(path, sidecar)


def finish(part: Path, part_sidecar: Path, folder: Path) -> None:
    """Give a shard and then its sidecar their names, each once it is on the disk."""
    for unfinished in (part, part_sidecar):
        flushed(unfinished)
        unfinished.rename(folder / unfinished.name)
        flushed(folder)


def problem(row: CapturedRow, dtype: StoredType) -> str | None:
    """Why a row cannot be stored: no tokens, or values that are not finite in the stored type."""
    if not len(row.token_ids):
        return "no tokens"
    for number, values in row.layers.items():
        if torch.isfinite(_stored(values, dtype)).all():
            continue
        if not torch.isfinite(values).all():
            return f"layer {number} has NaN or infinite activations"
        return f"layer {number} has activations beyond the range of {dtype}; bfloat16 and float32 have more"
    return None


def collect(folder: Path) -> int:
    """Remove what was never finished, unless somebody is writing just now; returns the number of files."""
    kept = set(finished(folder))
    if not (folder / UNFINISHED).is_dir() and all(p.stem in kept for p in folder.glob("shard-*.safetensors")):
        return 0
    if not os.access(folder, os.W_OK):
        return 0
    with writing(folder, alone=True) as alone:
        if not alone:
            return 0
        kept = set(finished(folder))
        left = [p for p in folder.glob("shard-*.safetensors") if p.stem not in kept]
        count = len(left) + len(list((folder / UNFINISHED).glob("*")))
        for path in left:
            path.unlink()
        shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
        return count


def _check_rows(rows: Sequence[CapturedRow], dtype: StoredType) -> None:
    if not rows:
        raise ValueError("a shard needs at least one row")
    layers, hidden = set(rows[0].layers), {v.shape[-1] for v in rows[0].layers.values()}
    if not layers or len(hidden) != 1:
        raise ValueError(f"row {rows[0].key}: layers {sorted(layers)} with hidden sizes {sorted(hidden)}")
    for row in rows:
        if not re.fullmatch(r"[0-9A-Za-z_.-]+", row.key):
            raise ValueError(f"row key {row.key!r}: letters, digits, '_', '.' and '-' only")
        if set(row.layers) != layers:
            raise ValueError(f"row {row.key}: has layers {sorted(row.layers)}, others {sorted(layers)}")
        shapes = {n: tuple(v.shape) for n, v in row.layers.items()}
        expected = (len(row.token_ids), *hidden)
        if wrong := {n: s for n, s in shapes.items() if s != expected}:
            raise ValueError(f"row {row.key}: layers must be {expected}, got {wrong}")
        if not len(row.token_ids) == len(row.message) == len(row.role):
            raise ValueError(f"row {row.key}: token ids, messages and roles differ in length")
        if len(row.role) and int(row.role.max()) >= len(ROLES):
            raise ValueError(f"row {row.key}: role {int(row.role.max())}; codes end at {len(ROLES) - 1}")
        if why := problem(row, dtype):
            raise ValueError(f"row {row.key}: {why}")


def _stored(values: torch.Tensor, dtype: StoredType) -> torch.Tensor:
    return values.detach().to("cpu", DTYPES[dtype])


def _smallest(values: torch.Tensor) -> torch.Tensor:
    """Numbers of messages fit into one byte in nearly all conversations."""
    largest = int(values.max())
    return values.to(torch.int8 if largest < 2**7 else torch.int16 if largest < 2**15 else torch.int32)


def _save(tensors: Mapping[str, torch.Tensor], path: Path, keys: Sequence[str]) -> None:
    try:
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()}, path, {ROWS: rows_digest(keys)}
        )
    except SafetensorError as error:
        # the library tells the number of the system's error only in words
        if number := re.search(r"os error (\d+)", str(error)):
            code = int(number[1])
            raise OSError(code, os.strerror(code), str(path)) from error
        raise
