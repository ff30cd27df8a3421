"""The activations of one capture spec: a folder of shards that any number of processes may add to."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch

from probes.activations import pooled_features
from probes.activations.capture_spec import CaptureSpec
from probes.activations.mapped import Activations, Place
from probes.activations.pooled_features import Pooling
from probes.activations.shards.locks import alone_in, writing
from probes.activations.shards.shard import Shard, finished, read_shard
from probes.activations.shards.writing_shards import CapturedRow, collect, problem, save_shard, write_shard
from probes.activations.whole_files import StoreError


class Contents(NamedTuple):
    """What an entry holds."""

    layers: dict[int, int]
    """Layer -> rows that have it, in order."""

    rows: int
    """Different ones."""

    tokens: int
    """Of those rows."""

    shards: int
    bytes: int
    """Of the shards, with what is stored twice and what is kept beside them."""


class StoredSpec:
    """The activations of one spec: a folder of shards that any number of processes may add to.

    Args:
        folder: `<root>/<spec.key>`.
        spec: What it holds.
    """

    def __init__(self, folder: Path, spec: CaptureSpec) -> None:
        self.folder, self.spec = folder, spec
        self._shards: dict[str, Shard] = {}
        self._index: dict[int, dict[str, Place]] = {}

    def missing(self, row_keys: Sequence[str], layers: Sequence[int]) -> list[str]:
        """Rows that some of the layers are not stored of, each once, in the order given."""
        self._refresh()
        known = [self._index.get(number, {}) for number in layers]
        return [key for key in dict.fromkeys(row_keys) if not all(key in places for places in known)]

    def problem(self, row: CapturedRow) -> str | None:
        """Why a row cannot be stored: no tokens, NaN, or beyond the range of the stored type."""
        return problem(row, self.spec.dtype)

    def write(self, rows: Sequence[CapturedRow]) -> None:
        """Add rows as one shard, which is there whole or not at all. Safe beside other writers.

        A row that is there already is stored again, but read once; `missing` says what need not be written.

        Raises:
            ValueError: Rows that do not fit together or that `problem` objects to; names the row.
            StoreError: The disk is full.
        """
        if rows:
            write_shard(self.folder, rows, self.spec.dtype)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """While a capture goes on: nobody deletes anything of the entry between two of its shards."""
        with writing(self.folder):
            yield

    def open(self, row_keys: Sequence[str], layers: Sequence[int]) -> Activations:
        """Rows in the order given, a key as often as it is given.

        Raises:
            StoreError: Rows that are not stored: how many, and the first of them.
            ValueError: No layers.
        """
        if not layers:
            raise ValueError("which layers? None were asked for")
        return Activations(row_keys, {number: self._places(row_keys, number) for number in layers})

    def pooled(self, kind: Pooling, row_keys: Sequence[str], layer: int) -> torch.Tensor:
        """[rows, hidden], float32: mean, last or maximum over the tokens of each row.

        Computed once for a shard and kept beside it.

        Raises:
            StoreError: Rows that are not stored.
        """
        return pooled_features.pooled(self._places(row_keys, layer), kind, layer)

    def layers_of(self, row_keys: Sequence[str]) -> list[int]:
        """Layers that all of these rows have."""
        self._refresh()
        return [n for n in sorted(self._index) if all(key in self._index[n] for key in row_keys)]

    def contents(self) -> Contents:
        """Counted from the sidecars; no shard is opened but for its offsets."""
        self._refresh()
        places = {key: place for of in self._index.values() for key, place in of.items()}
        paths = [
            p for s in self._shards.values() for p in (s.path, *pooled_features.files_of(s)) if p.exists()
        ]
        return Contents(
            {number: len(self._index[number]) for number in sorted(self._index)},
            len(places),
            sum(int(p.shard.offsets[p.row + 1] - p.shard.offsets[p.row]) for p in places.values()),
            len(self._shards),
            sum(path.stat().st_size for path in paths),
        )

    def verify(self) -> list[str]:
        """Everything that is wrong with the entry's files, reading all of them."""
        return [what for what, _ in self._damaged()]

    def delete_damaged(self) -> list[str]:
        """Remove the files that `verify` objects to; returns what was wrong with each.

        Raises:
            StoreError: Another process is writing to the entry, or it holds a symbolic link.
        """
        with alone_in(self.folder):
            found = self._damaged()
            for _, file in found:
                _delete(file)
        collect(self.folder)
        self._refresh()
        return [what for what, _ in found]

    def delete_layers(self, layers: Sequence[int]) -> None:
        """Remove some layers. Shards that hold others too are written again without them.

        Raises:
            StoreError: A layer that is not stored, another process is writing to the entry, or it holds a
                symbolic link.
        """
        with alone_in(self.folder):
            self._delete_layers(layers)

    def _delete_layers(self, layers: Sequence[int]) -> None:
        self._refresh()
        if lacking := set(layers) - set(self._index):
            raise StoreError(f"{self.folder}: no layer {min(lacking)}; there are {sorted(self._index)}")
        for shard in list(self._shards.values()):
            kept = [number for number in shard.sidecar.layers if number not in layers]
            if len(kept) == len(shard.sidecar.layers):
                continue
            if kept:
                save_shard(
                    self.folder, shard.sidecar.rows, shard.without(layers), self.spec.dtype, alone=True
                )
            _delete(shard)
        self._refresh()

    def _places(self, row_keys: Sequence[str], layer: int) -> list[Place]:
        if lacking := self.missing(row_keys, [layer]):
            raise StoreError(
                f"{self.folder}: {len(lacking)} of {len(set(row_keys))} rows have no layer {layer}, first "
                f"{', '.join(lacking[:3])}; the same capture again computes what is missing"
            )
        return [self._index[layer][key] for key in row_keys]

    def _refresh(self) -> None:
        """Look for shards of other processes. Of a row that is stored twice the earliest shard counts."""
        names = finished(self.folder)
        if names == list(self._shards):
            return
        shards = {name: self._shards.get(name) or read_shard(self.folder, name) for name in names}
        self._shards = {name: shard for name, shard in shards.items() if shard is not None}
        self._index = {}
        for shard in self._shards.values():
            for number in shard.sidecar.layers:
                places = self._index.setdefault(number, {})
                for row, key in enumerate(shard.sidecar.rows):
                    places.setdefault(key, Place(shard, row))

    def _damaged(self) -> list[tuple[str, Shard | Path]]:
        found: list[tuple[str, Shard | Path]] = []
        for name in finished(self.folder):
            try:
                shard = read_shard(self.folder, name)
            except StoreError as error:
                found.append((str(error), self.folder / f"{name}.json"))
                continue
            if shard is not None and (what := shard.check() or self._foreign(shard)):
                found.append((what, shard))
        beside = (self.folder / pooled_features.FOLDER).glob("*.safetensors")
        return found + [(what, path) for path in sorted(beside) if (what := pooled_features.damaged(path))]

    def _foreign(self, shard: Shard) -> str | None:
        if shard.sidecar.dtype != self.spec.dtype:
            return f"{shard.path}: stored as {shard.sidecar.dtype}, the entry says {self.spec.dtype}"
        return None


def _delete(file: Shard | Path) -> None:
    """A shard with what is kept beside it, or a single file."""
    if isinstance(file, Path):
        file.unlink(missing_ok=True)
        return
    for beside in pooled_features.files_of(file):
        beside.unlink(missing_ok=True)
    file.delete()
