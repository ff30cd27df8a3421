"""`local/...` as an Inspect model provider."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    GenerateConfig,
    Logprob,
    Logprobs,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    TopLogprob,
)
from inspect_ai.tool import ToolChoice, ToolInfo
from inspect_ai.util import collect

from providers.local.engine import BASE, Engine, EngineOptions, Generated, T, engine_for
from providers.local.sampling import Settings
from providers.local.tool_calls import read_tool_calls
from providers.local.watching import Watch
from providers.seeds import CallSeeds

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = ("frequency_penalty", "presence_penalty", "logit_bias", "response_schema", "reasoning_effort")
"""Settings that would change the answers if they were honoured; asking for one is an error."""


class LocalAPI(ModelAPI):
    """A transformers model in this process: `local/<folder or hub id>[:<LoRA adapter folder>]`.

    Models with the same base and options share one copy of the weights, whatever roles they play, and
    their requests are run in common batches. The base of an adapter is not loaded again.

    Options (`-M name=value`, or `model_args` of a role):
        batch_size: Conversations per batch, 64.
        window: Seconds without a new request before a batch that is not full starts, 0.02.
        device: `cuda`, `mps`, `cpu`; the best there is by default. `device_map`: as in transformers.
        dtype: By default as stored, float32 on the CPU.
        revision: Of a hub model. `attn_implementation`: as in transformers.
        chat_template: File with a Jinja template to use instead of the model's own.

    Raises:
        ValueError: An unknown option; no usable chat template.
        FileNotFoundError: The adapter folder holds none.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008
        **options: Any,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        if unknown := sorted(set(options) - set(EngineOptions._fields)):
            known = sorted(set(EngineOptions._fields) - {"path"})
            raise ValueError(f"local/ takes no option {', '.join(unknown)}; it takes {', '.join(known)}")
        base, adapter = split_name(model_name)
        self.engine: Engine = engine_for(EngineOptions(path=base, **options))
        self.adapter = BASE if adapter is None else self.engine.adapter(adapter)
        self.adapter_folder = None if adapter is None else Path(adapter).expanduser()
        self._seeds = CallSeeds()
        self._watches: WeakSet[Watch] = WeakSet()

    @property
    def local(self) -> "LocalAPI":
        """The provider that has the weights, here and in providers that are built on this one."""
        return self

    @property
    def path(self) -> str:
        """Folder or hub id of the base model."""
        return self.engine.options.path

    @property
    def revision(self) -> str | None:
        """Commit of a model on the hub, if it is known."""
        return getattr(self.engine.model.config, "_commit_hash", None)

    @property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """With the chat template that is used."""
        return self.engine.tokenizer

    def lend(self, use: Callable[[Any], T]) -> T:
        """What `use` makes of the model while nothing is generated.

        If there are adapters, it is a PEFT model, in which any of them may be active; `adapter` is the name
        of this one's, `__base__` without.
        """
        return self.engine.lend(use)

    def watch(self, watch: Watch) -> None:
        """Let somebody read along from now on, for as long as they are there."""
        self._watches.add(watch)

    def max_connections(self) -> int:
        """Two batches: one runs, one gathers."""
        return 2 * self.engine.options.batch_size

    def connection_key(self) -> str:
        """One pool for each copy of the weights."""
        return self.engine.options.path

    def max_tokens(self) -> int | None:
        """A bound for calls that name none: the answer must end some time."""
        return 2048

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """Answer one conversation.

        Raises:
            ValueError: A setting that this provider does not honour, a forced tool call among them.
        """
        _refuse(tool_choice, config)
        offered = [] if tool_choice == "none" else tools
        started = time.monotonic()
        prompt = self.engine.chat.tokens(input, offered)
        if len(prompt) >= self.engine.context:
            return self._overflow(len(prompt))
        settings = Settings(
            temperature=1.0 if config.temperature is None else config.temperature,
            top_p=1.0 if config.top_p is None else config.top_p,
            top_k=config.top_k or 0,
            top_logprobs=(config.top_logprobs or 0) if config.logprobs else None,
            stop=tuple(config.stop_seqs or ()),
        )
        watches = tuple(self._watches)
        answers = await collect(
            *(
                self.engine.generate(
                    prompt,
                    max_tokens=config.max_tokens or 2048,
                    seed=self._seeds.draw(config.seed, prompt),
                    adapter=self.adapter,
                    settings=settings,
                    watches=watches,
                )
                for _ in range(config.num_choices or 1)
            )
        )
        written = sum(len(a.written.tokens) for a in answers)
        return ModelOutput(
            model=self.model_name,
            choices=[self._choice(a, offered, config.logprobs) for a in answers],
            usage=ModelUsage(
                input_tokens=len(prompt), output_tokens=written, total_tokens=len(prompt) + written
            ),
            time=time.monotonic() - started,
        )

    def _overflow(self, length: int) -> ModelOutput:
        return ModelOutput.from_content(
            self.model_name,
            f"The prompt has {length} tokens; {self.model_name} takes {self.engine.context}.",
            stop_reason="model_length",
        )

    def _choice(
        self, answer: Generated, tools: list[ToolInfo], logprobs: bool | None
    ) -> ChatCompletionChoice:
        text, calls = read_tool_calls(answer.text, tools) if tools else (answer.text, [])
        message = ChatMessageAssistant(
            content=text, tool_calls=calls or None, model=self.model_name, source="generate"
        )
        for seen in answer.seen:
            seen.watch.keep(message.id or "", seen.tokens, seen.numbers)
        return ChatCompletionChoice(
            message=message,
            stop_reason="tool_calls" if calls else answer.stop,
            logprobs=self._logprobs(answer) if logprobs else None,
        )

    def _logprobs(self, answer: Generated) -> Logprobs:
        name = self.engine.tokenizer.decode
        return Logprobs(
            content=[
                Logprob(
                    token=name([token]),
                    logprob=logprob,
                    top_logprobs=[TopLogprob(token=name([t]), logprob=lp) for t, lp in top],
                )
                for token, logprob, top in zip(*answer.written, strict=True)
            ]
        )


def split_name(name: str) -> tuple[str, str | None]:
    """`base` or `base:adapter` -> base, adapter. A colon inside an existing path is part of the path."""
    if ":" not in name or Path(name).exists():
        return name, None
    base, _, adapter = name.rpartition(":")
    return base, adapter


def _refuse(tool_choice: ToolChoice, config: GenerateConfig) -> None:
    if tool_choice not in ("auto", "none"):
        raise ValueError(f"local/ cannot make its models call a tool (tool_choice={tool_choice!r})")
    if asked := [name for name in IGNORED if getattr(config, name) is not None]:
        raise ValueError(f"local/ does not honour {', '.join(asked)}")
