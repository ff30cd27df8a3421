"""The samples of a log, one in memory at a time.

Numbers are made of records: what a sample is, its scores and its store, straight from the JSON in the log and
without messages and events, which is twenty times as fast as whole samples. Whole samples are Inspect's own.
"""

import re
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from inspect_ai.log import EvalSample, read_eval_log, read_eval_log_samples_by_id
from pydantic import BaseModel, Field, ValidationError
from rich.console import Console
from rich.progress import track

from analysis.logs.finding import LogError, LogFile
from scenarios.conversations.dialogue import DialogueRecord, record_in

MEMBER = re.compile(r"samples/(?P<id>.*)_epoch_(?P<epoch>\d+)(?P<whole>\.json|/sample\.json)", re.DOTALL)
"""A sample in an `.eval` file, which is a zip archive: one member, or a folder of parts if it is large."""

WITHOUT_SCORES = frozenset({"messages", "events", "attachments", "output", "store"})
"""Parts of a sample that hold no scores."""

MOST_AT_ONCE = 100
"""Samples in memory at a time."""

BYTES_AT_ONCE = 32_000_000
"""Of JSON in memory at a time, if one sample does not have more."""

Unit = tuple[int | str, int]
"""A sample in one epoch of one log: its id, and the number of the epoch from 1."""


class ScoreRecord(BaseModel):
    """A score of a sample."""

    value: Any = None
    """Number, text, list or mapping; NaN or None if unscored."""

    metadata: dict[str, Any] | None = None
    reason: str | None = None
    """Why it is unscored, in Inspect's word."""


class _Limit(BaseModel):
    type: str


class SampleRecord(BaseModel):
    """A sample in one epoch, as far as numbers need it."""

    id: int | str
    epoch: int
    uuid: str | None = None
    """The same in copies of the log, and in the retry that took the sample over; None in logs of Inspect
    before 0.3.70."""

    metadata: dict[str, Any] = Field(default_factory=dict)
    scores: dict[str, ScoreRecord] | None = None
    store: dict[str, Any] = Field(default_factory=dict)
    error: dict[str, Any] | None = None
    limit: _Limit | None = None
    invalidation: dict[str, Any] | None = None

    @property
    def unit(self) -> Unit:
        """What it is called in its log."""
        return self.id, self.epoch

    @property
    def invalidated(self) -> bool:
        """Whether somebody declared the sample invalid: it counts nowhere."""
        return self.invalidation is not None

    @property
    def problem(self) -> str | None:
        """Why the conversation is not a whole one (`error`, `limit`); None if it is."""
        if self.error is not None:
            return "error"
        return None if self.limit is None else "limit"

    def dialogue(self) -> DialogueRecord | None:
        """What our solver wrote down; None in a log of another solver."""
        return record_in(self.store.items())


class SpokenRecord(SampleRecord):
    """A sample with its words, and what it cost."""

    messages: list[dict[str, Any]] = Field(default_factory=list)
    """As Inspect writes them; long texts may be `attachment://` and a key of `attachments`."""

    attachments: dict[str, str] = Field(default_factory=dict)
    model_usage: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Model -> Inspect's `ModelUsage`."""

    role_usage: dict[str, dict[str, Any]] = Field(default_factory=dict)
    total_time: float | None = None
    """Seconds."""


Record = TypeVar("Record", bound=SampleRecord)


class _JsonLog(BaseModel, Generic[Record]):
    samples: list[Record] | None = None


def read_records(log: LogFile) -> Iterator[SampleRecord]:
    """The samples of a log, those that failed or are invalidated too, in the order of its data set.

    A log in JSON is in memory as a whole.

    Raises:
        LogError: The log was written without samples, or is damaged.
    """
    return records_of(log, SampleRecord)


def records_of(log: LogFile, kind: type[Record]) -> Iterator[Record]:
    """As `read_records`.

    Args:
        log: The log.
        kind: What is read of each sample: the record, or one with more fields.

    Raises:
        LogError: The log was written without samples, or is damaged.
    """
    if log.header.eval.config.log_samples is False:
        raise LogError(
            f"{log.path}: holds no samples (--no-log-samples), only the numbers in its header; run the eval "
            "again without that option"
        )
    try:
        if log.path.suffix == ".json":
            yield from _JsonLog[kind].model_validate_json(log.path.read_bytes()).samples or []
        else:
            yield from _records_in_archive(log, kind)
    except ValidationError as error:
        raise _damaged(log.path, error.errors()[0]["msg"]) from None
    except OSError as error:
        raise LogError(f"{log.path}: cannot be read ({error.strerror or error})") from None


