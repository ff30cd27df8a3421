"""Keys and values of what was read and said before, for prompts that begin with it.

A radix tree for each adapter, as in SGLang's RadixAttention (Zheng et al. 2024, arXiv:2312.07104): an edge
is a run of token ids with their keys and values, and sequences that begin alike share the edges of that. What
was used longest ago goes first when memory is full. Differs: it holds copies, so that no batch pins anything,
and beside keys and values it keeps the numbers that watchers made of the tokens.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch

logger = logging.getLogger(__name__)

Layers = list[tuple[torch.Tensor, torch.Tensor] | None]
"""Keys and values of some tokens by layer, each of shape (head, token, width); None: a layer without any."""

Numbers = Mapping[Any, torch.Tensor]
"""What each watcher made of the tokens of a sequence, shape (token, number), on the CPU."""

MEGABYTE = 2**20


class Piece(NamedTuple):
    """The first tokens of an edge."""

    length: int
    layers: Layers
    """Of the whole edge."""

    numbers: Numbers
    """Of the whole edge."""


class Found(NamedTuple):
    """The longest beginning of a prompt that is kept."""

    length: int
    pieces: list[Piece]

    def numbers(self, watcher: Any) -> list[torch.Tensor]:
        """What a watcher made of it, in pieces; it must have been asked for."""
        return [piece.numbers[watcher][: piece.length] for piece in self.pieces]


class _Edge:
    """A run of tokens, and what comes after it."""

    def __init__(
        self,
        parent: "_Edge | None",
        tokens: tuple[int, ...],
        layers: Layers,
        numbers: Numbers,
    ) -> None:
        self.parent, self.children = parent, dict[int, _Edge]()
        self.used = 0
        self.hold(tokens, layers, numbers)

    def hold(self, tokens: tuple[int, ...], layers: Layers, numbers: Numbers) -> None:
        """From now on these."""
        self.tokens, self.layers = tokens, layers
        self.numbers = WeakKeyDictionary[Any, torch.Tensor](numbers)  # a cache keeps nobody watching
        held = [tensor for pair in layers if pair is not None for tensor in pair]
        self.bytes = sum(tensor.nbytes for tensor in (*held, *numbers.values()))

    def part(self, start: int, stop: int) -> tuple[tuple[int, ...], Layers, Numbers]:
        """Some of its tokens with copies of what belongs to them."""
        layers = copies([pair and (pair[0][:, start:stop], pair[1][:, start:stop]) for pair in self.layers])
        numbers = {watcher: own[start:stop].clone() for watcher, own in self.numbers.items()}
        return self.tokens[start:stop], layers, numbers


class PrefixCache:
    """Bounded memory of sequences by adapter. Of one thread.

    Args:
        megabytes: Bound on keys, values and watchers' numbers together; 0 keeps nothing.
    """

    def __init__(self, megabytes: float) -> None:
        self._most = int(megabytes * MEGABYTE)
        self._megabytes = megabytes
        self._roots: dict[str, _Edge] = {}
        self._edges: OrderedDict[int, _Edge] = OrderedDict()
        """By identity, the one first that was used longest ago. None comes before one of its children."""

        self._batch = 0
        self._said = False
        self.bytes = 0
        """That are held."""

        self.tokens_read = 0
        """Of prompts, by passes over them."""

        self.tokens_kept = 0
        """Of prompts, that need not be read again."""

    @property
    def keeps(self) -> bool:
        """Whether anything is ever kept."""
        return self._most > 0

    def count(self, *, new: int, kept: int) -> None:
        """So many tokens of prompts were read, and so many were here."""
        self.tokens_read += new
        self.tokens_kept += kept

    def next_batch(self) -> None:
        """From now on another batch is at work, and what the last one used may go."""
        self._batch += 1

    def clear(self) -> None:
        """Give all memory back."""
        self._roots.clear()
        self._edges.clear()
        self.bytes = 0

    def find(self, adapter: str, tokens: Sequence[int], watchers: Sequence[Any] = ()) -> Found:
        """The longest beginning of `tokens` that is kept, with the numbers of all these watchers."""
        edge, at, pieces = self._roots.get(adapter), 0, []
        last = edge
        while edge is not None and at < len(tokens):
            edge = edge.children.get(tokens[at])
            if edge is None or any(watcher not in edge.numbers for watcher in watchers):
                break
            same = _alike(edge.tokens, tokens, at)
            pieces.append(Piece(same, edge.layers, edge.numbers))
            at, last = at + same, edge
            if same < len(edge.tokens):
                break
        self._touch(last)
        return Found(at, pieces)

    def add(
        self,
        adapter: str,
        tokens: Sequence[int],
        layers: Callable[[int, int], Layers],
        numbers: Numbers,
    ) -> None:
        """Keep a sequence; only what is not kept yet is copied.

        Args:
            adapter: With which it was read.
            tokens: All of it, from its first token on.
            layers: Gives keys and values of tokens from the one to before the other place.
            numbers: Of watchers, of all tokens.
        """
        if not self.keeps:
            return
        edge, at = self._roots.setdefault(adapter, _Edge(None, (), [], {})), 0
        while at < len(tokens) and (child := edge.children.get(tokens[at])) is not None:
            same = _alike(child.tokens, tokens, at)
            edge = child if same == len(child.tokens) else self._split(child, same)
            self._add_numbers(edge, {w: own[at : at + same] for w, own in numbers.items()})
            at += same
        self._touch(edge)
        if at < len(tokens):
            parts = copies(layers(at, len(tokens)))
            rest = {watcher: own[at:].clone() for watcher, own in numbers.items()}
            leaf = _Edge(edge, tuple(tokens[at:]), parts, rest)
            if self._make_room(leaf.bytes):
                edge.children[tokens[at]] = leaf
                self.bytes += leaf.bytes
                self._touch(leaf)

    def _add_numbers(self, edge: _Edge, numbers: Numbers) -> None:
        for watcher, own in numbers.items():
            if watcher not in edge.numbers:
                edge.numbers[watcher] = own.clone()
                edge.bytes += own.nbytes
                self.bytes += own.nbytes

    def _split(self, edge: _Edge, length: int) -> _Edge:
        """The first tokens of an edge as an edge of its own, the others below it."""
        assert edge.parent is not None
        self.bytes -= edge.bytes
        first = _Edge(edge.parent, *edge.part(0, length))
        edge.parent.children[edge.tokens[0]] = first
        edge.hold(*edge.part(length, len(edge.tokens)))
        edge.parent = first
        self.bytes += first.bytes + edge.bytes
        first.children[edge.tokens[0]] = edge
        self._touch(first)
        return first

    def _touch(self, edge: _Edge | None) -> None:
        """An edge and those before it are in use; in the order, none ever comes before its children."""
        while edge is not None and edge.parent is not None:
            edge.used = self._batch
            self._edges[id(edge)] = edge
            self._edges.move_to_end(id(edge))
            edge = edge.parent

    def _make_room(self, size: int) -> bool:
        """Whether so many bytes fit, once what was used longest ago is gone; not what this batch uses."""
        while self.bytes + size > self._most:
            oldest = next(iter(self._edges.values()), None)
            if oldest is None or oldest.used == self._batch:
                self._say_full()
                return False
            assert oldest.parent is not None
            del self._edges[id(oldest)], oldest.parent.children[oldest.tokens[0]]
            self.bytes -= oldest.bytes
        return True

    def _say_full(self) -> None:
        if not self._said:
            self._said = True
            logger.warning(
                "prefix_cache=%g (MB) does not hold the conversations of a batch, so prompts are read anew: "
                "give more, -M prefix_cache=<MB>, or turn it off, -M prefix_cache=0",
                self._megabytes,
            )


def copies(layers: Layers) -> Layers:
    """With memory of their own, of which nothing else is part."""
    return [pair and (pair[0].clone(), pair[1].clone()) for pair in layers]


def _alike(edge: tuple[int, ...], tokens: Sequence[int], at: int) -> int:
    """How many tokens of an edge stand at this place of a sequence."""
    there = tuple(tokens[at : at + len(edge)])
    if there == edge:
        return len(edge)
    return next((n for n, (a, b) in enumerate(zip(edge, there, strict=False)) if a != b), len(there))
