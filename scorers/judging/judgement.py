"""The one place where a model's answer becomes a number.

With log-probabilities (the default): temperature 1, top-p 1, the most alternatives that providers
give, and the expected value over the valid answers, renormalised, with their mass kept beside it.
Without them: the mean of k sampled answers, or of a `local/` judge the likelihoods of all answers as whole
replies (`answer_likelihoods.py`); modes that have to be asked for by name.
Too little valid mass, a refusal, an unreadable answer: no value, and the reason. Never 0.

How an answer is read from text is in `answers.py`, from log-probabilities in `answer_logprobs.py`, what is
done where one answer does not show enough in `second_looks.py`, and what services refuse in `calls.py`.

Source of the expected value: Williams et al. 2024, arXiv:2411.02306. Differs: sampling is never
tempered or cut, the mass is kept, an answer is the whole number or word where theirs is the first
token, and an answer off the scale gives no value, where theirs counts 0.
"""

import re
import sys
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import NamedTuple, Self

from inspect_ai.model import (
    ChatMessage,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    Model,
    ModelName,
    ModelOutput,
    get_model,
)

from scenarios.cast import cast_model, outside_limits
from scenarios.conversations.dialogue import Judgement
from scenarios.conversations.roles import Role
from scenarios.mistakes import UserMistake
from scenarios.schema import Question
from scorers.judging.answer_likelihoods import MODE as LIKELIHOOD
from scorers.judging.answer_likelihoods import NoLikelihoods, shares_of, weigh_answers
from scorers.judging.answer_logprobs import Reading, read_answer
from scorers.judging.answers import find_answer, parse_answer
from scorers.judging.calls import (
    ALTERNATIVES,
    ANSWER_TOKENS,
    THOUGHT_TOKENS,
    NoLogprobs,
    RefusedSetting,
    ask,
    habits_of,
    together,
)
from scorers.judging.scales import ANSWERS
from scorers.judging.second_looks import Decided, decide

__all__ = [
    "ANSWERS",
    "MIN_MASS",
    "Judging",
    "NoLikelihoods",
    "NoLogprobs",
    "Reading",
    "RefusedSetting",
    "judge",
    "parse_answer",
    "read_answer",
]

MIN_MASS = 0.5
"""Share of the judge's probability that must lie on valid answers."""


class Judging(NamedTuple):
    """How judges are read: from log-probabilities, from sampled answers, or by weighing all answers."""

    samples: int
    """0: none are sampled."""

    weighed: bool = False
    """All answers are weighed as whole replies."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `logprobs`, `samples` (5 of them), `samples:<k>` or `likelihood`.

        Raises:
            UserMistake: Anything else.
        """
        if text == "logprobs":
            return cls(0)
        if text == LIKELIHOOD:
            return cls(0, weighed=True)
        if match := re.fullmatch(r"samples(?::([1-9]\d*))?", text):
            return cls(int(match[1] or 5))
        raise UserMistake(f"judging must be logprobs, samples, samples:<k> or {LIKELIHOOD}, got {text!r}")

    @property
    def mode(self) -> str:
        """The name that goes into the log."""
        if self.weighed:
            return LIKELIHOOD
        return f"samples:{self.samples}" if self.samples else "logprobs"


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
        judging: From log-probabilities, from samples, or by weighing all answers.
        model: Ask this model instead of the one that plays the role.

    Raises:
        MissingRole: No model plays the role.
        NoLogprobs: Log-probabilities were wanted and the service gives none, or the chosen token's alone.
        NoLikelihoods: Answers were to be weighed, and the judge is no `local/` model.
        RefusedSetting: The service refuses a setting without which the result would be another one.
    """
    asked = cast_model(role) if model is None else get_model(model)
    prompt: list[ChatMessage] = [
        _instructions(question.system),
        ChatMessageUser(content=f"{transcript}\n\n{question.ask}"),
    ]
    # one string for all judgements: Inspect keeps those of all samples to the end, for the metrics
    blank = Judgement(role=role, model=sys.intern(str(asked)), question=name, mode=sys.intern(judging.mode))
    support = ANSWERS[question.scale]
    with outside_limits():
        if judging.weighed:
            judgement = await _judge_by_likelihoods(asked, prompt, support, blank)
        elif judging.samples:
            judgement = await _judge_by_samples(asked, prompt, support, judging.samples, blank)
        else:
            judgement = await _judge_by_logprobs(asked, prompt, support, blank)
    return _noted(judgement, asked)


# Inspect looks at a message once for as long as it is the same one, and a judge's is the same for all replies
@lru_cache(maxsize=256)
def _instructions(system: str) -> ChatMessageSystem:
    """A judge's system prompt as a message, the same one each time; nobody may change it."""
    return ChatMessageSystem(content=system)


