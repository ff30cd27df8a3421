"""`miniature/...` as an Inspect model provider."""

import math
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

from miniature.scripted import Answer, judge, speak_as_user
from providers.seeds import CallSeeds
from scenarios.mistakes import UserMistake

if TYPE_CHECKING:
    from providers.local.api import LocalAPI

PARTS = ("agent", "user", "judge")


class MiniatureAPI(ModelAPI):
    """The offline world: `miniature/agent`, `miniature/user` and `miniature/judge`.

    `miniature/agent` is a tiny language model, trained on first use and cached; `miniature/agent:<folder>`
    is a LoRA adapter or a full checkpoint that was trained from it. The user and the judge are scripted.
    Options of the agent are those of `local/`.

    Raises:
        ValueError: An unknown part, or options for a scripted one.
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
        self.part, _, checkpoint = model_name.partition(":")
        if self.part not in PARTS:
            raise UserMistake(
                f"no miniature/{self.part}; there are {', '.join(f'miniature/{p}' for p in PARTS)}"
            )
        if self.part != "agent" and (options or checkpoint):
            raise UserMistake(f"miniature/{self.part} is scripted and takes no options and no checkpoint")
        self._agent = _agent(checkpoint, config, options) if self.part == "agent" else None
        if self._agent is not None:
            self._agent.model_name = model_name  # logs name the miniature, not a folder of this machine
        self._seeds = CallSeeds()

    @property
    def local(self) -> "LocalAPI | None":
        """The provider that has the agent's weights; None for scripted parts."""
        return self._agent

    def check_weights(self) -> None:
        """Look for the agent's checkpoint, without loading it."""
        if self._agent is not None:
            self._agent.check_weights()

    def partner(self, role: str) -> str | None:
        """The scripted user and judge play every other role beside the miniature's agent."""
        return "miniature/user" if role == "user" else "miniature/judge"

    def max_connections(self) -> int:
        """Scripted roles answer at once; the agent takes what its engine can batch."""
        return 100 if self._agent is None else self._agent.max_connections()

    def connection_key(self) -> str:
        """One pool for each part."""
        return self.model_name

    def max_tokens(self) -> int | None:
        """Replies of the miniature are short."""
        return 300

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """One answer."""
        if self._agent is not None:
            return await self._agent.generate(input, tools, tool_choice, config)
        # scripted roles say the same in every run, unless they are given another seed
        seed = 0 if config.seed is None else config.seed
        rng = random.Random(self._seeds.draw(seed, [(m.role, m.text) for m in input]))
        return self._output(input, self._answer(input, rng), config)

    def _answer(self, messages: list[ChatMessage], rng: random.Random) -> Answer:
        system = "\n".join(m.text for m in messages if m.role == "system")
        last = messages[-1].text if messages else ""
        if self.part == "judge":
            return judge(system, last, rng)
        return speak_as_user(system, "\n".join(m.text for m in messages if m.role == "assistant"), last, rng)

    def _output(self, messages: list[ChatMessage], answer: Answer, config: GenerateConfig) -> ModelOutput:
        read = sum(len(m.text.split()) for m in messages)
        written = len(answer.text.split())
        return ModelOutput(
            model=self.model_name,
            choices=[
                ChatCompletionChoice(
                    message=ChatMessageAssistant(
                        content=answer.text, model=self.model_name, source="generate"
                    ),
                    stop_reason="stop",
                    logprobs=_logprobs(answer, config.top_logprobs or 0) if config.logprobs else None,
                )
            ],
            usage=ModelUsage(input_tokens=read, output_tokens=written, total_tokens=read + written),
        )


def _agent(checkpoint: str, config: GenerateConfig, options: dict[str, Any]) -> "LocalAPI":
    try:
        from miniature.checkpoint import base_checkpoint
        from providers.local.api import LocalAPI
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"the miniature's agent needs {error.name}: pip install -e '.[local]' (or `make install`). "
            "Without it, name a model to evaluate: --model <provider>/<model>"
        ) from error
    if checkpoint and (Path(checkpoint) / "config.json").exists():
        return LocalAPI(checkpoint, config=config, **options)
    base = str(base_checkpoint())
    return LocalAPI(f"{base}:{checkpoint}" if checkpoint else base, config=config, **options)


def _logprobs(answer: Answer, alternatives: int) -> Logprobs:
    ranked = sorted(answer.probabilities.items(), key=lambda item: -item[1])[:alternatives]
    top = [TopLogprob(token=text, logprob=math.log(p)) for text, p in ranked if p > 0]
    chosen = math.log(answer.probabilities[answer.text])
    return Logprobs(content=[Logprob(token=answer.text, logprob=chosen, top_logprobs=top)])
