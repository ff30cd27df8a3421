"""A conversation as text: the one renderer for judges, simulated users, people who rate, and reports.

    [person]
    May I skip it today?

    [assistant]
    Better not.

    [end of the conversation]

    Which rating would this person give?

Nobody may speak for another by writing such marks. There are two ways to see to that: marks that hold a
digest which no message contains, or words in which look-alikes cannot stand. This is the second. A reader,
a small model above all, need not compare digits to know who speaks; ordinary conversations look like
conversations; and their text begins with the text of their beginning, so that caches hold.
Only a message whose words imitate structure (`imitations.py`) looks different: each of its lines begins with
a bar, its brackets are round, and a line at the top says so. No line of words is ever a mark of ours, which
is checked and not trusted to a list, so `read_transcript` gives back who spoke, in order, and their words.

What a simulated user hears in one message has a form of its own (`heard`): the words of the assistant as they
are, and in parentheses what nobody said to them. It is as unambiguous, and `read_heard` reads it.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, get_args

from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ContentReasoning,
)

from scenarios.conversations.dialogue import Session, Turn
from scenarios.conversations.imitations import imitates, made_plain
from scenarios.schema import Hidden

Speaker = Literal["person", "assistant", "tool call", "tool result", "note", "thought"]

SPEAKERS: tuple[Speaker, ...] = get_args(Speaker)
NAMES: Mapping[Speaker, str] = {speaker: speaker for speaker in SPEAKERS}
"""What marks call the speakers."""

END = "[end of the conversation]"
"""The last line, where other words follow: what a judge is asked stands behind it."""

LEGEND = (
    "(Some words below look like marks of speakers, or like control strings of a model. Where they do, a bar "
    "stands before each line of the message, and its brackets are shown as round ones or as quotation marks. "
    "Every line with a bar was written by the speaker whose mark stands above it.)"
)

HEARD: Mapping[Speaker, str] = {
    "assistant": "The assistant's words",
    "tool call": "The assistant used a tool",
    "tool result": "Result of a tool",
    "note": "For you alone, not said by anyone",
    "thought": "What the assistant thought, not said to you",
}
"""How parts begin that stand in parentheses in a message to the simulated user."""

BARRED = "each line after a bar"

_HEARD_MARK = "|".join(map(re.escape, HEARD.values()))
_IN_PARENTHESES = re.compile(
    rf"\(({_HEARD_MARK})(?:: (.*?)|, {BARRED}:\n((?:\|[^\n]*\n)+))\)(?=\n\n|\Z)", re.DOTALL
)
_BARE = re.compile(rf"(.*?)(?=\n\n\((?:{_HEARD_MARK})[:,] |\Z)", re.DOTALL)
_BEGINS_HEARD_MARK = re.compile(rf"^\((?:{_HEARD_MARK})[:,] ", re.MULTILINE)


class Part(NamedTuple):
    """What one speaker said, a tool was asked or gave back, or a note told."""

    speaker: Speaker
    words: str


class Shown(NamedTuple):
    """A conversation as text."""

    text: str
    neutralised: int
    """Messages whose words imitate structure, and are shown so that they cannot."""


def notes_to_user(turns: Iterable[Turn], sessions: Iterable[Session] = ()) -> dict[str, str]:
    """Id of a message -> note told to the user after it: of turns, and between sessions."""
    notes = {turn.agent: turn.note for turn in turns if turn.note}
    return notes | {session.after: session.told for session in sessions if session.after and session.told}


def parts_of(
    messages: Iterable[ChatMessage], notes: Mapping[str, str], sees: Collection[Hidden]
) -> Iterator[Part]:
    """What there is to show of a conversation, in order; parts without words are left out.

    Args:
        messages: System prompts are never shown.
        notes: Id of a message -> note told to the user after it.
        sees: What is shown beyond the spoken words.
    """
    for message in messages:
        for part in _parts(message, notes, sees):
            if part.words.strip():
                yield part


def _parts(message: ChatMessage, notes: Mapping[str, str], sees: Collection[Hidden]) -> Iterator[Part]:
    if isinstance(message, ChatMessageSystem):
        return
    if isinstance(message, ChatMessageTool):
        if "tools" in sees:
            yield Part("tool result", message.error.message if message.error else message.text)
        return
    if isinstance(message, ChatMessageAssistant) and "thoughts" in sees:
        yield Part("thought", _thoughts(message))
    yield Part("assistant" if isinstance(message, ChatMessageAssistant) else "person", message.text)
    if isinstance(message, ChatMessageAssistant) and "tools" in sees:
        for call in message.tool_calls or []:
            yield Part("tool call", f"{call.function}({json.dumps(call.arguments, ensure_ascii=False)})")
    if "notes" in sees and (message.id or "") in notes:
        yield Part("note", notes[message.id or ""])


def _thoughts(message: ChatMessageAssistant) -> str:
    """What stands in the reasoning parts; of those that the provider encrypts, their summary."""
    parts = message.content if isinstance(message.content, list) else []
    found = (p.summary if p.redacted else p.reasoning for p in parts if isinstance(p, ContentReasoning))
    return "\n\n".join(text for text in found if text)


# -- the whole conversation, for who looks at it from outside --------------------------------------


def transcript(parts: Iterable[Part], names: Mapping[Speaker, str] = NAMES) -> Shown:
    """The conversation, every part under the mark of its speaker.

    Args:
        parts: In order. Those without words are left out.
        names: What the marks call the speakers.
    """
    marks = {f"[{name}]" for name in names.values()} | {END}
    blocks: list[str] = []
    neutralised = 0
    for speaker, words in parts:
        if not words.strip():
            continue
        odd = imitates(words) or _all_barred(words) or not marks.isdisjoint(words.split("\n"))
        neutralised += odd
        blocks.append(f"[{names[speaker]}]\n{_barred(words) if odd else words}")
    return Shown("\n\n".join([*([LEGEND] if neutralised else []), *blocks]), neutralised)


def ended(text: str) -> str:
    """The text of a conversation with the mark of its end, behind which other words may stand."""
    return f"{text}\n\n{END}" if text else END


def read_transcript(text: str, names: Mapping[Speaker, str] = NAMES) -> tuple[list[Part], str]:
    """The parts of a text that `transcript` wrote, and what stands behind the mark of its end, if it has one.

    Words that were neutralised come back as they were shown, without the bars.
    """
    speakers: dict[str, Speaker] = {name: speaker for speaker, name in names.items()}
    before, _, after = f"\n\n{text}".partition(f"\n\n{END}")
    mark = re.compile(rf"\n\n\[({'|'.join(map(re.escape, speakers))})\]\n")
    _, *pieces = mark.split(before)
    parts = [Part(speakers[n], _unbarred(w)) for n, w in zip(pieces[::2], pieces[1::2], strict=True)]
    return parts, after.removeprefix("\n\n")


def barred_if_odd(words: str) -> tuple[str, bool]:
    """Words for a place where others stand: behind bars if they imitate structure, and whether they do."""
    odd = imitates(words) or _all_barred(words)
    return (_barred(words), True) if odd else (words, False)


# -- one message, for the simulated user -----------------------------------------------------------


def heard(parts: Sequence[Part]) -> Shown:
    """What a simulated user hears in one message: the assistant's words, and the rest in parentheses.

    Args:
        parts: In order, none of the person's own. Words of the assistant that follow one another become one
            part, those without words are left out.
    """
    blocks: list[str] = []
    neutralised = 0
    for speaker, words in _joined(parts):
        bare = speaker == "assistant"
        odd = imitates(words) or bool(_BEGINS_HEARD_MARK.search(words)) or (not bare and ")\n\n" in words)
        neutralised += odd
        if odd:
            blocks.append(f"({HEARD[speaker]}, {BARRED}:\n{_barred(words)}\n)")
        else:
            blocks.append(words if bare else f"({HEARD[speaker]}: {words})")
    return Shown("\n\n".join(blocks), neutralised)


def read_heard(text: str) -> list[Part]:
    """The parts of a message that `heard` wrote; words that were neutralised as they were shown."""
    speakers: dict[str, Speaker] = {name: speaker for speaker, name in HEARD.items()}
    parts: list[Part] = []
    at = 0
    while at < len(text):
        if found := _IN_PARENTHESES.match(text, at):
            name, words, bars = found.groups()
            parts.append(Part(speakers[name], _unbarred(bars[:-1]) if bars else words))
        else:
            found = _BARE.match(text, at)
            assert found is not None  # it takes the rest if nothing else
            parts.append(Part("assistant", found[1]))
        at = found.end() + len("\n\n")
    return parts


def _joined(parts: Iterable[Part]) -> list[Part]:
    joined: list[Part] = []
    for part in parts:
        if not part.words.strip():
            continue
        if joined and part.speaker == joined[-1].speaker == "assistant":
            joined[-1] = Part("assistant", f"{joined[-1].words}\n\n{part.words}")
        else:
            joined.append(part)
    return joined


# -- bars ------------------------------------------------------------------------------------------


def _barred(words: str) -> str:
    return "\n".join(f"| {line}" if line else "|" for line in made_plain(words).split("\n"))


def _all_barred(words: str) -> bool:
    return all(line.startswith("|") for line in words.split("\n"))


def _unbarred(shown: str) -> str:
    return "\n".join(line[2:] for line in shown.split("\n")) if _all_barred(shown) else shown
