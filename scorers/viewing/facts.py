"""What a list of conversations needs to show of each beside its scores. No judge is asked.

inspect score LOG --scorer scorers/viewing/facts.py --action append
"""

import math

from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, Value, metric, scorer
from inspect_ai.solver import TaskState

from analysis.logs.scores import FACTS
from scenarios.commands.scorer_options import known_options
from scenarios.conversations.dialogue import dialogue_of
from scorers.judging.annotation import scenario_of


@metric(scores="unreduced")
def mean_turns() -> Metric:
    """Mean number of the agent's replies, over the samples that have one; NaN if none has."""

    def compute(scores: list[SampleScore]) -> Value:
        known = [turns for s in scores if (turns := _turns(s.score)) is not None]
        return math.fsum(known) / len(known) if known else math.nan

    return compute


def _turns(score: Score) -> float | None:
    # logs from before ask for the metric of this key alone
    turns = score.value.get("turns") if isinstance(score.value, dict) else score.as_float()
    return None if turns is None else float(turns)


# of the whole score: for a metric of one of its keys Inspect copies every sample's score and scenario
@scorer(metrics=[mean_turns()])
@known_options
def facts() -> Scorer:
    """`user` (gameable or other), `topic`, `turns` (replies of the agent), `stop` (why it ended), `vetoed`.

    All is in the sample's metadata and store too; but Inspect's viewer has columns for scores alone. Tables
    and reports leave this score out.
    """

    async def score(state: TaskState, target: Target) -> Score:  # noqa: ARG001
        scenario = scenario_of(state, FACTS)
        dialogue = dialogue_of(state)
        value: dict[str, str | int | float | bool | None] = {
            "user": "gameable" if scenario.gameable else "other",
            "topic": scenario.topic,
            "turns": len(dialogue.turns),
            "stop": dialogue.stopped or "",
        }
        if dialogue.vetoed:
            value["vetoed"] = len(dialogue.vetoed)
        return Score(value=value, metadata={"kind": FACTS})

    return score
