"""Models that say what a test tells them, with the log-probabilities it tells them."""

import math
from collections.abc import Callable, Mapping, Sequence

from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    GenerateConfig,
    Logprob,
    Logprobs,
    Model,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    StopReason,
    TopLogprob,
    get_model,
    modelapi,
)
from inspect_ai.tool import ToolChoice, ToolInfo

Prompt = list[ChatMessage]
Answer = str | Mapping[str, float] | ModelOutput
Script = Answer | Sequence[Answer] | Callable[[Prompt], Answer]


class ToldAPI(ModelAPI):
    """Says a fixed answer, answers in turn, or what a function makes of the prompt."""

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        self.script: Script = ""
        self.gives_logprobs = True
        self.keeps = True
        self.calls = 0
        self.prompts: list[Prompt] = []
        self.configs: list[GenerateConfig] = []

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        del tools, tool_choice
        self.calls += 1
        if self.keeps:
            self.prompts.append(list(input))
            self.configs.append(config)
        return self._output(self._next(input), bool(config.logprobs))

    def _next(self, prompt: Prompt) -> Answer:
        if callable(self.script):
            return self.script(prompt)
        if isinstance(self.script, str | Mapping | ModelOutput):
            return self.script
        return self.script[(self.calls - 1) % len(self.script)]

    def _output(self, answer: Answer, wanted: bool) -> ModelOutput:
        if isinstance(answer, ModelOutput):
            return answer
        probabilities = {answer: 1.0} if isinstance(answer, str) else dict(answer)
        text = max(probabilities, key=lambda k: probabilities[k])
        logprobs = None
        if wanted and self.gives_logprobs:
            logprobs = Logprobs(content=[token(text, probabilities)])
        return output(text, self.model_name, logprobs=logprobs)


@modelapi(name="told")
def _told() -> type[ModelAPI]:
    return ToldAPI


def token(text: str, probabilities: Mapping[str, float]) -> Logprob:
    """One generated token with its alternatives."""
    top = [TopLogprob(token=t, logprob=math.log(p)) for t, p in probabilities.items() if p > 0]
    return Logprob(token=text, logprob=math.log(probabilities.get(text, 1.0)), top_logprobs=top)


def output(
    text: str, name: str = "model", *, logprobs: Logprobs | None = None, stop: StopReason = "stop"
) -> ModelOutput:
    """A model's output, usage included, so that nothing is counted over the network."""
    message = ChatMessageAssistant(content=text, model=name, source="generate")
    return ModelOutput(
        model=name,
        choices=[ChatCompletionChoice(message=message, stop_reason=stop, logprobs=logprobs)],
        usage=ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2),
    )


def told(script: Script, name: str = "model", *, logprobs: bool = True) -> Model:
    """A model that follows `script`. A mapping is a distribution over one-token answers."""
    model = get_model(f"told/{name}", memoize=False)
    assert isinstance(model.api, ToldAPI)
    model.api.script = script
    model.api.gives_logprobs = logprobs
    return model


def asked(model: Model) -> list[Prompt]:
    """The prompts that a told model has had."""
    assert isinstance(model.api, ToldAPI)
    return model.api.prompts
