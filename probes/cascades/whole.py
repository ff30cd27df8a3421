"""A cascade fitted on calibration rows, and what it makes of others."""

import hashlib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

import numpy as np

from analysis.ranking import largest_recall
from probes.cascades.allocation import Calibrated, Strategy, allocate, rows_of
from probes.cascades.decision import Band
from probes.cascades.fitted import fitted_merge, fitted_scale
from probes.cascades.joined import CascadeRows
from probes.cascades.merging import MergeName
from probes.cascades.saved import Cascade, FirstMonitor, FittedOn, Stage
from probes.cascades.scales import ScaleName, ScoreScale

FIXED = "fixed"
"""In the place of a strategy: a band that was given."""


class Plan(NamedTuple):
    """How a cascade is made."""

    strategy: Strategy
    merge: MergeName
    scale: ScaleName
    budget: float
    """Share of rows that the second monitor is asked about."""

    third_share: float = 0.5
    """Of these, the share that the third is asked about."""

    weight: float | None = None
    asked_fpr: float = 0.01
    fixed: Band | None = None
    """Of the second monitor, in place of what the strategy finds."""


class SavedFrom(NamedTuple):
    """Which saved monitor the first one is."""

    folder: str
    weights_sha256: str
    model: str


class Outcome(NamedTuple):
    """What a cascade makes of rows."""

    values: np.ndarray
    """[rows], probabilities."""

    asked: list[np.ndarray]
    """For each stage [rows], bool."""


def fit_cascade(rows: CascadeRows, plan: Plan, first: SavedFrom | None = None) -> Cascade:
    """Scales, merges, bands and the threshold, all on calibration rows.

    A later stage is fitted on the rows that the one before asked about: no others reach it.

    Args:
        rows: Both classes, all with scores of every monitor.
        plan: How.
        first: The saved monitor, if it is one.

    Raises:
        ValueError: One class only; scores that are all equal; a budget outside (0, 1].
    """
    labels = rows.labels
    opening = fitted_scale(plan.scale, labels, rows.columns[0].logits)
    value = opening.of(rows.columns[0].logits)
    reached = np.ones(len(labels), dtype=bool)
    most = rows_of(plan.budget, len(labels))
    stages: list[Stage] = []
    shares: list[float] = []
    for place, column in enumerate(rows.columns[1:]):
        scale = fitted_scale(plan.scale, labels, column.logits)
        judged = scale.of(column.logits)
        rule = fitted_merge(plan.merge, value, judged, labels, plan.weight)
        band = Band(0.5, 0.5)
        if place == 0 and plan.fixed is not None:
            band = plan.fixed
        elif reached.any():
            here = Calibrated(value[reached], judged[reached], labels[reached])
            band = allocate(plan.strategy, here, most, rule.merge(), asked_fpr=plan.asked_fpr)
        asked = reached & band.asked(value)
        stages.append(Stage(judge=column.name, scale=scale, low=band.low, high=band.high, merge=rule))
        value = np.where(asked, rule.merge()(value, judged), value)
        shares.append(float(asked.mean()))
        reached = asked
        most = rows_of(plan.third_share, int(asked.sum()))
    flagged = largest_recall(labels, value, rows.groups, plan.asked_fpr)
    return Cascade(
        detects=rows.detects,
        monitor=_first(first, rows.columns[0].name, opening),
        stages=stages,
        strategy=plan.strategy if plan.fixed is None else FIXED,
        budget=plan.budget,
        asked=shares[0],
        threshold=flagged.logit,
        asked_fpr=plan.asked_fpr,
        fitted_on=FittedOn(
            datasets=rows.datasets,
            rows=len(labels),
            positive=int((labels > 0.5).sum()),
            groups=len(set(rows.groups)),
            digest=digest_of([rows]),
        ),
        version=_version(),
    )


def apply_cascade(cascade: Cascade, logits: Sequence[np.ndarray]) -> Outcome:
    """All rows at once; each is decided as `decision.decide_in_stages` decides it alone.

    Args:
        cascade: With as many stages as there are monitors after the first.
        logits: Of each monitor [rows], the first one's first.
    """
    value = cascade.monitor.scale.of(logits[0])
    reached = np.ones(len(value), dtype=bool)
    every: list[np.ndarray] = []
    for stage, own in zip(cascade.stages, logits[1:], strict=True):
        reached = reached & stage.band.asked(value)
        value = np.where(reached, stage.merge.merge()(value, stage.scale.of(own)), value)
        every.append(reached)
    return Outcome(value, every)


def digest_of(parts: Sequence[CascadeRows]) -> str:
    """First 16 hex digits of the SHA-256 of ids, labels and scores, in order."""
    whole = hashlib.sha256()
    for rows in parts:
        whole.update("\n".join(rows.ids).encode())
        whole.update(rows.labels.astype(np.float64).tobytes())
        for column in rows.columns:
            whole.update(f"\n{column.name}\n".encode())
            whole.update(column.logits.astype(np.float64).tobytes())
    return whole.hexdigest()[:16]


def _first(saved: SavedFrom | None, name: str, scale: ScoreScale) -> FirstMonitor:
    return FirstMonitor(name=name, scale=scale, **({} if saved is None else saved._asdict()))


def _version() -> str:
    try:
        return version("inspect-influence")
    except PackageNotFoundError:
        return ""
