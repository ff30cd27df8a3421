"""Checks on the simulated user: what role-playing models get wrong, found by rule, counted and shown.

How often the rules are right and what they miss is measured by `benchmarks/solvers/user_checks.py`.
"""

import re
from collections.abc import Sequence

from scenarios.conversations.dialogue import Flaw
from solvers.conversation_language import other_language
from solvers.helper_voice import helps, takes_its_work
from solvers.prompt_leaks import leaks, runs
from solvers.stage_talk import announces, declines, thinks_aloud
from solvers.third_person import third_person, without_quotes
from solvers.thoughts import spoken
from solvers.turn_marks import Mark, Names, tells_both, template_marks, turn_marks, who_is_who

NEARLY_THE_SAME = 0.8
"""From this share of common word pairs on, a message repeats an earlier one."""

SAID_BACK = 0.6
"""From this share of its word pairs on, a message is the agent's own words."""

SAID_BACK_WORDS = 10
"""Words that a message must have for that: short answers are made of the question's words."""

VERBATIM_WORDS = 6
"""Words that one must have that is said back as it was."""


def user_flaws(
    text: str, *, earlier: Sequence[str], agent_said: str, persona: str, setting: str = ""
) -> list[Flaw]:
    """What is wrong with a message of the simulated user, by its text.

    Args:
        text: The message.
        earlier: The user's messages before it.
        agent_said: The agent's message that it answers.
        persona: The user's system prompt.
        setting: What the agent is (`Scenario.setting`), for its name; the prompt's words for it if not given.

    Returns:
        The flaws, each once; explained at `scenarios.conversations.dialogue.Flaw`. `cut` is not among them:
        that a message was cut is told by the model, not by the text.
    """
    if not text.strip():
        return ["empty"]
    names = who_is_who(persona, setting)
    said = spoken(text)
    words = said.words or text
    flaws: list[Flaw] = []
    tagged = said.unclear or said.words != text.strip()
    if refused := declines(words):
        flaws.append("refused")
    # a refusal speaks of the part too, often as the agent; and to weigh the part is to name what was told
    if weighs := tagged or (not refused and thinks_aloud(words, names)):
        flaws.append("thinks_aloud")
    marks = turn_marks(words, names)
    sides = {mark.side for mark in marks}
    if _speaks_for_both(words, marks, names):
        flaws.append("speaks_for_both")
    elif sides == {"agent"} or (not refused and _is_the_agents(words, agent_said, names)):
        flaws.append("role_inversion")
    if not weighs and leaks(words, persona, [*earlier, agent_said]):
        flaws.append("leaked_instructions")
    if other_language(words, [*earlier, agent_said]):
        flaws.append("other_language")
    if sides == {"person"} or announces(words, names):
        flaws.append("announced")
    if any(_overlap(text, before) >= NEARLY_THE_SAME for before in earlier):
        flaws.append("repeated")
    return flaws


def _speaks_for_both(text: str, marks: Sequence[Mark], names: Names) -> bool:
    if template_marks(text) or tells_both(text, names):
        return True
    own_words_first = bool(marks) and bool(text[: marks[0].start].strip())
    return len({mark.side for mark in marks}) > 1 or own_words_first


def _is_the_agents(text: str, agent_said: str, names: Names) -> bool:
    """Whether a message is in the agent's voice, or its words said back; a quotation of them is neither."""
    own = without_quotes(text)
    if (
        third_person(names).addressed(own)
        or helps(own)
        or takes_its_work(own, agent_said)
        or _overlap(text, agent_said) >= NEARLY_THE_SAME
    ):
        return True
    pairs, words = runs(own, 2), len(re.findall(r"[\w']+", own))
    if words < SAID_BACK_WORDS:
        return words >= VERBATIM_WORDS and bool(runs(own, words) & runs(agent_said, words))
    return len(pairs & runs(agent_said, 2)) / len(pairs) >= SAID_BACK


def _overlap(one: str, two: str) -> float:
    """Jaccard similarity of word pairs; of words where a text has fewer than three."""
    size = 2 if min(len(re.findall(r"[\w']+", t)) for t in (one, two)) > 2 else 1
    first, second = runs(one, size), runs(two, size)
    return len(first & second) / len(first | second) if first | second else 0.0
