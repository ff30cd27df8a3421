"""Values of one score with what their interval depends on: the initial state of each, and their scale."""

import json
from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

from analysis.intervals import (
    ROUNDING,
    Interval,
    mean_difference,
    mean_interval,
    scale_difference,
    scale_interval,
)
from analysis.scales import DEGREES
from scenarios.schema import Scale, ends_of


class Values(NamedTuple):
    """Scores of one group of conversations."""

    values: list[float]
    clusters: list[Hashable]
    """Of each value, see `cluster_of`."""

    scale: Scale | None = None
    """None if it is unknown or not the same for all."""

    def interval(self) -> Interval:
        """Mean with the interval that the values call for: on their scale, or without ends off it."""
        ends = self._ends()
        if ends is None:
            return mean_interval(self.values, self.clusters)
        return scale_interval(self.values, self.clusters, ends, spread=self.scale not in DEGREES)

    def minus(self, other: "Values") -> Interval:
        """Difference of the means with its interval; initial states that both have make it paired."""
        ends = self._ends()
        if ends is None or ends != other._ends():
            return mean_difference(self.values, self.clusters, other.values, other.clusters)
        sides = (self.values, self.clusters, other.values, other.clusters)
        return scale_difference(*sides, ends, spread=self.scale not in DEGREES)

    def _ends(self) -> tuple[float, float] | None:
        """Of the scale; None without one, or if a value lies beyond it, as a rating with a penalty can."""
        if self.scale is None:
            return None
        low, high = ends_of(self.scale)
        inside = all(low - ROUNDING <= v <= high + ROUNDING for v in self.values)
        return (low, high) if inside else None


def cluster_of(facts: Mapping[str, Any] | None, sample: int | str | None) -> tuple[Hashable, Hashable]:
    """What conversations are taken as dependent by: family and initial state, or the sample without one.

    Ids of initial states are unique within a family only.

    Args:
        facts: Metadata of the sample.
        sample: Its id; the same in all epochs.
    """
    told = facts or {}
    state = told.get("initial_state")
    return (plain(told.get("family", "")), plain(sample if state is None else state))


def plain(value: Any) -> Hashable:
    """A fact that can be counted by: as it is, or as JSON if it is a list or a mapping."""
    if isinstance(value, Hashable) and not isinstance(value, tuple):
        return value
    return json.dumps(value, sort_keys=True, default=str, ensure_ascii=False)
