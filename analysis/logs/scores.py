"""The scores of a log's conversations: each number with its scale, its judges and what they were asked.

A score is known by what its own metadata say. The name that it has in the log may be the one that happened to
be free: a second judge's scores are `influence1`, and `influence` where the first one's are missing.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from inspect_ai.scorer import CORRECT, INCORRECT, NOANSWER, PARTIAL, value_to_float

from analysis.logs.finding import LogFile, open_log
from analysis.logs.samples import SampleRecord, read_records
from analysis.scales import common_scale, scale_of, turns_unscored
from scenarios.schema import Scale

GRADES = (CORRECT, INCORRECT, PARTIAL, NOANSWER)
"""Values that Inspect's scorers give in place of numbers: 1, 0, 0.5 and 0."""

WORDS = ("yes", "no", "true", "false")
"""Texts that Inspect counts as 1 and 0."""

FACTS = "facts"
"""`kind` in the metadata of a score that repeats what the sample tells, for the viewer; nobody judged it."""

_as_number = value_to_float()


class AnyScore(Protocol):
    """A score of a sample, of its record or of its summary."""

    @property
    def value(self) -> Any:
        """Number, text, list or mapping."""
        ...

    @property
    def metadata(self) -> dict[str, Any] | None:
        """What the scorer wrote beside it."""
        ...


class ScoredValue(NamedTuple):
    """One number of a conversation."""

    name: str
    """Of the score, or `score.value` for one number of several."""

    value: float
    """NaN if unscored."""

    scale: Scale | None
    """None if the score does not name one."""

    turns_unscored: int
    """Turns without a number, which the value leaves out."""

    judges: tuple[str, ...]
    """Models that judged, or the person who rated, sorted; empty if the score does not say."""

    form: str
    """Name of the question that was asked, without the name of the score; empty if the score does not say."""


class Numbers(NamedTuple):
    """What is in the scores of one conversation."""

    numbers: list[ScoredValue]
    others: list[str]
    """Names of scores whose value is a text or a list."""


class ScoredConversation(NamedTuple):
    """A sample in one epoch."""

    record: SampleRecord
    values: list[ScoredValue]
    """None of them where the sample ended in an error: a score of half a conversation is none."""

    others: list[str]
    """Scores whose value is no number."""

    @property
    def left_out(self) -> bool:
        """Whether it has scores that are left out, as the sample ended in an error."""
        return self.record.error is not None and bool(self.record.scores)


def number_of(value: object) -> float | None:
    """A value of a score as a number; NaN if it is unscored or infinite, None if it is a text or a list.

    Inspect's grades C, P, I and N are 1, 0.5, 0 and 0, as its own metrics take them.
    """
    if value is None:
        return math.nan
    if isinstance(value, bool | int | float):
        return float(value) if math.isfinite(value) else math.nan
    if isinstance(value, str) and (value in GRADES or value.lower() in WORDS or _is_decimal(value)):
        return _as_number(value)
    return None


def numbers_in(scores: Mapping[str, AnyScore] | None) -> Numbers:
    """The numbers of a conversation's scores, but for those that repeat facts of the sample.

    Args:
        scores: Name -> score, of a sample, of its record or of its summary.
    """
    found = Numbers([], [])
    for name, score in (scores or {}).items():
        if (score.metadata or {}).get("kind") == FACTS:
            continue
        values = score.value if isinstance(score.value, Mapping) else {"": score.value}
        for key, value in values.items():
            full = f"{name}.{key}" if key else name
            if (number := number_of(value)) is None:
                found.others.append(full)
                continue
            scale = scale_of(score.metadata, key) or ("0-1" if isinstance(value, str) else None)
            lost, _ = turns_unscored(score.metadata, key)
            judges, form = judges_of(score.metadata, key), form_of(name, score.metadata)
            found.numbers.append(ScoredValue(full, number, scale, lost, judges, form))
    return found


def judges_of(metadata: Mapping[str, Any] | None, key: str = "") -> tuple[str, ...]:
    """The models that a score's metadata name, or the person or monitor; sorted, empty if they name none.

    Args:
        metadata: Of one score.
        key: Of one value of a score with several.
    """
    facts = metadata or {}
    if "rater" in facts:
        return (str(facts["rater"]),)
    if "monitor" in facts:
        return (str(facts["monitor"]),)
    judges = facts.get("judges")
    if key and isinstance(judges, Mapping) and isinstance(judges.get(key), Mapping):
        return tuple(sorted(map(str, judges[key])))
    turns = facts.get("turns")
    listed = turns if isinstance(turns, list) else []
    return tuple(sorted({str(t["model"]) for t in listed if isinstance(t, Mapping) and "model" in t}))


def form_of(name: str, metadata: Mapping[str, Any] | None) -> str:
    """What judges were asked, `binary` of `influence_binary`, or what a monitor detects, by the metadata.

    Empty if they do not say, or if the question has the name of the score.

    Args:
        name: Of the score.
        metadata: Its metadata.
    """
    if isinstance(detects := (metadata or {}).get("detects"), str):
        return detects
    question, base = (metadata or {}).get("question"), base_name(name)
    if not isinstance(question, str) or question == base:
        return ""
    return question.removeprefix(f"{base}_")


def base_name(name: str) -> str:
    """The name of a scorer, without the number that Inspect gives to one that comes again."""
    score, dot, key = name.partition(".")
    return f"{score.rstrip('0123456789') or score}{dot}{key}"


def conversation_of(record: SampleRecord) -> ScoredConversation:
    """A sample with its numbers."""
    found = numbers_in(record.scores)
    return ScoredConversation(record, [] if record.error is not None else found.numbers, found.others)


def scored_conversations(log: LogFile) -> Iterator[ScoredConversation]:
    """The conversations of a log with their numbers, without those that are declared invalid.

    Raises:
        LogError: The log has no samples, or is damaged.
    """
    for record in read_records(log):
        if not record.invalidated:
            yield conversation_of(record)


def scales_in(log: str) -> dict[str, Scale | None]:
    """Score (`score.value` of one with several) -> scale that all its numbers name, None if they differ.

    Scores that no conversation has a number for are not there.

    Args:
        log: An Inspect log.
    """
    scales: dict[str, set[Scale | None]] = {}
    for conversation in scored_conversations(open_log(log)):
        for one in conversation.values:
            if not math.isnan(one.value):  # an unscored one may name no scale
                scales.setdefault(one.name, set()).add(one.scale)
    return {name: common_scale(found) for name, found in scales.items()}


def _is_decimal(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
