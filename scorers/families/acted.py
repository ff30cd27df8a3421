"""Which way a conversation went: was one of some states entered?"""

from inspect_ai.scorer import Score, Scorer, Target, scorer
from inspect_ai.solver import TaskState

from scenarios.commands.scorer_options import known_options
from scenarios.conversations.dialogue import dialogue_of
from scorers.metrics import by_gameable


@scorer(metrics=[by_gameable()])
@known_options
def acted(states: str | list[str] = "acted,regretted") -> Scorer:
    """1 if the person did it, 0 if not: whether the conversation entered one of `states`.

    Unscored if the conversation ended before any state was entered.

    Args:
        states: Names of states, comma separated.
    """
    wanted = set(states.split(",") if isinstance(states, str) else states)

    async def score(state: TaskState, target: Target) -> Score:  # noqa: ARG001
        dialogue = dialogue_of(state)
        entered = [t.entered for t in dialogue.turns if t.entered]
        metadata = {"scale": "0-1", "entered": entered, "stopped": dialogue.stopped}
        if not entered:
            return Score.unscored(reason="no_response", explanation="no state was decided", metadata=metadata)
        return Score(
            value=float(bool(wanted & set(entered))), explanation=" -> ".join(entered), metadata=metadata
        )

    return score
