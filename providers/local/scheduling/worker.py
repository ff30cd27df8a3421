"""The thread that runs a model: who goes in together, who comes in later, what happens when memory is out.

Continuous batching, as in Orca (Yu et al. 2022, OSDI): at every step rows that are over leave the batch, and
requests that wait take their places, once their prompts are read. Differs: prompts are read in passes of
their own, which stop the rows of the batch, so several are read together.
"""

import logging
import threading
from collections.abc import Callable, Sequence

import torch

from providers.local.adapters import BASE
from providers.local.batches.batch import Batching
from providers.local.decoding import Decoder
from providers.local.kv_cache.prefixes import PrefixCache
from providers.local.request import Request
from providers.local.scheduling.announcing import Announcer
from providers.local.scheduling.answers import answer_of, ending_of, row_of
from providers.local.scheduling.passes import Passes
from providers.local.scheduling.running import RunningBatch
from providers.local.scheduling.turns import Turns
from providers.local.scheduling.waiting import WaitingRequests
from providers.local.scheduling.weighing import Weighing
from providers.local.singly import decode_singly
from providers.local.watching import Readers

logger = logging.getLogger(__name__)

TOGETHER = 0.25
"""Requests are let into a batch when they are so many as this share of its rows, ..."""

PATIENCE = 8
"""... or when some have waited for so many steps."""

WEIGHED, SINGLY = "weighed", "singly"
"""Kinds of requests. What can be in a batch is of the kind of its adapter where adapters do not mix."""