def _noted(judgement: Judgement, model: Model) -> Judgement:
    """The judgement, with what its service did not take."""
    habits = habits_of(model)
    if judgement.mode == "logprobs" and habits.alternatives < ALTERNATIVES:
        judgement.alternatives = habits.alternatives
    if left_out := habits.left_out - {"num_choices"}:
        judgement.left_out = sorted(left_out)
    return judgement


# -- from log-probabilities -----------------------------------------------------------------------


async def _judge_by_logprobs(
    model: Model, prompt: list[ChatMessage], support: Mapping[str, float], blank: Judgement
) -> Judgement:
    output, budget = await _whole_answer(model, prompt, support)
    if problem := _no_answer(output, blank, model, budget):
        return problem
    found = await decide(output, model, prompt, _with_logprobs(budget), support)
    judgement = _expected(blank, found, support, output.completion)
    if judgement.reason == "invalid_response_format" and _was_cut(output, budget):
        return judgement.model_copy(update=_cut(blank, model, budget))
    return judgement


PROSE_TOKENS = 256
"""Room for a judge that begins to write instead of answering and is asked once more."""


@cache
def _with_logprobs(max_tokens: int) -> GenerateConfig:
    return GenerateConfig(
        max_tokens=max_tokens, temperature=1.0, top_p=1.0, logprobs=True, top_logprobs=ALTERNATIVES
    )


async def _whole_answer(
    model: Model, prompt: list[ChatMessage], support: Mapping[str, float]
) -> tuple[ModelOutput, int]:
    """An answer, and the limit of tokens under which it was given.

    Little room is enough for a judge that answers. One that is cut before it does is asked again with room
    for a thought, and from then on at once.
    """
    habits = habits_of(model)
    large = max(ANSWER_TOKENS, model.config.max_tokens or THOUGHT_TOKENS)
    if not habits.thinks:
        output = await ask(model, prompt, _with_logprobs(ANSWER_TOKENS))
        if not _is_cut_short(output, support, model):
            return output, ANSWER_TOKENS
        habits.thinks = not output.completion.strip()
        if not habits.thinks:
            large = min(large, PROSE_TOKENS)
    return await ask(model, prompt, _with_logprobs(large)), large


def _is_cut_short(output: ModelOutput, support: Mapping[str, float], model: Model) -> bool:
    """Whether there would have been an answer, had there been room for it."""
    if not _was_cut(output, ANSWER_TOKENS):
        return False
    if ModelName(model).api == "local":
        return False  # its thoughts have room of their own, which this limit does not touch
    text = output.completion
    if not text.strip():
        return True
    if found := find_answer(text, support):
        return found.end >= len(text.rstrip())  # its last digit may not be the last
    # what begins as prose may still have had an answer as its likeliest first word
    tokens = output.choices[0].logprobs
    reading = read_answer(tokens.content, support, text) if tokens else Reading({})
    return sum(reading.probabilities.values()) + reading.unsplit_one < MIN_MASS


def _was_cut(output: ModelOutput, budget: int) -> bool:
    """Whether the limit of tokens ended the answer; some providers do not say why it ended."""
    if not output.choices:
        return False
    if output.stop_reason == "unknown" and output.usage is not None:
        return output.usage.output_tokens >= budget
    return output.stop_reason == "max_tokens"


# -- from the likelihoods of all answers ----------------------------------------------------------


async def _judge_by_likelihoods(
    model: Model, prompt: list[ChatMessage], support: Mapping[str, float], blank: Judgement
) -> Judgement:
    output = await weigh_answers(model, prompt, support)
    if problem := _no_answer(output, blank, model, None):
        return problem
    shares, mass = shares_of(output)
    return blank.model_copy(
        update={
            "mass": mass,
            "answer": output.completion,
            "value": sum(support[answer] * share for answer, share in shares.items()),
            "probabilities": {answer: round(share, 4) for answer, share in shares.items()},
        }
    )


