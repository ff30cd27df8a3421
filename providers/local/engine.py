"""One copy of a model's weights, and the thread that runs batches through it."""

import inspect
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, TypeVar

import anyio.lowlevel
import torch
from transformers import AutoTokenizer, GenerationConfig

from providers.causal_models import model_size
from providers.local.adapters import (
    BASE,
    check_adapter,
    load_adapter,
    made_for,
    mixed_forward,
    mixes,
    speaking,
)
from providers.local.batch import PromptRow
from providers.local.batching import batching_of
from providers.local.decoding import Written, decode
from providers.local.kv_cache.prefixes import PrefixCache
from providers.local.likelihood import Weighed, weigh, weigh_singly
from providers.local.request import Generated, Request, announce
from providers.local.sampling import SamplingSettings
from providers.local.singly import decode_singly
from providers.local.watching import Trace, Watch, read_all, shared_out
from providers.local.weights import (
    EngineOptions,
    context_of,
    device_called,
    end_tokens_of,
    load_model,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Engine:
    """A causal language model with its LoRA adapters. Made by `engine_for`, once per `EngineOptions`."""

    def __init__(self, options: EngineOptions) -> None:
        self.options = options
        self.device = device_called(options.device)
        tokenizer = AutoTokenizer.from_pretrained(options.path, revision=options.revision)
        self.tokenizer = tokenizer
        self.model: Any = load_model(
            options.path,
            self.device,
            revision=options.revision,
            dtype=options.dtype,
            device_map=options.device_map,
            attn_implementation=options.attn_implementation,
        )
        self.size = model_size(self.model)
        self.context = context_of(self.model.config)
        self.end_tokens = end_tokens_of(self.model, tokenizer)
        self.pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self.end_tokens[0]
        takes = inspect.signature(self.model.forward).parameters
        self._last_logits = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
        # `generate` must not add settings of the checkpoint's own to those that are asked for
        self.model.generation_config = GenerationConfig(pad_token_id=self.pad)
        self._adapters: dict[str, str] = {}
        self._tried = 0
        self._mixes = True
        """Whether rows of different adapters may be in one batch."""

        self._lock = threading.Lock()
        self._queue: SimpleQueue[Request] = SimpleQueue()
        self._waiting: list[Request] = []
        self._batching = batching_of(self.model, self._forward, self._whole_generate, self.device)
        self.prefixes = PrefixCache(options.prefix_cache)
        """What was read and said before. Of the thread, but for its counts."""

        if self.prefixes.keeps and self._batching.way != "padded":
            logger.warning(
                "%s keeps a state that is not taken up from earlier calls: each prompt is read anew",
                type(self.model).__name__,
            )
        threading.Thread(target=self._run_forever, name=f"local {options.path}", daemon=True).start()

    def adapter(self, path: str) -> str:
        """Load the LoRA adapter in a folder beside the base, unless it is there, and return its name.

        Raises:
            FileNotFoundError: The folder holds no adapter.
            AdapterError: It cannot be read, or does not fit the base.
        """
        folder = Path(path).expanduser().resolve()
        with self._lock:
            key = str(folder)
            if key not in self._adapters:
                check_adapter(folder)
                name = f"adapter_{self._tried}"
                self._tried += 1
                try:
                    self.model = load_adapter(self.model, folder, name)
                    self._adapters[key] = name
                finally:  # what is left of one that did not fit may be in the way of mixing, too
                    if self._adapters:
                        self._mixes = mixes(self.model, list(self._adapters.values()), self.device)
                if (other := made_for(folder, self.options.path)) is not None:
                    logger.warning("%s was made for %s, and is used on %s", folder, other, self.options.path)
            return self._adapters[key]

    def lend(self, use: Callable[[Any], T]) -> T:
        """What `use` makes of the model while nothing else happens to it."""
        with self._lock:
            return use(self.model)

    async def generate(
        self,
        prompt: list[int],
        *,
        max_tokens: int,
        seed: int,
        adapter: str,
        settings: SamplingSettings,
        watches: tuple[Watch, ...] = (),
        closing: Sequence[int] = (),
        over: Callable[[list[int]], bool] | None = None,
    ) -> Generated:
        """Answer one prompt, in a batch with whatever else is waiting.

        Args:
            prompt: Token ids.
            max_tokens: Most that are generated.
            seed: Of this row's draws.
            adapter: Name of the adapter, `BASE` without.
            settings: Sampling.
            watches: Who reads along.
            closing: What the template writes after a reply, for those who read along.
            over: Tells from the tokens so far that the answer is over, asked after each.
        """
        token = anyio.lowlevel.current_token()
        request = Request(prompt, max_tokens, seed, adapter, settings, watches, closing, over, token)
        await self._served(request)
        assert request.answer is not None
        return request.answer

    async def weigh(
        self, prompt: list[int], completions: Sequence[Sequence[int]], *, adapter: str
    ) -> Weighed:
        """Log-probabilities of completions of one prompt, in a batch with whatever else is waiting.

        Args:
            prompt: Token ids.
            completions: Token ids, all of which go on from the prompt.
            adapter: Name of the adapter, `BASE` without.
        """
        token = anyio.lowlevel.current_token()
        request = Request(prompt, 0, 0, adapter, SamplingSettings(), (), (), None, token, completions)
        await self._served(request)
        assert request.weighed is not None
        return request.weighed

    async def _served(self, request: Request) -> None:
        self._queue.put(request)
        try:
            await request.done.wait()
        except BaseException:
            request.abandoned = True
            raise
        if request.error is not None:
            raise request.error

    # -- the thread -------------------------------------------------------------------------------

    def _run_forever(self) -> None:
        while True:
            batch = self._next_batch()
            if not batch:
                continue
            try:
                with self._lock:
                    if batch[0].completions:
                        self._weigh_all(batch)
                    else:
                        for request, answer in zip(batch, self._answers(batch), strict=True):
                            request.answer = answer
            except BaseException as error:
                for request in batch:
                    request.error = error
            announce(batch)

    def _next_batch(self) -> list[Request]:
        """Requests with equal settings, oldest first: a full batch, or what there is once none comes in."""
        if not self._waiting:
            self._waiting.append(self._queue.get())
        quiet_since = monotonic()
        while len(self._waiting) < self.options.batch_size:
            try:
                self._waiting.append(
                    self._queue.get(timeout=max(0.0, quiet_since + self.options.window - monotonic()))
                )
                quiet_since = monotonic()
            except Empty:
                break
        self._waiting = [r for r in self._waiting if not r.abandoned]
        if not self._waiting:
            return []
        first = self._waiting[0]
        batch = [r for r in self._waiting if r.goes_with(first)][: self.options.batch_size]
        taken = set(map(id, batch))
        self._waiting = [r for r in self._waiting if id(r) not in taken]
        return batch

    def _answers(self, batch: Sequence[Request]) -> list[Generated]:
        parts: dict[tuple[str, bool], list[int]] = {}
        for place, request in enumerate(batch):
            singly = len(request.prompt) >= self._batching.most
            parts.setdefault((BASE if self._mixes else request.adapter, singly), []).append(place)
        found: dict[int, Generated] = {}
        for (_, singly), places in parts.items():
            answers = self._halved([batch[place] for place in places], partial(self._generate, singly=singly))
            found |= zip(places, answers, strict=True)
        return [
            self._generate([request], singly=True)[0] if self._outgrew(request, answer) else answer
            for request, answer in zip(batch, (found[place] for place in range(len(batch))), strict=True)
        ]

    def _outgrew(self, request: Request, answer: Generated) -> bool:
        """Whether an answer was cut where a batch has to end, and goes on."""
        length = len(request.prompt) + len(answer.written.tokens)
        return answer.stop == "max_tokens" and length == self._batching.most < self.context

    def _weigh_all(self, batch: Sequence[Request]) -> None:
        parts: dict[tuple[str, bool], list[Request]] = {}
        for request in batch:
            length = len(request.prompt) + max(map(len, request.completions))
            singly = self._batching.way == "singly" or length > self._batching.most
            parts.setdefault((BASE if self._mixes else request.adapter, singly), []).append(request)
        for (_, singly), requests in parts.items():
            weighed = self._halved(requests, partial(self._weigh, singly=singly))
            for request, one in zip(requests, weighed, strict=True):
                request.weighed = one

    def _weigh(self, batch: Sequence[Request], *, singly: bool) -> list[Weighed]:
        prompts, completions = [r.prompt for r in batch], [r.completions for r in batch]
        adapters = [r.adapter for r in batch]
        if singly:
            given = {"adapters": adapters, "device": self.device}
            return weigh_singly(self._all_logits, prompts, completions, **given)
        with ExitStack() as stack:
            forward = self._forward_of(set(adapters), stack)
            return weigh(
                forward,
                self._batching,
                self.model.config,
                prompts,
                completions,
                adapters=adapters,
                pad=self.pad,
                device=self.device,
                prefixes=self.prefixes,
            )

    def _halved(self, batch: Sequence[Request], run: Callable[[Sequence[Request]], list[T]]) -> list[T]:
        """In one batch, or in as many as memory takes."""
        try:
            return run(batch)
        except torch.OutOfMemoryError:
            self.prefixes.clear()
            if len(batch) == 1:
                raise
            torch.cuda.empty_cache()
            half = len(batch) // 2
            logger.warning("out of memory with %d conversations at once; trying %d", len(batch), half)
            return [*self._halved(batch[:half], run), *self._halved(batch[half:], run)]

    def _generate(self, batch: Sequence[Request], *, singly: bool) -> list[Generated]:
        settings = batch[0].settings
        most = self.context if singly else min(self.context, self._batching.most)
        rows = [
            PromptRow(r.prompt, min(r.max_tokens, most - len(r.prompt)), r.seed, r.adapter, r.over)
            for r in batch
        ]
        watches = list(dict.fromkeys(watch for request in batch for watch in request.watches))
        with ExitStack() as stack:
            trace = self._trace(batch, watches, stack, most) if watches else None
            written = self._decode(rows, settings, trace, stack, singly=singly)
        found = [self._as_generated(w, settings) for w in written]
        if trace is None:
            return found
        return [
            answer._replace(seen=shared_out(watches, request.watches, *trace.seen(i, answer.written.tokens)))
            if request.watches
            else answer
            for i, (request, answer) in enumerate(zip(batch, found, strict=True))
        ]

    def _trace(
        self, batch: Sequence[Request], watches: Sequence[Watch], stack: ExitStack, most: int
    ) -> Trace:
        return Trace(
            read_all(watches, self.model, stack),
            [r.prompt for r in batch],
            watches,
            [r.watches for r in batch],
            closing=[r.closing for r in batch],
            end_tokens=self.end_tokens,
            context=most,
        )

    def _decode(
        self,
        rows: Sequence[PromptRow],
        settings: SamplingSettings,
        trace: Trace | None,
        stack: ExitStack,
        *,
        singly: bool,
    ) -> list[Written]:
        common: dict[str, Any] = {
            "end_tokens": self.end_tokens,
            "pad": self.pad,
            "device": self.device,
            "said_stop": self._said(settings.stop) if settings.stop else None,
            "trace": trace,
        }
        if singly or self._batching.way == "singly":
            return decode_singly(self._whole_generate, rows, settings, **common)
        forward = self._forward_of({row.adapter for row in rows}, stack)
        common["prefixes"] = self.prefixes
        return decode(forward, self._batching, self.model.config, rows, settings, **common)

    def _forward_of(self, adapters: set[str], stack: ExitStack) -> Callable[..., Any]:
        """The pass of a batch; while `stack` is open, of the one adapter if there is but one."""
        if len(adapters) > 1:
            return self._mixed_forward
        stack.enter_context(speaking(self.model, next(iter(adapters))))
        return self._forward

    def _all_logits(self, *, adapter: str, **inputs: Any) -> torch.Tensor:
        with speaking(self.model, adapter):
            return self.model(**inputs).logits

    def _forward(self, *, adapters: Sequence[str], **inputs: Any) -> Any:
        """Of whoever speaks."""
        del adapters
        return self.model(**inputs, **self._last_logits)

    def _mixed_forward(self, *, adapters: Sequence[str], **inputs: Any) -> Any:
        return mixed_forward(self.model, adapters, **inputs, **self._last_logits)

    def _whole_generate(self, *, adapter: str, **inputs: Any) -> Any:
        with speaking(self.model, adapter):
            return self.model.generate(**inputs)

    def _said(self, stop: Sequence[str]) -> Callable[[list[int]], bool]:
        return lambda tokens: any(s in self.tokenizer.decode(tokens, skip_special_tokens=True) for s in stop)

    def _as_generated(self, written: Written, settings: SamplingSettings) -> Generated:
        last = written.tokens[-1] if written.tokens else None
        end = last if last in self.end_tokens else None
        said = settings.stop and self._said(settings.stop)(written.tokens)
        return Generated(
            written=written, stop="stop" if end is not None or said else "max_tokens", end=end, seen=[]
        )
