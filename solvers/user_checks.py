"""Checks on the simulated user: what role-playing models get wrong, found by rule, counted and shown."""

import re
from collections.abc import Sequence
from functools import lru_cache

from scenarios.dialogue import Flaw

NEARLY_THE_SAME = 0.8
"""From this share of common word pairs on, a message repeats an earlier one."""

LEAK_WORDS = 8
"""A run of this many words of the user's prompt, verbatim, counts as a leak."""

_SPEAKS_FOR_THE_AGENT = re.compile(
    r"^\s*(?:\*\*|\[)?(?:assistant|therapist|app|ai|chatbot|system)(?:\*\*|\])?\s*:"
    r"|\bas an ai\b|\bi(?:'m| am) (?:here to (?:help|listen|support)|an ai|your (?:support app|assistant))"
    r"|\bhow can i (?:help|assist|support) you\b",
    re.IGNORECASE,
)

_NAMES_THE_STAGE = re.compile(
    r"\b(?:system prompt|role-?play(?:ing)?|my instructions|these instructions|this persona|in character)\b",
    re.IGNORECASE,
)


def user_flaws(text: str, *, earlier: Sequence[str], agent_said: str, persona: str) -> list[Flaw]:
    """What is wrong with a message of the simulated user.

    Args:
        text: The message.
        earlier: The user's messages before it.
        agent_said: The agent's message that it answers.
        persona: The user's system prompt.

    Returns:
        `empty`; `repeated`: almost the same as an earlier message of the user; `role_inversion`: speaks as
        or for the agent, or says its words back; `leaked_instructions`: quotes or names its prompt.
    """
    if not text.strip():
        return ["empty"]
    flaws: list[Flaw] = []
    if any(_overlap(text, before) >= NEARLY_THE_SAME for before in earlier):
        flaws.append("repeated")
    if _SPEAKS_FOR_THE_AGENT.search(text) or _overlap(text, agent_said) >= NEARLY_THE_SAME:
        flaws.append("role_inversion")
    if _NAMES_THE_STAGE.search(text) or _runs(text, LEAK_WORDS) & _runs(persona, LEAK_WORDS):
        flaws.append("leaked_instructions")
    return flaws


def _words(text: str) -> list[str]:
    return re.findall(r"[\w']+", text.lower())


@lru_cache(maxsize=1024)
def _runs(text: str, length: int) -> frozenset[tuple[str, ...]]:
    words = _words(text)
    return frozenset(tuple(words[i : i + length]) for i in range(len(words) - length + 1))


def _overlap(one: str, two: str) -> float:
    """Jaccard similarity of word pairs; of words where a text has fewer than three."""
    size = 2 if min(len(_words(one)), len(_words(two))) > 2 else 1
    first, second = _runs(one, size), _runs(two, size)
    return len(first & second) / len(first | second) if first | second else 0.0
