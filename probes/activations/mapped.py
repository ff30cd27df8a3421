"""Activations that are read from shards block by block, so that memory does not grow with the store."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from probes.activations.ragged import Block, Ragged
from probes.activations.shards.shard import Shard

LARGE_PAGE = 2**21
"""Bytes. So much of a file may become this process's memory when a single byte of it is read."""

RENEW_AFTER = 2**27
"""Bytes of memory, in large pages, that the maps of a layer may take up before they are made anew."""


class Place(NamedTuple):
    """Where a row is stored."""

    shard: Shard
    row: int
    """Number of the row in the shard."""


class Maps:
    """Memory maps of one layer of some shards, made anew before they take up too much memory."""

    def __init__(self, shards: Sequence[Shard], layer: int) -> None:
        self._shards, self._layer = list(shards), layer
        self._touched: set[tuple[int, int]] = set()
        self.tensors = [shard.layer(layer) for shard in shards]
        """[tokens, hidden] of each shard. The list stays the same, its tensors do not."""

    def read(self, chunk: int, start: int, end: int) -> None:
        """Say which tokens of a shard were read."""
        width = self.tensors[chunk].shape[1] * self.tensors[chunk].element_size()
        pages = range(start * width // LARGE_PAGE, (end * width - 1) // LARGE_PAGE + 1)
        self._touched.update((chunk, page) for page in pages)

    def renew(self) -> None:
        """Let go of maps that take up too much; their memory is free when nobody else holds them."""
        if len(self._touched) * LARGE_PAGE < RENEW_AFTER:
            return
        for chunk in {chunk for chunk, _ in self._touched}:
            self.tensors[chunk] = self._shards[chunk].layer(self._layer)
        self._touched.clear()


class Mapped(Ragged):
    """One layer of rows that lie in shards.

    Args:
        places: Of each row.
        layer: That all those shards hold.
    """

    def __init__(self, places: Sequence[Place], layer: int) -> None:
        shards = list({place.shard.name: place.shard for place in places}.values())
        number = {shard.name: i for i, shard in enumerate(shards)}
        maps = Maps(shards, layer)
        order = [(number[place.shard.name], place.row) for place in places]
        super().__init__(maps.tensors, [shard.offsets for shard in shards], order)
        self._share(maps)

    def _share(self, maps: Maps) -> None:
        self._maps = maps
        self.chunks = maps.tensors

    def row(self, number: int) -> torch.Tensor:
        """[tokens, hidden], float32; a copy."""
        values = super().row(number)
        self._was_read([number])
        return values

    def take(self, rows: Sequence[int] | np.ndarray) -> "Mapped":
        """Some rows, in the order given; the maps are shared."""
        taken = object.__new__(Mapped)
        Ragged.__init__(taken, self.chunks, self.offsets, [self.order[int(i)] for i in rows])
        taken._share(self._maps)
        return taken

    def _read_block(self, numbers: list[int]) -> Block:
        block = super()._read_block(numbers)
        self._was_read(numbers)
        return block

    def _was_read(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            chunk, row = self.order[number]
            self._maps.read(chunk, *self._span(chunk, row))
        self._maps.renew()


class SideBySide(Ragged):
    """Several layers of the same rows: a token's vectors one after the other, joined block by block.

    Args:
        parts: Rows of the same lengths each.

    Raises:
        ValueError: No parts, or rows that differ in length.
    """

    def __init__(self, parts: Sequence[Ragged]) -> None:
        if not parts:
            raise ValueError("no layers asked for")
        for part in parts[1:]:
            if not np.array_equal(part.lengths, parts[0].lengths):
                raise ValueError("the layers hold different numbers of tokens for the same rows")
        self.parts = list(parts)
        super().__init__(parts[0].chunks, parts[0].offsets, parts[0].order)
        # the list, not a copy: a copy would hold on to maps that are made anew
        self.chunks = parts[0].chunks

    @property
    def hidden(self) -> int:
        """Of all parts together."""
        return sum(part.hidden for part in self.parts)

    def row(self, number: int) -> torch.Tensor:
        """[tokens, hidden of all parts], float32."""
        return torch.cat([part.row(number) for part in self.parts], dim=1)

    def take(self, rows: Sequence[int] | np.ndarray) -> "SideBySide":
        """Some rows, in the order given; nothing is copied."""
        return SideBySide([part.take(rows) for part in self.parts])

    def _read_block(self, numbers: list[int]) -> Block:
        blocks = [part._read_block(numbers) for part in self.parts]
        return blocks[0]._replace(values=torch.cat([block.values for block in blocks], dim=1))


class Activations:
    """Stored activations of some rows, in the order asked for. Nothing is read until it is used.

    Args:
        row_keys: Of the rows; the same key may come twice.
        places: For each layer, where each of the rows lies.
    """

    def __init__(self, row_keys: Sequence[str], places: Mapping[int, Sequence[Place]]) -> None:
        self.row_keys = list(row_keys)
        self._places = {number: list(places[number]) for number in sorted(places)}

    def __len__(self) -> int:
        return len(self.row_keys)

    @property
    def available(self) -> list[int]:
        """Layers that can be read."""
        return list(self._places)

    @property
    def lengths(self) -> np.ndarray:
        """[rows], int64, tokens of each."""
        offsets = [(place.shard.offsets, place.row) for place in self._sides]
        return np.array([starts[row + 1] - starts[row] for starts, row in offsets], dtype=np.int64)

    def layer(self, number: int) -> Ragged:
        """One layer.

        Raises:
            ValueError: A layer that was not opened.
            StoreError: A shard is damaged.
        """
        if number not in self._places:
            raise ValueError(f"layer {number} was not opened; there are {self.available}")
        return Mapped(self._places[number], number)

    def layers(self, numbers: Sequence[int]) -> Ragged:
        """Several layers side by side, in the order given; hidden sizes add up."""
        return self.layer(numbers[0]) if len(numbers) == 1 else SideBySide([self.layer(n) for n in numbers])

    def take(self, rows: Sequence[int] | np.ndarray) -> "Activations":
        """Some rows, in the order given."""
        chosen = [int(i) for i in rows]
        places = {number: [of[i] for i in chosen] for number, of in self._places.items()}
        return Activations([self.row_keys[i] for i in chosen], places)

    def token_ids(self, row: int) -> np.ndarray:
        """[tokens], int32."""
        return self._side(row, "token_ids")

    def message(self, row: int) -> np.ndarray:
        """[tokens], int32: number of the message that a token belongs to, -1 if none."""
        return self._side(row, "message")

    def role(self, row: int) -> np.ndarray:
        """[tokens], uint8, code in `activations.ROLES`."""
        return self._side(row, "role")

    @property
    def _sides(self) -> list[Place]:
        return next(iter(self._places.values()), [])

    def _side(self, row: int, name: str) -> np.ndarray:
        place = self._sides[row]
        return place.shard.of_tokens(name, place.row)
