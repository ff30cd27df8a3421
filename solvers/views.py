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
    persona: str, messages: Sequence[ChatMessage], notes: Mapping[str, str], sees: Collection[Hidden]
) -> list[ChatMessage]:
    """The conversation from the user's side: the agent's words come in as `user`, its own as `assistant`.

    Args:
        persona: System prompt of the simulated user.
        messages: The transcript. The agent's system prompt is never shown.
        notes: Id of a message -> note told to the user after it.
        sees: What is shown beyond the spoken words.

    Returns:
        The persona, then messages of `user` and `assistant` in turn. The first is of `user`: what the agent
        said, or `OPENING` where the person spoke first. So is the last, if the agent spoke last.
    """
    view: list[ChatMessage] = [ChatMessageSystem(content=persona)]
    own: list[str] = []
    others: list[Part] = []

    def close() -> None:
        if own:
            if len(view) == 1:
                view.append(ChatMessageUser(content=OPENING))
            view.append(ChatMessageAssistant(content="\n\n".join(own)))
            own.clear()
        if others:
            view.append(ChatMessageUser(content=heard(others).text))
            others.clear()

    for part in parts_of(messages, notes, sees):
        if part.speaker == "person":
            if others:
                close()
            own.append(without_control_strings(part.words))
        else:
            others.append(part)
    close()
    return view