class Worker:
    """Serves requests, the oldest first, for ever.

    Args:
        name: Of the thread.
        passes: The model.
        batching: How it takes a batch.
        prefixes: What was read and said before.
        decode: Of its tokenizer.
        end_tokens: Any of them ends a reply.
        pad: Fills the left of shorter prompts.
        context: Most tokens that the model takes.
        device: Where inputs go.
        batch_size: Rows at once.
        window: Seconds without a new request before a batch that is not full starts.
    """

    def __init__(
        self,
        name: str,
        passes: Passes,
        batching: Batching,
        prefixes: PrefixCache,
        *,
        decode: Callable[..., str],
        end_tokens: Sequence[int],
        pad: int,
        context: int,
        device: torch.device,
        batch_size: int,
        window: float,
    ) -> None:
        self.turns = Turns()
        """Whose turn it is to use the model."""

        self._passes, self._batching, self._prefixes = passes, batching, prefixes
        self._pad, self._context, self._device = pad, context, device
        self._batch_size, self._window = batch_size, window
        self._alone = ending_of(decode, end_tokens, context)
        self._batched = ending_of(decode, end_tokens, min(context, batching.most))
        self._weighing = Weighing(passes, batching, prefixes, pad=pad, device=device)
        self._waiting = WaitingRequests()
        self._announcer = Announcer(f"answers of {name}")
        threading.Thread(target=self._run_forever, name=name, daemon=True).start()

    def put(self, request: Request) -> None:
        """Serve it some time."""
        self._waiting.put(request)

    def _run_forever(self) -> None:
        while True:
            self._waiting.gather(self._batch_size, self._window)
            with self.turns.at_work():
                self._serve_some()

    def _serve_some(self) -> None:
        """The oldest request, and those that go with it."""
        batch = self._first_batch(self._waiting.look())
        self._waiting.take(batch)
        try:
            if batch:
                self._serve(batch, self._kind(batch[0]))
        except BaseException as error:  # whatever it is, nobody must wait for ever
            self._fail([r for r in batch if r.answer is None and r.weighed is None], error)
        finally:
            self._passes.rest()

    def _first_batch(self, waiting: Sequence[Request]) -> list[Request]:
        batch: list[Request] = []
        most = self._batch_size
        for request in waiting:
            if self._kind(request) == self._kind(waiting[0]) and len(batch) < min(most, request.beside):
                most = min(most, request.beside)
                batch.append(request)
        return batch

    def _kind(self, request: Request) -> str:
        """Only requests of one kind can be in a batch."""
        if request.completions:
            return WEIGHED
        if request.singly or self._batching.way == "singly" or len(request.prompt) >= self._batching.most:
            return SINGLY
        return BASE if self._passes.mixes else request.adapter

    def _serve(self, batch: list[Request], kind: str) -> None:
        for request in batch:
            request.apart = False
        if kind == WEIGHED:
            self._weighing.answer(batch)
            self._announcer.announce(batch)
        elif kind == SINGLY:
            self._generate_singly(batch)
        else:
            self._run(batch, kind)

    # -- rows of a batch --------------------------------------------------------------------------

    def _run(self, first: list[Request], kind: str) -> None:
        """One batch, until nobody is in it."""
        readers = Readers(self._passes.model)
        decoder = Decoder(
            self._passes.forward,
            self._batching,
            self._passes.model.config,
            ending=self._batched,
            pad=self._pad,
            device=self._device,
            prefixes=self._prefixes,
            readers=readers,
            most=self._batch_size,
        )
        running = RunningBatch(decoder, readers, self._batched, self._batch_size)
        try:
            self._admit(running, first)
            waited = 0
            while running.requests:
                self._step(running)
                running.drop_abandoned()
                waited = self._let_in(running, kind, waited + 1)
        except BaseException as error:
            self._fail(running.give_up(), error)
            raise
        finally:
            readers.close()

    def _admit(self, running: RunningBatch, requests: list[Request]) -> None:
        """Let some in. Those whose prompts cannot be read fail, and nobody else."""
        try:
            self._answered(running.admit(requests))
            return
        except torch.OutOfMemoryError as error:
            if running.requests and not running.lost:
                self._set_apart(requests)
            else:
                self._in_halves([*running.give_up(), *requests], error)
            return
        except Exception as error:
            if running.lost or len(requests) == 1:
                self._fail([*(running.give_up() if running.lost else ()), *requests], error)
                return
        for request in requests:
            self._admit(running, [request])

    def _step(self, running: RunningBatch) -> None:
        try:
            self._answered(running.step())
        except torch.OutOfMemoryError as error:
            self._in_halves(running.give_up(), error)
        except Exception as error:
            self._fail(running.give_up(), error)

    def _let_in(self, running: RunningBatch, kind: str, waited: int) -> int:
        """Requests that wait, if they are enough or have waited long enough.

        Nobody gets in past an older request that must wait for the end of the batch, nor while somebody wants
        to borrow the model: so the batch does end.

        Args:
            running: The batch.
            kind: Of its requests.
            waited: Steps for which some may have waited.

        Returns:
            Steps for which some have waited.
        """
        if not running.requests or self.turns.wanted:
            return 0
        waiting = self._waiting.look()
        weighed = [r for r in waiting if self._kind(r) == WEIGHED and not r.apart][: self._batch_size]
        ready = running.fits(self._before_others(waiting, kind))
        if not weighed and not ready:
            return 0
        if len(weighed) + len(ready) < TOGETHER * len(running.requests) and waited < PATIENCE:
            return waited
        self._waiting.take([*weighed, *ready])
        if weighed:
            self._weigh_between(running, weighed)
        if ready:
            self._admit(running, ready)
        return 0

    def _before_others(self, waiting: Sequence[Request], kind: str) -> list[Request]:
        """Requests of this kind that can come into a batch, up to the first that has to wait for its end."""
        ready: list[Request] = []
        for request in waiting:
            if request.apart or self._batching.way != "padded":
                break
            if self._kind(request) == kind:
                ready.append(request)
            elif self._kind(request) != WEIGHED:
                break
        return ready

    def _weigh_between(self, running: RunningBatch, requests: list[Request]) -> None:
        """Between two steps of a batch: it is over soon."""
        with running.paused():
            try:
                self._weighing.answer(requests)
            except torch.OutOfMemoryError:
                self._set_apart([r for r in requests if r.weighed is None])
            except Exception as error:
                self._fail([r for r in requests if r.weighed is None], error)
        self._announcer.announce([r for r in requests if r.weighed is not None])

    # -- one by one -------------------------------------------------------------------------------

    def _generate_singly(self, batch: list[Request]) -> None:
        for number, request in enumerate(batch):
            if self.turns.wanted:
                self._waiting.put_back(batch[number:])
                return
            if not request.abandoned:
                self._generate_alone(request)

    def _generate_alone(self, request: Request) -> None:
        readers = Readers(self._passes.model)
        try:
            own = decode_singly(
                self._passes.generate,
                row_of(request, self._alone),
                ending=self._alone,
                pad=self._pad,
                device=self._device,
                readers=readers,
            )
        except Exception as error:
            self._fail([request], error)
        else:
            request.error = own.error
            request.answer = None if own.error else answer_of(own, self._alone)
            self._announcer.announce([request])
        finally:
            readers.close()

    # -- what becomes of requests -----------------------------------------------------------------

    def _answered(self, requests: Sequence[Request]) -> None:
        """Tell those who wait, but for answers that were cut where a batch has to end, and go on."""
        cut = [request for request in requests if self._outgrew(request)]
        for request in cut:
            request.answer, request.singly = None, True
        if cut:
            self._waiting.put_back(cut)
        self._announcer.announce([request for request in requests if not request.singly])

    def _outgrew(self, request: Request) -> bool:
        if request.answer is None:
            return False
        length = len(request.prompt) + len(request.answer.written.tokens)
        return request.answer.stop == "max_tokens" and length == self._batching.most < self._context

    def _fail(self, requests: Sequence[Request], error: BaseException) -> None:
        for request in requests:
            request.error = error
        self._announcer.announce(requests)

    def _set_apart(self, requests: Sequence[Request]) -> None:
        """There is no memory for them beside the batch: they wait for its end."""
        self._prefixes.clear()
        logger.warning("out of memory; %d conversations wait for others to end", len(requests))
        for request in requests:
            request.apart = True
        self._waiting.put_back(requests)

    def _in_halves(self, requests: Sequence[Request], error: torch.OutOfMemoryError) -> None:
        """They are answered anew, half as many at once."""
        self._prefixes.clear()
        torch.cuda.empty_cache()
        if len(requests) == 1:
            self._fail(requests, error)
            return
        half = len(requests) // 2
        logger.warning("out of memory with %d conversations at once; trying %d", len(requests), half)
        for request in requests:
            request.beside = half
        self._waiting.put_back(requests)
