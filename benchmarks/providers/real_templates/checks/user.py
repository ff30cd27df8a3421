"""A model plays the user: it is shown the conversation from the other side."""

from collections.abc import Iterator, Sequence

from inspect_ai.model import ChatMessage, ChatMessageAssistant, ChatMessageSystem, ChatMessageUser

from benchmarks.providers.real_templates.checks.round_trip import THOUGHT, generated
from benchmarks.providers.real_templates.families import Writing
from benchmarks.providers.real_templates.oracle import Oracle
from benchmarks.providers.real_templates.oracle_rendering import Row
from benchmarks.providers.real_templates.outcomes import Outcome, Wrong, same, tried
from benchmarks.providers.real_templates.suite import Suite
from solvers.views import users_view

PERSONA = "You are Papa Sierra."
AGENT = ChatMessageSystem(content="agents only")
CONVERSATIONS: dict[str, list[ChatMessage]] = {
    "the user spoke first": [
        AGENT,
        ChatMessageUser(content="alpha"),
        ChatMessageAssistant(content="bravo"),
        ChatMessageUser(content="charlie"),
        ChatMessageAssistant(content="delta"),
    ],
    "one exchange": [ChatMessageUser(content="alpha"), ChatMessageAssistant(content="bravo")],
    "the assistant spoke first": [AGENT, ChatMessageAssistant(content="alpha")],
    "two replies in a row": [
        ChatMessageUser(content="alpha"),
        ChatMessageAssistant(content="bravo"),
        ChatMessageAssistant(content="charlie"),
    ],
}


def user_role(oracle: Oracle, suite: Suite, writing: Writing) -> Iterator[Outcome]:
    """All cases of one way of writing."""
    for name, told in CONVERSATIONS.items():
        yield tried(name, lambda m=told: _view(oracle, suite, writing, m))
    yield tried("an answer", lambda: _answer(oracle, suite, writing))


def _view(oracle: Oracle, suite: Suite, writing: Writing, told: Sequence[ChatMessage]) -> None:
    view = users_view(PERSONA, told, {}, set())
    rows: list[Row] = [{"role": m.role, "content": m.text} for m in view]
    roles = [row["role"] for row in rows]
    same(roles, ["system", *(["user", "assistant"] * len(rows))[: len(rows) - 1]], "roles of the view")
    same(roles[-1], "user", "the role that the user answers")
    own = [m.text for m in told if m.role == "user"]
    same([row["content"] for row in rows if row["role"] == "assistant"], own, "the user's own words")
    same(rows[0]["content"], PERSONA, "the persona")
    expected = oracle.rendered(oracle.placed(rows, suite.opening), prompt=True, variables=writing.variables)
    found = suite.text(suite.speech.prompt(view).tokens)
    same(found, expected, "the prompt of the one who plays the user")
    heard = [m.text for m in told if m.role == "assistant"]
    places = [found.find(words) for words in [PERSONA, *own, *heard]]
    if -1 in places or "agents only" in found:
        raise Wrong(f"somebody's words are missing or told to the wrong one: {found[-200:]!r}")


def _answer(oracle: Oracle, suite: Suite, writing: Writing) -> None:
    """What the model thinks is not what the user says."""
    thoughts = [None, *([THOUGHT] if writing.thought is not None else [])]
    for thought in thoughts:
        found = suite.read(generated(oracle, oracle.written(writing, "I am fine.", thought=thought)))
        same(found.text, "I am fine.", "what the user says")
