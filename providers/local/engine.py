"""One copy of a model's weights, and the thread that runs batches through it."""

import inspect
import logging
import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, Literal, NamedTuple, TypeVar

import anyio
import anyio.from_thread
import anyio.lowlevel
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from providers.local.chat import Chat
from providers.local.decoding import Row, Written, decode
from providers.local.sampling import Settings
from providers.local.watching import Seen, Trace, Watch, read_all, shared_out

logger = logging.getLogger(__name__)

T = TypeVar("T")

BASE = "__base__"
"""PEFT's name for no adapter."""


class EngineOptions(NamedTuple):
    """What makes two engines different. Models that agree in all of it share one copy of the weights."""

    path: str
    revision: str | None = None
    dtype: str | None = None
    device: str | None = None
    device_map: str | None = None
    attn_implementation: str | None = None
    chat_template: str | None = None
    batch_size: int = 64
    window: float = 0.02
    """Seconds without a new request after which a batch that is not full is run."""


class Generated(NamedTuple):
    """One answer."""

    written: Written
    """Its tokens, the end token included, with log-probabilities if they were asked for."""

    text: str
    stop: Literal["stop", "max_tokens"]

    seen: list[Seen]
    """One for each watch of the request."""


@dataclass(eq=False)
class Request:
    """One prompt on its way."""

    prompt: list[int]
    max_tokens: int
    seed: int
    adapter: str
    settings: Settings
    watches: tuple[Watch, ...]
    token: anyio.lowlevel.EventLoopToken
    done: anyio.Event = field(default_factory=anyio.Event)
    answer: Generated | None = None
    error: BaseException | None = None
    abandoned: bool = False


class Engine:
    """A causal language model with its LoRA adapters. Made by `engine_for`, once per `EngineOptions`."""

    def __init__(self, options: EngineOptions) -> None:
        self.options = options
        self.device = _device(options.device)
        tokenizer = AutoTokenizer.from_pretrained(options.path, revision=options.revision)
        self.chat = Chat(tokenizer, options.chat_template, options.path)
        self.tokenizer = tokenizer
        self.model: Any = _load(options, self.device).eval()
        self.context = _context(self.model.config)
        self.end_tokens = _end_tokens(self.model, tokenizer)
        self.pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self.end_tokens[0]
        takes = inspect.signature(self.model.forward).parameters
        self._last_logits = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
        self._adapters: dict[str, str] = {}
        self._lock = threading.Lock()
        self._queue: SimpleQueue[Request] = SimpleQueue()
        self._waiting: list[Request] = []
        threading.Thread(target=self._run_forever, name=f"local {options.path}", daemon=True).start()

    def adapter(self, path: str) -> str:
        """Load the LoRA adapter in a folder beside the base, unless it is there, and return its name.

        Raises:
            FileNotFoundError: The folder holds no adapter.
        """
        folder = Path(path).expanduser().resolve()
        if not (folder / "adapter_config.json").exists():
            raise FileNotFoundError(f"{folder} holds no LoRA adapter (no adapter_config.json)")
        from peft import PeftModel

        with self._lock:
            key = str(folder)
            if key not in self._adapters:
                name = f"adapter_{len(self._adapters)}"
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", FutureWarning)  # of one library to another
                    if isinstance(self.model, PeftModel):
                        self.model.load_adapter(key, adapter_name=name)
                    else:
                        self.model = PeftModel.from_pretrained(self.model, key, adapter_name=name)
                self.model.eval()
                self._adapters[key] = name
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
        settings: Settings,
        watches: tuple[Watch, ...] = (),
    ) -> Generated:
        """Answer one prompt, in a batch with whatever else is waiting."""
        token = anyio.lowlevel.current_token()
        request = Request(prompt, max_tokens, seed, adapter, settings, watches, token)
        self._queue.put(request)
        try:
            await request.done.wait()
        except BaseException:
            request.abandoned = True
            raise
        if request.error is not None:
            raise request.error
        assert request.answer is not None
        return request.answer

    # -- the thread -------------------------------------------------------------------------------

    def _run_forever(self) -> None:
        while True:
            batch = self._next_batch()
            if not batch:
                continue
            try:
                with self._lock:
                    for request, answer in zip(batch, self._answers(batch), strict=True):
                        request.answer = answer
            except BaseException as error:
                for request in batch:
                    request.error = error
            _announce(batch)

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
        settings = self._waiting[0].settings
        batch = [r for r in self._waiting if r.settings == settings][: self.options.batch_size]
        taken = set(map(id, batch))
        self._waiting = [r for r in self._waiting if id(r) not in taken]
        return batch

    def _answers(self, batch: Sequence[Request]) -> list[Generated]:
        try:
            return self._generate(batch)
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise
            torch.cuda.empty_cache()
            half = len(batch) // 2
            logger.warning("out of memory with %d conversations at once; trying %d", len(batch), half)
            return [*self._answers(batch[:half]), *self._answers(batch[half:])]

    def _generate(self, batch: Sequence[Request]) -> list[Generated]:
        settings = batch[0].settings
        rows = [
            Row(r.prompt, min(r.max_tokens, self.context - len(r.prompt)), r.seed, r.adapter) for r in batch
        ]
        watches = list(dict.fromkeys(watch for request in batch for watch in request.watches))
        with ExitStack() as stack:
            trace = self._trace(batch, watches, stack) if watches else None
            written = decode(
                self._forward,
                self.model.config,
                rows,
                settings,
                end_tokens=self.end_tokens,
                pad=self.pad,
                device=self.device,
                said_stop=self._said(settings.stop) if settings.stop else None,
                trace=trace,
            )
        found = [self._read(w, settings) for w in written]
        if trace is None:
            return found
        return [
            answer._replace(seen=shared_out(watches, request.watches, *trace.seen(i, answer.written.tokens)))
            if request.watches
            else answer
            for i, (request, answer) in enumerate(zip(batch, found, strict=True))
        ]

    def _trace(self, batch: Sequence[Request], watches: Sequence[Watch], stack: ExitStack) -> Trace:
        return Trace(
            read_all(watches, self.model, stack),
            [r.prompt for r in batch],
            [bool(r.watches) for r in batch],
            closing=self.chat.closing,
            end_tokens=self.end_tokens,
            context=self.context,
        )

    def _forward(self, *, adapters: Sequence[str], **inputs: Any) -> Any:
        inputs |= self._last_logits
        if not self._adapters:
            return self.model(**inputs)
        if len(set(adapters)) == 1 and adapters[0] != BASE:
            self.model.set_adapter(adapters[0])
            return self.model(**inputs)
        return self.model(**inputs, adapter_names=list(adapters))

    def _said(self, stop: Sequence[str]) -> Callable[[list[int]], bool]:
        return lambda tokens: any(s in self.tokenizer.decode(tokens, skip_special_tokens=True) for s in stop)

    def _read(self, written: Written, settings: Settings) -> Generated:
        ended = bool(written.tokens) and written.tokens[-1] in self.end_tokens
        body = written.tokens[:-1] if ended else written.tokens
        text = self.tokenizer.decode(body, skip_special_tokens=True)
        cut = min((at for s in settings.stop if (at := text.find(s)) >= 0), default=None)
        return Generated(
            written=written,
            text=text if cut is None else text[:cut],
            stop="stop" if ended or cut is not None else "max_tokens",
            seen=[],
        )


