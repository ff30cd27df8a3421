"""Calls to a judge's model: several at the same time, and each in a form that its service takes.

Services differ in what they take. What a judge needs is asked for; where a service refuses a part of it, the
part is left out if the result stays the same (temperature 1 and top-p 1 are what models are trained with, a
limit of tokens only saves money), or asked for in the amount that the service gives (alternatives per token).
Both are remembered for the model and noted in its judgements. What cannot be left out is an error that says
what was refused and what to do.
"""

import re
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import anyio
from inspect_ai.model import ChatMessage, GenerateConfig, Model, ModelAPI, ModelOutput
from inspect_ai.util import LimitExceededError

from scenarios.mistakes import UserMistake

T = TypeVar("T")

ALTERNATIVES = 20
"""The most alternatives per token that OpenAI-style APIs give."""

FEWER_ALTERNATIVES = 5
"""Asked for if a service refuses `ALTERNATIVES` without saying how many it gives."""

ANSWER_TOKENS = 16
"""Room for an answer. Some APIs take no fewer."""

THOUGHT_TOKENS = 4096
"""Room for a thought and the answer, once a model is seen to think; a role's own `max_tokens` goes before."""

SAMPLES = "read sampled answers: -T judging=samples for a task, -S judging=samples for inspect score"

_NAMES = {
    "top_logprobs": r"top_?logprobs|max_?logprobs",
    "logprobs": r"(?<!top_)(?<!top)(?<!max_)logprobs|log[ -]?prob(?:abilitie)?s",
    "top_p": r"top_?p",
    "temperature": r"temperature",
    "num_choices": r"[\"'`]n[\"'`]|num_?choices|candidate_?count",
    "max_tokens": r"max_?(?:output_|completion_)?tokens",
}
"""How services call the settings that a judge asks for; where several are named, the first is left out."""

_TOO_LONG = re.compile(
    r"context[ _](?:length|window|size)|maximum context|prompt is too long|input (?:is too long|length)|"
    r"too many (?:input )?tokens",
    re.IGNORECASE,
)
_NOT_THE_REQUEST = (401, 403, 404, 408, 409, 429)


class NoLogprobs(UserMistake):
    """The judge's service gives no distribution over answers. The message says what to do."""


class RefusedSetting(UserMistake):
    """The judge's service refuses a setting without which the result would change. The message says which."""


@dataclass
class Habits:
    """What is known of a model's service."""

    alternatives: int = ALTERNATIVES
    left_out: set[str] = field(default_factory=set)
    """Settings that it refuses."""

    thinks: bool = False
    """It has been cut in a thought."""

    continues: bool | None = None
    """Whether it goes on with the words that it is given as its own; None before anybody tried."""

    joins_digits: bool = False
    """Its tokenizer writes several digits in one token."""

    empty_lists: int = 0
    """Answers with an empty list of tokens, since the last that had any."""


_HABITS: WeakKeyDictionary[ModelAPI, Habits] = WeakKeyDictionary()


def habits_of(model: Model) -> Habits:
    """What is known of a model's service so far in this process."""
    return _HABITS.setdefault(model.api, Habits())


async def ask(model: Model, prompt: Sequence[ChatMessage], config: GenerateConfig) -> ModelOutput:
    """One answer, asked for in a form that the model's service takes.

    Args:
        model: Who is asked.
        prompt: The messages.
        config: What is wanted.

    Raises:
        NoLogprobs: Log-probabilities are wanted and refused.
        RefusedSetting: Another setting is refused, and the result would be another one without it.
    """
    habits = habits_of(model)
    for _ in range(len(_NAMES) + 2):
        fitting = _fitting(config, habits)
        try:
            return await model.generate(list(prompt), config=fitting)
        except LimitExceededError:
            raise
        except Exception as error:
            said = _said(error)
            if _status(error) in _NOT_THE_REQUEST:
                raise
            if _TOO_LONG.search(said):
                return ModelOutput.from_content(str(model), said, stop_reason="model_length")
            refused = _refused(said, fitting)
            if refused is None:
                raise
            _adapt(habits, model, refused, said, fitting, error)
    raise RefusedSetting(
        f"The judge {model} refuses {', '.join(sorted(habits.left_out))}, and the call still fails."
    )


