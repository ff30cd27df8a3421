"""How models are asked to be monitors of stakes: templates of the suite, or of a file of one's own."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from scenarios.files.located_yaml import read_yaml, validated
from scenarios.mistakes import UserMistake
from scenarios.schema import Frozen, Words
from scenarios.stakes.factors import FOLDER


class Answers(Frozen):
    """The two answers, of which the likelier one is meant."""

    high: Words
    low: Words

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if self.high.casefold().startswith(self.low.casefold()) or self.low.casefold().startswith(
            self.high.casefold()
        ):
            raise ValueError("one answer begins with the whole of the other; they must differ in some word")
        return self

    @property
    def keys(self) -> tuple[str, str]:
        """The words in which the two differ, high first, without what both begin and end with."""
        high, low = self.high.split(), self.low.split()
        while len(high) > 1 and len(low) > 1 and high[0].casefold() == low[0].casefold():
            high, low = high[1:], low[1:]
        while len(high) > 1 and len(low) > 1 and high[-1].casefold() == low[-1].casefold():
            high, low = high[:-1], low[:-1]
        return " ".join(high).rstrip(".!").casefold(), " ".join(low).rstrip(".!").casefold()


class MonitorTemplate(Frozen):
    """What a model is told and asked about a conversation."""

    shown: Literal["transcript", "turns"] = "transcript"
    """`turns`: the conversation's own messages go before the question, as the monitored model has them."""

    system: str = ""
    before: str = ""
    after: Words
    """The question, behind the conversation."""

    @model_validator(mode="after")
    def _fits_the_turns(self) -> Self:
        if self.shown == "turns" and (self.system or self.before):
            raise ValueError("shown: turns leaves no place for system and before; say all of it in after")
        return self


class LikelihoodTemplate(MonitorTemplate):
    """With two answers to compare."""

    answers: Answers


class ReasonedTemplate(MonitorTemplate):
    """With a thought, then a number."""

    scale: tuple[float, float] = (0, 100)
    """The lowest and the highest number; a higher one means more at stake."""

    @model_validator(mode="after")
    def _scale_ascends(self) -> Self:
        if self.scale[0] >= self.scale[1]:
            raise ValueError("scale: the lowest number, then the highest")
        return self


class MonitorTemplates(Frozen):
    """A file of templates."""

    likelihood: dict[str, LikelihoodTemplate] = Field(default_factory=dict)
    reasoned: dict[str, ReasonedTemplate] = Field(default_factory=dict)


def read_monitor_templates(path: Path | None = None) -> MonitorTemplates:
    """The templates of a file.

    Args:
        path: Of one's own; the suite's if not given.

    Raises:
        ScenarioError: Names file, line and field.
    """
    return validated(MonitorTemplates, read_yaml(path or FOLDER / "monitors.yaml"))


def template_named(name: str, templates: dict[str, LikelihoodTemplate] | dict[str, ReasonedTemplate]) -> str:
    """The name, if there is such a template.

    Raises:
        UserMistake: There is none; names those that there are.
    """
    if name not in templates:
        raise UserMistake(f"template={name}: there is none; there are {', '.join(templates) or 'none'}")
    return name
