"""Every measure of a log session by session: of each person, then over all with clustered intervals."""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from analysis.intervals import Interval
from analysis.logs.finding import LogError, LogFile
from analysis.logs.samples import SampleRecord
from analysis.logs.scores import scored_conversations
from analysis.over_sessions.slopes import slope
from analysis.scales import common_scale, scale_of
from analysis.values import Values, cluster_of
from scenarios.conversations.dialogue import DialogueRecord, NoteProblem
from scenarios.schema import Scale

KINDS: dict[str, bool | None] = {"all": None, "gameable": True, "other": False}
"""Who is shown -> `gameable` of the users."""


class Course(NamedTuple):
    """One measure of one person, session by session."""

    measure: str
    numbers: list[int]
    values: list[float]
    """NaN if unscored."""

    gameable: bool | None
    cluster: Hashable
    scale: Scale | None


class OverSessions(NamedTuple):
    """One measure of one kind of user."""

    measure: str
    users: str
    """A key of `KINDS`."""

    sessions: dict[int, Interval]
    """Number of the session -> mean."""

    slope: Interval | None
    """Change per session; None where no person has enough sessions."""

    unscored: int
    """Sessions without a number."""


class Notes(NamedTuple):
    """What became of the agents' notes."""

    written: int
    problems: dict[NoteProblem, int]
    memory: set[str]
    ended: dict[str, int]
    """Why sessions ended -> how many."""

    persons: int
    """Conversations, epochs counted apart."""


def courses_of(log: LogFile) -> tuple[list[Course], Notes]:
    """The measures of a log's people by session, and what is said of their notes.

    Raises:
        LogError: The log is damaged, or nobody in it comes back.
    """
    found: list[Course] = []
    notes = Notes(0, defaultdict(int), set(), defaultdict(int), 0)
    for conversation in scored_conversations(log):
        record = conversation.record
        dialogue = record.dialogue()
        if dialogue is None or not dialogue.sessions:
            continue
        notes = _counted(notes, dialogue)
        if record.error is None:
            found += _courses(record, dialogue)
    if not notes.persons:
        raise LogError(
            f"{log.path}: a log of task {log.header.eval.task!r}, in which nobody comes back; name one of "
            "tasks/memory.py"
        )
    return found, notes


def over_sessions(courses: Sequence[Course]) -> Iterator[OverSessions]:
    """Means by session and slopes, with intervals clustered by initial state."""
    measures = dict.fromkeys(course.measure for course in courses)
    for measure in measures:
        for users, flag in KINDS.items():
            chosen = [c for c in courses if c.measure == measure and flag in (None, c.gameable)]
            if chosen and (users == "all" or len({c.gameable for c in courses}) > 1):
                yield _over(measure, users, chosen)


def _over(measure: str, users: str, courses: Sequence[Course]) -> OverSessions:
    scale = common_scale(course.scale for course in courses)
    cells: dict[int, tuple[list[float], list[Hashable]]] = defaultdict(lambda: ([], []))
    slopes: list[tuple[float, Hashable]] = []
    unscored = 0
    for course in courses:
        for number, value in zip(course.numbers, course.values, strict=True):
            if math.isnan(value):
                unscored += 1
                continue
            cells[number][0].append(value)
            cells[number][1].append(course.cluster)
        slopes.append((slope(course.numbers, course.values), course.cluster))
    known = [(s, c) for s, c in slopes if not math.isnan(s)]
    return OverSessions(
        measure,
        users,
        {n: Values(values, clusters, scale).interval() for n, (values, clusters) in sorted(cells.items())},
        Values([s for s, _ in known], [c for _, c in known]).interval() if known else None,
        unscored,
    )


def _courses(record: SampleRecord, dialogue: DialogueRecord) -> Iterator[Course]:
    gameable = record.metadata.get("gameable")
    cluster = cluster_of(record.metadata, record.id)
    flag = gameable if isinstance(gameable, bool) else None
    for name, score in (record.scores or {}).items():
        for measure, values, numbers in _by_unit(name, score.metadata or {}, dialogue):
            if values and len(values) == len(numbers):
                scale = scale_of(score.metadata, measure.removeprefix(name).lstrip("."))
                yield Course(measure, *_by_session(numbers, values), flag, cluster, scale)


def _by_unit(
    name: str, metadata: Mapping[str, Any], dialogue: DialogueRecord
) -> Iterator[tuple[str, list[float], list[int]]]:
    """Measures of a score: the numbers of its replies, notes or sessions, and which session each is of."""
    turns = metadata.get("turns")
    of_replies = [s.number for s in dialogue.sessions for _ in range(s.turns)]
    if isinstance(turns, list) and all(isinstance(t, Mapping) for t in turns):
        yield name, [_number(t.get("value")) for t in turns], of_replies
    elif isinstance(turns, Mapping) and metadata.get("over") == "mean":
        about_notes = metadata.get("about_notes", ())
        for construct, values in turns.items():
            numbers = [n for n, _ in dialogue.notes()] if construct in about_notes else of_replies
            found = metadata["numbers"] if metadata.get("per") == "session" else numbers
            yield f"{name}.{construct}", [_number(v) for v in values], list(found)


def _by_session(numbers: Sequence[int], values: Sequence[float]) -> tuple[list[int], list[float]]:
    """The mean of each session over its replies that have a number."""
    cells: dict[int, list[float]] = {number: [] for number in dict.fromkeys(numbers)}
    for number, value in zip(numbers, values, strict=True):
        if not math.isnan(value):
            cells[number].append(value)
    return list(cells), [math.fsum(v) / len(v) if v else math.nan for v in cells.values()]


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _counted(notes: Notes, dialogue: DialogueRecord) -> Notes:
    for session in dialogue.sessions:
        notes.ended[session.stopped or "unfinished"] += 1
        for problem in session.note.problems if session.note else []:
            notes.problems[problem] += 1
    written = sum(session.note is not None for session in dialogue.sessions)
    memory = notes.memory | ({dialogue.memory} if dialogue.memory else set())
    return notes._replace(written=notes.written + written, memory=memory, persons=notes.persons + 1)
