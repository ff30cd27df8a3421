"""What a monitor says of a stream whose rows need no labels: captured sets, files of scores, logs."""

from collections import Counter
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from probes.cascades.joined import unlabelled_rows_of_scores
from probes.conversations.labels import DataError
from probes.evaluation.evaluation_data import read_sets
from probes.evaluation.scored import Named, check_monitors, score_monitors
from probes.thresholds.log_scores import MonitoredConversation, read_monitored

Per = Literal["conversation", "turn"]

POSITIVE, NEGATIVE, NO_LABEL, NO_LOGIT = (
    "positive by their label",
    "negative by their label",
    "without a label",
    "without a token to score",
)


class Stream(NamedTuple):
    """Rows of one kind."""

    name: str
    logits: np.ndarray
    """[rows], float64."""

    groups: list[Hashable]
    left_out: dict[str, int]
    """Reason -> rows."""


class Chosen(NamedTuple):
    """Which rows of a stream are meant."""

    positive: bool | None = False
    """Rows that a label calls negative (positive); rows without a label are taken as what is asked for. None:
    all, whatever their label."""

    label: str | None = None
    """Of logs: the score whose value for the turn (the conversation) is the label."""

    harmful_from: float = 0.5
    per: Per = "conversation"

    def takes(self, label: float | None) -> str | None:
        """Why a row of this label is left out; None if it is not."""
        if self.positive is None or label is None or np.isnan(label):
            return None
        is_positive = label >= self.harmful_from
        if is_positive == self.positive:
            return None
        return POSITIVE if is_positive else NEGATIVE


def captured_stream(
    monitor: Named, given: Sequence[str], chosen: Chosen, device: str = "cpu"
) -> list[Stream]:
    """Captured data sets, with labels or without, as a saved monitor scores them.

    Raises:
        MismatchError: The monitor was fitted on other activations.
        StoreError: A data set that cannot be read, or of which nothing is left.
    """
    card = monitor.monitor.card
    known = {d for s in (card.training, card.validation) if s is not None for d in s.known.split()}
    sets = [data.unknown_to(known) for data in read_sets(given, unlabelled=True)]
    check_monitors([monitor], sets)
    scored = score_monitors([monitor], sets, device=device)[0]
    return [
        _chosen(data.name, logits, list(data.groups), list(data.labels), chosen, data.excluded)
        for data, logits in zip(sets, scored.logits, strict=True)
    ]


def scores_stream(path: Path, monitor: str | None, given: Sequence[str], chosen: Chosen) -> list[Stream]:
    """Data sets of a file of scores; as `cascades.joined.rows_of_scores`, with rows without a label."""
    return [
        _chosen(
            rows.name, rows.columns[0].logits, list(rows.groups), list(rows.labels), chosen, rows.excluded
        )
        for rows in unlabelled_rows_of_scores(path, monitor, given)
    ]


def logs_stream(paths: Sequence[Path], score: str, chosen: Chosen) -> Stream:
    """Conversations of logs, or their turns.

    Turns have the label that the score gave each of them. Where it judged the conversation as a whole alone,
    turns have no label, and are left out where one is asked for: a conversation that is harmful is not
    harmful in every turn.

    Raises:
        DataError: The label is not in the logs.
        LogError: A log that cannot be read.
    """
    found = read_monitored(paths, score)
    conversations = found.conversations
    if chosen.label is not None and not any(_has(one, chosen.label) for one in conversations):
        there = sorted({name for one in conversations for name in _names(one)})
        raise DataError(f"--label {chosen.label}: no such score in the logs; there are {', '.join(there)}")
    logits: list[float] = []
    groups: list[Hashable] = []
    labels: list[float | None] = []
    left_out: Counter[str] = Counter(found.left_out)
    for one in conversations:
        rows = [(one.logit, one.others)] if chosen.per == "conversation" else []
        rows += [(turn.logit, turn.others) for turn in one.turns] if chosen.per == "turn" else []
        for logit, others in rows:
            label = None if chosen.label is None else others.get(chosen.label)
            if np.isnan(logit):
                left_out[NO_LOGIT] += 1
            elif chosen.label is not None and chosen.positive is not None and label is None:
                left_out[NO_LABEL] += 1
            else:
                logits.append(logit)
                groups.append(one.group)
                labels.append(label)
    name = ", ".join(str(path) for path in paths)
    return _chosen(name, np.array(logits), groups, labels, chosen, left_out)


def together(parts: Sequence[Stream]) -> Stream:
    """As one."""
    return Stream(
        ", ".join(part.name for part in parts),
        np.concatenate([part.logits for part in parts]),
        [group for part in parts for group in part.groups],
        dict(sum((Counter(part.left_out) for part in parts), Counter())),
    )


def _chosen(
    name: str,
    logits: np.ndarray,
    groups: Sequence[Hashable],
    labels: Sequence[float | None],
    chosen: Chosen,
    left_out: dict[str, int],
) -> Stream:
    reasons = [chosen.takes(label) for label in labels]
    counts = Counter(left_out) + Counter(reason for reason in reasons if reason is not None)
    kept = [number for number, reason in enumerate(reasons) if reason is None]
    if not kept:
        told = ", ".join(f"{count} {why}" for why, count in counts.items()) or "it has no rows"
        raise DataError(f"{name}: no {chosen.per} is left ({told})")
    return Stream(name, np.asarray(logits)[kept], [groups[number] for number in kept], dict(counts))


def _names(one: MonitoredConversation) -> set[str]:
    return {*one.others, *(name for turn in one.turns for name in turn.others)}


def _has(one: MonitoredConversation, label: str) -> bool:
    return label in _names(one)