_engines: dict[EngineOptions, Engine] = {}
_engines_lock = threading.Lock()


def engine_for(options: EngineOptions) -> Engine:
    """The engine with these options, loaded on first use and then shared by every model that asks for it."""
    with _engines_lock:
        if options not in _engines:
            _engines[options] = Engine(options)
        return _engines[options]


def _announce(batch: Sequence[Request]) -> None:
    """Wake the waiting tasks: one hop into each event loop, not one per request."""
    loops: dict[int, list[Request]] = {}
    for request in batch:
        loops.setdefault(id(request.token), []).append(request)
    for requests in loops.values():

        def wake(requests: list[Request] = requests) -> None:
            for request in requests:
                request.done.set()

        try:
            anyio.from_thread.run_sync(wake, token=requests[0].token)
        except RuntimeError:  # the event loop is gone, and with it everybody who waited
            logger.debug("nobody waits for a batch of %d any more", len(requests))


def _device(name: str | None) -> torch.device:
    if name is not None:
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _load(options: EngineOptions, device: torch.device) -> Any:
    config = AutoConfig.from_pretrained(options.path, revision=options.revision)
    dtype = options.dtype or ("float32" if device.type == "cpu" else "auto")
    arguments: dict[str, Any] = {"dtype": dtype, "revision": options.revision, "config": config}
    if options.attn_implementation is not None:
        arguments["attn_implementation"] = options.attn_implementation
    if options.device_map is not None:
        return AutoModelForCausalLM.from_pretrained(options.path, device_map=options.device_map, **arguments)
    model: Any = AutoModelForCausalLM.from_pretrained(options.path, **arguments)
    return model.to(device)


def _context(config: Any) -> int:
    text = config.get_text_config()
    return int(getattr(text, "max_position_embeddings", None) or 2**31)


def _end_tokens(model: Any, tokenizer: Any) -> list[int]:
    own = model.generation_config.eos_token_id
    found = own if isinstance(own, list) else [own]
    return sorted({t for t in (*found, tokenizer.eos_token_id) if t is not None})
