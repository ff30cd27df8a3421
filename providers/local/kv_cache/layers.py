"""What a model remembers of the rows of a batch: room to grow, rows picked out, passes put side by side.

Attention layers hold keys and values of every position, and a row that is shorter than others stands at
their right end, behind padding that is masked. Layers that keep a state (linear attention, state space, short
convolution) hold one of fixed size for each row; it has seen everything that went through the layer, and so
must never have seen padding.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch.nn.functional import pad
from transformers import Cache, DynamicCache, cache_utils
from transformers.cache_utils import (
    CacheLayerMixin,
    DummyLayer,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionCacheLayerMixin,
    LinearAttentionLayer,
)

from providers.local.kv_cache.prefixes import Layers, Piece


class KeptRows(NamedTuple):
    """What is kept of the rows of a pass, and where it goes."""

    pieces: list[list[Piece]]
    """Of each row, one behind the other; at least one row has some."""

    starts: list[int]
    """Position in the batch at which each row starts."""

    width: int
    """Positions of the batch after the pass; all rows end there."""


class GrowingLayer(DynamicLayer):
    """A cache layer with room on all sides, so that neither steps nor rows that come and go copy the others.

    Keys and values are views of two buffers. There is room behind for steps, before for a row that is longer
    than all others, and below for more rows; what nobody needs any more on the left is left out of the view.
    """

    ROOM = 128
    """Positions behind, when buffers are made."""

    BEFORE = 64
    """Positions before, once rows have come in between."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._buffers: list[torch.Tensor] = []
        """Of keys and values, shape (row, head, position, width)."""

        self._first = 0
        """Position in the buffers of the view's first."""

        self._own: torch.Tensor | None = None
        """Shape (row, 1, position, 1): which of the positions of the next pass are its rows' own."""

    def begin(self, kept: KeptRows, number: int, new_here: torch.Tensor) -> None:
        """Stand at the right end of a batch before its pass over what is new in each row.

        The pass goes over the last positions of all rows, as many as the longest new part has. A row with a
        shorter one has kept keys and values there already, which stay: nothing lies between what was kept
        and what is new, as the masks of sliding windows and chunks take for granted.

        Args:
            kept: Of each row, what stands before its new part.
            number: This layer's, from 0.
            new_here: Shape (row, position of the pass), true where a row has new tokens.
        """
        like = next(pieces[0].layers[number] for pieces in kept.pieces if pieces)
        if like is None:  # reads another layer's keys
            return
        self.lazy_initialization(*like)
        shape = len(kept.pieces), like[0].shape[0], kept.width + self.ROOM
        self._buffers, self._first = [held.new_zeros(*shape, held.shape[-1]) for held in like], 0
        for row, (pieces, start) in enumerate(zip(kept.pieces, kept.starts, strict=True)):
            at = start
            for piece in pieces:
                for buffer, held in zip(self._buffers, piece.layers[number] or (), strict=True):
                    buffer[row, :, at : at + piece.length] = held[:, : piece.length]
                at += piece.length
        self._look_at(len(kept.pieces), kept.width - new_here.shape[1])
        self._own = new_here[:, None, :, None].to(self._buffers[0].device)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append; returns all keys and values, shape (row, head, position, width)."""
        del args, kwargs
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        rows, old = key_states.shape[0], self.get_seq_length()
        new = old + key_states.shape[-2]
        if not self._buffers:
            held = (self.keys, self.values) if old else (None, None)
            self._buffers = [
                self._grown(h, s, new) for h, s in zip(held, (key_states, value_states), strict=True)
            ]
        elif self._buffers[0].shape[-2] < self._first + new:
            self._move(rows, self._first and self.BEFORE, new + self.ROOM)
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            there = buffer[:rows, :, self._first + old : self._first + new]
            there.copy_(states if self._own is None else torch.where(self._own, states, there))
        self._own = None
        self._look_at(rows, new)
        return self.keys, self.values  # pyright: ignore[reportReturnType]  # `lazy_initialization` made them

    def take_in(
        self, other: Any, rows: torch.Tensor, places: torch.Tensor, *, count: int, width: int, most: int
    ) -> None:
        """Put rows of another layer among one's own. All rows end at the right end.

        Args:
            other: The same layer of another batch.
            rows: Of that batch.
            places: Of these rows from now on; whoever was there is overwritten.
            count: Rows from now on; those of `places` are among them.
            width: Positions from now on.
            most: Rows that there will ever be.
        """
        if not self.is_initialized or not other.is_initialized:  # reads another layer's keys
            return
        old = self.get_seq_length()
        self._hold()
        room = len(self._buffers[0])
        if room < count or self._first < width - old:
            # half as many again: whoever comes next is likely not alone
            rows_then = room if room >= count else max(count, min(count + count // 2, most))
            self._move(rows_then, self.BEFORE + width - old, width + self.ROOM)
        first = self._first - (width - old)
        for buffer, held in zip(self._buffers, (other.keys, other.values), strict=True):
            buffer[:, :, first : self._first] = 0  # masked, but what is no number would come through
            length = min(width, held.shape[-2])
            at, of = places.to(buffer.device), rows.to(held.device)
            buffer[:, :, first : first + width - length].index_fill_(0, at, 0)
            own = held[:, :, -length:]
            there = buffer[:, :, first + width - length : first + width]
            there.index_copy_(0, at, own if len(of) == len(own) else own.index_select(0, of))
        self._first = first
        self._look_at(count, width)

    def move_rows(self, rows: torch.Tensor, places: torch.Tensor, count: int) -> None:
        """Let some rows be others from now on, and go on with the first `count`."""
        if not self.is_initialized:
            return
        self._hold()
        length = self.get_seq_length()
        if len(rows):
            for buffer in self._buffers:
                there = buffer[:, :, self._first : self._first + length]
                there[places.to(buffer.device)] = there[rows.to(buffer.device)]
        self._look_at(count, length)

    def trim(self, positions: int) -> None:
        """Leave out the first positions, which no row needs."""
        if self.is_initialized:
            self._hold()
            length = self.get_seq_length() - positions
            self._first += positions
            self._look_at(len(self.keys), length)  # pyright: ignore[reportArgumentType]

    def _hold(self) -> None:
        """Without buffers, keys and values are their own."""
        if not self._buffers and self.keys is not None and self.values is not None:
            self._buffers, self._first = [self.keys, self.values], 0

    def _look_at(self, rows: int, length: int) -> None:
        """Keys and values are so much of the buffers."""
        stop = self._first + length
        self.keys, self.values = (buffer[:rows, :, self._first : stop] for buffer in self._buffers)

    def _move(self, rows: int, before: int, behind: int) -> None:
        """Into larger buffers: so many rows, positions before the view, and positions from its first on."""
        moved = []
        for buffer, held in zip(self._buffers, (self.keys, self.values), strict=True):
            assert held is not None
            larger = buffer.new_empty(rows, buffer.shape[1], before + behind, buffer.shape[-1])
            larger[: len(held), :, before : before + held.shape[-2]] = held
            moved.append(larger)
        self._buffers, self._first = moved, before

    def _grown(self, held: torch.Tensor | None, states: torch.Tensor, length: int) -> torch.Tensor:
        buffer = states.new_empty(*states.shape[:2], length + self.ROOM, states.shape[-1])
        if held is not None:
            buffer[:, :, : held.shape[-2]] = held
        return buffer

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Keep some rows."""
        super().reorder_cache(beam_idx)  # pyright: ignore[reportArgumentType]  # of int64, as it wants
        self.forget_room()

    def forget_room(self) -> None:
        """After keys and values were put in from outside."""
        self._buffers, self._first = [], 0


