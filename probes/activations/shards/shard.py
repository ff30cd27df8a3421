"""A shard as it is read: what its sidecar says that it holds, and its tensors, mapped into memory."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError, safe_open

from probes.activations.capture_spec import StoredType
from probes.activations.shards.contents import (
    ROWS,
    SIDES,
    Part,
    misfit,
    rows_digest,
    unknown_role,
    wrong_offsets,
)
from probes.activations.whole_files import StoreError, digest
from scenarios.schema import Frozen

DTYPES: dict[StoredType, torch.dtype] = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
}
REPAIR = (
    "`python probes/store.py delete ROOT KEY --damaged` removes it, the same capture computes its rows again"
)


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
        """[rows + 1], int64, from 0 to the number of tokens."""
        offsets = self._mapped("offsets").numpy().copy()
        if wrong := wrong_offsets(offsets, self.sidecar.tokens):
            raise StoreError(f"{self.path}: {wrong}; {REPAIR}")
        return offsets

    @cached_property
    def _sides(self) -> dict[str, torch.Tensor]:
        """What is kept of every token, mapped once: a few bytes each."""
        return {name: self._mapped(name) for name in SIDES}

    def of_tokens(self, name: str, row: int) -> np.ndarray:
        """`token_ids` (int32), `message` (int32) or `role` (uint8) of a row's tokens."""
        self._check_size()
        part = self._sides[name][int(self.offsets[row]) : int(self.offsets[row + 1])]
        if name == "role" and (unknown := unknown_role(part.numpy())):
            raise StoreError(f"{self.path}: {unknown}; {REPAIR}")
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
            _ = self.offsets
            if unknown := unknown_role(self._mapped("role").numpy()):
                return f"{self.path}: {unknown}"
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
    def _header(self) -> dict[str, Part]:
        """Tensor -> what the file says of it, which fits the sidecar.

        Looked at before anything is read: what fits no sidecar would give the numbers of other rows.
        """
        self._check_size()
        try:
            with safe_open(self.path, framework="pt") as file:
                names = list(file.keys())
                parts = {
                    n: Part(t.dtype, list(t.shape))
                    for n, t in zip(names, map(file.get_tensor, names), strict=True)
                }
                wrong = self._misfit(parts, (file.metadata() or {}).get(ROWS))
        except (SafetensorError, OSError) as error:
            raise StoreError(f"{self.path}: no safetensors header that can be read: {error}") from error
        if wrong:
            raise StoreError(f"{self.path}: {wrong}; {REPAIR}")
        return parts

    def _misfit(self, parts: Mapping[str, Part], rows: str | None) -> str | None:
        sidecar = self.sidecar
        # shards of earlier versions do not say whose rows they are
        if rows is not None and rows != rows_digest(sidecar.rows):
            return "its sidecar names other rows, or the same in another order"
        if len(set(sidecar.rows)) != len(sidecar.rows):
            return "its sidecar names a row twice"
        return misfit(
            parts,
            layers=sidecar.layers,
            hidden=sidecar.hidden,
            dtype=DTYPES[sidecar.dtype],
            tokens=sidecar.tokens,
            rows=len(sidecar.rows),
        )

    def _mapped(self, name: str) -> torch.Tensor:
        self._check_size()
        if name not in self._header:
            raise StoreError(f"{self.path}: holds no {name}; it has {sorted(self._header)}")
        with safe_open(self.path, framework="pt") as file:
            return file.get_tensor(name)  # mapped; keeps no file descriptor, of which there may be 1024


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
