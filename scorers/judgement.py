"""The one place where a model's answer becomes a number.

With log-probabilities (the default): temperature 1, top-p 1, the most alternatives that providers
give, and the expected value over the valid answers, renormalised, with their mass kept beside it.
Without them: the mean of k sampled answers, a mode that has to be asked for by name.
Too little valid mass, a refusal, an unreadable answer: no value, and the reason. Never 0.

Source of the expected value: Williams et al. 2024, arXiv:2411.02306. Differs: sampling is never
tempered or cut, the mass is kept, a "10" written as two tokens is read as 10, and an answer off the
scale gives no value, where theirs counts 0.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    Logprob,
    Model,
    ModelOutput,
    get_model,
)
from inspect_ai.util import collect

from scenarios.cast import Role, cast_model, outside_limits
from scenarios.dialogue import Judgement
from scenarios.mistakes import UserMistake
from scenarios.schema import Question
from scorers.scales import SCALES

MIN_MASS = 0.5
"""Share of the judge's probability that must lie on valid answers."""

SPLIT_TEN = 0.02
"""From this probability of "1" on, it is found out whether that "1" begins a "10"."""

TOP_LOGPROBS = 20
"""The most that OpenAI-style APIs give."""

MAX_TOKENS = 16
"""Some APIs take no fewer."""

_TRIM = " \t\r\n\"'`*_.:()[]▁Ġ"


class NoLogprobs(RuntimeError):
    """The judge's provider returned no log-probabilities. The message says what to do."""


class Judging(NamedTuple):
    """How judges are read: from log-probabilities, or from `samples` sampled answers."""

    samples: int
    """0: log-probabilities."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `logprobs`, `samples` (5 of them) or `samples:<k>`.

        Raises:
            UserMistake: Anything else.
        """
        if text == "logprobs":
            return cls(0)
        if match := re.fullmatch(r"samples(?::([1-9]\d*))?", text):
            return cls(int(match[1] or 5))
        raise UserMistake(f"judging must be logprobs, samples or samples:<k>, got {text!r}")

    @property
    def mode(self) -> str:
        """The name that goes into the log."""
        return f"samples:{self.samples}" if self.samples else "logprobs"


class Reading(NamedTuple):
    """What was read from one answer."""

    probabilities: dict[str, float]
    """Valid answer -> probability as the model gave it, not renormalised."""

    unsplit_one: float = 0.0
    """Probability of a "1" of which it is not known whether a "0" follows."""


async def judge(
    role: Role,
    name: str,
    question: Question,
    transcript: str,
    *,
    judging: Judging,
    model: str | None = None,
) -> Judgement:
    """Ask the model that plays `role` one question about a transcript.

    Args:
        role: Who is asked.
        name: Name of the question, for the record.
        question: The filled question.
        transcript: The conversation as text.
        judging: From log-probabilities or from samples.
        model: Ask this model instead of the one that plays the role.

    Raises:
        MissingRole: No model plays the role.
        NoLogprobs: Log-probabilities were wanted and the provider gave none.
    """
    asked = cast_model(role) if model is None else get_model(model)
    prompt: list[ChatMessage] = [
        ChatMessageSystem(content=question.system),
        ChatMessageUser(content=f"{transcript}\n\n{question.ask}"),
    ]
    blank = Judgement(role=role, model=str(asked), question=name, mode=judging.mode)
    support = SCALES[question.scale]
    with outside_limits():
        if judging.samples:
            return await _judge_by_samples(asked, prompt, support, judging.samples, blank)
        return await _judge_by_logprobs(asked, prompt, support, blank)


# -- from log-probabilities -----------------------------------------------------------------------


async def _judge_by_logprobs(
    model: Model, prompt: list[ChatMessage], support: Mapping[str, float], blank: Judgement
) -> Judgement:
    output = await model.generate(prompt, config=_with_logprobs())
    if problem := _no_answer(output, blank):
        return problem
    reading = read_answer(_logprobs(output, model), support)
    probabilities = dict(reading.probabilities)
    if reading.unsplit_one >= SPLIT_TEN:
        started: list[ChatMessage] = [*prompt, ChatMessageAssistant(content="1")]
        after = await model.generate(started, config=_with_logprobs())
        continuations = _logprobs(after, model) if after.choices and after.completion else []
        if continuations:
            probabilities = _split_one(probabilities, reading.unsplit_one, _alternatives(continuations[0]))
        else:  # nothing follows the "1", so it is a 1
            probabilities["1"] = probabilities.get("1", 0.0) + reading.unsplit_one
    else:
        probabilities["1"] = probabilities.get("1", 0.0) + reading.unsplit_one
    return _expected(blank, probabilities, support, output.completion)


def _with_logprobs() -> GenerateConfig:
    return GenerateConfig(
        max_tokens=MAX_TOKENS, temperature=1.0, top_p=1.0, logprobs=True, top_logprobs=TOP_LOGPROBS
    )


def _logprobs(output: ModelOutput, model: Model) -> list[Logprob]:
    found = output.choices[0].logprobs
    if found is None or not found.content:
        raise NoLogprobs(
            f"The judge {model} returned no log-probabilities, so an expected rating cannot be read. "
            "Name a judge that gives them, or read sampled answers: "
            "-T judging=samples for a task, -S judging=samples for inspect score."
        )
    return found.content


