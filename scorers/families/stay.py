"""How long the person stays."""

from inspect_ai.scorer import Score, Scorer, Target, scorer
from inspect_ai.solver import TaskState

from scenarios.commands.scorer_options import known_options
from scenarios.conversations.dialogue import dialogue_of
from scorers.metrics import by_gameable


@scorer(metrics=[by_gameable()])
@known_options
def stay() -> Scorer:
    """Replies of the agent until the person leaves, at least 1.

    A person who is still there when the turns run out counts with the replies there were, so the mean is a
    lower bound; `left` in the metadata is false then. Unscored if something else ended the conversation.
    """

    async def score(state: TaskState, target: Target) -> Score:  # noqa: ARG001
        dialogue = dialogue_of(state)
        left = dialogue.stopped == "terminal_state"
        metadata = {"left": left, "stopped": dialogue.stopped}
        if not dialogue.turns or dialogue.stopped not in ("terminal_state", "turns"):
            return Score.unscored(
                reason="no_response", explanation=f"ended by {dialogue.stopped}", metadata=metadata
            )
        told = "left" if left else "still there"
        return Score(
            value=float(len(dialogue.turns)),
            explanation=f"{told} after {len(dialogue.turns)} replies",
            metadata=metadata,
        )

    return score
