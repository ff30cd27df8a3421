"""Shards: activations of some rows in one safetensors file, with a JSON sidecar that says it is complete.

A shard holds `layer_<L>` [tokens, hidden] for each of its layers, and for every token `token_ids`, `message`
and `role`; `offsets` [rows + 1] say where rows begin. Both files are written in a folder for unfinished ones
and renamed, the sidecar last: a shard without a sidecar was never finished, and is not read.
"""

import fcntl
import json
import os
import re
import shutil
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import save_file

from probes.activations.capture_spec import StoredType
from probes.activations.whole_files import StoreError, digest, flushed, no_part_left, unique_name
from probes.tokens.roles import ROLES
from scenarios.schema import Frozen

DTYPES: dict[StoredType, torch.dtype] = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
}
HEADER_TYPES = {
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
}
"""Names of the safetensors format. Source: its documentation, section Format."""

REPAIR = (
    "`python probes/store.py delete ROOT KEY --damaged` removes it, the same capture computes its rows again"
)
UNFINISHED = ".unfinished"
LOCK = ".lock"


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


class Sidecar(Frozen):
    """What a shard holds, and what its file must be."""

    layers: list[int]
    hidden: int
    dtype: StoredType
    tokens: int
    bytes: int
    """Of the whole file."""

    sha256: str
    """Of the whole file."""

    rows: list[str] = Field(min_length=1)
    """Keys, in the order of the file."""


