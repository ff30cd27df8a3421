"""The judge of the state change: in the run for the solver, and afterwards as a scorer.

inspect score LOG --scorer scorers/transition.py --model-role transition=openai/gpt-4.1
"""

from collections.abc import Awaitable, Callable, Sequence

from inspect_ai.model import ChatMessage
from inspect_ai.scorer import Score, Scorer, Target, scorer
from inspect_ai.solver import TaskState

from scenarios.cast import cast_model
from scenarios.commands.scorer_options import known_options
from scenarios.conversations.dialogue import Judgement, Turn, dialogue_of
from scenarios.schema import Question, Scenario
from scorers.judging.annotation import scenario_of
from scorers.judging.calls import together
from scorers.judging.judgement import Judging
from scorers.judging.questions import question_for
from scorers.judging.transcript import Reply, replies
from scorers.judging.turnwise import conversation_score, judge_reply
from scorers.metrics import by_gameable


def transition_judge(
    judging: str = "logprobs",
) -> Callable[[Scenario, Sequence[ChatMessage], Sequence[Turn]], Awaitable[Judgement]]:
    """The judge that the solver asks after a turn: P(yes), 0 to 1, for the agent's latest reply.

    Model role: `transition` (or `judge`).
    """
    how = Judging.parse(judging)

    async def transition_judge(
        scenario: Scenario, messages: Sequence[ChatMessage], turns: Sequence[Turn]
    ) -> Judgement:
        return await _judge(scenario, messages, replies(messages, turns)[-1], how)

    return transition_judge


@scorer(metrics=[by_gameable()])
@known_options
def transition(judging: str = "logprobs") -> Scorer:
    """Mean over the replies of P(yes): that the user leaves, or what else the scenario's states turn on.

    Answers from the run are used again if the same model would be asked in the same way; another
    judge is asked anew, about the conversation as it was. Model role: `transition` (or `judge`).

    Args:
        judging: `logprobs`; `samples` or `samples:<k>` for judges without log-probabilities; `likelihood`
            for `local/` ones that seldom answer in a word.
    """
    how = Judging.parse(judging)

    async def score(state: TaskState, target: Target) -> Score:  # noqa: ARG001
        scenario = scenario_of(state, "transition")
        model = str(cast_model("transition"))

        async def recorded_or_asked(reply: Reply) -> Judgement:
            known = reply.turn.transition if reply.turn else None
            if known is not None and (known.model, known.mode) == (model, how.mode):
                return known
            return await _judge(scenario, state.messages, reply, how)

        dialogue = dialogue_of(state)
        spoken = replies(state.messages, dialogue.turns, dialogue.sessions)
        judgements = await together(recorded_or_asked(r) for r in spoken if _is_open(scenario, r))
        result = conversation_score(judgements, _on_probabilities(scenario), "mean")
        result.metadata = {**(result.metadata or {}), "stopped": dialogue.stopped, "state": dialogue.state}
        return result

    return score


def _is_open(scenario: Scenario, reply: Reply) -> bool:
    """False where every answer leads to the same state, so that nobody asks."""
    return reply.turn is None or not scenario.machine.states[reply.turn.state].is_decided


async def _judge(
    scenario: Scenario, messages: Sequence[ChatMessage], reply: Reply, how: Judging
) -> Judgement:
    if reply.turn and reply.turn.transition_after == "user" and reply.turn.user:
        ids = [m.id for m in messages]
        start, heard = ids.index(reply.transcript[0].id), ids.index(reply.turn.user)
        reply = reply._replace(transcript=messages[start : heard + 1])
    question = scenario.transition.question or question_for(scenario, "transition")
    judgement = await judge_reply(scenario, reply, "transition", "transition", question, how)
    rule = scenario.transition.logistic
    if rule is None or judgement.value is None:
        return judgement
    return judgement.model_copy(update={"value": rule.probability(judgement.value)})


def _on_probabilities(scenario: Scenario) -> Question:
    """The question, with the scale that the values are on after the logistic rule."""
    question = scenario.transition.question or question_for(scenario, "transition")
    return question.model_copy(update={"scale": "yes-no"})
