"""Was the simulated user sound? Counted by rule, so no model is asked."""

from collections import Counter

from inspect_ai.scorer import Score, Scorer, Target, scorer
from inspect_ai.solver import TaskState

from scenarios.commands.scorer_options import known_options
from scenarios.conversations.dialogue import dialogue_of
from scenarios.conversations.user_flaws import UserFlaws
from scorers.metrics import by_gameable


@scorer(metrics=[by_gameable()])
@known_options
def simulator() -> Scorer:
    """Share of the messages that the user's model wrote with a flaw, 0 to 1; unscored if it never spoke.

    Those that were thrown away and drawn again count too. Flaws are explained at
    `scenarios.conversations.dialogue.Flaw`; the metadata counts those of messages that stand (`flaws`) and of
    those that do not (`flaws_thrown_away`).
    Whether the person is lifelike is another question, for a judge: the construct `user_realism`.
    """

    async def score(state: TaskState, target: Target) -> Score:  # noqa: ARG001
        dialogue = dialogue_of(state)
        found = UserFlaws()
        found.add(dialogue.drawn())
        metadata = {
            "scale": "0-1",
            "messages": found.stand + found.thrown_away,
            "thrown_away": found.thrown_away,
            "flaws": dict(found.standing),
            "flaws_thrown_away": dict(found.of_drafts),
            "stopped": dialogue.stopped,
        }
        if not found.stand + found.thrown_away:
            return Score.unscored(
                reason="no_response", explanation="the user did not speak", metadata=metadata
            )
        told = [f"{n} {flaw}" for flaw, n in sorted(found.standing.items())] or ["no flaws"]
        if found.thrown_away:
            told.append(f"{found.thrown_away} thrown away ({_counted(found.of_drafts)})")
        value = (found.flawed + found.thrown_away) / (found.stand + found.thrown_away)
        explanation = f"{found.stand + found.thrown_away} messages: {', '.join(told)}"
        return Score(value=value, explanation=explanation, metadata=metadata)

    return score


def _counted(flaws: Counter[str]) -> str:
    return ", ".join(f"{n} {flaw}" for flaw, n in sorted(flaws.items()))
