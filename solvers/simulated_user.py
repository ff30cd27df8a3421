"""The simulated user's next message: drawn, checked, and drawn again where it would break the conversation.

A clean first draft costs nothing more. Of flawed ones the least bad stands; the others are in the record.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, get_args

from inspect_ai.model import ChatMessage, ContentReasoning, GenerateConfig, Model, ModelName, ModelOutput

from scenarios.cast import cast_model, outside_limits
from scenarios.conversations.dialogue import Draft, Flaw, Silence
from scenarios.schema import Scenario
from solvers.thoughts import spoken
from solvers.user_checks import user_flaws

USER_TOKENS = 300
"""Most tokens of a message of the user, if nothing else is said."""

THOUGHT_TOKENS = 4096
"""Room beside them for a user whose thoughts count against that limit."""

TEMPERATURE = 1.0
"""Of the user's model, unless its role was given another."""

DRAFTS = 3
"""How often a message is drawn at most, the first time included."""

SEVERITY = {flaw: 2**place for place, flaw in enumerate(reversed(get_args(Flaw)))}
"""How bad a flaw is: worse than all behind it in `Flaw` together."""

REDRAWN: frozenset[Flaw] = frozenset(get_args(Flaw)) - {"repeated", "cut"}
"""Flaws that break a conversation. People do repeat themselves; and what was cut would be cut again."""


class Answer(NamedTuple):
    """What came of asking the user's model for the person's next message."""

    message: Draft | None
    """None if the person stays silent, or the conversation no longer fits the model."""

    thrown_away: list[Draft]
    silence: Silence | None = None
    overflow: bool = False


@dataclass
class SimulatedUser:
    """The player of one task's users.

    Args:
        tokens: Most tokens of a message; `max_tokens` of the model that plays the role stands before it.
    """

    tokens: int = USER_TOKENS
    _thinkers: set[str] = field(default_factory=set)
    """Models whose thoughts were seen to count against the limit; they get room for them at once."""

    async def answer(
        self, scenario: Scenario, prompt: list[ChatMessage], *, earlier: Sequence[str], agent_said: str
    ) -> Answer:
        """The person's next message.

        Args:
            scenario: What is played.
            prompt: The conversation from the user's side.
            earlier: The person's messages so far.
            agent_said: What is answered.
        """
        drafts: list[Draft] = []
        output = ModelOutput()
        for _ in range(DRAFTS):
            model = cast_model("user")
            with outside_limits():
                output = await model.generate(prompt, config=self._config(model))
            if output.choices and output.stop_reason == "model_length":
                return Answer(None, drafts, overflow=True)
            drafts.append(_draft(output, scenario, earlier, agent_said))
            needs_room = str(model) not in self._thinkers and _thought_took_the_room(output, model)
            if needs_room:
                self._thinkers.add(str(model))
            if not needs_room and not REDRAWN & set(drafts[-1].flaws):
                break
        best = min(drafts, key=lambda d: badness(d.flaws))
        if not best.text:
            return Answer(None, drafts, silence=silence_of(output))
        return Answer(best, [d for d in drafts if d is not best])

    def _config(self, model: Model) -> GenerateConfig:
        """The settings of the role, and ours where it has none."""
        own = model.config
        tokens = own.max_tokens or self.tokens
        # local/ gives thoughts room of their own
        room = THOUGHT_TOKENS if str(model) in self._thinkers else 0
        temperature = TEMPERATURE if own.temperature is None else own.temperature
        return GenerateConfig(temperature=temperature, max_tokens=tokens + room)


def badness(flaws: Iterable[Flaw]) -> int:
    """The worst flaw decides, then the others. 0: none."""
    return sum(SEVERITY[flaw] for flaw in set(flaws))


def silence_of(output: ModelOutput) -> Silence:
    """Why an output has no words.

    Args:
        output: One of which the text is empty, or thoughts only.
    """
    if not output.choices:
        return "nothing"
    # what takes all the room and says nothing was thought, whether the service shows it or not
    if output.stop_reason == "max_tokens":
        return "cut_in_thought"
    if output.stop_reason == "content_filter":
        return "content_filter"
    return "only_thoughts" if _thought(output) else "nothing"


def _thought(output: ModelOutput) -> bool:
    content = output.message.content
    parts = content if isinstance(content, list) else []
    if any(isinstance(part, ContentReasoning) for part in parts) or spoken(output.completion).thoughts:
        return True
    return bool(output.usage and output.usage.reasoning_tokens)


def _thought_took_the_room(output: ModelOutput, model: Model) -> bool:
    """Whether a message was cut because of thoughts; local/ gives them room of their own."""
    if not output.choices or output.stop_reason != "max_tokens" or ModelName(model).api == "local":
        return False
    return _thought(output) or not output.completion.strip()


def _draft(output: ModelOutput, scenario: Scenario, earlier: Sequence[str], agent_said: str) -> Draft:
    if not output.choices:
        return Draft(text="", flaws=["empty"])
    said = spoken(output.completion)
    flaws = user_flaws(
        said.words, earlier=earlier, agent_said=agent_said, persona=scenario.user, setting=scenario.setting
    )
    if output.stop_reason == "max_tokens" and said.words:
        flaws.append("cut")
    return Draft(text=said.words, flaws=flaws, stop=output.stop_reason, thought=said.thoughts)
