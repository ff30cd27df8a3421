"""The scores of a log's conversations, each with its scale, from the sample summaries."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from inspect_ai.log import (
    EvalSample,
    EvalSampleSummary,
    read_eval_log,
    read_eval_log_sample_summaries,
    read_eval_log_samples_by_id,
)

from analysis.scales import common_scale, scale_of, turns_unscored
from analysis.values import number_of
from scenarios.schema import Scale

UNREAD: Any = {"messages", "events", "events_data", "attachments", "output", "store", "timelines"}
"""Parts of a sample that hold no scores."""


CHUNK = 100
"""Samples in memory at a time."""


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


class ScoredConversation(NamedTuple):
    """A sample in one epoch."""

    sample: int | str
    """Its id."""

    facts: dict[str, Any]
    """Its metadata; what is larger than a thousand characters may be cut."""

    values: list[ScoredValue]


def values_in(scores: Mapping[str, Any] | None) -> list[ScoredValue]:
    """The numbers of a conversation's scores; what is no number (text, lists) is left out.

    Args:
        scores: Name -> `Score`, of a sample or of its summary.
    """
    found: list[ScoredValue] = []
    for name, score in (scores or {}).items():
        told = score.metadata
        if isinstance(score.value, Mapping):
            for key, value in score.value.items():
                if value is None or isinstance(value, bool | int | float):
                    lost, _ = turns_unscored(told, key)
                    found.append(ScoredValue(f"{name}.{key}", number_of(value), scale_of(told, key), lost))
        elif isinstance(score.value, bool | int | float):
            lost, _ = turns_unscored(told)
            found.append(ScoredValue(name, number_of(score.value), scale_of(told), lost))
    return found


def scored_conversations(log: str) -> Iterator[ScoredConversation]:
    """The conversations of a log with their numbers.

    They are read from the summaries; from the samples where a summary had no room for the scales of a score
    with many values.

    Args:
        log: An Inspect log.
    """
    summaries = read_eval_log_sample_summaries(log)
    cut = any(_cut(summary) for summary in summaries)
    for one in _samples(log, summaries) if cut else summaries:
        yield ScoredConversation(one.id, one.metadata, values_in(one.scores))


def scales_in(log: str) -> dict[str, Scale | None]:
    """Score (`score.value` of one with several) -> scale that all its numbers name, None if they differ.

    Scores that no conversation has a number for are not there.

    Args:
        log: An Inspect log.
    """
    scales: dict[str, set[Scale | None]] = {}
    for conversation in scored_conversations(log):
        for one in conversation.values:
            if not math.isnan(one.value):  # an unscored one may name no scale
                scales.setdefault(one.name, set()).add(one.scale)
    return {name: common_scale(found) for name, found in scales.items()}


def _samples(log: str, summaries: Sequence[EvalSampleSummary]) -> Iterator[EvalSample]:
    if not log.endswith(".eval"):
        yield from read_eval_log(log).samples or []
        return
    units = [(summary.id, summary.epoch) for summary in summaries]
    for start in range(0, len(units), CHUNK):
        yield from read_eval_log_samples_by_id(log, units[start : start + CHUNK], exclude_fields=UNREAD)


def _cut(summary: EvalSampleSummary) -> bool:
    scores = (summary.scores or {}).values()
    return any(isinstance((score.metadata or {}).get("scales"), str) for score in scores)
