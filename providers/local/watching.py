"""Reading along while a model generates, so that a monitor needs no pass of its own.

Whoever watches puts hooks into the model for the time of a batch and makes a few numbers of every token that
goes through it. Here these are put together again for each conversation.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, NamedTuple, Protocol

import torch

from providers.local.kv_cache.prefixes import Found

Read = Callable[[], torch.Tensor]
"""What the last forward pass left, shape (row, position, number)."""


class Watch(Protocol):
    """Somebody who reads along. Compared by identity."""

    width: int
    """Numbers per token."""

    def reading(self, model: Any) -> AbstractContextManager[Read]:
        """Hooks in the model, gone when the context ends; the function may be called once per pass."""
        ...

    def keep(self, message: str, tokens: Sequence[int], numbers: torch.Tensor) -> None:
        """Take what was read of one generation.

        Args:
            message: Id of the message that was generated.
            tokens: All that went through the model: prompt, reply, and what the template writes after it.
            numbers: Shape (token, number), on the CPU.
        """
        ...


class Seen(NamedTuple):
    """What one watch has read of one row."""

    watch: Watch
    tokens: list[int]
    numbers: torch.Tensor
    """Shape (token, number)."""


class Trace:
    """What goes by in one batch.

    The last token of a reply, and what the template writes after it, is no input of any generation. Rows that
    are watched stay in the batch for these tokens, some steps longer than others, since the conversation
    holds them.

    Args:
        read: Of all watches, side by side.
        prompts: Of all rows.
        watches: Everybody who reads along, in the order of `read`.
        wanted: For each row those who want it.
        closing: For each row what the template writes after a reply.
        end_tokens: Any of them ends a reply.
        context: Longest row that the model takes.
    """

    def __init__(
        self,
        read: Read,
        prompts: Sequence[Sequence[int]],
        watches: Sequence[Watch],
        wanted: Sequence[Sequence[Watch]],
        *,
        closing: Sequence[Sequence[int]],
        end_tokens: Sequence[int],
        context: int,
    ) -> None:
        self._read = read
        self._prompts, self._watches = prompts, watches
        self.wanted = wanted
        self._closing, self._end_tokens, self._context = closing, end_tokens, context
        self._first: dict[int, torch.Tensor] = {}
        self._steps: list[torch.Tensor] = []
        self._places: list[list[int]] = [[] for _ in prompts]
        self._count = 0

    @property
    def room(self) -> int:
        """Positions after a reply that may be needed."""
        return 1 + max(map(len, self._closing))

    def prompts_read(self, places: Sequence[int | None], kept: Sequence[Found] | None = None) -> None:
        """After a pass over prompts, each of which stands once, padded on the left.

        Args:
            places: For each row where its prompt stood; None if it has a pass of its own.
            kept: For each prompt of the pass with what it began before, and whoever wants it had read.
        """
        found = self._read().cpu()
        for row, place in enumerate(places):
            if place is None:
                continue
            if not self.wanted[row]:
                self._first[row] = found[place, :0]
                continue
            before = Found(0, []) if kept is None else kept[place]
            new = found[place, found.shape[1] - len(self._prompts[row]) + before.length :]
            self._first[row] = torch.cat([self._columns(row, before), new]) if before.length else new

    def _columns(self, row: int, kept: Found) -> torch.Tensor:
        """What was read before of a row's beginning, side by side as `read` gives it."""
        return torch.cat(
            [
                torch.cat(kept.numbers(watch))
                if watch in self.wanted[row]
                else torch.zeros(kept.length, watch.width)
                for watch in self._watches
            ],
            dim=-1,
        )

    def prompt_numbers(self, row: int) -> dict[Watch, torch.Tensor]:
        """What those who want a row have read of its prompt."""
        return self._by_watch(row, self._first[row])

    def read_of(self, row: int, written: Sequence[int]) -> tuple[list[int], dict[Watch, torch.Tensor]]:
        """The tokens of a row that went through the model, and what those who want it have read of them."""
        if not self.wanted[row]:
            return [*self._prompts[row], *written[:-1]], {}
        tokens, numbers = self.seen(row, written)
        return tokens, self._by_watch(row, numbers)

    def _by_watch(self, row: int, numbers: torch.Tensor) -> dict[Watch, torch.Tensor]:
        parts = numbers.split([watch.width for watch in self._watches], dim=-1)
        return {w: part for w, part in zip(self._watches, parts, strict=True) if w in self.wanted[row]}

    def step_read(self, alive: Sequence[int]) -> None:
        """After a pass over one token of each of these rows."""
        self._steps.append(self._read()[:, -1])
        for place, row in enumerate(alive):
            self._places[row].append(self._count + place)
        self._count += len(alive)

    def owed(self, row: int, tokens: Sequence[int]) -> list[int]:
        """Tokens that must still go through the model when a row has ended: its last, and what follows it."""
        if not self.wanted[row]:
            return []
        ended, closing = tokens[-1] in self._end_tokens, self._closing[row]
        if ended and (not closing or closing[0] != tokens[-1]):
            return []  # the template writes another end, or none
        follows = [tokens[-1], *(closing[1:] if ended else closing)]
        return follows[: self._context - len(self._prompts[row]) - len(tokens) + 1]

    def seen(self, row: int, written: Sequence[int]) -> tuple[list[int], torch.Tensor]:
        """The tokens of a watched row that went through the model, and what was read of them."""
        steps = self._flat()
        tokens = [*self._prompts[row], *written[:-1], *self.owed(row, written)]
        fed = self._places[row][: len(tokens) - len(self._prompts[row])]
        return tokens, torch.cat([self._first[row], steps[fed]])

    def _flat(self) -> torch.Tensor:
        """All steps, moved to the CPU once, shape (step and row, number)."""
        if len(self._steps) > 1:
            self._steps = [torch.cat(self._steps).cpu()]
        return self._steps[0].cpu() if self._steps else self._first[0][:0]


def read_all(watches: Sequence[Watch], model: Any, stack: ExitStack) -> Read:
    """Start to read for all watches; ended by closing the stack."""
    readers = [stack.enter_context(watch.reading(model)) for watch in watches]
    return lambda: torch.cat([read() for read in readers], dim=-1)


def shared_out(
    watches: Sequence[Watch], wanted: Sequence[Watch], tokens: list[int], numbers: torch.Tensor
) -> list[Seen]:
    """What was read for all watches, to those who wanted this row."""
    parts = numbers.split([watch.width for watch in watches], dim=-1)
    return [Seen(w, tokens, part.clone()) for w, part in zip(watches, parts, strict=True) if w in wanted]
