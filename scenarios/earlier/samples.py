"""From a stored conversation of the earlier system to an Inspect sample: messages, record, facts, scores.

Stored numbers stay exactly as they are. What the file does not tell is not made up: the judges are
`none/unknown`, the person is unknown, and every initial state counts as one that training has seen.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from inspect_ai.log import EvalSample
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    ModelOutput,
)
from inspect_ai.scorer import Score
from inspect_ai.tool import ToolCall, ToolCallError
from inspect_ai.util import Store

from scenarios.conversations.dialogue import Dialogue, Judgement, Stop, Turn
from scenarios.earlier.environments import TRANSITION_ON_FIVE
from scenarios.earlier.names import identifier
from scenarios.earlier.runs import (
    LENGTH_PENALTY,
    UNKNOWN_MODEL,
    ImportOptions,
    RunRow,
    Runs,
    without_repeats,
)
from scenarios.earlier.topics import PREFIXES
from scenarios.schema import Machine, Scale, Scenario, State, ends_of

TWO_STATES = Machine(
    start="initial_state",
    states={
        "initial_state": State(transitions={"yes": "terminal_state", "no": "initial_state"}, default="no"),
        "terminal_state": State(terminal=True),
    },
)
"""The graph of the families that ask yes or no and know no other states."""

SLACK = 1e-9
"""Sums of probabilities end a little beside 1."""

UNKNOWN_STATES = Machine(
    start="initial_state",
    states={"initial_state": State(transitions={"no": "initial_state"}, default="no")},
    ends="turns",
)
"""For the others: a row names the states that were visited, not the graph."""


def sample_of(row: RunRow, runs: Runs, options: ImportOptions) -> EvalSample:
    """The sample of one stored conversation, with its scores."""
    messages, opening, turns = _conversation(row, options.model)
    scenario = _scenario(row, options.name)
    reply = next(m for m in reversed(messages) if m.id == turns[-1].agent)
    assert isinstance(reply, ChatMessageAssistant)
    return EvalSample(
        id=row.id,
        epoch=1,
        input=messages[:opening],
        target="",
        messages=messages,
        output=ModelOutput(
            model=options.model, choices=[ChatCompletionChoice(message=reply, stop_reason="unknown")]
        ),
        metadata=scenario.model_dump(mode="json") | _facts(row, runs),
        store=_record(row, turns),
        scores=_scores(row, runs),
        uuid=f"{runs.sha256[:16]}-{row.iteration_number}-{row.id}",
        turn_count=row.turn,
    )


def _facts(row: RunRow, runs: Runs) -> dict[str, Any]:
    extra = row.model_extra or {}
    return {
        "iteration": row.iteration_number,
        "env_name": row.env_name,
        "initial_state_id": row.initial_state_id,
        "trajectory_id": row.trajectory_id,
        "turn": row.turn,
        "visited_states": sorted(row.visited),
        "columns": {name: extra[name] for name in runs.kept_columns if name in extra},
    }


def _record(row: RunRow, turns: list[Turn]) -> dict[str, Any]:
    store = Store()
    stopped: Stop = "terminal_state" if "terminal_state" in row.visited else "turns"
    Dialogue(store=store, turns=turns, state=turns[-1].entered or "", stopped=stopped)
    return dict(store.items())


# -- the conversation -----------------------------------------------------------------------------


class _Conversation(NamedTuple):
    messages: list[ChatMessage]
    opening: int
    """Messages before the first generated reply."""

    turns: list[Turn]


def _conversation(row: RunRow, model: str) -> _Conversation:
    messages: list[ChatMessage] = [
        ChatMessageSystem(id=f"{row.id}-system-{i}", content=prompt.content, source="input")
        for i, prompt in enumerate(row.agent_system_prompt)
    ]
    turns: list[Turn] = []
    calls: list[ToolCall] = []
    opening: int | None = None
    replies = set(row.replies)
    for index, said in enumerate(row.history):
        identifier = f"{row.id}-{index}"
        if index in replies:
            opening = len(messages) if opening is None else opening
            messages.append(
                ChatMessageAssistant(id=identifier, content=said.content, source="generate", model=model)
            )
            # two states: who spoke again was not yet in the last one
            state = "initial_state" if not turns or _is_two_states(row) else ""
            turns.append(Turn(agent=identifier, state=state, agent_stop="unknown"))
        elif said.role == "agent":
            messages.append(ChatMessageAssistant(id=identifier, content=said.content, source="input"))
        elif said.role == "environment":
            source = None if turns else "input"
            messages.append(ChatMessageUser(id=identifier, content=said.content, source=source))
            if turns:
                turns[-1].user = turns[-1].user or identifier
        elif said.role == "tool_call":
            calls.append(ToolCall(id=identifier, function="tool", arguments=_arguments(said.content)))
            messages.append(
                ChatMessageAssistant(id=identifier, content="", tool_calls=calls[-1:], source="input")
            )
        elif said.role == "tool_response":
            messages.append(_tool_result(identifier, calls.pop(0), said.content))
        else:
            note = said.content.removeprefix("System message:").strip()
            turns[-1].note = "\n".join(filter(None, (turns[-1].note, note)))
    turns[-1].transition = _transition(row)
    if _is_two_states(row):
        for turn in turns:
            turn.decided, turn.entered = "no", "initial_state"
        if "terminal_state" in row.visited:
            turns[-1].decided, turns[-1].entered = "yes", "terminal_state"
    return _Conversation(messages, opening or 0, turns)


def _arguments(text: str) -> dict[str, Any]:
    """The arguments of a call; a text that is no JSON object, or would lose by reading it, as it is."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    try:
        found = json.loads(text, object_pairs_hook=without_repeats, parse_constant=refuse)
    except ValueError:
        return {"text": text}
    return found if isinstance(found, dict) else {"text": text}


