"""Reading along while a model generates, so that a monitor needs no pass of its own.

Whoever watches puts hooks into the model for as long as a conversation of theirs is in the batch, and makes a
few numbers of every token that goes through it. Here these are put together again for each conversation.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
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


class Readers:
    """Whoever reads along with any row that is in the model now.

    Args:
        model: In which their hooks are.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._reads: dict[Watch, Read] = {}
        self._open: dict[Watch, ExitStack] = {}

    def open_for(self, watches: Iterable[Watch]) -> None:
        """From now on these read along, and nobody else."""
        wanted = dict.fromkeys(watches)
        for watch in [watch for watch in self._open if watch not in wanted]:
            del self._reads[watch]
            self._open.pop(watch).close()
        for watch in wanted:
            if watch not in self._open:
                with ExitStack() as stack:
                    self._reads[watch] = stack.enter_context(watch.reading(self._model))
                    self._open[watch] = stack.pop_all()

    def read(self) -> dict[Watch, torch.Tensor]:
        """What the last forward pass left, shape (row, position, number) each. Called after every pass."""
        return {watch: read() for watch, read in self._reads.items()}

    def close(self) -> None:
        """Nobody reads along any more."""
        self.open_for(())

    @contextmanager
    def away(self) -> Iterator[None]:
        """Something else goes through the model, which none of them shall see."""
        watches = list(self._open)
        self.close()
        try:
            yield
        finally:
            self.open_for(watches)


class RowTrace:
    """What those who read along have read of one row.

    The last token of a reply, and what the template writes after it, is no input of any generation. Rows that
    are watched stay in the batch for these tokens, since the conversation holds them.

    Args:
        prompt: Token ids.
        watches: Who reads along.
        closing: What the template writes after a reply.
        end_tokens: Any of them ends a reply.
        context: Longest row that the model takes.
    """

    def __init__(
        self,
        prompt: Sequence[int],
        watches: Sequence[Watch],
        closing: Sequence[int],
        *,
        end_tokens: Sequence[int],
        context: int,
    ) -> None:
        self.watches = watches
        self._prompt, self._closing = prompt, closing
        self._end_tokens, self._context = end_tokens, context
        self._first: dict[Watch, torch.Tensor] = {}
        self._steps: dict[Watch, list[torch.Tensor]] = {watch: [] for watch in watches}

    @property
    def room(self) -> int:
        """Positions after a reply that may be needed."""
        return 1 + len(self._closing) if self.watches else 0

    def prompt_read(self, kept: Found, new: Mapping[Watch, torch.Tensor]) -> None:
        """After a pass over what is new in the prompt.

        Args:
            kept: What it began before, and whoever reads along had read.
            new: Of the rest, shape (token, number) each.
        """
        self._first = {watch: torch.cat([*kept.numbers(watch), new[watch]]) for watch in self.watches}

    def token_read(self, numbers: Mapping[Watch, torch.Tensor]) -> None:
        """After a pass over one token more; shape (number,) each."""
        for watch, own in self._steps.items():
            own.append(numbers[watch])

    def owed(self, tokens: Sequence[int]) -> list[int]:
        """Tokens that must still go through the model when a row has ended: its last, and what follows it."""
        if not self.watches:
            return []
        ended, closing = tokens[-1] in self._end_tokens, self._closing
        if ended and (not closing or closing[0] != tokens[-1]):
            return []  # the template writes another end, or none
        follows = [tokens[-1], *(closing[1:] if ended else closing)]
        return follows[: self._context - len(self._prompt) - len(tokens) + 1]

    def numbers(self) -> dict[Watch, torch.Tensor]:
        """What was read until now, by whom, shape (token, number) each, on the CPU."""
        return {
            watch: torch.cat([self._first[watch], torch.stack(own).cpu()]) if own else self._first[watch]
            for watch, own in self._steps.items()
        }

    def tokens(self, written: Sequence[int]) -> list[int]:
        """Of a row that is over: all that went through the model."""
        return [*self._prompt, *written[:-1], *self.owed(written)]

    def seen(self, written: Sequence[int]) -> list[Seen]:
        """Of a row that is over: what each of those who read along has."""
        if not self.watches:
            return []
        tokens = self.tokens(written)
        return [Seen(watch, tokens, own) for watch, own in self.numbers().items()]
