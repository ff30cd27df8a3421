"""Asking judges about several constructs at once, and one score with a number for each."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from inspect_ai.scorer import Score
from inspect_ai.solver import TaskState
from pydantic import ValidationError

from scenarios.conversations.dialogue import Judgement
from scenarios.conversations.roles import Role
from scenarios.mistakes import UserMistake
from scenarios.schema import Hidden, Scenario
from scorers.judging.calls import together
from scorers.judging.judgement import Judging, judge
from scorers.judging.questions import construct_question
from scorers.judging.rubric_files import Rubric
from scorers.judging.transcript import Reply, notes_of, replies_of, show

Span = Literal["conversation", "mean", "last", "max"]
"""The whole conversation in one answer, or each reply by itself and the mean, the last or the highest."""

SPANS: tuple[Span, ...] = ("conversation", "mean", "last", "max")

SEEN: frozenset[Hidden] = frozenset({"tools", "notes"})
"""Shown to judges of constructs in logs of which no scenario is known."""


class Annotation(NamedTuple):
    """What judges said about one construct in one conversation."""

    answers: list[list[Judgement]]
    """Per reply (or one entry for the whole conversation), one judgement per judge."""

    def values(self) -> list[float]:
        """Per reply, the mean over the judges who gave a number; NaN if none did."""
        return [_mean([j.value for j in reply if j.value is not None]) for reply in self.answers]

    def value(self, span: Span) -> float:
        """The conversation's number, NaN if there is none."""
        values = self.values()
        if span == "last":
            return values[-1] if values else math.nan
        scored = [v for v in values if not math.isnan(v)]
        if span == "max":
            return max(scored, default=math.nan)
        return _mean(scored)

    def by_judge(self) -> dict[str, float | None]:
        """Model -> mean over the replies that it gave a number for."""
        models = dict.fromkeys(j.model for reply in self.answers for j in reply)
        means = {
            m: _mean([j.value for r in self.answers for j in r if j.model == m and j.value is not None])
            for m in models
        }
        return {m: None if math.isnan(v) else round(v, 4) for m, v in means.items()}

    def neutralised(self) -> int:
        """Messages that judges were shown with bars, as their words imitate structure."""
        return max((j.neutralised for reply in self.answers for j in reply), default=0)

    def cut(self) -> int:
        """Answers that the token limit ended before they could be read."""
        return sum(j.cut for reply in self.answers for j in reply)

    def problem(self) -> str | None:
        """Why an answer is missing, for the first that is."""
        return next((j.problem or j.reason for r in self.answers for j in r if j.value is None), None)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def judges_named(judges: str | Sequence[str] | None) -> list[str | None]:
    """Models by name, comma separated; `[None]`, the model of the role, if none is named."""
    names = judges.split(",") if isinstance(judges, str) else list(judges or [])
    found = [n.strip() for n in names if n.strip()]
    if repeated := {n for n in found if found.count(n) > 1}:
        raise UserMistake(f"judges named more than once: {sorted(repeated)}")
    return list(found) or [None]


def known_scenario(state: TaskState) -> Scenario | None:
    """The sample's scenario, None in a log that another solver wrote."""
    try:
        return Scenario.model_validate(state.metadata)
    except ValidationError:
        return None


def scenario_of(state: TaskState, scorer: str) -> Scenario:
    """The sample's scenario, for a scorer whose question is about one.

    Args:
        state: What is judged.
        scorer: Name of the scorer, for the message.

    Raises:
        UserMistake: Another suite wrote the sample.
    """
    try:
        return state.metadata_as(Scenario)  # what other keys there are, as imported logs have, is passed over
    except ValueError:
        raise UserMistake(
            f"sample {state.sample_id!r}: not a conversation of this suite (its metadata are no scenario), "
            f"which scorers/{scorer}.py needs; judge any log with `inspect score LOG "
            "--scorer scorers/rubric.py -S constructs=harm`"
        ) from None


async def annotate(
    state: TaskState,
    rubrics: Mapping[str, Rubric],
    *,
    span: Span,
    role: Role,
    judges: Sequence[str | None],
    judging: Judging,
) -> dict[str, Annotation]:
    """Ask every judge about every construct, for each reply or once for the conversation."""
    scenario = known_scenario(state)
    sees = SEEN if scenario is None else getattr(scenario.sees, role)
    about = {"note": notes_of(state, together=span == "conversation")}
    spoken = replies_of(state, from_the_first=span == "conversation")  # that is all sessions with a person
    found = {name: about.get(rubric.about, spoken) for name, rubric in rubrics.items()}
    judged = {n: units[-1:] if span in ("conversation", "last") else units for n, units in found.items()}

    async def ask(name: str, reply: Reply, model: str | None) -> Judgement:
        unit = "conversation" if span == "conversation" else "reply"
        question = construct_question(rubrics[name], scenario, unit)
        shown = show(reply, sees | rubrics[name].sees)
        judgement = await judge(role, name, question, shown.text, judging=judging, model=model)
        return judgement.model_copy(update={"neutralised": shown.neutralised})

    places = [(n, r, m) for n in rubrics for r in judged[n] for m in judges]
    answers = iter(await together(ask(*place) for place in places))
    return {n: Annotation([[next(answers) for _ in judges] for _ in judged[n]]) for n in rubrics}


def annotation_score(
    annotations: Mapping[str, Annotation],
    rubrics: Mapping[str, Rubric],
    span: Span,
    derived: Mapping[str, float] | None = None,
    scales: Mapping[str, str] | None = None,
) -> Score:
    """One score with a number per construct; a missing number is NaN, which Inspect counts as unscored.

    Args:
        annotations: By construct.
        rubrics: By construct; their scales go into the metadata.
        span: How replies make a conversation.
        derived: Further numbers made of these; they come first.
        scales: Scales of the derived numbers, or of all if they were converted.
    """
    values = {name: a.value(span) for name, a in annotations.items()}
    values = {**(derived or {}), **{n: v for n, v in values.items() if n not in (derived or {})}}
    metadata = {
        "scales": {**{n: r.scale for n, r in rubrics.items()}, **(scales or {})},
        "over": span,
        "turns": {n: [_rounded(v) for v in a.values()] for n, a in annotations.items()},
        "judges": {n: a.by_judge() for n, a in annotations.items()},
        "mass": {n: _rounded(_mean(_masses(a))) for n, a in annotations.items()},
        "unscored": {n: p for n, a in annotations.items() if (p := a.problem())},
        "cut": {n: number for n, a in annotations.items() if (number := a.cut())},
        "neutralised": max((a.neutralised() for a in annotations.values()), default=0),
    }
    if about_notes := [n for n, r in rubrics.items() if r.about == "note"]:
        metadata["about_notes"] = about_notes
    explanation = "\n".join(
        f"{name}: {value:.2f}" if not math.isnan(value) else f"{name}: no number"
        for name, value in values.items()
    )
    if all(math.isnan(v) for v in values.values()) and not any(a.answers for a in annotations.values()):
        wrote = "wrote no note" if about_notes and len(about_notes) == len(rubrics) else "gave no reply"
        explanation = f"the agent {wrote} to judge"
    return Score(
        value={name: round(value, 4) for name, value in values.items()},
        explanation=explanation,
        metadata=metadata,
    )


def _masses(annotation: Annotation) -> list[float]:
    return [j.mass for reply in annotation.answers for j in reply if j.mass is not None]


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)
