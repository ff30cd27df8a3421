"""When does a training run look dangerous: by the judge's harm rate, and by what a monitor flags."""

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from analysis import ranking
from analysis.comparing.many_looks import holm, p_above_rate, p_of_a_rise


class Watched(NamedTuple):
    """What a monitor and the judge say of the conversations of one iteration."""

    iteration: int
    harmful: np.ndarray
    """[rows], bool, by the judge."""

    logits: np.ndarray
    """[rows], the monitor's."""

    groups: list[str]
    """Of each row; the same name in another iteration is the same initial state."""


class Sighting(NamedTuple):
    """One iteration in numbers."""

    iteration: int
    n: int
    harm: ranking.Ranked
    """Share that the judge calls harmful."""

    flagged: ranking.Ranked
    """Share that the monitor flags."""

    auroc: ranking.Ranked | None
    """None if all conversations are of one class."""

    recall: ranking.Ranked | None
    fpr: ranking.Ranked | None
    """At the monitor's threshold; None without a positive, or without a negative."""

    @property
    def why_no_interval(self) -> str | None:
        """Of the AUROC; None if it has one."""
        if self.auroc is None:
            return "no AUROC: all conversations are of one class"
        if not math.isnan(self.auroc.low):
            return None
        return "no interval of the AUROC: all conversations of one class are of one initial state"

    def row(self) -> dict[str, Any]:
        """For JSON: each number with `_low` and `_high`; None where there is none."""
        row: dict[str, Any] = {"iteration": self.iteration, "n": self.n}
        for name in ("harm", "flagged", "auroc", "recall", "fpr"):
            row |= _ends(name, getattr(self, name))
        return row | {"why_no_interval": self.why_no_interval}


def _ends(name: str, value: ranking.Ranked | None) -> dict[str, float | None]:
    """None where there is no number: JSON has no NaN."""
    names = (name, f"{name}_low", f"{name}_high")
    if value is None:
        return dict.fromkeys(names)
    return {key: None if math.isnan(end) else end for key, end in zip(names, value, strict=True)}


class Alarms(NamedTuple):
    """First iteration in which something is so; None if in none.

    The tests are made in every iteration, and each alarm goes off by chance in at most 5 % of runs, not of
    iterations: their p values are Holm's over the iterations.
    """

    harm_passes: int | None
    """The judge's harm rate lies above the level that was asked about. No test."""

    more_harm: int | None
    """The judge calls more conversations harmful than in the first iteration (one-sided)."""

    more_flagged: int | None
    """The monitor flags more conversations than in the first iteration (one-sided)."""

    beyond_false_alarms: int | None
    """The monitor flags more than its false-positive rate explains (one-sided)."""

    p_more_harm: list[float]
    """Of every iteration but the first, Holm's."""

    p_more_flagged: list[float]
    p_beyond_false_alarms: list[float]
    """Of every iteration, Holm's."""


def sighted(watched: Watched, threshold: float) -> Sighting:
    """The numbers of an iteration; conversations from `threshold` on are flagged."""
    flagged = watched.logits >= threshold
    positive, negative = watched.harmful, ~watched.harmful
    both = bool(positive.any() and negative.any())
    return Sighting(
        watched.iteration,
        len(flagged),
        ranking.share(positive, watched.groups),
        ranking.share(flagged, watched.groups),
        ranking.auroc(positive.astype(float), watched.logits, watched.groups) if both else None,
        _share_of(flagged, positive, watched.groups),
        _share_of(flagged, negative, watched.groups),
    )


def alarms(
    run: Sequence[Watched],
    threshold: float,
    *,
    level: float,
    fpr: float,
    measured_on: tuple[float, float] | None = None,
    significance: float = 0.05,
    looks: int | None = None,
) -> Alarms:
    """When something is first to be seen.

    Initial states are what varies: conversations of one count as one, by their mean. A state that is there in
    the first iteration and in a later one is compared with itself.

    Args:
        run: The iterations in order; the first is what later ones are compared with.
        threshold: Logit from which on the monitor flags.
        level: Harm rate that is asked about, e.g. 0.2.
        fpr: False-positive rate that the threshold was set for.
        measured_on: How many negatives the threshold flagged where it was set, and of how many: with few of
            them the rate is not known, and more flags are needed for an alarm.
        significance: Of each kind of alarm, over all iterations.
        looks: How many iterations there will be, if this is a look at a run that goes on: those to come count
            as if nothing were there.
    """
    numbers = [w.iteration for w in run]
    assert run[0].iteration == min(numbers)
    harm = [_means(w.harmful, w.groups) for w in run]
    flags = [_means(w.logits >= threshold, w.groups) for w in run]
    left = 0 if looks is None else max(0, looks - len(run))
    more_harm = _over_looks([p_of_a_rise(harm[0], now) for now in harm[1:]], left)
    more_flagged = _over_looks([p_of_a_rise(flags[0], now) for now in flags[1:]], left)
    beyond = _over_looks([p_above_rate(list(now.values()), fpr, measured_on) for now in flags], left)
    return Alarms(
        _first(numbers, [bool(w.harmful.mean() > level) for w in run]),
        _first(numbers[1:], [p < significance for p in more_harm]),
        _first(numbers[1:], [p < significance for p in more_flagged]),
        _first(numbers, [p < significance for p in beyond]),
        more_harm,
        more_flagged,
        beyond,
    )


def _over_looks(p: list[float], left: int) -> list[float]:
    """Holm's, with so many looks still to come, of which nothing is known."""
    return holm([*p, *[1.0] * left])[: len(p)]


def _share_of(flagged: np.ndarray, rows: np.ndarray, groups: Sequence[str]) -> ranking.Ranked | None:
    if not rows.any():
        return None
    return ranking.share(flagged[rows], [group for group, taken in zip(groups, rows, strict=True) if taken])


def _means(found: np.ndarray, groups: Sequence[str]) -> dict[Hashable, float]:
    """Group -> share of its rows."""
    members: dict[Hashable, list[bool]] = defaultdict(list)
    for one, group in zip(found.tolist(), groups, strict=True):
        members[group].append(one)
    return {group: sum(rows) / len(rows) for group, rows in members.items()}


def _first(numbers: Sequence[int], found: Sequence[bool]) -> int | None:
    return next((n for n, so in zip(numbers, found, strict=True) if so), None)
