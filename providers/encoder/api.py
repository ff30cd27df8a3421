"""`encoder/...` as an Inspect model provider: a judge that is no language model and no list of words."""

import math
import random
import re
from pathlib import Path
from typing import Any

import anyio.to_thread
import numpy as np
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

from providers.chat.errors import ModelOptionError
from providers.encoder.encoding import EncoderError, encoder_called, encoder_folder
from providers.encoder.saved import SavedJudge, read_judge
from providers.seeds import CallSeeds
from scenarios.conversations.text import read_transcript

DONT_KNOW = "?"
"""Said where nothing can be judged: read as no answer, never as a number."""


class EncoderAPI(ModelAPI):
    """A judge of replies: `encoder/<folder>`, as `providers/fit_judge.py` fits and keeps it.

    It reads what judges are shown: in the system prompt what is known of the person, in the last message the
    conversation; and answers with a number of its one scale, with log-probabilities. It judges the
    assistant's last reply, whatever the question asks, so it belongs in the roles it was fitted for. What is
    no conversation gets "?", which scorers read as no answer.

    Raises:
        ModelOptionError: Any option; no judge in the folder, or its encoder is not there.
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
        if options:
            raise ModelOptionError(f"encoder/ takes no options, got {', '.join(sorted(options))}")
        try:
            self.judge: SavedJudge = read_judge(Path(model_name).expanduser())
            encoder_folder(self.judge.encoder)  # loaded when it is asked; whether it is there is told now
        except EncoderError as error:
            raise ModelOptionError(str(error)) from None
        self._seeds = CallSeeds()

    def max_connections(self) -> int:
        """It answers one after another, at once."""
        return 64

    def connection_key(self) -> str:
        """One pool for each encoder."""
        return self.judge.encoder

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """One judgement."""
        del tools, tool_choice  # a judge is offered none
        system = "\n".join(m.text for m in input if m.role == "system")
        shown = input[-1].text if input else ""
        answers = await anyio.to_thread.run_sync(self.answers, system, shown)
        rng = random.Random(self._seeds.draw(config.seed or 0, [(m.role, m.text) for m in input]))
        drawn = rng.choices(list(answers), weights=list(answers.values()))[0]
        read = len(shown.split())
        return ModelOutput(
            model=self.model_name,
            choices=[
                ChatCompletionChoice(
                    message=ChatMessageAssistant(content=drawn, model=self.model_name, source="generate"),
                    stop_reason="stop",
                    logprobs=_logprobs(answers, drawn, config.top_logprobs or 0) if config.logprobs else None,
                )
            ],
            usage=ModelUsage(input_tokens=read, output_tokens=1, total_tokens=read + 1),
        )

    def answers(self, system: str, shown: str) -> dict[str, float]:
        """The probability of each answer; of "?" where there is no reply of an assistant.

        Args:
            system: What the judge is told.
            shown: A conversation as text (`scenarios.conversations.text.transcript`), and the question.
        """
        parts, _ = read_transcript(shown)
        replies = [part.words for part in parts if part.speaker == "assistant"]
        if not replies:
            return {DONT_KNOW: 1.0}
        try:
            encoder = encoder_called(self.judge.encoder)
            label = self.judge.heads[0].label
            if self.judge.wishes:
                wishes = encoder.vectors([wish.text for wish in self.judge.wishes])
                label = self.judge.wishes[nearest(wishes, encoder.vectors(sentences(system)))].label
            return self.judge.answers(label, encoder.vectors(replies[-1:])[0])
        except EncoderError as error:
            raise ModelOptionError(str(error)) from None


def sentences(text: str) -> list[str]:
    """The sentences of a text; at least one."""
    return [s for s in re.split(r"(?<=[.!?])\s+", text.strip()) if s] or [text]


def nearest(wishes: np.ndarray, said: np.ndarray) -> int:
    """The wish that any of the sentences is nearest to, by the cosine; counted from 0.

    Args:
        wishes: Shape (wish, width).
        said: Shape (sentence, width).
    """
    one, other = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (wishes, said))
    return int(np.argmax((one @ other.T).max(axis=1)))


def _logprobs(answers: dict[str, float], drawn: str, alternatives: int) -> Logprobs:
    ranked = sorted(answers.items(), key=lambda item: -item[1])[:alternatives]
    top = [TopLogprob(token=text, logprob=math.log(p)) for text, p in ranked if p > 0]
    return Logprobs(content=[Logprob(token=drawn, logprob=math.log(answers[drawn]), top_logprobs=top)])
