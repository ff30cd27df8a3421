"""What is reported of a score: over all, by kind of user with the difference, by topic; with intervals.

Every metric sees each epoch by itself and treats all samples of one initial state as one cluster.
Samples without a score are left out by Inspect and counted there (`unscored_samples`).
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from inspect_ai.scorer import Metric, SampleScore, Value, metric

from scenarios.schema import Scale
from scorers.intervals import (
    Interval,
    mean_difference,
    mean_interval,
    share_difference,
    share_interval,
)
from scorers.scales import SCALES, SHARES, bounds


class Values(NamedTuple):
    """Scores of one group of samples, each with its initial state."""

    values: list[float]
    clusters: list[Hashable]
    scale: Scale | None = None
    """None if it is unknown or not the same for all."""

    def interval(self) -> Interval:
        """Mean with its interval."""
        if self.scale in SHARES:
            return share_interval(self.values, self.clusters)
        found = mean_interval(self.values, self.clusters)
        low, high = bounds(self.scale) if self.scale is not None else (-math.inf, math.inf)
        if math.isnan(found.low) or min(self.values) < low or max(self.values) > high:
            return found
        return found._replace(low=max(found.low, low), high=min(found.high, high))

    def minus(self, other: "Values") -> Interval:
        """Difference of the means with its interval."""
        difference = share_difference if self.scale in SHARES else mean_difference
        return difference(self.values, self.clusters, other.values, other.clusters)


def values_of(scores: Sequence[SampleScore]) -> Values:
    """The values of some samples' scores, with what intervals need to know."""
    clusters: list[Hashable] = [(s.sample_metadata or {}).get("initial_state", s.sample_id) for s in scores]
    scales: set[Scale | None] = set()
    for score in scores:
        scales |= _scales(score.score.metadata or {})
    return Values([s.score.as_float() for s in scores], clusters, scales.pop() if len(scales) == 1 else None)


def _scales(metadata: Mapping[str, Any]) -> set[Scale | None]:
    """Of one score, or of all keys of a score with several."""
    named = metadata.get("scales") or {"": metadata.get("scale")}
    return {cast(Scale, scale) if scale in SCALES else None for scale in named.values()}


def _keys(name: str, interval: Interval) -> dict[str, float]:
    keys = {name: interval.mean}
    if not math.isnan(interval.low):
        keys |= {f"{name}_low": interval.low, f"{name}_high": interval.high}
    return keys


def _groups(scores: Sequence[SampleScore], key: str) -> dict[object, list[SampleScore]]:
    groups: dict[object, list[SampleScore]] = defaultdict(list)
    for score in scores:
        groups[(score.sample_metadata or {}).get(key)].append(score)
    return groups


@metric(scores="unreduced")
def by_gameable() -> Metric:
    """Means over all samples, gameable users, other users, and gameable minus other, with intervals."""

    def compute(scores: list[SampleScore]) -> Value:
        groups = _groups(scores, "gameable")
        found = _keys("mean", values_of(scores).interval()) if scores else {}
        for name, flag in (("gameable", True), ("other", False)):
            if groups.get(flag):
                found |= _keys(name, values_of(groups[flag]).interval())
        if groups.get(True) and groups.get(False):
            found |= _keys("difference", values_of(groups[True]).minus(values_of(groups[False])))
        return dict(found)

    return compute


@metric(scores="unreduced")
def by_topic() -> Metric:
    """Mean of each topic, gameable and other users together.

    Without intervals here, which `scorers/table.py --by topic` gives: Inspect's terminal prints every
    metric, and 36 lines more per scorer hide the ones that matter.
    """

    def compute(scores: list[SampleScore]) -> Value:
        found: dict[str, float] = {}
        for topic, group in sorted(_groups(scores, "topic").items(), key=lambda item: str(item[0])):
            if topic is not None:
                found[str(topic)] = values_of(group).interval().mean
        return dict(found)

    return compute


@metric(scores="unreduced")
def by_variable(name: str) -> Metric:
    """Means by a variable of the scenario, e.g. a position on a spectrum; and the largest less the smallest.

    Args:
        name: Of the variable; its values name the groups, spaces as underscores.
    """

    def compute(scores: list[SampleScore]) -> Value:
        groups: dict[str, list[SampleScore]] = defaultdict(list)
        for score in scores:
            value = ((score.sample_metadata or {}).get("variables") or {}).get(name)
            if value is not None:
                groups[str(value).replace(" ", "_")].append(score)
        found: dict[str, float] = {}
        means: list[float] = []
        for group, members in sorted(groups.items()):
            interval = values_of(members).interval()
            means.append(interval.mean)
            found |= _keys(group, interval)
        if len(means) > 1:
            found["spread"] = max(means) - min(means)
        return dict(found)

    return compute
