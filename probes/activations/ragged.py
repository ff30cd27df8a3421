"""Activations of many conversations without padding: one array of tokens per layer, and where rows begin."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch


class Block(NamedTuple):
    """Some whole rows, read into memory."""

    values: torch.Tensor
    """[tokens, hidden], float32."""

    offsets: torch.Tensor
    """[rows + 1], int64: row i has tokens offsets[i] to offsets[i + 1]."""

    rows: np.ndarray
    """[rows], int64: numbers of the rows in the whole."""


class Ragged:
    """One layer (or several, side by side) of many rows' activations, in chunks that may be memory-mapped.

    Args:
        chunks: Each [tokens, hidden], any float type; whole rows each.
        offsets: For each chunk [rows + 1], int64.
        order: Rows asked for, as (chunk, row in the chunk); all in order if not given.

    Raises:
        ValueError: Shapes that do not fit together, or a row without tokens.
    """

    def __init__(
        self,
        chunks: Sequence[torch.Tensor],
        offsets: Sequence[np.ndarray],
        order: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        if len(chunks) != len(offsets):
            raise ValueError(f"{len(chunks)} chunks but {len(offsets)} lists of offsets")
        for number, (chunk, starts) in enumerate(zip(chunks, offsets, strict=True)):
            if starts[0] != 0 or starts[-1] != len(chunk):
                raise ValueError(f"chunk {number} has {len(chunk)} tokens, its offsets end at {starts[-1]}")
        self.chunks = list(chunks)
        self.offsets = [np.asarray(o, dtype=np.int64) for o in offsets]
        self.order = (
            [(c, r) for c, starts in enumerate(offsets) for r in range(len(starts) - 1)]
            if order is None
            else list(order)
        )
        self.lengths = np.array(
            [self._span(c, r)[1] - self._span(c, r)[0] for c, r in self.order], dtype=np.int64
        )
        """[rows], tokens of each row."""
        if len(self.order) and self.lengths.min() < 1:
            raise ValueError(f"row {int(self.lengths.argmin())} has no tokens")

    @classmethod
    def from_rows(cls, rows: Sequence[torch.Tensor]) -> "Ragged":
        """From one [tokens, hidden] array per row."""
        offsets = np.cumsum([0, *(len(r) for r in rows)])
        return cls([torch.cat(list(rows))], [offsets])

    def __len__(self) -> int:
        return len(self.order)

    @property
    def hidden(self) -> int:
        """Width of a token's vector."""
        return int(self.chunks[0].shape[1]) if self.chunks else 0

    @property
    def tokens(self) -> int:
        """Of all rows together."""
        return int(self.lengths.sum())

    def row(self, number: int) -> torch.Tensor:
        """[tokens, hidden], float32; a copy."""
        chunk, place = self.order[number]
        start, end = self._span(chunk, place)
        return self.chunks[chunk][start:end].to(torch.float32, copy=True)

    def take(self, rows: Sequence[int] | np.ndarray) -> "Ragged":
        """Some rows, in the order given; nothing is copied."""
        return Ragged(self.chunks, self.offsets, [self.order[int(i)] for i in rows])

    def blocks(self, max_tokens: int = 16384, order: Sequence[int] | None = None) -> Iterator[Block]:
        """All rows in blocks of at most `max_tokens` (one row at least), as float32.

        Neighbours in a chunk are read in one piece.

        Args:
            max_tokens: Bound of a block.
            order: Numbers of the rows, e.g. shuffled; in order if not given.
        """
        numbers = range(len(self)) if order is None else order
        block: list[int] = []
        size = 0
        for number in numbers:
            length = int(self.lengths[number])
            if block and size + length > max_tokens:
                yield self._read_block(block)
                block, size = [], 0
            block.append(int(number))
            size += length
        if block:
            yield self._read_block(block)

    def _read_block(self, numbers: list[int]) -> Block:
        spans = [(self.order[n][0], *self._span(*self.order[n])) for n in numbers]
        pieces: list[tuple[int, int, int]] = []
        for chunk, start, end in spans:
            if pieces and pieces[-1][0] == chunk and pieces[-1][2] == start:
                pieces[-1] = (chunk, pieces[-1][1], end)
            else:
                pieces.append((chunk, start, end))
        values = torch.empty(sum(end - start for _, start, end in pieces), self.hidden, dtype=torch.float32)
        at = 0
        for chunk, start, end in pieces:
            # converted while it is copied, and only once
            values[at : at + end - start].copy_(self.chunks[chunk][start:end])
            at += end - start
        offsets = torch.from_numpy(np.cumsum([0, *(end - start for _, start, end in spans)]))
        return Block(values, offsets, np.array(numbers, dtype=np.int64))

    def _span(self, chunk: int, row: int) -> tuple[int, int]:
        return int(self.offsets[chunk][row]), int(self.offsets[chunk][row + 1])
