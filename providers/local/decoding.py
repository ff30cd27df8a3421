"""The decoding loop: prompts in, tokens out; rows leave as they end, and others come in at any step.

`model.generate` does the same for one batch, but it carries every finished row along to the end of the
longest, copies the whole key-value cache at every step and adds about a millisecond to each; for small models
that is most of the time (benchmarks/providers/rollouts.py shows the difference).
"""

import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch

from providers.local.batches.batch import Batch, Batching, Forward
from providers.local.batches.prompts import PromptRow
from providers.local.kv_cache.prefixes import PrefixCache
from providers.local.sampling import Sampler, SamplingSettings, draw_keys
from providers.local.watching import Readers, RowTrace

COMPACT = 0.75
"""Places of rows that left are closed up when no more than this share of the places is taken."""

SaidStop = Callable[[Sequence[str], list[int]], bool]
"""Tells whether one of some strings was written in some tokens."""


class Written(NamedTuple):
    """What came after one prompt."""

    tokens: list[int]
    """Everything that was generated, the end token included."""

    chosen: list[float]
    """Log-probability (natural, temperature 1) of each token, if asked for."""

    top: list[list[tuple[int, float]]]
    """The most likely (token, log-probability) at each place, if asked for."""


class Ending(NamedTuple):
    """What ends a row."""

    tokens: Sequence[int]
    """Any of them."""

    said: SaidStop | None
    """A stop string; None: nobody asks for any."""

    context: int
    """Longest row that the model takes."""

    def reached(self, row: PromptRow, tokens: list[int]) -> bool:
        """Whether a row's last token was its last."""
        return (
            tokens[-1] in self.tokens
            or len(tokens) >= row.max_tokens
            or (row.over is not None and row.over(tokens))
            or bool(row.settings.stop and self.said is not None and self.said(row.settings.stop, tokens))
        )


class Continued:
    """A prompt on its way to its end. Compared by identity."""

    def __init__(self, row: PromptRow, ending: Ending) -> None:
        self.row = row
        self.written = Written([], [], [])
        self.random = random.Random(row.seed)
        self.trace = RowTrace(
            row.prompt, row.watches, row.closing, end_tokens=ending.tokens, context=ending.context
        )
        self.over = False
        """Whether it needs the model no more."""

        self.error: Exception | None = None
        """That its own `over` raised."""

        self._ending = ending
        self._owed: list[int] | None = None
        """Once its last token is written: tokens that are still to be read."""

    @property
    def writing(self) -> bool:
        """Whether another token is drawn."""
        return self._owed is None

    def drawn(self) -> None:
        """After a token was written down."""
        try:
            if self._ending.reached(self.row, self.written.tokens):
                self._owed = self.trace.owed(self.written.tokens)
        except Exception as error:
            self.error, self._owed = error, []

    def next_token(self) -> int | None:
        """The token that goes through the model next; None: it is over."""
        if self._owed is None:
            return self.written.tokens[-1]
        if self._owed:
            return self._owed.pop(0)
        self.over = True
        return None