async def together(calls: Iterable[Awaitable[T]]) -> list[T]:
    """The results of some calls made at the same time, in order.

    As Inspect's `collect`, without a span for each call: with one call a span, they cost as much as the call.

    Raises:
        Exception: The first real error of a call, never a group of them.
    """
    waiting = list(calls)
    results: dict[int, T] = {}

    async def one(place: int, call: Awaitable[T]) -> None:
        results[place] = await call

    try:
        if len(waiting) == 1:
            return [await waiting[0]]
        async with anyio.create_task_group() as group:
            for place, call in enumerate(waiting):
                group.start_soon(one, place, call)
    except BaseExceptionGroup as failed:
        raise first_error(failed) from None
    return [results[place] for place in sorted(results)]


def first_error(error: BaseException) -> BaseException:
    """The first error in a group that is none itself; errors before cancellations."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    found = [first_error(e) for e in error.exceptions]
    return next((e for e in found if isinstance(e, Exception)), found[0])


# -- what a service refuses -----------------------------------------------------------------------


def _fitting(config: GenerateConfig, habits: Habits) -> GenerateConfig:
    if not habits.left_out and (config.top_logprobs or 0) <= habits.alternatives:
        return config
    update: dict[str, Any] = dict.fromkeys(habits.left_out)
    if config.top_logprobs is not None:
        update["top_logprobs"] = min(config.top_logprobs, habits.alternatives)
    return config.model_copy(update=update)


def _said(error: BaseException) -> str:
    """The service's words. Inspect's error shows the request too, in which every setting is named."""
    return str(getattr(error, "provider_message", None) or error)


def _status(error: BaseException) -> int | None:
    return getattr(error, "status_code", None)


def _refused(said: str, config: GenerateConfig) -> str | None:
    """The setting that a service says it does not take, of those that were sent."""
    for name, pattern in _NAMES.items():
        if getattr(config, name) is not None and re.search(
            rf"(?<![a-z])(?:{pattern})(?![a-z])", said, re.IGNORECASE
        ):
            return name
    return None


def _adapt(
    habits: Habits, model: Model, refused: str, said: str, config: GenerateConfig, error: Exception
) -> None:
    """Note what to send instead.

    Raises:
        NoLogprobs, RefusedSetting: There is nothing else that would give the same result.
    """
    told = _in_a_line(said)
    if refused in ("top_logprobs", "logprobs"):
        asked = config.top_logprobs or 0
        allowed = [int(n) for n in re.findall(r"(?<![\w.])\d{1,2}(?!\w|\.\d)", said) if 0 < int(n) < asked]
        # "Requested sample logprobs of 20, which is greater than max allowed: 5", says one server
        otherwise = FEWER_ALTERNATIVES if refused == "top_logprobs" else asked
        if (fewer := max(allowed, default=otherwise)) < asked:
            habits.alternatives = fewer
            return
        raise NoLogprobs(
            f"The judge {model} refuses {refused} ({told}), so an expected rating cannot be read. "
            f"Name a judge that gives log-probabilities, or {SAMPLES}."
        ) from error
    own = getattr(model.config, refused)
    if own is not None and own != getattr(config, refused):
        raise RefusedSetting(
            f"The judge {model} refuses {refused} ({told}). It is set to {own} for this model, where judges "
            f"are asked with {getattr(config, refused)}: leave {refused} out of the model's role."
        ) from error
    habits.left_out.add(refused)


def _in_a_line(said: str) -> str:
    line = " ".join(said.split())
    return line if len(line) <= 200 else f"{line[:200]}..."
