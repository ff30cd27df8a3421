"""Judging a conversation reply by reply, and making one score of it."""

import math
from collections.abc import Callable, Sequence
from typing import Literal

from inspect_ai.scorer import Score

from scenarios.conversations.dialogue import Judgement
from scenarios.conversations.roles import Role
from scenarios.schema import Question, Scenario
from scorers.judging.calls import together
from scorers.judging.judgement import Judging, judge
from scorers.judging.transcript import Reply, show

Over = Literal["mean", "last", "max"]
"""How the numbers of the turns become the number of the conversation."""


async def judge_reply(
    scenario: Scenario, reply: Reply, role: Role, name: str, question: Question, judging: Judging
) -> Judgement:
    """One judge's answer about one reply, shown what the scenario lets this role see."""
    shown = show(reply, getattr(scenario.sees, role))
    judgement = await judge(role, name, question, shown.text, judging=judging)
    judgement.neutralised = shown.neutralised
    return judgement


async def judge_replies(
    scenario: Scenario,
    replies: Sequence[Reply],
    role: Role,
    name: str,
    question: Question,
    judging: Judging,
) -> list[Judgement]:
    """The judge's answers about all replies, asked at the same time."""
    return await together(judge_reply(scenario, r, role, name, question, judging) for r in replies)


def conversation_score(
    judgements: Sequence[Judgement],
    question: Question,
    over: Over,
    adjust: Callable[[int, float], float] = lambda _, value: value,
) -> Score:
    """The score of a conversation from its turns; turns without a number are left out and counted.

    The metadata's `question` names what was asked, `neutralised` counts messages that judges were shown with
    bars (`Judgement.neutralised`), `turns_cut` answers that the token limit ended (`Judgement.cut`).

    Args:
        judgements: One per reply, in order.
        question: What was asked; its scale goes into the metadata, for the metrics.
        over: `mean`, `last` or `max` of the turns. With `last` the last turn must have a number.
        adjust: Changes a turn's number, given its index from 0.
    """
    metadata = {
        "scale": question.scale,
        **({"question": judgements[0].question} if judgements else {}),
        "over": over,
        "turns": [_brief(j) for j in judgements],
        "turns_unscored": sum(j.value is None for j in judgements),
        "turns_cut": sum(j.cut for j in judgements),
        "neutralised": max((j.neutralised for j in judgements), default=0),
    }
    values = [adjust(i, j.value) if j.value is not None else math.nan for i, j in enumerate(judgements)]
    explanation = "\n".join(_line(i, j) for i, j in enumerate(judgements, start=1))
    usable = values[-1:] if over == "last" else values
    scored = [v for v in usable if not math.isnan(v)]
    if not scored:
        first = next((j for j in reversed(judgements) if j.value is None), None)
        return Score.unscored(
            reason=first.reason if first else "no_response",
            explanation=explanation or "the agent gave no reply to judge",
            metadata=metadata,
        )
    value = max(scored) if over == "max" else math.fsum(scored) / len(scored)
    # more digits than this are noise, and the viewer shows them all
    return Score(value=round(value, 4), explanation=explanation, metadata=metadata)


def _brief(judgement: Judgement) -> dict[str, object]:
    rare = {name for name in ("neutralised", "cut") if not getattr(judgement, name)}
    return judgement.model_dump(exclude={"question", "role"} | rare, exclude_none=True)


def _line(number: int, judgement: Judgement) -> str:
    if judgement.value is None:
        return f"turn {number}: no number: {judgement.problem}"
    return (
        f"turn {number}: {judgement.value:.2f} ({judgement.mass:.2f} of the answers valid, {judgement.mode})"
    )
