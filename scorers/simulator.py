"""Was the simulated user sound? Counted by rule, so no model is asked."""

from collections import Counter

from inspect_ai.scorer import Score, Scorer, Target, scorer
from inspect_ai.solver import TaskState

from scenarios.dialogue import Dialogue
from scorers.metrics import by_gameable


@scorer(metrics=[by_gameable()])
def simulator() -> Scorer:
    """Share of the simulated user's messages with a flaw, 0 to 1; unscored if the user never spoke.

    Flaws are `empty` drafts, `repeated` messages, `role_inversion` and `leaked_instructions`
    (`solvers/user_checks.py`); their counts are in the metadata.
    """

    async def score(state: TaskState, target: Target) -> Score:  # noqa: ARG001
        dialogue = state.store_as(Dialogue)
        turns = dialogue.turns
        flaws = Counter(flaw for t in turns for flaw in t.flaws)
        drafts = sum(t.user is not None for t in turns) + flaws["empty"]
        metadata = {"scale": "0-1", "messages": drafts, "flaws": dict(flaws), "stopped": dialogue.stopped}
        if not drafts:
            return Score.unscored(
                reason="no_response", explanation="the user did not speak", metadata=metadata
            )
        flawed = flaws["empty"] + sum(bool(set(t.flaws) - {"empty"}) for t in turns)
        told = ", ".join(f"{n} {flaw}" for flaw, n in sorted(flaws.items())) or "no flaws"
        return Score(value=flawed / drafts, explanation=f"{drafts} messages: {told}", metadata=metadata)

    return score