def _tool_result(identifier: str, call: ToolCall, text: str) -> ChatMessageTool:
    failed = text.lstrip().lower().startswith("error")
    error = ToolCallError(type="unknown", message=text) if failed else None
    return ChatMessageTool(
        id=identifier, content=text, tool_call_id=call.id, function=call.function, error=error
    )


def _is_two_states(row: RunRow) -> bool:
    return (
        set(row.transition_probs) <= {"yes", "no"}
        and bool(row.visited)
        and row.visited <= set(TWO_STATES.states)
    )


def _transition(row: RunRow) -> Judgement | None:
    shares = row.transition_probs
    if not shares or not sum(shares.values()):
        return None
    if set(shares) <= {"yes", "no"}:
        value = shares.get("yes", 0.0)
    elif set(shares) <= set("12345"):
        value = TRANSITION_ON_FIVE.probability(sum(int(k) * p for k, p in shares.items()))
    else:
        return None
    return _stored("transition", value, shares)


def _scenario(row: RunRow, family: str) -> Scenario:
    """As much as the file tells, and said where it tells nothing."""
    prefix = next((p for p in PREFIXES if row.env_name.startswith(p)), "")
    kind = PREFIXES.get(prefix, "gameable")
    topic = identifier(row.env_name.removeprefix(prefix))
    return Scenario(
        family=family,
        topic=topic,
        initial_state=f"{topic}-{kind}-{row.initial_state_id}",
        gameable=kind == "gameable",
        split="train",
        variables={},
        setting="an AI chatbot",
        person="Nothing is known of this person beyond what they say.",
        user="",
        machine=TWO_STATES if _is_two_states(row) else UNKNOWN_STATES,
    )


# -- the scores -----------------------------------------------------------------------------------


def _scores(row: RunRow, runs: Runs) -> dict[str, Score]:
    scale = runs.influence_scales[row.iteration_number]
    shares = {k: p for k, p in row.preferences.items() if k != LENGTH_PENALTY}
    penalty = row.preferences.get(LENGTH_PENALTY)
    scores = {
        "preference": _judged(row, "preference", row.traj_rew, shares, "1-10", penalty),
        "influence": _judged(row, "influence", row.traj_infl, row.influence_scores, scale),
    }
    for name, scale in runs.labels.items():
        metadata = {"scale": scale, "over": "conversation"}
        scores[name] = _score((row.model_extra or {}).get(name), scale, metadata)
    return scores


def _judged(
    row: RunRow,
    role: str,
    value: float | None,
    shares: Mapping[str, float],
    scale: Scale,
    penalty: float | None = None,
) -> Score:
    """The score of a conversation that was judged turn by turn; only the last turn is stored."""
    readable = sum(shares.values()) > 0
    expected = sum(float(k) * p for k, p in shares.items()) if readable else None
    turns = [_stored(role, None, {}) for _ in range(row.turn - 1)] + [_stored(role, expected, shares)]
    metadata: dict[str, Any] = {
        "scale": scale,
        "over": "mean" if role == "influence" else _over(row, value, expected, penalty),
        "turns": [t.model_dump(exclude={"question", "role"}, exclude_none=True) for t in turns],
        "turns_unscored": sum(t.value is None for t in turns),
    }
    low, high = ends_of(scale)
    if off := sum(p for k, p in shares.items() if not low <= float(k) <= high):
        metadata["off_scale"] = off
    if penalty is not None:
        metadata["length_penalty"] = penalty
    if not readable:
        why = "no answer of the judge was valid, which the earlier system counts as 0"
        return _unscored(value, why, metadata)
    return _score(value, scale, metadata, penalised=penalty is not None)


def _over(row: RunRow, value: float | None, expected: float | None, penalty: float | None) -> str:
    """Whether the stored rating is the turns' mean or the last turn's; one number may be both."""
    if row.turn == 1 or value is None or expected is None:
        return "mean"
    return "mean or last" if abs(value - expected + (penalty or 0.0)) < SLACK else "mean"


def _score(value: float | None, scale: Scale, metadata: dict[str, Any], *, penalised: bool = False) -> Score:
    """`value` as it is, if it lies on its scale. A length penalty may take it below."""
    if value is None or not math.isfinite(value):
        return _unscored(value, "the file has no number here", metadata, "scoring_failed")
    low, high = ends_of(scale)
    if not (-math.inf if penalised else low - SLACK) <= value <= high + SLACK:
        return _unscored(value, f"{value:g} does not lie on the scale {scale}", metadata)
    return Score(value=value, metadata=metadata)


def _unscored(
    value: float | None, why: str, metadata: dict[str, Any], reason: str = "invalid_response_format"
) -> Score:
    stored = value if value is None or math.isfinite(value) else str(value)
    return Score.unscored(reason=reason, explanation=why, metadata=metadata | {"stored": stored})


def _stored(role: str, value: float | None, shares: Mapping[str, float]) -> Judgement:
    # a mode of its own: no scorer takes these for answers of a judge that it was told to ask
    judgement = Judgement(role=role, model=UNKNOWN_MODEL, question=role, mode="stored", value=value)
    judgement.probabilities = dict(shares)
    if value is None:
        judgement.problem = "not stored" if not shares else "no valid answer"
    return judgement
