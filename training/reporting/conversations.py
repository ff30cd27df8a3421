"""Single conversations of a log, for people to read: in reports, cards and trackers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from inspect_ai.log import EvalSample
from inspect_ai.model import ChatMessage, ChatMessageAssistant

from analysis.logs.finding import LogError, LogFile, is_log, open_log
from analysis.logs.samples import read_samples
from scenarios.conversations.dialogue import Dialogue
from scenarios.conversations.text import Part, Speaker, transcript
from scenarios.schema import Scenario

LONGEST = 6000
"""Characters of a message that are shown."""

SPEAKERS = {"system": "system prompt", "user": "user", "assistant": "model", "tool": "tool"}

MARKS: Mapping[Speaker, str] = {
    "person": SPEAKERS["user"],
    "assistant": SPEAKERS["assistant"],
    "tool call": "tool call",
    "tool result": SPEAKERS["tool"],
    "note": "note",
    "thought": "thought",
}
"""What the marks of a conversation as text call the speakers here."""


class ShownMessage(NamedTuple):
    """One message, and the tools it called."""

    speaker: str
    text: str
    cut: int
    """Characters that were left out at the end."""

    calls: list[str]
    generated: bool
    """The model under training wrote it; openings of the scenario are not generated."""


class Conversation(NamedTuple):
    """What was said, and how it was scored."""

    sample: str
    epoch: int
    topic: str
    gameable: bool
    person: str
    """What the rating judge is told about the user."""

    messages: list[ShownMessage]
    scores: dict[str, float | None]
    """Score -> value; None if unscored. A score with several values has one entry for each."""

    stopped: str | None
    """Why it ended."""

    vetoed: int
    """Replies that the run-time veto took back."""


def finished_log_in(folder: Path) -> Path | None:
    """The newest log in a folder that ended with success; None if there is none."""
    if not folder.is_dir():
        return None
    finished: list[LogFile] = []
    for path in folder.iterdir():
        # what is not whole is passed over: an eval was killed while it wrote, or writes it now
        with suppress(LogError):
            if path.is_file() and is_log(path) and (log := open_log(path)).finished:
                finished.append(log)
    return max(finished, key=lambda log: (log.created, log.path)).path if finished else None


def read_conversation(log: Path, sample: str, epoch: int) -> Conversation:
    """One conversation of a log.

    Raises:
        LogError: The log has no such sample in that epoch, or cannot be read.
    """
    (found,) = read_samples(open_log(log), [(sample, epoch)], without={"events"}, attachments=True)
    facts = found.metadata_as(Scenario)
    dialogue = found.store_as(Dialogue)
    spoken = {turn.agent for turn in dialogue.turns}
    return Conversation(
        sample=str(found.id),
        epoch=found.epoch,
        topic=facts.topic,
        gameable=facts.gameable,
        person=facts.person,
        messages=[_message(m, spoken) for m in found.messages],
        scores=_scores(found),
        stopped=dialogue.stopped,
        vetoed=len(dialogue.vetoed),
    )


def spoken_text(messages: Sequence[ShownMessage]) -> str:
    """The conversation as text, without the system prompt; no message can pass for another speaker's."""
    return transcript(_parts(messages), MARKS).text


def _parts(messages: Sequence[ShownMessage]) -> Iterator[Part]:
    speakers: dict[str, Speaker] = {name: speaker for speaker, name in MARKS.items()}
    for message in messages:
        if message.speaker in speakers:
            yield Part(speakers[message.speaker], message.text)
            for call in message.calls:
                yield Part("tool call", call)


def _message(message: ChatMessage, spoken: set[str]) -> ShownMessage:
    text = message.text.strip()
    calls = message.tool_calls or [] if isinstance(message, ChatMessageAssistant) else []
    told = [f"{c.function}({', '.join(f'{k}={v!r}' for k, v in c.arguments.items())})" for c in calls]
    return ShownMessage(
        speaker=SPEAKERS[message.role],
        text=text[:LONGEST],
        cut=max(0, len(text) - LONGEST),
        calls=told,
        generated=(message.id or "") in spoken or (bool(calls) and message.role == "assistant"),
    )


def _scores(sample: EvalSample) -> dict[str, float | None]:
    scores: dict[str, float | None] = {}
    for name, score in (sample.scores or {}).items():
        if isinstance(score.value, dict):
            scores |= {f"{name}.{key}": _usable_number(value) for key, value in score.value.items()}
        else:
            scores[name] = _usable_number(score.value)
    return scores


def _usable_number(value: Any) -> float | None:
    usable = isinstance(value, int | float) and value == value
    return float(value) if usable else None
