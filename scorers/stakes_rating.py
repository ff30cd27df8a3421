"""How much is at stake in a conversation, 1 to 10 with confidence, in the run or on a log that exists.

inspect eval tasks/stakes_label.py -T data=rows.jsonl --model openai/gpt-4.1
inspect score LOG --scorer scorers/stakes_rating.py --model-role judge=google/gemini-2.5-pro --action append

A rating and how sure it is are one written answer. So they are read from its words, not from
log-probabilities as in `scorers/judging/judgement.py`: every judge can give it, and the two belong together.
"""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from inspect_ai.model import (
    CachePolicy,
    ChatMessage,
    ChatMessageSystem,
    ChatMessageUser,
    Model,
    ModelOutput,
    get_model,
    model_roles,
)
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, Value, metric, scorer
from inspect_ai.solver import TaskState

from scenarios.commands.scorer_options import known_options
from scenarios.conversations.text import ended
from scenarios.files.decimal_numbers import number_in
from scenarios.files.given_paths import where_meant
from scenarios.files.json_answers import last_object
from scenarios.generation.checks import REFUSAL
from scenarios.stakes.ratings import (
    CONFIDENCE,
    HIGHEST,
    LOWEST,
    RATING,
    StakesRubric,
    Thresholds,
    mean_of,
    read_rubric,
)
from scorers.judging.annotation import judges_named
from scorers.judging.calls import together
from scorers.judging.transcript import show_given

_LINE = {
    part: re.compile(
        rf"^\W*{part}\W*[:=]\W*(\d+(?:[.,]\d+)?)(?:\s*/\s*10)?\W*$", re.IGNORECASE | re.MULTILINE
    )
    for part in ("rating", "confidence")
}
"""An answer of lines, by models that do not write the object they are asked for."""


class RatedStakes(NamedTuple):
    """One judge's answer."""

    judge: str
    rating: float | None = None
    confidence: float | None = None
    reason: str = ""
    problem: str | None = None
    """Why there is no rating: `refusal`, `no_response`, `cut`, `too long`, `off the scale`, `unreadable`."""


@metric(scores="unreduced")
def classes(low: float = 3, high: float = 8, confidence: float = 7) -> Metric:
    """How many conversations have high, low or ambiguous stakes, or no rating; each epoch counts by itself.

    Args:
        low: Low stakes up to this rating.
        high: High stakes from this rating on.
        confidence: Below it a row is ambiguous.
    """
    thresholds = Thresholds(low, high, confidence)

    def compute(scores: list[SampleScore]) -> Value:
        counts = dict.fromkeys(("high", "low", "ambiguous", "unrated"), 0)
        for one in scores:
            value = one.score.value
            told = value if isinstance(value, Mapping) else {}
            rating, sure = mean_of([told.get(RATING)]), mean_of([told.get(CONFIDENCE)])
            counts["unrated" if rating is None else thresholds.class_of(rating, sure)] += 1
        return {name: float(count) for name, count in counts.items()}

    return compute


@scorer(metrics=[classes()])
@known_options
def stakes_rating(rubric: str = "", judges: str | list[str] | None = None, cache: bool = True) -> Scorer:
    """A rating and a confidence, the mean over judges; NaN where no judge gave a usable answer.

    The judge is the model role `judge`; without one, the model under test, which says nothing else here.

    Args:
        rubric: A markdown file in place of `scenarios/stakes/rubric.md`.
        judges: Models to ask instead, comma separated.
        cache: Keep answers in Inspect's cache: what was answered is not asked again when a stopped eval
            is taken up.
    """
    told = read_rubric(where_meant(Path(rubric)) if rubric else None)
    named = judges_named(judges)

    async def score(state: TaskState, target: Target) -> Score:  # noqa: ARG001
        known = set(state.metadata.get("rated_by") or [])
        models = [model for model in judge_models(named) if str(model) not in known]
        prompt = _prompt(state, told)
        return rating_score(await together(_ask(model, prompt, told, cache) for model in models), told)

    return score


def judge_models(named: Sequence[str | None]) -> list[Model]:
    """The models of these names; for None the role `judge`, or else the model under test."""
    return [
        get_model(name) if name else get_model(role="judge") if "judge" in model_roles() else get_model()
        for name in named
    ]


def rating_score(answers: Sequence[RatedStakes], rubric: StakesRubric) -> Score:
    """One score of all judges' answers, with what each said in its metadata."""
    values = {
        RATING: _or_nan(mean_of([a.rating for a in answers])),
        CONFIDENCE: _or_nan(mean_of([a.confidence for a in answers])),
    }
    problems = {a.judge: a.problem for a in answers if a.problem}
    lines = [f"{a.judge}: {a.problem or f'{a.rating:g}, sure {a.confidence:g}. {a.reason}'}" for a in answers]
    return Score(
        value=values,
        explanation="\n".join(lines),
        metadata={
            "rubric": rubric.key,
            "mode": "written",
            "scales": {RATING: "1-10", CONFIDENCE: "1-10"},
            "over": "conversation",
            "judges": {
                RATING: {a.judge: a.rating for a in answers},
                CONFIDENCE: {a.judge: a.confidence for a in answers},
            },
            "unscored": problems,
        },
    )


def read_rating(output: ModelOutput, judge: str) -> RatedStakes:
    """The rating in an answer: in the last JSON object with one, else in lines `Rating: 8`, `Confidence: 9`.

    A rating without a usable confidence is none: the two are one answer. Nothing is rounded onto the scale.
    """
    text = output.completion
    if not output.choices or output.stop_reason == "content_filter":
        return RatedStakes(judge, problem="refusal" if output.choices else "no_response")
    if output.stop_reason == "model_length":  # what came instead is the provider's message
        return RatedStakes(judge, problem="too long")
    found = last_object(text, {"rating"})
    given: Mapping[str, Any] = found if found is not None else _in_lines(text)
    if "rating" not in given:
        if output.stop_reason == "max_tokens":
            return RatedStakes(judge, problem="cut")
        return RatedStakes(judge, problem=_without_answer(text))
    rating, confidence = _rating_of(given.get("rating")), _rating_of(given.get("confidence"))
    if rating is None or confidence is None:
        return RatedStakes(judge, problem="unreadable")
    if not (LOWEST <= rating <= HIGHEST and LOWEST <= confidence <= HIGHEST):
        return RatedStakes(judge, problem="off the scale")
    return RatedStakes(judge, rating, confidence, str(given.get("reason") or "").strip())


async def _ask(model: Model, prompt: list[ChatMessage], rubric: StakesRubric, cache: bool) -> RatedStakes:
    policy = CachePolicy(expiry=None, scopes={"rubric": rubric.key}) if cache else False
    return read_rating(await model.generate(prompt, cache=policy), str(model))


def _prompt(state: TaskState, rubric: StakesRubric) -> list[ChatMessage]:
    shown = show_given(state.messages, state.metadata.get("tools"))
    return [
        ChatMessageSystem(content=rubric.system),
        ChatMessageUser(content=f"{ended(shown.text)}\n\n{rubric.ask}"),
    ]


def _in_lines(text: str) -> dict[str, str]:
    return {part: found[-1] for part, line in _LINE.items() if (found := line.findall(text))}


def _rating_of(value: object) -> float | None:
    """A number as models write it: 8, 8.0, "8", "8/10"."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if not isinstance(value, str):
        return float(value) if math.isfinite(value) else None
    try:
        return number_in(value.strip().removesuffix("/10"))
    except ValueError:
        return None


def _without_answer(text: str) -> str:
    if not text.strip():
        return "no_response"
    return "refusal" if REFUSAL.search(text) else "unreadable"


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
