"""One conversation in several logs: an eval and its retry, a log and the copy that was judged again.

Inspect's `uuid` of a sample is the same in a copy, and in a retry that took the sample over; `task_id` is the
same in a retry that ran it again. A conversation is used once: from the newest log that scored it.
"""

import math
import zipfile
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from scipy.cluster.hierarchy import DisjointSet

from analysis.logs.finding import LogFile
from analysis.logs.samples import SampleRecord, Unit, read_records
from analysis.logs.scores import numbers_in

WRITTEN_LAST = "header.json"
"""Member of an `.eval` file that is written at its end, with the time."""


class Version(NamedTuple):
    """A conversation as one log has it."""

    log: Path
    unit: Unit
    key: tuple[str | int, ...]
    """See `conversation_key`."""

    place: tuple[str, str, int]
    """In the data set of its task: the same in a retry."""

    age: tuple[datetime, float]
    whole: bool
    """It did not end in an error."""

    scored: bool
    invalidated: bool


class Copies(NamedTuple):
    """Which of several logs each conversation is used from."""

    elsewhere: dict[Path, dict[Unit, Path]]
    """Log -> its conversations that are not used, with the log that each is used from."""

    def uses(self, log: LogFile, unit: Unit) -> bool:
        """Whether a conversation is used as this log has it."""
        return unit not in self.elsewhere.get(log.path, {})

    def notes(self, log: LogFile) -> Iterator[str]:
        """What to say of a log some of whose conversations are left out."""
        counts = Counter(self.elsewhere.get(log.path, {}).values())
        for used, number in sorted(counts.items()):
            yield (
                f"{log.path}: {number} conversations are in {used} too, which scored them last; "
                "they are left out here"
            )


def conversation_key(log: LogFile, record: SampleRecord) -> tuple[str | int, ...]:
    """What a conversation is known by in all copies of its log."""
    if record.uuid is not None:
        return (record.uuid,)
    return (log.header.eval.task_id, str(record.id), record.epoch)


def used_once(logs: Sequence[LogFile], *, score: str | None = None) -> Copies:
    """Choose one log for each conversation that several of them hold.

    Chosen is, of those in which the conversation did not end in an error and has a number, the one that was
    written last; a conversation that the last one declares invalid stays with it.

    Args:
        logs: Any logs.
        score: Name of the score that must have the number; any, if none is given.

    Raises:
        LogError: One cannot be read.
    """
    if len(logs) < 2:
        return Copies({})
    return choose(
        version_of(log, record, age, score=score) for log, age in _aged(logs) for record in read_records(log)
    )


def version_of(
    log: LogFile, record: SampleRecord, age: tuple[datetime, float], *, score: str | None = None
) -> Version:
    """What the choice among copies goes by, for one conversation as one log has it.

    Args:
        log: The log.
        record: The conversation.
        age: `written_at` of the log.
        score: As of `used_once`.
    """
    # a sample that failed has another uuid in the retry, but the same place in the data set
    place = (log.header.eval.task_id, str(record.id), record.epoch)
    whole, scored = record.error is None, _is_scored(record, score)
    key = conversation_key(log, record)
    return Version(log.path, record.unit, key, place, age, whole, scored, record.invalidated)


def choose(versions: Iterable[Version]) -> Copies:
    """Of each conversation the one that is used, see `used_once`."""
    conversations = same_conversations(versions)
    elsewhere: dict[Path, dict[Unit, Path]] = {}
    for several in conversations:
        best = _best(several)
        for other in several:
            if other is not best:
                elsewhere.setdefault(other.log, {})[other.unit] = best.log
    return Copies(elsewhere)


def same_conversations(versions: Iterable[Version]) -> list[list[Version]]:
    """The versions of each conversation."""
    keys = DisjointSet()
    known: list[Version] = []
    for version in versions:
        keys.add(version.key)
        keys.add(version.place)
        keys.merge(version.key, version.place)
        known.append(version)
    conversations: dict[Hashable, list[Version]] = {}
    for version in known:
        conversations.setdefault(keys[version.key], []).append(version)
    return list(conversations.values())


def _best(versions: Sequence[Version]) -> Version:
    newest = max(versions, key=lambda v: v.age)
    return newest if newest.invalidated else max(versions, key=lambda v: (v.whole, v.scored, v.age))


def _is_scored(record: SampleRecord, name: str | None) -> bool:
    numbers = numbers_in(record.scores).numbers
    wanted = [n for n in numbers if name is None or n.name == name or n.name.startswith(f"{name}.")]
    return any(not math.isnan(number.value) for number in wanted)


def _aged(logs: Sequence[LogFile]) -> Iterator[tuple[LogFile, tuple[datetime, float]]]:
    return ((log, written_at(log)) for log in logs)


def written_at(log: LogFile) -> tuple[datetime, float]:
    """When the eval began, and when its log was written: a copy has the first of the original."""
    changed = log.path.stat().st_mtime
    if log.path.suffix == ".eval":
        with zipfile.ZipFile(log.path) as archive:
            if WRITTEN_LAST in archive.namelist():
                # a file that was copied or cloned has another time than what is in it
                written = datetime(*archive.getinfo(WRITTEN_LAST).date_time).timestamp()
                changed = changed if abs(changed - written) < 2 else written
    return log.created, changed
