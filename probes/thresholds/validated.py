"""A monitor against labels: what of labelled turns and conversations it flags."""

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from analysis.ranking import Ranked, auroc, largest_recall, share
from probes.conversations.labels import DataError
from probes.thresholds.log_scores import MonitoredConversation
from probes.thresholds.streams import NO_LOGIT, Per
from probes.thresholds.validation_cases import ValidationCase

NOT_THERE = "in none of the logs"
BY_TURNS = "of a whole conversation whose turns are labelled"


class LabelledUnit(NamedTuple):
    """A turn or a conversation with its label and the monitor's logit."""

    id: str
    positive: bool
    logit: float
    group: Hashable
    split: str | None


class LabelledUnits(NamedTuple):
    """All of one kind."""

    per: Per
    units: list[LabelledUnit]
    left_out: dict[str, int]


class Quality(NamedTuple):
    """How well a monitor does on one split."""

    split: str
    n_positive: int
    n_negative: int
    groups: int
    auroc: Ranked | None
    """None of one class only."""

    recall: Ranked | None
    fpr: Ranked | None
    precision: Ranked | None
    """None where nothing is flagged. It is that of this mixture of positives and negatives."""

    threshold: float

    def row(self) -> dict[str, Any]:
        """As in `validation.json`."""
        told: dict[str, Any] = {
            name: getattr(self, name) for name in ("split", "n_positive", "n_negative", "groups", "threshold")
        }
        for name in ("auroc", "recall", "fpr", "precision"):
            found = getattr(self, name) or Ranked(math.nan, math.nan, math.nan)
            for end, value in zip(("", "_low", "_high"), found, strict=True):
                told[f"{name}{end}"] = None if math.isnan(value) else value
        return told


def by_cases(
    conversations: Sequence[MonitoredConversation], cases: Sequence[ValidationCase]
) -> LabelledUnits:
    """Turns that cases name by their message, or else conversations.

    If any case names a message, turns are what is validated: the label of a whole conversation says little
    about each of its turns, and is left out where the turns have labels of their own.

    Raises:
        DataError: An id that names two conversations; no case is in the logs.
    """
    turns = {
        turn.message: (turn.logit, one.group, one)
        for one in conversations
        for turn in one.turns
        if turn.message is not None
    }
    wholes: dict[str, MonitoredConversation] = {}
    twice: set[str] = set()
    for one in conversations:
        for name in one.names:
            if wholes.setdefault(name, one) is not one:
                twice.add(name)
    per: Per = "turn" if any(case.id in turns for case in cases) else "conversation"
    found: list[LabelledUnit] = []
    left_out: Counter[str] = Counter()
    for case in cases:
        if per == "conversation" and case.id in twice:
            raise DataError(
                f"{case.where}: {case.id} names several conversations (of epochs, or logs): give the uuid"
            )
        if per == "turn" and case.id in turns:
            logit, group, _ = turns[case.id]
        elif per == "conversation" and case.id in wholes:
            logit, group = wholes[case.id].logit, wholes[case.id].group
        else:
            left_out[BY_TURNS if case.id in wholes else NOT_THERE] += 1
            continue
        if math.isnan(logit):
            left_out[NO_LOGIT] += 1
            continue
        found.append(LabelledUnit(case.id, case.positive, logit, group, case.split))
    if not found:
        told = ", ".join(f"{count} {why}" for why, count in left_out.items())
        raise DataError(
            f"{cases[0].where}: no case is a conversation or a turn that the monitor scored ({told}); ids "
            "are those of messages, or uuids of samples"
        )
    return LabelledUnits(per, found, dict(left_out))


def by_score(
    conversations: Sequence[MonitoredConversation], label: str, harmful_from: float
) -> LabelledUnits:
    """Turns by what another score says of each; conversations only where it says nothing of turns.

    Raises:
        DataError: The logs have no such score.
    """
    has_turns = any(label in turn.others for one in conversations for turn in one.turns)
    if not has_turns and not any(label in one.others for one in conversations):
        there = sorted({name for one in conversations for name in one.others})
        raise DataError(f"--label {label}: no such score in the logs; there are {', '.join(there)}")
    found: list[LabelledUnit] = []
    left_out: Counter[str] = Counter()
    for one in conversations:
        rows = [(one.names[0], one.logit, one.others)]
        if has_turns:
            rows = [
                (turn.message or f"{one.names[0]} turn {n}", turn.logit, turn.others)
                for n, turn in enumerate(one.turns, start=1)
            ]
        for name, logit, others in rows:
            if label not in others:
                left_out["without a label"] += 1
            elif math.isnan(logit):
                left_out[NO_LOGIT] += 1
            else:
                found.append(LabelledUnit(name, others[label] >= harmful_from, logit, one.group, None))
    return LabelledUnits("turn" if has_turns else "conversation", found, dict(left_out))


def chosen_threshold(units: Sequence[LabelledUnit], asked_fpr: float) -> float:
    """The logit with the largest recall at a false-positive rate on a split.

    Raises:
        ValueError: One class only.
    """
    labels, logits, groups = _arrays(units)
    return largest_recall(labels, logits, groups, asked_fpr).logit


def check_splits(dev: Sequence[LabelledUnit], test: Sequence[LabelledUnit], names: tuple[str, str]) -> None:
    """Refuse a test split that shares an initial state with the split that sets the threshold.

    Raises:
        DataError: Says how many do.
    """
    known = {unit.group for unit in dev}
    shared = [unit.id for unit in test if unit.group in known]
    if shared:
        raise DataError(
            f"split {names[0]} overlaps split {names[1]}: {len(shared)} of {len(test)} test cases are of "
            f"initial states that set the threshold, e.g. {shared[0]}; keep each state in one split"
        )


def quality(units: Sequence[LabelledUnit], threshold: float, split: str) -> Quality:
    """What the monitor does on a split at a threshold that is given."""
    labels, logits, groups = _arrays(units)
    flagged = logits >= threshold
    positive = labels > 0.5

    def of(rows: np.ndarray, values: np.ndarray) -> Ranked | None:
        if not rows.any():
            return None
        return share(values[rows], [group for group, taken in zip(groups, rows, strict=True) if taken])

    both = bool(positive.any() and not positive.all())
    return Quality(
        split,
        int(positive.sum()),
        int((~positive).sum()),
        len(set(groups)),
        auroc(labels, logits, groups) if both else None,
        of(positive, flagged),
        of(~positive, flagged),
        of(flagged, positive),
        threshold,
    )


def by_split(units: Sequence[LabelledUnit]) -> Mapping[str, list[LabelledUnit]]:
    """Name of a split -> its units; those without one are `all`."""
    found: dict[str, list[LabelledUnit]] = {}
    for unit in units:
        found.setdefault(unit.split or "all", []).append(unit)
    return found


def _arrays(units: Sequence[LabelledUnit]) -> tuple[np.ndarray, np.ndarray, list[Hashable]]:
    labels = np.array([float(unit.positive) for unit in units])
    return labels, np.array([unit.logit for unit in units]), [unit.group for unit in units]