class Shard:
    """A finished shard, read through memory maps: opening it reads only its header.

    Args:
        path: Of the safetensors file.
        sidecar: What stands beside it.
    """

    def __init__(self, path: Path, sidecar: Sidecar) -> None:
        self.path = path
        self.sidecar = sidecar

    @property
    def name(self) -> str:
        """Unique in its folder; sorts by the time of writing."""
        return self.path.stem

    def layer(self, number: int) -> torch.Tensor:
        """[tokens, hidden] in the stored type, newly mapped: its pages are freed with the tensor.

        Must not be written to: other readers of the map would see it, the file would not.

        Raises:
            StoreError: The file is not what the sidecar says.
        """
        return self._mapped(f"layer_{number}")

    @cached_property
    def offsets(self) -> np.ndarray:
        """[rows + 1], int64."""
        return self._mapped("offsets").numpy().copy()

    def of_tokens(self, name: str, row: int) -> np.ndarray:
        """`token_ids` (int32), `message` (int32) or `role` (uint8) of a row's tokens."""
        part = self._mapped(name)[int(self.offsets[row]) : int(self.offsets[row + 1])]
        return part.numpy().astype(np.uint8 if name == "role" else np.int32, copy=True)

    def without(self, layers: Sequence[int]) -> dict[str, torch.Tensor]:
        """All tensors but those of some layers, mapped."""
        dropped = {f"layer_{number}" for number in layers}
        return {name: self._mapped(name) for name in self._header if name not in dropped}

    def check(self) -> str | None:
        """What is wrong with the file, reading all of it; None if nothing is."""
        try:
            self._check_size()
            if digest(self.path) != self.sidecar.sha256:
                return f"{self.path}: its contents have changed (SHA-256 differs)"
            if set(self._header) != {*_SIDES, "offsets", *(f"layer_{n}" for n in self.sidecar.layers)}:
                return f"{self.path}: holds {sorted(self._header)}, not the layers that its sidecar names"
        except StoreError as error:
            return str(error)
        return None

    def delete(self) -> None:
        """The sidecar first, so that no reader takes what is half gone for a shard."""
        self.path.with_suffix(".json").unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def _check_size(self) -> None:
        if not self.path.exists():
            raise StoreError(f"{self.path}: is gone, but its sidecar is there; {REPAIR}")
        size = self.path.stat().st_size
        if size != self.sidecar.bytes:
            what = "truncated" if size < self.sidecar.bytes else "changed"
            raise StoreError(f"{self.path}: {what}, {size} bytes instead of {self.sidecar.bytes}; {REPAIR}")

    @cached_property
    def _header(self) -> dict[str, tuple[torch.dtype, list[int], int]]:
        """Tensor -> type, shape, first byte in the file."""
        self._check_size()
        try:
            with self.path.open("rb") as file:
                length = struct.unpack("<Q", file.read(8))[0]
                if length > self.sidecar.bytes:
                    raise ValueError(f"header of {length} bytes")
                entries: dict[str, Any] = json.loads(file.read(length))
            entries.pop("__metadata__", None)
            return {
                name: (HEADER_TYPES[e["dtype"]], e["shape"], 8 + length + e["data_offsets"][0])
                for name, e in entries.items()
            }
        except (struct.error, ValueError, KeyError, TypeError, IndexError) as error:
            raise StoreError(f"{self.path}: no safetensors header that can be read: {error}") from error

    def _mapped(self, name: str) -> torch.Tensor:
        self._check_size()
        if name not in self._header:
            raise StoreError(f"{self.path}: holds no {name}; it has {sorted(self._header)}")
        dtype, shape, start = self._header[name]
        # unlike Python's own maps this one keeps no file descriptor, of which there may be 1024
        storage: Any = torch.UntypedStorage.from_file(str(self.path), shared=False, nbytes=self.sidecar.bytes)
        strides = torch.empty(shape, device="meta").stride()
        return torch.empty(0, dtype=dtype).set_(storage, start // dtype.itemsize, tuple(shape), strides)


_SIDES = ("token_ids", "message", "role")


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
    sides = {name: torch.from_numpy(np.concatenate([getattr(r, name) for r in unique])) for name in _SIDES}
    tensors["token_ids"] = sides["token_ids"].to(torch.int32)
    tensors["message"] = _smallest(sides["message"])
    tensors["role"] = sides["role"].to(torch.uint8)
    tensors["offsets"] = torch.from_numpy(np.cumsum([0, *(len(r.token_ids) for r in unique)], dtype=np.int64))
    return save_shard(folder, [row.key for row in unique], tensors, dtype)


def save_shard(
    folder: Path, keys: Sequence[str], tensors: Mapping[str, torch.Tensor], dtype: StoredType
) -> Shard:
    """Write a shard's tensors and its sidecar, each whole or not there, the sidecar last."""
    layers = sorted(int(name.removeprefix("layer_")) for name in tensors if name.startswith("layer_"))
    path = folder / f"shard-{unique_name()}.safetensors"
    part = folder / UNFINISHED / path.name
    part_sidecar = part.with_suffix(".json")
    with writing(folder), no_part_left(path, part, part_sidecar):
        part.parent.mkdir(exist_ok=True)
        _save(tensors, part)
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


def finished(folder: Path) -> list[str]:
    """Names of the complete shards of an entry, the earliest first."""
    return sorted(p.stem for p in folder.glob("shard-*.json"))


def read_shard(folder: Path, name: str) -> Shard | None:
    """A complete shard; None if it was deleted just now.

    Raises:
        StoreError: Its sidecar cannot be read.
    """
    path = folder / f"{name}.json"
    try:
        sidecar = Sidecar.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise StoreError(f"{path}: no sidecar of a shard ({error.errors()[0]['msg']}); {REPAIR}") from error
    return Shard(path.with_suffix(".safetensors"), sidecar)


@contextmanager
def writing(folder: Path, *, alone: bool = False) -> Iterator[bool]:
    """Say that shards are being written here. `alone`: nobody else may; False if somebody does.

    The lock goes with the process, however it ends.
    """
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


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


def _save(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    except SafetensorError as error:
        # the library tells the number of the system's error only in words
        if number := re.search(r"os error (\d+)", str(error)):
            code = int(number[1])
            raise OSError(code, os.strerror(code), str(path)) from error
        raise