class GrowingSlidingLayer(GrowingLayer):
    """The same for a sliding window or chunks: attention sees the window, and what slid out of it is kept.

    A later prompt may go on from any position, and needs the window before it.
    """

    is_sliding = True

    def __init__(self, sliding_window: int) -> None:
        super().__init__()
        self.sliding_window = sliding_window

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append; returns the keys and values that the new positions may see, as `get_mask_sizes` counts."""
        keys, values = super().update(key_states, value_states, *args, **kwargs)
        seen = self.sliding_window - 1 + key_states.shape[-2]
        return keys[:, :, -seen:], values[:, :, -seen:]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and first position of what `update` returns."""
        past = self.get_seq_length()
        seen = min(past, self.sliding_window - 1)
        return seen + query_length, past - seen


ATTENTION = (GrowingLayer, GrowingSlidingLayer, DummyLayer)
"""Layers that a mask keeps from seeing padding. A dummy one reads another layer's keys, or holds nothing."""

STATE = (
    LinearAttentionLayer,
    # not in every release
    *(
        getattr(cache_utils, name)
        for name in (
            "LinearAttentionAndFullAttentionLayer",
            "LinearAttentionAndSlidingWindowAttentionLayer",
        )
        if hasattr(cache_utils, name)
    ),
)
"""Layers that keep a state, alone or beside keys and values."""


