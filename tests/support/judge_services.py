"""Judges whose distribution is known, behind services with the habits that services have."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    Logprob,
    Logprobs,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    TopLogprob,
    modelapi,
)
from inspect_ai.tool import ToolChoice, ToolInfo

END = "<|im_end|>"

Tokens = tuple[str, ...]


class Refused(RuntimeError):
    """What a service says of a request that it does not take; `status_code` as HTTP clients have it."""

    status_code = 400


@dataclass
class Service:
    """A judge's distribution over whole texts, and what its service does.

    Args:
        texts: Tokens of everything that the judge may write, without the end -> probability.
    """

    texts: Mapping[Tokens, float]
    on_continue: Literal["continues", "anew", "refuses"] = "continues"
    shows_end: bool = True
    cap: int = 20
    """Alternatives that it allows."""

    chosen_only: bool = False
    drops_certain: bool = False
    """As Inspect's google provider: a token whose log-probability is 0 is missing, and so are such alternatives."""

    several: bool = True
    """Whether it gives several answers to one prompt."""

    thought: Tokens = ()
    """Written before every answer, counted against the limit of tokens, and taken out of the text."""

    loses_prompt: int = 0
    """Tokens of the prompt that its template leaves out before words of the assistant."""

    refuses: tuple[str, ...] = ()
    """Settings that it does not take."""

    seed: int = 0
    prompts: list[list[ChatMessage]] = field(default_factory=list)
    configs: list[GenerateConfig] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def tokens_of(self, words: str) -> Tokens:
        """The beginning of what the judge may write that consists of these words."""
        beginnings = (text[:count] for text in self.texts for count in range(1, len(text) + 1))
        return next(b for b in beginnings if "".join(b).lstrip() == words)

    def following(self, written: Tokens, told: Mapping[Tokens, float]) -> dict[str, float]:
        """Next token -> probability; the end is a token."""
        after: dict[str, float] = {}
        for text, probability in told.items():
            if (*text, END)[: len(written)] == written and len(text) + 1 > len(written):
                token = (*text, END)[len(written)]
                after[token] = after.get(token, 0.0) + probability
        total = sum(after.values())
        return {t: p / total for t, p in after.items() if p > 0}


SERVICES: dict[str, Service] = {}
"""By the name of the model: `service/<name>`."""


class ServiceAPI(ModelAPI):
    async def generate(
        self,
        input: list[ChatMessage],  # noqa: A002
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> ModelOutput:
        del tools, tool_choice
        service = SERVICES[self.model_name]
        service.prompts.append(list(input))
        service.configs.append(config)
        _check(service, config)
        begun: Tokens = ()
        prompt_tokens = 100
        if input[-1].role == "assistant":
            if service.on_continue == "refuses":
                raise Refused("messages: the final message must be from the user")
            prompt_tokens += (1 if service.on_continue == "continues" else 7) - service.loses_prompt
            if service.on_continue == "continues":
                begun = service.tokens_of(input[-1].text)
        count = (config.num_choices or 1) if service.several else 1
        choices = [_choice(service, begun, config) for _ in range(count)]
        return ModelOutput(
            model=self.model_name,
            choices=choices,
            usage=ModelUsage(input_tokens=prompt_tokens, output_tokens=1, total_tokens=prompt_tokens + 1),
        )


@modelapi(name="service")
def _service() -> type[ModelAPI]:
    return ServiceAPI


def _check(service: Service, config: GenerateConfig) -> None:
    if (config.top_logprobs or 0) > service.cap:
        raise Refused(f"Invalid value for 'top_logprobs': must be less than or equal to {service.cap}.")
    for name in service.refuses:
        if name == "temperature and top_p":
            if config.temperature is not None and config.top_p is not None:
                raise Refused("`temperature` and `top_p` cannot both be specified for this model.")
        elif getattr(config, name) is not None:
            raise Refused(f"Unsupported parameter: '{name}' is not supported with this model.")


def _choice(service: Service, begun: Tokens, config: GenerateConfig) -> ChatCompletionChoice:
    tokens = [_certain(t) for t in service.thought] if not begun else []
    written = begun
    while not written or written[-1] != END:
        after = service.following(written, service.texts)
        token = service.rng.choices(list(after), weights=list(after.values()))[0]
        tokens.append(_logprob(service, token, after, config.top_logprobs or 0))
        written = (*written, token)
    limit = config.max_tokens or len(tokens)
    cut = len(tokens) > limit
    tokens = tokens[:limit]
    said = [t.token for t in tokens if t.token != END]
    thought = "".join(said[: len(service.thought)]) if not begun else ""
    text = "".join(said[len(service.thought) if not begun else 0 :])
    if not service.shows_end:
        tokens = [t for t in tokens if t.token != END]
    if service.drops_certain:
        tokens = [_without_certain(t) for t in tokens if t.logprob != 0.0]
    content = [ContentReasoning(reasoning=thought), ContentText(text=text)] if thought else text
    return ChatCompletionChoice(
        message=ChatMessageAssistant(content=content, source="generate"),
        stop_reason="max_tokens" if cut else "stop",
        logprobs=Logprobs(content=tokens) if config.logprobs else None,
    )


def _logprob(service: Service, token: str, after: Mapping[str, float], wanted: int) -> Logprob:
    ranked = sorted(after.items(), key=lambda item: -item[1])[:wanted]
    if service.chosen_only:
        ranked = []
    top = [TopLogprob(token=t, logprob=math.log(p)) for t, p in ranked]
    return Logprob(token=token, logprob=math.log(after[token]), top_logprobs=top)


def _certain(token: str) -> Logprob:
    return Logprob(token=token, logprob=0.0, top_logprobs=[TopLogprob(token=token, logprob=0.0)])


def _without_certain(token: Logprob) -> Logprob:
    top = [t for t in token.top_logprobs or [] if t.logprob != 0.0]
    return token.model_copy(update={"top_logprobs": top})


def spelled(answers: Mapping[str, float], how: Sequence[str] = ()) -> dict[Tokens, float]:
    """Answers as tokens.

    Args:
        answers: Answer -> probability.
        how: `digits` (one token each), `space` (before the first), `spaces` (a token of their own),
            `bold`, `label`, `json`, `out_of` (the top of the scale, here 10).
    """
    texts: dict[Tokens, float] = {}
    for answer, probability in answers.items():
        number = answer.isdigit()
        tokens = tuple(answer) if "digits" in how and number else (answer,)
        if "space" in how:
            tokens = (f" {tokens[0]}", *tokens[1:])
        if "spaces" in how:
            tokens = (" ", *tokens)
        if "bold" in how:
            tokens = ("**", *tokens, "**")
        if "label" in how:
            tokens = ("Rating", ":", " ", *tokens)
        if "json" in how:
            tokens = ('{"', "rating", '":', " ", *tokens, "}")
        if "out_of" in how and number:
            tokens = (*tokens, "/", *(("1", "0") if "digits" in how else ("10",)))
        texts[tokens] = texts.get(tokens, 0.0) + probability
    return texts
