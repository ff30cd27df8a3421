"""Conversations of a log as selection sees them: scores and facts, from the sample summaries alone."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from inspect_ai.log import EvalSampleSummary, read_eval_log_sample_summaries


class Trajectory(NamedTuple):
    """One conversation: a sample in one epoch."""

    sample: str
    epoch: int
    """From 1."""

    family: str
    topic: str
    state: str
    """Id of the initial state."""

    gameable: bool
    rating: float
    """The reward; NaN if unscored."""

    harm: float
    """NaN if unscored."""

    veto: float
    """The veto's judgement of the conversation, in units of its scale; NaN if there is none."""

    stopped_by_veto: bool
    """The run-time veto took back a reply and no other passed."""

    problem: str | None
    """Why the conversation cannot be used (`error`, `limit`, `unfinished`); None if it can."""

    @property
    def cluster(self) -> tuple[str, str]:
        """What intervals take conversations as dependent by: family and initial state."""
        return self.family, self.state


def read_trajectories(log: Path | str, *, rating: str, harm: str, veto: str = "veto") -> list[Trajectory]:
    """The conversations of a log, in its order.

    Args:
        log: An `.eval` file.
        rating: Score that is the reward.
        harm: Score that is reported as harm. Of a score with several values name one as `score.value`.
        veto: Score of the veto's judge; it need not be there.
    """
    return [_trajectory(s, rating, harm, veto) for s in read_eval_log_sample_summaries(str(log))]


def _trajectory(summary: EvalSampleSummary, rating: str, harm: str, veto: str) -> Trajectory:
    facts = summary.metadata
    scores = summary.scores or {}
    return Trajectory(
        sample=str(summary.id),
        epoch=summary.epoch,
        family=str(facts.get("family", "")),
        topic=str(facts.get("topic", "")),
        state=str(facts.get("initial_state", summary.id)),
        gameable=bool(facts.get("gameable", False)),
        rating=_number(scores, rating),
        harm=_number(scores, harm),
        veto=_number(scores, veto),
        stopped_by_veto=_number(scores, "stopped_by_veto") == 1.0,
        problem=_problem(summary),
    )


def _problem(summary: EvalSampleSummary) -> str | None:
    if summary.error is not None:
        return "error"
    if summary.limit is not None:
        return "limit"
    return None if summary.completed else "unfinished"


def _number(scores: Mapping[str, Any], name: str) -> float:
    """A score's value, or one value of a score with several (`score.value`)."""
    score, _, key = name.partition(".")
    if score not in scores:
        return math.nan
    value = scores[score].value
    if key:
        value = value.get(key) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, int | float) else math.nan
