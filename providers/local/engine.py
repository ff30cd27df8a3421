"""One copy of a model's weights, and what can be asked of it."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import anyio.lowlevel
from transformers import AutoTokenizer, GenerationConfig

from providers.causal_models import model_size
from providers.local.adapters import check_adapter, load_adapter, made_for, mixes
from providers.local.batching import batching_of
from providers.local.kv_cache.prefixes import PrefixCache
from providers.local.likelihood import Weighed
from providers.local.request import Generated, Request
from providers.local.sampling import SamplingSettings
from providers.local.scheduling.passes import Passes
from providers.local.scheduling.worker import Worker
from providers.local.watching import Watch
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
        self._passes = Passes(
            load_model(
                options.path,
                self.device,
                revision=options.revision,
                dtype=options.dtype,
                device_map=options.device_map,
                attn_implementation=options.attn_implementation,
            )
        )
        self.size = model_size(self.model)
        self.context = context_of(self.model.config)
        self.end_tokens = end_tokens_of(self.model, tokenizer)
        self.pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self.end_tokens[0]
        # `generate` must not add settings of the checkpoint's own to those that are asked for
        self.model.generation_config = GenerationConfig(pad_token_id=self.pad)
        self._adapters: dict[str, str] = {}
        self._tried = 0
        batching = batching_of(self.model, self._passes.forward, self._passes.generate, self.device)
        self.prefixes = PrefixCache(options.prefix_cache)
        """What was read and said before. Of the thread, but for its counts."""

        if self.prefixes.keeps and batching.way != "padded":
            logger.warning(
                "%s keeps a state that is not taken up from earlier calls: each prompt is read anew",
                type(self.model).__name__,
            )
        self._worker = Worker(
            f"local {options.path}",
            self._passes,
            batching,
            self.prefixes,
            decode=tokenizer.decode,
            end_tokens=self.end_tokens,
            pad=self.pad,
            context=self.context,
            device=self.device,
            batch_size=options.batch_size,
            window=options.window,
        )

    @property
    def model(self) -> Any:
        """In PEFT's wrapper, once there are adapters."""
        return self._passes.model

    def adapter(self, path: str) -> str:
        """Load the LoRA adapter in a folder beside the base, unless it is there, and return its name.

        Raises:
            FileNotFoundError: The folder holds no adapter.
            AdapterError: It cannot be read, or does not fit the base.
        """
        folder = Path(path).expanduser().resolve()
        key = str(folder)
        if key in self._adapters:
            return self._adapters[key]
        with self._worker.turns.borrowed():
            if key not in self._adapters:
                check_adapter(folder)
                name = f"adapter_{self._tried}"
                self._tried += 1
                try:
                    self._passes.model = load_adapter(self.model, folder, name)
                    self._adapters[key] = name
                finally:  # what is left of one that did not fit may be in the way of mixing, too
                    if self._adapters:
                        self._passes.mixes = mixes(self.model, list(self._adapters.values()), self.device)
                if (other := made_for(folder, self.options.path)) is not None:
                    logger.warning("%s was made for %s, and is used on %s", folder, other, self.options.path)
            return self._adapters[key]

    def lend(self, use: Callable[[Any], T]) -> T:
        """What `use` makes of the model while nothing else happens to it."""
        with self._worker.turns.borrowed():
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
        self._worker.put(request)
        try:
            await request.done.wait()
        except BaseException:
            request.abandoned = True
            raise
        if request.error is not None:
            raise request.error
