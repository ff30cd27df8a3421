"""Conversations as people read them in pages: messages with what was judged, noted, called and taken back."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from analysis.logs.samples import SpokenRecord
from analysis.scales import scale_of, turns_unscored
from scenarios.conversations.dialogue import DialogueRecord, Judgement
from scenarios.schema import Scale

LONGEST = 6000
"""Characters of a message that are shown; the rest is in the log."""

SPEAKERS = {"system": "system prompt", "user": "user", "assistant": "model", "tool": "tool"}

ATTACHED = "attachment://"


class TurnScore(NamedTuple):
    """What one judge said of one turn."""

    name: str
    value: float | None
    """None if it could not be read."""

    scale: Scale | None
    judge: str
    problem: str | None


class SpokenTurn(NamedTuple):
    """A reply of the model and what belongs to it."""

    number: int
    """From 1."""

    characters: int | None
    """Of the reply; None if the log does not say which message it is."""

    scores: list[TurnScore]
    state: str
    decided: str | None
    note: str | None
    flaws: list[str]
    """Of the user's answer, by rule."""

    drafts: int
    """Messages of the user that were thrown away."""

    agent_stop: str


def text_of(message: Mapping[str, Any], attachments: Mapping[str, str]) -> str:
    """The words of a message as Inspect writes it; thoughts in brackets, pictures named."""
    content = message.get("content", "")
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    return "\n".join(filter(None, (_part(part, attachments) for part in parts))).strip()


def _part(part: Mapping[str, Any], attachments: Mapping[str, str]) -> str:
    kind = part.get("type")
    if kind == "text":
        return attached(part.get("text"), attachments)
    if kind == "reasoning":
        thought = attached(
            part.get("summary") if part.get("redacted") else part.get("reasoning"), attachments
        )
        return f"[thought: {thought}]" if thought else ""
    return f"[{kind}]"


def attached(value: Any, attachments: Mapping[str, str]) -> str:
    """A text, from where long ones are kept."""
    if isinstance(value, str) and value.startswith(ATTACHED):
        return attachments.get(value.removeprefix(ATTACHED), value)
    return "" if value is None else str(value)


def turns_of(record: SpokenRecord, dialogue: DialogueRecord | None) -> list[SpokenTurn]:
    """The turns of a conversation: as our solver wrote them down, else the replies of the model."""
    if dialogue is None:
        replies = [m for m in record.messages if m.get("role") == "assistant" and not m.get("tool_calls")]
        return [
            SpokenTurn(
                n, len(text_of(m, record.attachments)), _scores_at(record, n, None), "", None, None, [], 0, ""
            )
            for n, m in enumerate(replies, start=1)
        ]
    lengths = {m.get("id"): len(text_of(m, record.attachments)) for m in record.messages}
    return [
        SpokenTurn(
            number,
            lengths.get(turn.agent),
            _scores_at(record, number, turn.transition, turn.veto),
            turn.state,
            turn.decided,
            turn.note,
            [str(flaw) for flaw in turn.flaws],
            len(turn.drafts),
            turn.agent_stop,
        )
        for number, turn in enumerate(dialogue.turns, start=1)
    ]


def _scores_at(record: SpokenRecord, number: int, *judged: Judgement | None) -> list[TurnScore]:
    """Every judgement of one turn: of scores, of the run itself where no score repeats it."""
    found: list[TurnScore] = []
    for name, score in (record.scores or {}).items():
        found += _of_score(name, score.metadata or {}, number)
    known = {one.name.rstrip("0123456789") for one in found}
    for judgement in judged:
        if judgement is not None and judgement.role not in known:
            scale = "yes-no" if judgement.role == "transition" else None
            found.append(
                TurnScore(judgement.role, judgement.value, scale, judgement.model, judgement.problem)
            )
    return found


def _of_score(name: str, facts: Mapping[str, Any], number: int) -> Iterator[TurnScore]:
    turns = facts.get("turns")
    if isinstance(turns, list) and len(turns) >= number and isinstance(turns[number - 1], Mapping):
        turn = turns[number - 1]
        value, problem = _number(turn.get("value")), turn.get("problem")
        yield TurnScore(name, value, scale_of(facts), str(turn.get("model", "")), problem and str(problem))
    elif isinstance(turns, Mapping):  # a score of several values: construct -> values by turn
        for key, values in turns.items():
            if isinstance(values, list) and len(values) >= number:
                judges = facts.get("judges")
                names = judges.get(key) if isinstance(judges, Mapping) else None
                judge = ", ".join(map(str, names)) if isinstance(names, Mapping) else ""
                value = _number(values[number - 1])
                yield TurnScore(f"{name}.{key}", value, scale_of(facts, key), judge, None)


def _number(value: Any) -> float | None:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
    return float(value) if usable else None


def partly_scored(record: SpokenRecord) -> dict[str, int]:
    """Score -> turns without a number, of scores that have a number all the same."""
    found: dict[str, int] = {}
    for name, score in (record.scores or {}).items():
        keys = list(score.value) if isinstance(score.value, Mapping) else [""]
        for key in keys:
            if lost := turns_unscored(score.metadata, key)[0]:
                found[f"{name}.{key}" if key else name] = lost
    return found


def shown(
    record: SpokenRecord, dialogue: DialogueRecord | None, turns: Sequence[SpokenTurn]
) -> dict[str, Any]:
    """A conversation for the browser of a page, as JSON: every text is plain and is put in as text."""
    ends = {} if dialogue is None else {turn.agent: n for n, turn in enumerate(dialogue.turns, start=1)}
    messages = [_message(m, record, ends) for m in record.messages]
    vetoed = [] if dialogue is None else dialogue.vetoed
    return {
        "messages": [m for m in messages if m is not None],
        "turns": {
            str(turn.number): {
                "scores": [[s.name, _short(s.value), s.scale, s.judge, s.problem] for s in turn.scores],
                **_said(decided=turn.decided, note=turn.note, flaws=turn.flaws, drafts=turn.drafts),
            }
            for turn in turns
        },
        **_said(
            vetoed=[[v.turn, v.text[:LONGEST], _short(v.judgement.value), v.tool_calls] for v in vetoed],
            person=record.metadata.get("person"),
            error=(record.error or {}).get("message"),
        ),
    }


def _said(**facts: Any) -> dict[str, Any]:
    return {name: fact for name, fact in facts.items() if fact}


def _short(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 3)


def _message(
    message: Mapping[str, Any], record: SpokenRecord, ends: Mapping[str, int]
) -> dict[str, Any] | None:
    text, role = text_of(message, record.attachments), str(message.get("role"))
    failed = message.get("error")
    if isinstance(failed, Mapping):
        text = f"{text}\n(error: {attached(failed.get('message'), record.attachments)})".strip()
    calls = [
        f"{call.get('function')}({json.dumps(call.get('arguments'), ensure_ascii=False)})"
        for call in message.get("tool_calls") or []
    ]
    if not text and not calls:
        return None
    opening = role == "assistant" and message.get("source") == "input"
    return {
        "who": SPEAKERS.get(role, role) + (" (opening)" if opening else ""),
        "text": text[:LONGEST],
        **_said(cut=max(0, len(text) - LONGEST), calls=calls, turn=ends.get(str(message.get("id")), 0)),
    }
