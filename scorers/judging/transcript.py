"""What a judge is shown of a conversation."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from inspect_ai.model import ChatMessage, ChatMessageAssistant, ChatMessageSystem
from inspect_ai.solver import TaskState

from scenarios.conversations.dialogue import Session, Turn, dialogue_of
from scenarios.conversations.text import (
    NAMES,
    Part,
    Shown,
    Speaker,
    ended,
    notes_to_user,
    parts_of,
    transcript,
)
from scenarios.schema import Hidden


class Reply(NamedTuple):
    """One reply of the agent, in its place."""

    number: int
    """From 1."""

    turn: Turn | None
    """What the solver recorded; None in a log that another solver wrote."""

    message: ChatMessageAssistant
    transcript: Sequence[ChatMessage]
    """The conversation up to this reply, the reply included; of several sessions the one that it is in."""

    notes: dict[str, str]
    """Id of a message -> note told to the user after it."""


def replies_of(state: TaskState, *, from_the_first: bool = False) -> list[Reply]:
    """The agent's replies in a sample; see `replies`."""
    dialogue = dialogue_of(state)
    return replies(state.messages, dialogue.turns, dialogue.sessions, from_the_first=from_the_first)


def replies(
    messages: Sequence[ChatMessage],
    turns: Sequence[Turn],
    sessions: Sequence[Session] = (),
    *,
    from_the_first: bool = False,
) -> list[Reply]:
    """The agent's replies in a transcript, each with the conversation up to it.

    Openings that the scenario wrote for the agent are not replies. In a log that was not written by
    our solver there are no turns, and every message that a model generated for the assistant counts.

    Args:
        messages: The transcript.
        turns: What the solver recorded.
        sessions: As well. Each reply comes with the session that it is in.
        from_the_first: Each comes with all sessions up to it.
    """
    by_id = {t.agent: t for t in turns}
    notes = notes_to_user(turns, sessions)
    beginnings = set() if from_the_first else {s.begins for s in sessions}
    found: list[Reply] = []
    start = 0
    for index, message in enumerate(messages):
        if message.id in beginnings:
            start = index
        if not isinstance(message, ChatMessageAssistant):
            continue
        turn = by_id.get(message.id or "")
        generated = message.source == "generate" and bool(message.text.strip())
        if turn is not None or (not turns and generated):
            found.append(Reply(len(found) + 1, turn, message, messages[start : index + 1], notes))
    return found


def notes_of(state: TaskState, *, together: bool) -> list[Reply]:
    """The notes that the agent wrote after sessions, those without words left out, as if they were replies.

    Args:
        state: What is judged.
        together: Each comes with the notes before it; else by itself.
    """
    written = [ChatMessageAssistant(content=n.written) for _, n in dialogue_of(state).notes()]
    return [
        Reply(number, None, note, written[:number] if together else [note], {})
        for number, note in enumerate(written, start=1)
    ]


def session_ends(state: TaskState, *, from_the_first: bool) -> list[tuple[int, Reply]]:
    """The last reply of each session that has one, with the session's number.

    Args:
        state: What is judged.
        from_the_first: Each comes with all sessions up to it; else with its own alone.
    """
    dialogue = dialogue_of(state)
    spoken = replies(state.messages, dialogue.turns, dialogue.sessions, from_the_first=from_the_first)
    found: list[tuple[int, Reply]] = []
    for session in dialogue.sessions:
        own, spoken = spoken[: session.turns], spoken[session.turns :]
        if own:
            found.append((session.number, own[-1]))
    return found


def show(reply: Reply, sees: Collection[Hidden]) -> Shown:
    """The conversation up to `reply` for a judge: with what it may see beyond the words, its end marked."""
    shown = _shown(reply, sees)
    return shown._replace(text=ended(shown.text))


def render(reply: Reply, sees: Collection[Hidden]) -> str:
    """The conversation up to `reply` for people: as judges see it, but no question stands behind it."""
    return _shown(reply, sees).text


def _shown(reply: Reply, sees: Collection[Hidden]) -> Shown:
    notes = {told: note for told, note in reply.notes.items() if told != reply.message.id}
    return transcript(parts_of(reply.transcript, notes, sees))


# -- conversations that are data, not a run's ------------------------------------------------------

GIVEN = "given_conversation"
"""Metadata of samples whose input is the conversation itself, all of it to be judged."""

_GIVEN_NAMES: Mapping[Speaker, str] = {**NAMES, "note": "instructions to the assistant"}


def show_given(messages: Sequence[ChatMessage], tools: Sequence[Mapping[str, Any]] | None = None) -> Shown:
    """A whole conversation for judges and people, its system prompt, tools and tool traffic included.

    Args:
        messages: Of the conversation, by whomever they are.
        tools: JSON schemas of tools that were offered; named with what they are for.
    """
    return transcript(_given_parts(messages, tools or []), _GIVEN_NAMES)


def _given_parts(messages: Sequence[ChatMessage], tools: Sequence[Mapping[str, Any]]) -> Iterator[Part]:
    if tools:
        yield Part("note", "Tools:\n" + "\n".join(_tool_line(tool) for tool in tools))
    for message in messages:
        if isinstance(message, ChatMessageSystem):
            yield Part("note", message.text)
        else:
            yield from parts_of([message], {}, ("tools",))


def _tool_line(tool: Mapping[str, Any]) -> str:
    """`name: what it is for`, of a schema in the form of OpenAI or of a bare function."""
    function = tool.get("function")
    described: Mapping[str, Any] = function if isinstance(function, Mapping) else tool
    name = described.get("name") or json.dumps(dict(tool), ensure_ascii=False)
    return f"- {name}: {described['description']}" if described.get("description") else f"- {name}"
