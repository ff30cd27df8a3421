"""What a monitor said of conversations in logs, turn by turn, beside what others said of the same turns.

Turns are told apart by the ids of the agent's messages, which is how Scout's validation files name them.
"""

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from analysis.logs.copies import used_once
from analysis.logs.finding import LogFile, find_logs
from analysis.logs.samples import SpokenRecord, records_of
from analysis.values import cluster_of
from probes.conversations.labels import DataError

ERROR = "the sample ended in an error, or is invalidated"
NO_SCORE = "without a score of the monitor"
OTHER_TURNS = "the score has other turns than the conversation"


class MonitoredTurn(NamedTuple):
    """A reply of the agent."""

    message: str | None
    """Its id in the log."""

    logit: float
    """NaN: no token of it is scored."""

    others: Mapping[str, float]
    """Score -> its value for this turn, as far as it has one."""


class MonitoredConversation(NamedTuple):
    """A sample in one epoch."""

    place: str
    """Log, sample and epoch, for messages."""

    names: tuple[str, ...]
    """By which cases may name it: its uuid, its id."""

    group: Hashable
    iteration: int | None
    logit: float
    turns: list[MonitoredTurn]
    others: Mapping[str, float]
    """Score -> its value for the whole conversation."""


class MonitoredLogs(NamedTuple):
    """All conversations of some logs that a monitor scored."""

    monitor: str
    threshold: float | None
    """Logit that the monitor was saved with."""

    conversations: list[MonitoredConversation]
    left_out: dict[str, int]


def read_monitored(paths: Sequence[Path], score: str) -> MonitoredLogs:
    """Conversations that have a monitor's score, one in memory at a time.

    Args:
        paths: Logs or folders of logs; a conversation that several hold counts once.
        score: Its name in the logs: `stakes`, if it was scored once.

    Raises:
        LogError: A log that cannot be read.
        DataError: No conversation has the score; scores of several monitors.
    """
    logs = find_logs(paths)
    copies = used_once(logs)
    found: list[MonitoredConversation] = []
    left_out: dict[str, int] = {}
    monitors: dict[str, str] = {}
    thresholds: list[float | None] = []
    names: set[str] = set()
    for log in logs:
        for record in records_of(log, SpokenRecord):
            if not copies.uses(log, record.unit):
                continue
            names |= set(record.scores or {})
            read = _conversation(log, record, score)
            if isinstance(read, str):
                left_out[read] = left_out.get(read, 0) + 1
                continue
            metadata = (record.scores or {})[score].metadata or {}
            monitors.setdefault(str(metadata.get("monitor", score)), str(log.path))
            thresholds.append(metadata.get("threshold"))
            found.append(read)
    if not found:
        there = ", ".join(sorted(names)) or "none"
        raise DataError(
            f"{', '.join(map(str, paths))}: no conversation has a score {score!r} with a logit; there are "
            f"{there}. Score the logs with `inspect score LOG --scorer scorers/stakes.py -S monitor=FOLDER`"
        )
    if len(monitors) > 1:
        told = ", ".join(f"{name} in {place}" for name, place in monitors.items())
        raise DataError(f"score {score!r} is of several monitors: {told}; name logs of one")
    if len(set(thresholds)) > 1:
        raise DataError(
            f"score {score!r} is of {next(iter(monitors))} with {len(set(thresholds))} different thresholds, "
            "so of several fits or calibrations of it; name logs of one"
        )
    return MonitoredLogs(next(iter(monitors)), thresholds[0], found, left_out)


def _conversation(log: LogFile, record: SpokenRecord, score: str) -> MonitoredConversation | str:
    if record.error is not None or record.invalidated:
        return ERROR
    own = (record.scores or {}).get(score)
    metadata = {} if own is None else own.metadata or {}
    if "logit" not in metadata:
        return NO_SCORE
    told = metadata.get("turns") or []
    messages = list(_replies(record))
    if len(messages) != len(told):
        return OTHER_TURNS
    others = {name: one for name, one in (record.scores or {}).items() if name != score}
    values = {name: _turn_values(one.metadata, len(told)) for name, one in others.items()}
    turns = [
        MonitoredTurn(
            message,
            _number(turn.get("logit")),
            {name: of[place] for name, of in values.items() if of and not math.isnan(of[place])},
        )
        for place, (message, turn) in enumerate(zip(messages, told, strict=True))
    ]
    wholes = {name: _number(one.value) for name, one in others.items()}
    return MonitoredConversation(
        f"{log.path} {record.id} epoch {record.epoch}",
        tuple(str(name) for name in (record.uuid, record.id) if name is not None),
        cluster_of(record.metadata, record.id),
        _iteration(record.metadata),
        _number(metadata["logit"]),
        turns,
        {name: value for name, value in wholes.items() if not math.isnan(value)},
    )


def _replies(record: SpokenRecord) -> Iterator[str | None]:
    """Ids of the agent's replies in order, as `scorers/judging/transcript.py` tells them from openings."""
    dialogue = record.dialogue()
    ours = {turn.agent for turn in dialogue.turns} if dialogue is not None else set()
    for message in record.messages:
        if ours:
            if message.get("id") in ours:
                yield message.get("id")
        elif (
            message.get("role") == "assistant"
            and message.get("source") == "generate"
            and _has_words(message.get("content"))
        ):
            yield message.get("id")


def _has_words(content: Any) -> bool:
    if isinstance(content, str):
        return bool(content.strip())
    return any(str(part.get("text", "")).strip() for part in content or [] if isinstance(part, Mapping))


def _turn_values(metadata: Mapping[str, Any] | None, count: int) -> list[float]:
    """Of each turn; nothing where the score has not one entry for each."""
    turns = (metadata or {}).get("turns")
    if not isinstance(turns, list) or len(turns) != count:
        return []
    return [_number(turn.get("value")) if isinstance(turn, Mapping) else math.nan for turn in turns]


def _iteration(metadata: Mapping[str, Any]) -> int | None:
    value = metadata.get("iteration")
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: Any) -> float:
    usable = isinstance(value, int | float) and math.isfinite(value)
    return float(value) if usable else math.nan
