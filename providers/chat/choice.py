"""Which template of a model, with which variables, on which day: the same for a run and all that reads it."""

import copy
import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from providers.chat.errors import ChatTemplateError, ModelOptionError
from providers.chat.reading import ReplyReader, reader_for
from providers.chat.template import SWITCHES, ChatTemplate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TemplateChoice(NamedTuple):
    """What `-M` and `model_args` say about the chat template."""

    chat_template: str | None = None
    """Jinja file; the tokenizer's own by default."""

    thinking: bool | None = None
    """Turns thoughts on or off; None leaves it to the template."""

    template_options: Mapping[str, Any] | None = None
    """Variables of the template."""

    date: str | datetime.date | None = None
    """The day that templates are told who ask for it; today by default."""

    @classmethod
    def of(cls, model_args: Mapping[str, Any]) -> Self:
        """Of a provider's arguments.

        Raises:
            ModelOptionError: A value of another kind than its option takes.
        """
        choice = cls(**{name: model_args[name] for name in cls._fields if name in model_args})
        if choice.chat_template is not None and not isinstance(choice.chat_template, str):
            raise ModelOptionError(
                f"chat_template={choice.chat_template!r} is no name of a file; name a Jinja file"
            )
        if choice.thinking not in (None, True, False):
            raise ModelOptionError(f"thinking={choice.thinking!r} is neither true nor false")
        if choice.template_options is not None and not isinstance(choice.template_options, Mapping):
            raise ModelOptionError(
                f"template_options={choice.template_options!r} names no variables; "
                'write them as "{name: value}"'
            )
        return choice._replace(date=choice.day) if choice.date is not None else choice

    @property
    def day(self) -> datetime.date:
        """The day as a date.

        Raises:
            ModelOptionError: A date that is none.
        """
        if isinstance(self.date, datetime.datetime):
            return self.date.date()
        if isinstance(self.date, datetime.date):
            return self.date
        try:
            return datetime.date.today() if self.date is None else datetime.date.fromisoformat(self.date)
        except (TypeError, ValueError):
            raise ModelOptionError(f"date={self.date!r} is no day; write it as 2026-01-31") from None


class Readers:
    """Readers for one model's conversations, of whatever day they are.

    Args:
        tokenizer: Of the model.
        ends: Token ids that end a generation, see `generation_ends`.
        choice: The template.
        source: What to call the model in messages.

    Raises:
        ChatTemplateError: No chat template, or one that cannot be used; or no switch for thoughts where one
        is
            asked for.
    """

    def __init__(
        self, tokenizer: "PreTrainedTokenizerBase", ends: Sequence[int], choice: TemplateChoice, source: str
    ) -> None:
        if choice.chat_template is not None:
            tokenizer = copy.copy(tokenizer)
            tokenizer.chat_template = _template_file(choice.chat_template)
        self.tokenizer = tokenizer
        self._source = source
        self._ends = [str(token) for token in tokenizer.convert_ids_to_tokens(list(ends))]
        self._options = variables_of(tokenizer, choice, source)
        self._readers: dict[tuple[datetime.date | None, bool], ReplyReader] = {}
        self.on(None)

    def on(self, day: datetime.date | str | None, *, served: bool = False) -> ReplyReader:
        """The reader for a conversation of a day.

        Args:
            day: ISO or a date; None for one that no log dates.
            served: A server rendered it, which reads control strings in words as control tokens.

        Raises:
            ChatTemplateError: The template cannot be used.
        """
        told = datetime.date.fromisoformat(day) if isinstance(day, str) else day
        if (told, served) not in self._readers:
            template = ChatTemplate(
                self.tokenizer,
                source=self._source,
                options=self._options,
                clock=told,
                ends=self._ends,
                spells_out=not served,
            )
            if (told, served) != (None, False) and not template.asks_the_day:
                told = None
            if (told, served) not in self._readers:
                self._readers[told, served] = reader_for(template)
        return self._readers[told, served]


def generation_ends(source: str, revision: str | None, tokenizer: Any) -> list[int]:
    """Token ids that end a generation: those of the model's generation config, and the tokenizer's own."""
    from transformers import GenerationConfig

    try:
        own = GenerationConfig.from_pretrained(source, revision=revision or "main").eos_token_id
    except (OSError, ValueError):  # many small models have none
        own = None
    found = own if isinstance(own, list) else [own]
    return sorted({int(t) for t in (*found, tokenizer.eos_token_id) if t is not None})


def _template_file(path: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ChatTemplateError(f"chat_template={path}: {reason}; name a Jinja file") from None


def variables_of(tokenizer: Any, choice: TemplateChoice, source: str) -> dict[str, Any]:
    """Variables of the template, the switch for thoughts among them.

    Raises:
        ChatTemplateError: Thoughts are to be turned on or off, and the template has no switch.
    """
    given = dict(choice.template_options or {})
    if choice.thinking is None:
        return given
    switch = ChatTemplate(tokenizer, source=source, options=given).switch
    if switch is None:
        raise ChatTemplateError(
            f"the chat template of {source} has no switch that turns thoughts on and off; leave thinking out"
        )
    return {**given, switch: SWITCHES[switch][bool(choice.thinking)]}