def read_samples(
    log: LogFile,
    units: Sequence[Unit] | None = None,
    *,
    without: Collection[str] = (),
    attachments: bool = False,
    progress: bool = False,
) -> Iterator[EvalSample]:
    """Whole samples as Inspect reads them, a few in memory at a time.

    Args:
        log: An `.eval` or `.json` log; the latter is in memory as a whole.
        units: Ids and epochs, in the order in which they are wanted; None: all, in the order of the data set.
        without: Fields that are not read. What needs a field goes with it.
        attachments: Put long texts back where they stand.
        progress: A bar on stderr for large logs.

    Raises:
        LogError: A sample is not in the log, or cannot be read.
    """
    left_out = _with_dependents(without)
    wanted = [record.unit for record in read_records(log)] if units is None else list(units)
    if log.path.suffix == ".json":
        yield from _samples_in_json(log, wanted, attachments)
        return
    lots = list(_lots(log, wanted))
    console = Console(stderr=True)
    title = f"reading {log.path.name}"
    for lot in track(lots, title, console=console, transient=True, disable=not progress or len(lots) < 3):
        try:
            yield from read_eval_log_samples_by_id(
                str(log.path),
                lot,
                concurrency=1,  # one process reads: more would only hold more
                resolve_attachments=attachments,
                exclude_fields=set(left_out) or None,
            )
        except IndexError:
            raise _missing(log, lot) from None
        except (ValueError, KeyError, zipfile.BadZipFile) as error:
            raise _damaged(log.path, error) from error


def _lots(log: LogFile, wanted: Sequence[Unit]) -> Iterator[list[Unit]]:
    """Samples that are read together. Each call of Inspect's reads the archive's list of contents anew."""
    with zipfile.ZipFile(log.path) as archive:
        sizes = {m.group("id", "epoch"): archive.getinfo(m[0]).file_size for m in _members(log, archive)}
    lot: list[Unit] = []
    held = 0
    for name, epoch in wanted:
        size = sizes.get((str(name), str(epoch)), 0)
        if lot and (held + size > BYTES_AT_ONCE or len(lot) == MOST_AT_ONCE):
            yield lot
            lot, held = [], 0
        lot.append((name, epoch))
        held += size
    if lot:
        yield lot


def _with_dependents(without: Collection[str]) -> set[str]:
    """Timelines and pooled parts refer to events: without them Inspect cannot read what refers."""
    return {*without, "timelines", "events_data"} if "events" in without else set(without)


def _records_in_archive(log: LogFile, kind: type[Record]) -> Iterator[Record]:
    try:
        with zipfile.ZipFile(log.path) as archive:
            for member in _members(log, archive):
                yield _record(log, archive, member, kind)
    except zipfile.BadZipFile as error:
        raise _damaged(log.path, error) from None


def _members(log: LogFile, archive: zipfile.ZipFile) -> list[re.Match[str]]:
    """Samples in the archive: each name once (a sample that was run again has the later one), in order."""
    found = {m.group("id", "epoch"): m for name in archive.namelist() if (m := MEMBER.fullmatch(name))}
    places = {str(name): n for n, name in enumerate(log.header.eval.dataset.sample_ids or [])}
    return sorted(found.values(), key=lambda m: (places.get(m["id"], len(places)), m["id"], int(m["epoch"])))


def _record(log: LogFile, archive: zipfile.ZipFile, member: re.Match[str], kind: type[Record]) -> Record:
    if member["whole"] == ".json":
        try:
            return kind.model_validate_json(archive.read(member[0]))
        except ValidationError:
            pass  # numbers or characters that a stricter parser than Inspect's refuses
    unit = (member["id"], int(member["epoch"]))
    unread = WITHOUT_SCORES - {"store", *kind.model_fields}
    (sample,) = read_samples(log, [unit], without=unread)
    return kind.model_validate(sample.model_dump(include={*kind.model_fields}))


def _samples_in_json(log: LogFile, wanted: Sequence[Unit], attachments: bool) -> Iterator[EvalSample]:
    try:
        whole = read_eval_log(str(log.path), resolve_attachments=attachments)
    except Exception as error:  # whatever is wrong with what is in it
        raise _damaged(log.path, error) from error
    samples: Mapping[tuple[str, int], EvalSample] = {(str(s.id), s.epoch): s for s in whole.samples or []}
    for name, epoch in wanted:
        if (str(name), epoch) not in samples:
            raise _missing(log, [(name, epoch)])
        yield samples[str(name), epoch]


def _missing(log: LogFile, lot: Sequence[Unit]) -> LogError:
    there = {(str(record.id), record.epoch) for record in read_records(log)}
    name, epoch = next((unit for unit in lot if (str(unit[0]), unit[1]) not in there), lot[0])
    return LogError(f"{log.path}: no sample {name!r} in epoch {epoch}; is it another log than the one meant?")


def _damaged(path: Path, error: object) -> LogError:
    told = " ".join(str(error).split())[:120]
    return LogError(
        f"{path}: a sample cannot be read ({told}); copy the log again, or run `inspect eval-retry` on it"
    )
