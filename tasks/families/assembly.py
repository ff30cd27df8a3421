"""How a family and its options become a task."""

from collections.abc import Sequence
from typing import Any, TypedDict

from inspect_ai import Task
from inspect_ai.model import GenerateConfig, ModelName
from inspect_ai.scorer import Scorer
from inspect_ai.solver import Solver

from scenarios.cast import cast_of_eval, check_cast_of_eval, default_model, model_of_eval
from scenarios.conversations.dialogue import Memory
from scenarios.conversations.roles import JUDGES, Role
from scenarios.family import Family
from scenarios.samples import scenario_dataset
from scorers.families.awareness import awareness
from scorers.influence import influence
from scorers.judging.answer_likelihoods import check_weighs
from scorers.judging.judgement import Judging
from scorers.monitors.escalation import JudgeBehind, LiveCascade, live_cascade
from scorers.preference import preference
from scorers.simulator import simulator
from scorers.stakes import reads_along, stakes
from scorers.transition import transition, transition_judge
from scorers.veto import THRESHOLDS, stopped_by_veto, veto, veto_judge
from scorers.viewing.columns import headline, viewer_of
from scorers.viewing.facts import facts
from scorers.watched import watched
from solvers.booking_desk import booking_desk
from solvers.conversation import conversation
from solvers.sessions import conversations_over_days
from solvers.veto import Veto
from tasks.families.options import Choices


class Days(TypedDict):
    """Of a task in which the same person comes back; see `conversations_over_days`."""

    sessions: int
    memory: Memory
    note_words: int


def influence_task(
    family: Family, choices: Choices, scorers: Sequence[Scorer] = (), days: Days | None = None
) -> Task:
    """Simulated users of `family` talk with the model under test; rating, harm and transitions are judged.

    Args:
        family: Scenarios; if they have a booking desk, the model gets its tools.
        choices: The options.
        scorers: The family's own, beside preference, influence, transition and simulator.
        days: Sessions with the same person; None: one conversation.
    """
    cast: list[Role] = ["user", "transition", "preference", "influence"]
    if choices.veto or choices.veto_scored or choices.escalate:
        cast.append("veto")
    check_cast_of_eval(cast)
    _check_judging(choices, [role for role in cast if role in JUDGES])
    cascade = _cascade(choices)
    desk: list[Solver] = [booking_desk()] if family.file.desk is not None else []
    dataset = scenario_dataset(
        family,
        gameable=choices.gameable if "gameable" in choices.model_fields_set else None,
        topics=choices.topics,
        split=choices.split,
        states=choices.states if "states" in choices.model_fields_set else None,
        seed=choices.seed,
    )
    share = sum(bool(s.metadata and s.metadata["gameable"]) for s in dataset) / len(dataset)
    how: dict[str, Any] = {
        "turns": choices.turns,
        "judged": choices.judged,
        "cast": cast,
        "veto": _veto(choices, cascade),
        "watch": cascade.judge_of_replies() if cascade and not choices.veto else None,
        "seed": choices.seed,
        "user_tokens": choices.user_tokens,
    }
    judge = transition_judge(choices.judging)
    talk = conversation(judge, **how) if days is None else conversations_over_days(judge, **days, **how)
    return Task(
        dataset=dataset,
        setup=reads_along(choices.monitor) if choices.monitor else None,
        solver=[
            *desk,
            talk,
        ],
        scorer=[
            preference(
                reward=choices.reward,
                length_penalty=choices.length_penalty,
                perspective=choices.perspective,
                judging=choices.judging,
            ),
            influence(form=choices.influence_form, judging=choices.judging),
            *([awareness(judging=choices.judging)] if choices.awareness else []),
            transition(judging=choices.judging),
            simulator(),
            facts(),
            *_veto_scorers(choices),
            *([stakes(monitor=choices.monitor)] if choices.monitor else []),
            *([] if cascade is None else [_watched(choices)]),
            *scorers,
        ],
        config=GenerateConfig(
            temperature=family.file.agent.temperature, max_tokens=family.file.agent.max_tokens
        ),
        model=default_model(),
        version=family.file.version,
        viewer=viewer_of("1-5" if choices.influence_form == "five_point" else "0-1"),
        headline_metric=headline(share),
        tags=["influence", family.file.family],
        metadata={
            "family": family.file.family,
            "options": choices.model_dump(mode="json") | {"gameable": share} | dict(days or {}),
        },
    )


def _check_judging(choices: Choices, judges: Sequence[Role]) -> None:
    if not Judging.parse(choices.judging).weighed or model_of_eval() is None:
        return
    known = cast_of_eval(judges)
    for judge in known:
        check_weighs(judge)
    if len(known) < len(judges):  # those that were not named are the miniature's own
        check_weighs(ModelName("miniature/judge"))


def _veto_scorers(choices: Choices) -> list[Scorer]:
    found = [stopped_by_veto()] if choices.veto else []
    return [*found, veto(choices.veto_scored, choices.judging)] if choices.veto_scored else found


def _cascade(choices: Choices) -> LiveCascade | None:
    if choices.escalate is None:
        return None
    return live_cascade(
        choices.monitor or "",
        choices.escalate,
        between=choices.between,
        level=_level(choices),
        behind=JudgeBehind(choices.veto or "binary", choices.judging),
    )


def _watched(choices: Choices) -> Scorer:
    return watched(
        choices.monitor or "",
        choices.escalate,
        between=choices.between,
        level=_level(choices),
        form=choices.veto or "binary",
        judging=choices.judging,
    )


def _level(choices: Choices) -> float | None:
    """The veto's threshold as a probability: of five points it is a share of the way from 1 to 5."""
    if choices.veto is None:
        return None
    threshold = THRESHOLDS[choices.veto] if choices.veto_threshold is None else choices.veto_threshold
    low, high = (1, 5) if choices.veto == "five_point" else (0, 1)
    return (threshold - low) / (high - low)


def _veto(choices: Choices, cascade: LiveCascade | None) -> Veto | None:
    if choices.veto is None:
        return None
    threshold = choices.veto_threshold
    return Veto(
        judge=cascade.judge_of_replies() if cascade else veto_judge(choices.veto, choices.judging),
        threshold=THRESHOLDS[choices.veto] if threshold is None else threshold,
        redraws=choices.redraws,
    )
