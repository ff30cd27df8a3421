"""What the simulated user's model is shown of the conversation."""

from collections.abc import Collection, Mapping, Sequence

from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
)

from scenarios.conversations.imitations import without_control_strings
from scenarios.conversations.text import Part, heard, parts_of
from scenarios.schema import Hidden

OPENING = "The chat is open. Write your first message."
"""Stands before the person's first message: many chat templates want a user's message first."""


def users_view(
    persona: str,
    messages: Sequence[ChatMessage],
    notes: Mapping[str, str],
    sees: Collection[Hidden],
    before: Sequence[ChatMessage] = (),
) -> list[ChatMessage]:
    """The conversation from the user's side: the agent's words come in as `user`, its own as `assistant`.

    Args:
        persona: System prompt of the simulated user.
        messages: The transcript. The agent's system prompt is never shown.
        notes: Id of a message -> note told to the user after it.
        sees: What is shown beyond the spoken words.
        before: The view at the person's last message. What it has in the same place with the same words is
            the same message again, as it is in a conversation: Inspect copies and writes only what is new.

    Returns:
        The persona, then messages of `user` and `assistant` in turn. The first is of `user`: what the agent
        said, or `OPENING` where the person spoke first. So is the last, if the agent spoke last.
    """
    view: list[ChatMessage] = []
    own: list[str] = []
    others: list[Part] = []

    def add(kind: type[ChatMessageSystem | ChatMessageUser | ChatMessageAssistant], text: str) -> None:
        earlier = before[len(view)] if len(view) < len(before) else None
        same = isinstance(earlier, kind) and earlier.content == text
        view.append(earlier if earlier is not None and same else kind(content=text))

    def close() -> None:
        if own:
            if len(view) == 1:
                add(ChatMessageUser, OPENING)
            add(ChatMessageAssistant, "\n\n".join(own))
            own.clear()
        if others:
            add(ChatMessageUser, heard(others).text)
            others.clear()

    add(ChatMessageSystem, persona)

    for part in parts_of(messages, notes, sees):
        if part.speaker == "person":
            if others:
                close()
            own.append(without_control_strings(part.words))
        else:
            others.append(part)
    close()
    return view
