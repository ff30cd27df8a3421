"""The rows that go through a model together: their prompts, of which only what is new is read, and steps."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from transformers import DynamicCache

from providers.local.batches.prompts import (
    PromptRow,
    alike_long,
    equal_lengths,
    left_padded,
    not_begun_by_others,
    once_each,
)
from providers.local.kv_cache.layers import (
    KeptRows,
    begin,
    growing_cache,
    keeps_positions,
    move_rows,
    select_rows,
    side_by_side,
    states_of,
    take_in,
    trim,
)
from providers.local.kv_cache.prefixes import Found, Layers, Numbers, PrefixCache
from providers.local.watching import Readers, RowTrace, Watch

ROUNDS = 3
"""In which prompts wait for others at most."""

AHEAD = 128
"""Positions for which the mask is made at once."""

PADDING = 32
"""So many positions on the left that no row needs any more are left out."""


Forward = Callable[..., Any]
"""The model: `(adapters=..., **inputs)` gives an output with `.logits`."""


class Batching(NamedTuple):
    """How a model takes a batch. `providers.local.batching` finds it out."""

    way: Literal["padded", "joined", "singly"]
    """`padded`: prompts go through it in one pass, the shorter ones padded on the left. `joined`: a pass for
    each length, without padding, and one batch from then on. `singly`: see `providers.local.singly`."""

    cache_name: str = "past_key_values"
    """Under which it takes its cache."""

    takes_positions: bool = True

    most: int = 2**31
    """Positions up to which rows may be in a batch; from then on it is `singly`."""


class _Pass(NamedTuple):
    """Prompts that were read together."""

    places: list[int]
    cache: DynamicCache
    logits: torch.Tensor
    """Shape (place, vocabulary), after the last token of each."""


class Batch:
    """The rows that go through the model together, and what it remembers of them.

    All rows end at the same position; what is shorter begins later, behind padding that is masked.

    Args:
        forward: The model.
        batching: How it takes a batch, `padded` or `joined`.
        config: Its configuration, from which the cache is built.
        pad: Fills the left of shorter prompts; masked.
        device: Where the inputs go.
        prefixes: What is kept of earlier batches, and what shall be of this one.
        readers: Whoever reads along; None: nobody.
    """

    def __init__(
        self,
        forward: Forward,
        batching: Batching,
        config: Any,
        pad: int,
        device: torch.device,
        prefixes: PrefixCache,
        readers: Readers | None = None,
    ) -> None:
        self._forward, self._batching, self._config = forward, batching, config
        self._pad, self._device = pad, device
        self._prefixes = prefixes if batching.way == "padded" else PrefixCache(0)
        self._readers = readers
        self._cache: DynamicCache
        self._width = 0
        """Positions that were filled, padding included."""

        self._starts: list[int] = []
        """Position at which each row begins."""

        self._begins: torch.Tensor
        """The same on the device, shape (row, 1)."""

        self._mask: torch.Tensor
        """Shape (row, position), with room for what is to come."""

    def read_prompts(self, rows: Sequence[PromptRow], traces: Sequence[RowTrace] = ()) -> torch.Tensor:
        """Logits after each row's prompt, shape (row, vocabulary). The batch has had no rows before.

        Equal prompts are read once, beginnings that are kept not at all, and one that several share once.

        Args:
            rows: The prompts.
            traces: Of all rows, if anybody reads along.
        """
        first, copies = once_each(rows)
        reader = self._read_by_length if self._batching.way == "joined" else self._read_what_is_new
        read = reader(first, copies, traces)
        order = [place for one in read for place in one.places]
        lengths = [len(first[place].prompt) for place in order]
        self._width = max(lengths)
        self._cache = side_by_side([one.cache for one in read])
        self._start_at([self._width - length for length in lengths])
        logits = torch.cat([one.logits for one in read]) if len(read) > 1 else read[0].logits
        at = {place: row for row, place in enumerate(order)}
        spread = [at[place] for place in copies]
        return logits if spread == list(range(len(first))) else logits[self.keep(spread)]

    def step(self, tokens: torch.Tensor, adapters: Sequence[str]) -> torch.Tensor:
        """Logits after one more token of each row, shape (row, vocabulary).

        Args:
            tokens: Shape (row,).
            adapters: Of each row.
        """
        self._width += 1
        if self._mask.shape[1] < self._width:
            self._start_at(self._starts)
        positions = self._width - 1 - self._begins
        return self._run(tokens[:, None], self._mask[:, : self._width], positions, self._cache, adapters)

    def keep(self, places: Sequence[int]) -> torch.Tensor:
        """Go on with these rows, in this order, some of them several times; their places as a tensor."""
        rows = torch.tensor(places, device=self._device)
        select_rows(self._cache, rows)
        self._start_at([self._starts[place] for place in places])
        return rows

    def take_in(self, other: "Batch", rows: Sequence[int], places: Sequence[int], most: int) -> None:
        """Put rows of another batch among one's own, which is then used up. For `padded` batches.

        Args:
            other: A batch of the same model.
            rows: Of that batch.
            places: Of these rows from now on, free ones or the next behind the last.
            most: Rows that there will ever be.
        """
        lengths = [other._width - other._starts[row] for row in rows]
        width = max(self._width, *lengths)
        starts = [start + width - self._width for start in self._starts]
        for place, length in zip(places, lengths, strict=True):
            starts[place : place + 1] = [width - length]
        of, at = (torch.tensor(each, device=self._device) for each in (rows, places))
        take_in(self._cache, other._cache, of, at, count=len(starts), width=width, most=most)
        self._width = width
        self._start_at(starts)

    def pack(self, places: Sequence[int]) -> list[int]:
        """Go on with these rows, in an order that moves few of them; the order."""
        if self._batching.way != "padded":
            self.keep(places)
            return list(places)
        count = len(places)
        late = [place for place in places if place >= count]
        order = [place if place in set(places) else late.pop() for place in range(count)]
        moved = [(place, at) for at, place in enumerate(order) if place != at]
        of, at = (torch.tensor([pair[n] for pair in moved], device=self._device).long() for n in (0, 1))
        move_rows(self._cache, of, at, count)
        self._start_at([self._starts[place] for place in order])
        return order

    def trim(self, places: Sequence[int]) -> None:
        """Leave out positions on the left that none of these rows needs; the others are nobody's any more."""
        if self._batching.way != "padded":
            return
        needed = set(places)
        unused = min(self._starts[place] for place in places)
        # nobody's row must not run ahead: there may be no positions beyond the longest
        starts = [start if place in needed else unused for place, start in enumerate(self._starts)]
        if unused >= PADDING:
            trim(self._cache, unused)
            self._width -= unused
            starts = [start - unused for start in starts]
        if starts != self._starts:
            self._start_at(starts)

    def remember(self, place: int, adapter: str, tokens: Sequence[int], numbers: Numbers) -> None:
        """Keep a row of the batch for prompts to come.

        Args:
            place: Of the row.
            adapter: With which it was read.
            tokens: That went through the model, from the prompt's first on.
            numbers: What watchers made of them.
        """
        start = self._starts[place]
        self._prefixes.add(
            adapter, tokens, lambda a, b: states_of(self._cache, place, start + a, start + b), numbers
        )

    def _start_at(self, starts: list[int]) -> None:
        self._starts = starts
        self._begins = torch.tensor(starts, device=self._device)[:, None]
        positions = torch.arange(self._width + AHEAD, device=self._device)
        self._mask = (positions >= self._begins).long()

    def _read_by_length(
        self, first: Sequence[PromptRow], copies: Sequence[int], traces: Sequence[RowTrace]
    ) -> list[_Pass]:
        nothing = Found(0, [])
        return [
            self._read(first, places, [nothing] * len(places), copies, traces)
            for places in equal_lengths(first)
        ]

    def _read_what_is_new(
        self, first: Sequence[PromptRow], copies: Sequence[int], traces: Sequence[RowTrace]
    ) -> list[_Pass]:
        self._prefixes.next_batch()
        watchers = [_watchers(place, copies, traces) for place in range(len(first))]
        waiting = list(range(len(first)))
        read: list[_Pass] = []
        for number in range(ROUNDS + 1):
            kept = {
                place: self._prefixes.find(first[place].adapter, first[place].prompt[:-1], watchers[place])
                for place in waiting
            }
            last = number == ROUNDS or not self._prefixes.keeps
            now = waiting if last else not_begun_by_others(first, waiting, kept)
            for places in alike_long({place: len(first[place].prompt) - kept[place].length for place in now}):
                one = self._read(first, places, [kept[place] for place in places], copies, traces)
                self._remember_prompts(first, one, copies, traces)
                read.append(one)
            waiting = [place for place in waiting if place not in now]
            if not waiting:
                break
        return read

    def _read(
        self,
        first: Sequence[PromptRow],
        places: list[int],
        kept: Sequence[Found],
        copies: Sequence[int],
        traces: Sequence[RowTrace],
    ) -> _Pass:
        """One pass over what is new in some of the prompts."""
        rows = [first[place] for place in places]
        ids, mask = left_padded(rows, self._pad, self._device)
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        cache = growing_cache(self._config)
        new = [len(row.prompt) - found.length for row, found in zip(rows, kept, strict=True)]
        self._prefixes.count(new=sum(new), kept=sum(found.length for found in kept))
        width, longest = ids.shape[1], max(new)
        if any(found.length for found in kept):
            starts = [width - len(row.prompt) for row in rows]
            new_here = (torch.arange(longest) >= longest - torch.tensor(new)[:, None]).to(self._device)
            begin(cache, KeptRows([found.pieces for found in kept], starts, width), new_here)
            ids, positions = ids[:, -longest:], positions[:, -longest:]
        logits = self._run(ids, mask, positions, cache, [r.adapter for r in rows])
        if self._readers is not None and traces:
            numbers = {watch: found.cpu() for watch, found in self._readers.read().items()}
            for row, (place, before, count) in enumerate(zip(places, kept, new, strict=True)):
                own = {watch: found[row, -count:] for watch, found in numbers.items()}
                for trace in _of_place(traces, copies, place):
                    trace.prompt_read(before, own)
        return _Pass(places, cache, logits)

    def _remember_prompts(
        self, first: Sequence[PromptRow], read: _Pass, copies: Sequence[int], traces: Sequence[RowTrace]
    ) -> None:
        width = max(len(first[place].prompt) for place in read.places)
        for row, place in enumerate(read.places):
            prompt = first[place].prompt
            numbers: dict[Watch, torch.Tensor] = {}
            for trace in _of_place(traces, copies, place):
                numbers |= trace.numbers()
            start = width - len(prompt)

            def states(a: int, b: int, row: int = row, start: int = start) -> Layers:
                return states_of(read.cache, row, start + a, start + b)

            self._prefixes.add(first[place].adapter, prompt, states, numbers)

    def _run(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor,
        positions: torch.Tensor,
        cache: DynamicCache,
        adapters: Sequence[str],
    ) -> torch.Tensor:
        inputs: dict[str, Any] = {self._batching.cache_name: cache}
        if self._batching.takes_positions:
            inputs["position_ids"] = positions
        if keeps_positions(cache):
            inputs["attention_mask"] = mask
        return self._forward(adapters=adapters, input_ids=ids, use_cache=True, **inputs).logits[:, -1]


def _of_place(traces: Sequence[RowTrace], copies: Sequence[int], place: int) -> list[RowTrace]:
    """Of all rows that begin with this prompt."""
    return [trace for trace, of in zip(traces, copies, strict=False) if of == place]


def _watchers(place: int, copies: Sequence[int], traces: Sequence[RowTrace]) -> list[Watch]:
    """Everybody who reads along with a row that begins with this prompt."""
    own = _of_place(traces, copies, place)
    return list(dict.fromkeys(watch for trace in own for watch in trace.watches))