class Decoder:
    """Continues prompts, all that are there by one token a step.

    Args:
        forward: The model.
        batching: How it takes a batch, `padded` or `joined`. Rows can come later if it is `padded`.
        config: Its configuration, from which the cache is built.
        ending: What ends a row.
        pad: Fills the left of shorter prompts; masked.
        device: Where the inputs go.
        prefixes: What is kept of earlier prompts and replies, for attention alone; None: nothing.
        readers: Those who read along; None if no row has any.
        most: Rows that there will be at once.
    """

    def __init__(
        self,
        forward: Forward,
        batching: Batching,
        config: Any,
        *,
        ending: Ending,
        pad: int,
        device: torch.device,
        prefixes: PrefixCache | None = None,
        readers: Readers | None = None,
        most: int = 2**31,
    ) -> None:
        self._most = most
        self._new_batch = partial(Batch, forward, batching, config, pad, device)
        self._prefixes = prefixes or PrefixCache(0)
        self._pad, self._device, self._readers, self._ending = pad, device, readers, ending
        self._batch = self._new_batch(self._prefixes, readers)
        self._places: list[Continued | None] = []
        """Of the batch; None: nobody's."""

        self._fed: list[int] = []
        """For each place the token that goes through the model next."""

        self._samplers: dict[SamplingSettings, Sampler] = {}
        self._nobody = random.Random(0)
        self.lost = False
        """Whether a batch broke while others were put into it."""

    @property
    def rows(self) -> list[Continued]:
        """Those that are in the batch."""
        return [own for own in self._places if own is not None]

    @torch.inference_mode()
    def admit(self, rows: Sequence[PromptRow]) -> list[Continued]:
        """Read prompts and write the first token of each; who is not over after that is in the batch.

        If reading fails, the rows that were there before can go on, unless they are `lost`.
        """
        new = [Continued(row, self._ending) for row in rows]
        if self._readers is not None:
            self._readers.open_for(watch for own in [*self.rows, *new] for watch in own.trace.watches)
        batch = self._new_batch(self._prefixes, self._readers)
        logits = batch.read_prompts(rows, [own.trace for own in new])
        places: list[Continued | None] = [*new]
        fed = self._go_on(batch, places, logits)
        staying = [place for place, own in enumerate(places) if own is not None]
        if staying and self.rows:
            self.lost = True
            self._take_in(batch, [(place, new[place], fed[place]) for place in staying])
            self.lost = False
        elif staying:
            self._batch, self._places, self._fed = batch, places, fed
        return new

    @torch.inference_mode()
    def step(self) -> list[Continued]:
        """One token more of each row; those that are over now, and have left."""
        self._tidy()
        somebody = next(own.row.adapter for own in self.rows)
        adapters = [somebody if own is None else own.row.adapter for own in self._places]
        logits = self._batch.step(torch.tensor(self._fed, device=self._device), adapters)
        if self._readers is not None:
            found = {watch: own[:, -1].unbind() for watch, own in self._readers.read().items()}
            for place, own in enumerate(self._places):
                if own is not None and own.trace.watches:
                    own.trace.token_read({watch: found[watch][place] for watch in own.trace.watches})
        before = self._places
        self._places = [*before]
        self._fed = self._go_on(self._batch, self._places, logits)
        return [own for own in before if own is not None and own.over]

    def drop(self, rows: Iterable[Continued]) -> None:
        """Let some rows go before they are over."""
        gone = set(rows)
        self._places = [None if own in gone else own for own in self._places]

    def _go_on(self, batch: Batch, places: list[Continued | None], logits: torch.Tensor) -> list[int]:
        """Draw the next tokens; rows that are over are remembered and leave their places.

        Returns:
            What goes through the model next, for each place.
        """
        self._draw([own if own is not None and own.writing else None for own in places], logits)
        fed = [self._pad] * len(places)
        for place, own in enumerate(places):
            if own is None:
                continue
            token = own.next_token()
            if token is not None:
                fed[place] = token
                continue
            places[place] = None
            if own.error is None:
                batch.remember(
                    place, own.row.adapter, own.trace.tokens(own.written.tokens), own.trace.numbers()
                )
        return fed

    def _draw(self, writing: Sequence[Continued | None], logits: torch.Tensor) -> None:
        """One token of each of these rows, by its own settings."""
        by_settings: dict[SamplingSettings, list[tuple[int, Continued]]] = {}
        for place, own in enumerate(writing):
            if own is not None:
                by_settings.setdefault(own.row.settings, []).append((place, own))
        for settings, rows in by_settings.items():
            if settings not in self._samplers:
                self._samplers[settings] = Sampler(settings)
            its = logits
            if len(by_settings) > 1:
                its = logits[torch.tensor([place for place, _ in rows], device=logits.device)]
                rows = [(number, own) for number, (_, own) in enumerate(rows)]
            randoms = [self._nobody] * len(its)
            for place, own in rows:
                randoms[place] = own.random
            keys = draw_keys(randoms, its.device)
            tokens, doubtful = self._samplers[settings].draw(its, keys)
            drawing = dict(rows)
            for place in doubtful.nonzero()[:, 0].tolist():
                if place in drawing:
                    tokens[place] = self._drawn_alone(drawing[place], keys[place : place + 1])
            note([(place, own.written) for place, own in rows], tokens, its, settings)
            for _, own in rows:
                own.drawn()

    def _drawn_alone(self, own: Continued, key: torch.Tensor) -> torch.Tensor:
        """The next token of a row whose draw rounding could turn, shape (): what it is with nobody beside it.

        The row is read anew, so that it makes no difference what of it was kept, either.
        """
        whole = own.row._replace(prompt=[*own.row.prompt, *own.written.tokens])
        with nullcontext() if self._readers is None else self._readers.away():
            logits = self._new_batch(PrefixCache(0)).read_prompts([whole])
        return self._samplers[own.row.settings].draw(logits, key).tokens[0]

    def _take_in(self, batch: Batch, new: Sequence[tuple[int, Continued, int]]) -> None:
        free = [place for place, own in enumerate(self._places) if own is None]
        more = len(new) - len(free)
        places = [*free, *range(len(self._places), len(self._places) + more)][: len(new)]
        self._batch.take_in(batch, [row for row, _, _ in new], places, self._most)
        self._places += [None] * more
        self._fed += [self._pad] * more
        for place, (_, own, token) in zip(places, new, strict=True):
            self._places[place], self._fed[place] = own, token

    def _tidy(self) -> None:
        """Close up the places of those who left, and leave out what was theirs alone."""
        taken = [place for place, own in enumerate(self._places) if own is not None]
        if len(taken) <= COMPACT * len(self._places):
            order = self._batch.pack(taken)
            self._places = [self._places[place] for place in order]
            self._fed = [self._fed[place] for place in order]
            taken = list(range(len(order)))
        self._batch.trim(taken)


def decode(decoder: Decoder, rows: Sequence[PromptRow]) -> list[Written]:
    """Continue some prompts to their ends, with nobody coming in between."""
    all_rows = decoder.admit(rows)
    while decoder.rows:
        decoder.step()
    return [own.written for own in all_rows]


def note(
    writing: Sequence[tuple[int, Written]],
    tokens: torch.Tensor,
    logits: torch.Tensor,
    settings: SamplingSettings,
) -> None:
    """Write down the next tokens, with log-probabilities if they are asked for.

    Args:
        writing: Place in the batch, and what came after that row's prompt until now.
        tokens: Shape (row,).
        logits: From which they were drawn, shape (row, vocabulary).
        settings: Of these rows.
    """
    chosen: list[float] = []
    top: list[list[tuple[int, float]]] = []
    if settings.top_logprobs is not None:
        logprobs = torch.log_softmax(logits.float(), dim=-1)
        chosen = logprobs.gather(1, tokens[:, None])[:, 0].tolist()
        best = logprobs.topk(min(settings.top_logprobs, logprobs.shape[-1]), dim=-1)
        top = [
            list(zip(t, p, strict=True))
            for t, p in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]
    ids = tokens.tolist()
    for place, written in writing:
        written.tokens.append(ids[place])
        if settings.top_logprobs is not None:
            written.chosen.append(chosen[place])
            written.top.append(top[place])