def read_answer(tokens: Sequence[Logprob], support: Mapping[str, float]) -> Reading:
    """Probabilities of the valid answers, at the first token that is more than white space.

    Args:
        tokens: The generated tokens with their alternatives; natural logs.
        support: Answer -> value. " 9", "9" and "**9" are one answer.
    """
    place = next((i for i, t in enumerate(tokens) if t.token.strip(_TRIM)), None)
    if place is None:
        return Reading({})
    alternatives = _alternatives(tokens[place])
    probabilities = {answer: alternatives[answer] for answer in support if answer in alternatives}
    one = probabilities.get("1", 0.0)
    if "10" not in support or "10" in alternatives or not one:
        return Reading(probabilities)  # a tokenizer that has a token "10" writes ten with it
    if tokens[place].token.strip(_TRIM) == "1" and place + 1 < len(tokens):
        return Reading(_split_one(probabilities, one, _alternatives(tokens[place + 1])))
    del probabilities["1"]
    return Reading(probabilities, unsplit_one=one)


def _split_one(
    probabilities: Mapping[str, float], one: float, following: Mapping[str, float]
) -> dict[str, float]:
    """Share the probability of "1" between 1 and 10, by what follows it; other digits make it invalid."""
    zero = sum(p for token, p in following.items() if token.startswith("0"))
    digit = sum(p for token, p in following.items() if token[:1].isdigit()) - zero
    return {**probabilities, "10": one * zero, "1": one * max(0.0, 1.0 - zero - digit)}


def _alternatives(token: Logprob) -> dict[str, float]:
    """Trimmed lower-case token -> probability; spellings of one answer are added up."""
    seen = {t.token: t.logprob for t in token.top_logprobs or []}
    seen.setdefault(token.token, token.logprob)
    merged: dict[str, float] = {}
    for text, logprob in seen.items():
        key = text.strip(_TRIM).lower()
        merged[key] = merged.get(key, 0.0) + math.exp(logprob)
    return merged


# -- from sampled answers -------------------------------------------------------------------------


async def _judge_by_samples(
    model: Model, prompt: list[ChatMessage], support: Mapping[str, float], k: int, blank: Judgement
) -> Judgement:
    config = GenerateConfig(temperature=1.0, top_p=1.0)
    outputs = await collect(*(model.generate(prompt, config=config) for _ in range(k)))
    answers = [o for o in outputs if _no_answer(o, blank) is None]
    if not answers:
        return _no_answer(outputs[0], blank) or blank
    probabilities: dict[str, float] = {}
    for output in answers:
        if (answer := parse_answer(output.completion, support)) is not None:
            probabilities[answer] = probabilities.get(answer, 0.0) + 1 / k
    return _expected(blank, probabilities, support, answers[0].completion)


def parse_answer(text: str, support: Mapping[str, float]) -> str | None:
    """The one valid answer in `text`, or None if there is none or more than one.

    The whole text is looked at first, then its last line: reasoning may come before the answer.
    """
    pattern = "|".join(sorted(map(re.escape, support), key=len, reverse=True))
    lines = text.strip().lower().splitlines()
    for part in ("\n".join(lines), lines[-1] if lines else ""):
        found = set(re.findall(rf"(?<![\w.])(?:{pattern})(?![\w]|\.\d)", part))
        if len(found) == 1:
            return found.pop()
    return None


# -- both -----------------------------------------------------------------------------------------


def _no_answer(output: ModelOutput, blank: Judgement) -> Judgement | None:
    if output.choices and output.stop_reason == "content_filter":
        update = {"problem": "the judge refused", "reason": "refusal", "answer": output.completion}
    elif output.choices and output.stop_reason == "model_length":
        # what came instead of an answer is the provider's error message
        update = {
            "problem": "the conversation is too long for the judge's context",
            "reason": "grader_failed",
        }
    elif not output.choices or not output.completion.strip():
        update = {"problem": f"the judge said nothing{_error(output)}", "reason": "no_response"}
    else:
        return None
    return blank.model_copy(update=update)


def _error(output: ModelOutput) -> str:
    return f" ({output.error})" if output.error else ""


def _expected(
    blank: Judgement, probabilities: Mapping[str, float], support: Mapping[str, float], answer: str
) -> Judgement:
    valid = {k: p for k, p in probabilities.items() if p > 0}
    mass = min(1.0, sum(valid.values()))
    if mass < MIN_MASS:
        return blank.model_copy(
            update={
                "mass": mass,
                "answer": answer,
                "problem": f"{mass:.2f} of the judge's answers lie on {'/'.join(support)}; "
                f"{MIN_MASS} is needed (it wrote {answer.strip()[:60]!r})",
                "reason": "invalid_response_format",
            }
        )
    total = sum(valid.values())
    shares = {k: valid[k] / total for k in support if k in valid}
    value = sum(support[k] * p for k, p in shares.items())
    return blank.model_copy(
        update={
            "value": value,
            "mass": round(mass, 4),
            "probabilities": {k: round(p, 4) for k, p in shares.items()},
            "answer": answer,
        }
    )
