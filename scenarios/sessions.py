"""Several sessions with one person: what the agent is told before each, and the note it keeps between them.

The note is words of a model that go into the prompt of the same model, so its length is limited. One that
imitates marks of speakers or control strings is shown behind bars: nobody speaks for another by leaving a
note. What was cut or barred is visible to the reader of the note and counted in the record.
"""

from scenarios.conversations.dialogue import NoteProblem
from scenarios.conversations.text import barred_if_odd
from scenarios.schema import Sessions
from scenarios.templates import fill

FILLED_LATER = frozenset({"session", "days", "note", "words"})
"""Variables of a family's `sessions` that have their values while a sample runs."""

NOTE_WORDS = 120
"""Most words of a note, if nothing else is said."""

NOTHING_WRITTEN = "(nothing)"
"""What a session reads where the one before left an empty note."""

LONGEST_WORD = 40
"""Characters. A run of letters without spaces counts as a word for each of these."""


def session_prompt(agent: str, sessions: Sessions, number: int, note: str | None) -> str:
    """The agent's system prompt in session `number`.

    Args:
        agent: Its prompt without any memory.
        sessions: Of the scenario.
        number: From 1; the first has no heading.
        note: What it reads, see `kept`; None: it has no memory.
    """
    parts = [agent]
    if number > 1:
        parts.append(
            fill(sessions.heading, _with(session=str(number), days=str(days_before(sessions, number))))
        )
    if note is not None:
        # the note is put in last and not searched for variables
        parts.append(fill(sessions.memory, _with(note=note)))
    return "\n\n".join(parts)


def note_request(sessions: Sessions, words: int) -> str:
    """What the agent is asked after a session."""
    return fill(sessions.request, _with(words=str(words)))


def days_before(sessions: Sessions, number: int) -> int:
    """Days between session `number`, at least 2, and the one before."""
    return sessions.days[(number - 2) % len(sessions.days)]


def told_before(sessions: Sessions, number: int) -> str:
    """What the simulated user is told before session `number`, at least 2."""
    return sessions.returns[(number - 2) % len(sessions.returns)]


def kept(written: str, words: int) -> tuple[str, list[NoteProblem]]:
    """A note as the next session reads it, and what was wrong with it.

    Args:
        written: By the model.
        words: Most words.

    Returns:
        The note: `NOTHING_WRITTEN` for an empty one; one that is too long ends with a remark that says so.
    """
    problems: list[NoteProblem] = []
    text = written.strip()
    if not text:
        return NOTHING_WRITTEN, ["empty"]
    begun = _beginning(text, words)
    if begun != text:
        problems.append("too_long")
    shown, odd = barred_if_odd(begun)
    if odd:
        problems.append("marks")
    if begun != text:
        shown += f"\n(The note was longer; it was cut after {words} words.)"
    return shown, problems


def _beginning(text: str, words: int) -> str:
    """The first `words` words, with the spaces and lines between them as they stand."""
    left, end = words, 0
    while end < len(text):
        start = end
        while start < len(text) and text[start].isspace():
            start += 1
        stop = start
        while stop < len(text) and not text[stop].isspace():
            stop += 1
        room = left * LONGEST_WORD
        if stop - start > room:
            return text[: start + room].rstrip()
        left -= -(-(stop - start) // LONGEST_WORD)
        end = stop
    return text


def _with(**values: str) -> dict[str, str]:
    """Values for some of the later variables; others stay as they stand."""
    return {name: values.get(name, "{" + name + "}") for name in FILLED_LATER}