def growing_cache(config: Any) -> DynamicCache:
    """The model's own kind of cache, its attention layers with room to grow."""
    cache = DynamicCache(config=config)
    cache.layers = [_growing(layer) for layer in cache.layers]
    return cache


def _growing(layer: Any) -> Any:
    if type(layer) is DynamicLayer:
        return GrowingLayer()
    return GrowingSlidingLayer(layer.sliding_window) if type(layer) is DynamicSlidingWindowLayer else layer


def begin(cache: DynamicCache, kept: KeptRows, new_here: torch.Tensor) -> None:
    """Put what was kept of a batch's rows into a new cache; see `GrowingLayer.begin`."""
    for number, layer in enumerate(cache.layers):
        if isinstance(layer, GrowingLayer):
            layer.begin(kept, number, new_here)


def states_of(cache: Cache, row: int, start: int, stop: int) -> Layers:
    """Keys and values of some positions of a row, which still are the cache's own."""
    return [_states_of(layer, row, start, stop) for layer in cache.layers]


def _states_of(layer: Any, row: int, start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor] | None:
    if not isinstance(layer, GrowingLayer) or layer.keys is None or layer.values is None:
        return None
    return layer.keys[row, :, start:stop], layer.values[row, :, start:stop]


def keeps_positions(cache: Cache) -> bool:
    """Whether any layer holds something for each position, for which a mask must be given."""
    return any(isinstance(layer, CacheLayerMixin) for layer in cache.layers)


def select_rows(cache: Cache, rows: torch.Tensor) -> None:
    """Make a cache hold these rows, in this order; a row may come more than once.

    `Cache.batch_select_indices` is for the same, but layers with a state do not have it, and those with both
    a state and keys have it for their keys alone.
    """
    cache.reorder_cache(rows)  # pyright: ignore[reportArgumentType]


def take_in(
    cache: DynamicCache, other: DynamicCache, rows: torch.Tensor, places: torch.Tensor, **sizes: int
) -> None:
    """Put rows of another cache of attention layers among a cache's own; see `GrowingLayer.take_in`."""
    for layer, its in zip(cache.layers, other.layers, strict=True):
        if isinstance(layer, GrowingLayer):
            layer.take_in(its, rows, places, **sizes)


def move_rows(cache: DynamicCache, rows: torch.Tensor, places: torch.Tensor, count: int) -> None:
    """Let some rows be others, and go on with the first `count`; see `GrowingLayer.move_rows`."""
    for layer in cache.layers:
        if isinstance(layer, GrowingLayer):
            layer.move_rows(rows, places, count)


def trim(cache: DynamicCache, positions: int) -> None:
    """Leave out the first positions, which are padding in all rows."""
    for layer in cache.layers:
        if isinstance(layer, GrowingLayer):
            layer.trim(positions)


def side_by_side(caches: Sequence[DynamicCache]) -> DynamicCache:
    """One cache of all rows of several, made by separate passes over the prompts without padding.

    Keys and values of a shorter pass move to the right end; what is left of them must be masked from now on.
    The caches are used up.
    """
    joined = caches[0]
    if len(caches) > 1:
        joined.layers = [_joined(layers) for layers in zip(*(c.layers for c in caches), strict=True)]
    return joined


def _joined(layers: Sequence[Any]) -> Any:
    """The first of these layers, with the rows of all."""
    joined = layers[0]
    if isinstance(joined, LinearAttentionCacheLayerMixin):
        _join_states(joined, layers)
    if isinstance(joined, DynamicLayer) and joined.is_initialized:
        _join_keys(joined, layers)
    return joined


def _join_states(joined: LinearAttentionCacheLayerMixin, layers: Sequence[Any]) -> None:
    for name in ("conv_states", "recurrent_states"):
        states: dict[int, torch.Tensor | None] = getattr(joined, name)
        for at, held in states.items():
            if held is not None:
                states[at] = torch.cat([getattr(layer, name)[at] for layer in layers])


def _join_keys(joined: DynamicLayer, layers: Sequence[Any]) -> None:
    longest = max(layer.keys.shape[-2] for layer in layers)
    keys, values = (
        torch.cat([pad(held, (0, 0, longest - held.shape[-2], 0)) for held in each])
        for each in ([layer.keys for layer in layers], [layer.values for layer in layers])
    )
    if isinstance(joined, DynamicSlidingWindowLayer):
        joined.cumulative_length = max(layer.cumulative_length for layer in layers)
    joined.keys, joined.values = keys, values
    if isinstance(joined, GrowingLayer):
        joined.forget_room()