# -- from sampled answers -------------------------------------------------------------------------


async def _judge_by_samples(
    model: Model, prompt: list[ChatMessage], support: Mapping[str, float], k: int, blank: Judgement
) -> Judgement:
    config = GenerateConfig(temperature=1.0, top_p=1.0)
    outputs = await together(ask(model, prompt, config) for _ in range(k))
    answers = [o for o in outputs if _no_answer(o, blank, model, None) is None]
    if not answers:
        return _no_answer(outputs[0], blank, model, None) or blank
    probabilities: dict[str, float] = {}
    cut = any(o.choices and o.stop_reason == "max_tokens" and not o.completion.strip() for o in outputs)
    for output in answers:
        found = find_answer(output.completion, support)
        if output.stop_reason == "max_tokens" and (
            found is None or found.end >= len(output.completion.rstrip())
        ):
            cut = True  # the last number may have gone on
        elif found is not None:
            probabilities[found.answer] = probabilities.get(found.answer, 0.0) + 1 / k
    judgement = _expected(blank, Decided(probabilities), support, answers[0].completion)
    if cut and judgement.value is None:
        return judgement.model_copy(update=_cut(blank, model, None))
    return judgement.model_copy(update={"cut": cut})


# -- both -----------------------------------------------------------------------------------------


def _no_answer(output: ModelOutput, blank: Judgement, model: Model, budget: int | None) -> Judgement | None:
    if output.choices and output.stop_reason == "content_filter":
        update = {"problem": "the judge refused", "reason": "refusal", "answer": output.completion}
    elif output.choices and output.stop_reason == "model_length":
        # what came instead of an answer is the provider's error message
        update = {
            "problem": "the conversation is too long for the judge's context",
            "reason": "grader_failed",
        }
    elif not output.choices or not output.completion.strip():
        if output.choices and (output.stop_reason == "max_tokens" or (budget and _was_cut(output, budget))):
            update = _cut(blank, model, budget)
        else:
            update = {"problem": f"the judge said nothing{_error(output)}", "reason": "no_response"}
    else:
        return None
    return blank.model_copy(update=update)


def _cut(blank: Judgement, model: Model, budget: int | None) -> dict[str, object]:
    option = "reasoning_tokens" if ModelName(model).api == "local" else "max_tokens"
    after = f" after {budget} tokens" if budget else ""
    more = 2 * max(budget or 0, THOUGHT_TOKENS)
    return {
        "cut": True,
        "reason": "cut",
        "problem": f"the judge was cut{after} before it answered; give it more: "
        f"--model-role '{blank.role}={{model: {model}, {option}: {more}}}'",
    }


def _error(output: ModelOutput) -> str:
    return f" ({output.error})" if output.error else ""


def _expected(blank: Judgement, found: Decided, support: Mapping[str, float], answer: str) -> Judgement:
    valid = {k: p for k, p in found.probabilities.items() if p > 0}
    mass = min(1.0, sum(valid.values()))
    update: dict[str, object] = {"mass": round(mass, 4), "answer": answer}
    if undecided := found.undecided + sum(found.unlisted.values()):
        update["undecided"] = round(undecided, 4)
    if found.problem:
        return blank.model_copy(
            update={**update, "problem": found.problem, "reason": "scoring_failed"},
        )
    if mass < MIN_MASS:
        problem = (
            f"{mass:.2f} of the judge's answers lie on {'/'.join(support)}; "
            f"{MIN_MASS} is needed (it wrote {answer.strip()[:60]!r})"
        )
        return blank.model_copy(update={**update, "problem": problem, "reason": "invalid_response_format"})
    # what was not listed moves the value, but it was not seen and is no mass
    weights = {k: valid.get(k, 0.0) + found.unlisted.get(k, 0.0) for k in support}
    total = sum(weights.values())
    shares = {k: p / total for k, p in weights.items() if p > 0}
    update["value"] = sum(support[k] * p for k, p in shares.items())
    update["probabilities"] = {k: round(p, 4) for k, p in shares.items()}
    return blank.model_copy(update=update)
