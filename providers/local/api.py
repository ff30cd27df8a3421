"""`local/...` as an Inspect model provider."""

import math
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import anyio
import anyio.to_thread
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    Content,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    Logprob,
    Logprobs,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    TopLogprob,
)
from inspect_ai.tool import ToolCall, ToolChoice, ToolInfo
from inspect_ai.util import collect

from providers.chat.calls import Call
from providers.chat.choice import TemplateChoice
from providers.chat.errors import ModelOptionError
from providers.chat.reading import Reply, call_id
from providers.chat.token_record import KEY, TokenLog
from providers.local.adapters import check_adapter
from providers.local.engine import Engine, EngineOptions, Generated, T
from providers.local.engines import engine_for
from providers.local.likelihood import OPTION, Completions, asked_completions, token_prefix, tokens_of
from providers.local.sampling import SamplingSettings
from providers.local.speech import THOUGHT_TOKENS, Prompt, Speech
from providers.local.watching import Watch
from providers.local.weights import check_base
from providers.seeds import CallSeeds

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = ("frequency_penalty", "presence_penalty", "logit_bias", "response_schema", "reasoning_effort")
"""Settings that would change the answers if they were honoured; asking for one is an error."""


class LocalAPI(ModelAPI):
    """A transformers model in this process: `local/<folder or hub id>[:<LoRA adapter folder>]`.

    Models with the same base and options share one copy of the weights, whatever roles they play, and
    their requests are run in common batches. The base of an adapter is not loaded again. Nothing is loaded
    before the first call: a log can be judged again when the weights that spoke in it are gone.

    Options (`-M name=value`, or `model_args` of a role):
        batch_size: Conversations per batch, 64.
        window: Seconds without a new request before a batch that is not full starts, 0.02.
        prefix_cache: Megabytes in which keys and values of prompts and replies are kept, 512, so that of a
            prompt that begins with them only the rest is read; 0: every prompt is read whole.
        device: `cuda`, `mps`, `cpu`; the best there is by default. `device_map`: as in transformers.
        dtype: By default as stored, float32 on the CPU.
        revision: Of a hub model. `attn_implementation`: as in transformers.
        chat_template: File with a Jinja template to use instead of the model's own.
        thinking: `true` or `false` turns thoughts on or off, where the template has a switch for it.
        template_options: Other variables of the template, e.g. `{reasoning_effort: low}`.
        date: The day that templates are told who ask for it, e.g. `2026-01-31`; by default the day on which
            the model is loaded. The log records it.

    Thoughts are parts of the message of their own: they stay in the log, and are neither said nor judged.
    They may take `--reasoning-tokens` tokens (2048) beside the `--max-tokens` of the answer. The token ids of
    each generation are in its log (`providers/chat/token_record.py`).

    A call with `extra_body={"completions": [text, text]}` gives the likelihoods of these completions in the
    metadata of its output (`completions`: text, logprob, tokens), from one pass over the prompt; with
    `"ended": True` beside it, those of the whole replies, the end of the turn included.

    Raises:
        ModelOptionError: An option that is unknown or cannot have that value.
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
        known = {*EngineOptions._fields, *TemplateChoice._fields} - {"path"}
        if unknown := sorted(set(options) - known):
            raise ModelOptionError(
                f"local/ takes no option {', '.join(unknown)}; it takes {', '.join(sorted(known))}"
            )
        base, adapter = split_name(model_name)
        loaded = {name: value for name, value in options.items() if name in EngineOptions._fields}
        self.options = EngineOptions.of(base, loaded)
        self._said = TemplateChoice.of(options)
        self._speech: Speech | None = None
        self.adapter_folder = None if adapter is None else Path(adapter).expanduser()
        self._loaded: tuple[Engine, str] | None = None
        self._loading = threading.Lock()
        self._first_call = anyio.Lock()
        self._seeds = CallSeeds()
        self._watches: WeakSet[Watch] = WeakSet()
        self._tokens = TokenLog()

    @property
    def local(self) -> "LocalAPI":
        """The provider that has the weights, here and in providers that are built on this one."""
        return self

    def check_weights(self) -> None:
        """Raise what can be seen of the first call's troubles without a network and without loading anything.

        Raises:
            FileNotFoundError: No model, or no adapter, in its folder.
            AdapterError: An adapter that cannot be read.
        """
        check_base(self.options.path)
        if self.adapter_folder is not None:
            check_adapter(self.adapter_folder)

    @property
    def engine(self) -> Engine:
        """What runs the model; loaded now if it is not yet."""
        return self._load()[0]

    @property
    def adapter(self) -> str:
        """Name of the adapter in the engine, `__base__` without; loaded now if it is not yet."""
        return self._load()[1]

    @property
    def speech(self) -> Speech:
        """How the model is spoken to and read; it is loaded now if it is not yet."""
        engine = self.engine
        if self._speech is None:
            self._speech = Speech(engine.tokenizer, engine.end_tokens, self._said, self.options.path)
        return self._speech

    def _load(self) -> tuple[Engine, str]:
        with self._loading:
            if self._loaded is None:
                folder = None if self.adapter_folder is None else str(self.adapter_folder)
                self._loaded = engine_for(self.options, folder)
            return self._loaded

    async def _ready(self) -> Engine:
        """Load while other conversations go on; whoever comes meanwhile waits for the same load."""
        if self._loaded is None:
            async with self._first_call:
                await anyio.to_thread.run_sync(self._load, abandon_on_cancel=True)
        return self.engine

    @property
    def path(self) -> str:
        """Folder or hub id of the base model."""
        return self.options.path

    @property
    def revision(self) -> str | None:
        """Commit of a model on the hub, if it is known."""
        return getattr(self.engine.model.config, "_commit_hash", None)

    @property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """With the chat template that is used."""
        return self.speech.tokenizer

    @property
    def template_options(self) -> dict[str, Any]:
        """Variables of the chat template, the switch for thoughts among them."""
        return dict(self.speech.template.options)

    @property
    def ends(self) -> tuple[str, ...]:
        """Tokens that end a generation."""
        return self.speech.template.ends

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
        return 2 * self.options.batch_size

    def connection_key(self) -> str:
        """One pool for each copy of the weights."""
        return self.options.path

    def max_tokens(self) -> int | None:
        """A bound for calls that name none: the answer must end some time."""
        return 2048

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """Answer one conversation.

        Raises:
            ValueError: A setting that this provider does not honour, a forced tool call among them.
            FileNotFoundError: At the first call: no model, or no adapter, in its folder.
            AdapterError: At the first call: the adapter does not fit the base.
        """
        _refuse(tool_choice, config)
        offered = [] if tool_choice == "none" else tools
        await self._ready()
        started = time.monotonic()
        prompt = self.speech.prompt(input, offered)
        if len(prompt.tokens) >= self.engine.context:
            return self._overflow(len(prompt.tokens))
        if (completions := asked_completions(config.extra_body)) is not None:
            return await self._weighed(prompt, completions, started)
        settings = SamplingSettings(
            temperature=1.0 if config.temperature is None else config.temperature,
            top_p=1.0 if config.top_p is None else config.top_p,
            top_k=config.top_k or 0,
            top_logprobs=(config.top_logprobs or 0) if config.logprobs else None,
            stop=tuple(config.stop_seqs or ()),
        )
        answers = await collect(
            *(self._answer(prompt, config, settings) for _ in range(config.num_choices or 1))
        )
        choices = [self._choice(prompt, a, settings, config.logprobs) for a in answers]
        written = sum(len(a.written.tokens) for a in answers)
        return ModelOutput(
            model=self.model_name,
            choices=choices,
            usage=ModelUsage(
                input_tokens=len(prompt.tokens),
                output_tokens=written,
                total_tokens=len(prompt.tokens) + written,
                reasoning_tokens=sum(self.speech.thought_tokens(prompt, a.written.tokens) for a in answers)
                or None,
            ),
            time=time.monotonic() - started,
            metadata=self._record(input, prompt, choices, answers),
        )

    async def _weighed(self, prompt: Prompt, completions: Completions, started: float) -> ModelOutput:
        """The likeliest of some completions; the metadata have the log-probabilities of all.

        `differ_from` is the number of tokens that all begin with alike, `prompt_passes` how often the prompt
        was read, `size` what the arithmetic of a pass goes by (`analysis/compute.py`).
        """

        def encode(text: str) -> list[int]:
            return self.engine.tokenizer.encode(text, add_special_tokens=False)

        end = self.speech.closing if completions.ended else []
        tokens = tokens_of(completions.texts, encode, opened=prompt.opened, end=end)
        alike = token_prefix(tokens)
        whole = [*prompt.tokens, *tokens[0][:alike]]
        if len(whole) + max(map(len, tokens)) - alike > self.engine.context:
            return self._overflow(len(whole))
        different = [own[alike:] for own in tokens]
        weighed = await self.engine.weigh(whole, different, adapter=self.adapter)
        sums = [math.fsum(own) for own in weighed.logprobs]
        written = sum(map(len, different))
        return ModelOutput(
            model=self.model_name,
            choices=[
                ChatCompletionChoice(
                    message=ChatMessageAssistant(
                        content=completions.texts[sums.index(max(sums))],
                        model=self.model_name,
                        source="generate",
                    )
                )
            ],
            usage=ModelUsage(
                input_tokens=len(whole), output_tokens=written, total_tokens=len(whole) + written
            ),
            time=time.monotonic() - started,
            metadata={
                OPTION: [
                    {"text": text, "logprob": logprob, "logprobs": own, "tokens": len(ids)}
                    for text, logprob, own, ids in zip(
                        completions.texts, sums, weighed.logprobs, different, strict=True
                    )
                ],
                "differ_from": alike,
                "prompt_passes": weighed.prompt_passes,
                "size": self.engine.size,
                "clock": self.speech.clock.isoformat(),
            },
        )

    async def _answer(self, prompt: Prompt, config: GenerateConfig, settings: SamplingSettings) -> Generated:
        thought = THOUGHT_TOKENS if config.reasoning_tokens is None else config.reasoning_tokens
        budget = self.speech.budget(prompt, config.max_tokens or 2048, thought)
        return await self.engine.generate(
            prompt.tokens,
            max_tokens=budget.most,
            seed=self._seeds.draw(config.seed, prompt.tokens),
            adapter=self.adapter,
            settings=settings,
            watches=tuple(self._watches),
            closing=self.speech.closing,
            over=budget,
        )

    def _record(
        self,
        messages: Sequence[ChatMessage],
        prompt: Prompt,
        choices: Sequence[ChatCompletionChoice],
        answers: Sequence[Generated],
    ) -> dict[str, Any]:
        """What the log keeps of a generation beside its words."""
        earlier = [m.id or "" for m in messages if isinstance(m, ChatMessageAssistant)]
        return {
            KEY: [
                self._tokens.record(c.message.id or "", prompt.tokens, a.written.tokens, earlier)
                for c, a in zip(choices, answers, strict=True)
            ],
            "clock": self.speech.clock.isoformat(),
            "size": self.engine.size,
        }

    def _overflow(self, length: int) -> ModelOutput:
        return ModelOutput.from_content(
            self.model_name,
            f"The prompt has {length} tokens; {self.model_name} takes {self.engine.context}.",
            stop_reason="model_length",
        )

    def _choice(
        self, prompt: Prompt, answer: Generated, settings: SamplingSettings, logprobs: bool | None
    ) -> ChatCompletionChoice:
        tokens = answer.written.tokens
        reply = self.speech.read(prompt, tokens[:-1] if answer.end is not None else tokens, settings.stop)
        calls = [_tool_call(c, call_id(prompt.tokens, tokens, n)) for n, c in enumerate(reply.calls)]
        message = ChatMessageAssistant(
            content=_content(reply), tool_calls=calls or None, model=self.model_name, source="generate"
        )
        for seen in answer.seen:
            seen.watch.keep(message.id or "", seen.tokens, seen.numbers)
        return ChatCompletionChoice(
            message=message,
            # what was cut after a call, or within one, was cut
            stop_reason="tool_calls" if calls and answer.stop == "stop" else answer.stop,
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


def _content(reply: Reply) -> str | list[Content]:
    if reply.reasoning is None:
        return reply.text
    return [ContentReasoning(reasoning=reply.reasoning), ContentText(text=reply.text)]


def _tool_call(call: Call, identity: str) -> ToolCall:
    if call.problem is not None:
        return ToolCall(id=identity, function="unreadable", arguments={}, parse_error=call.problem)
    return ToolCall(id=call.id or identity, function=call.name, arguments=call.arguments)


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
