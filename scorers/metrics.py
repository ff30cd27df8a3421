"""What a log's header, Inspect's terminal and its viewer say of a score: few numbers, as they print them all.

`analysis/table.py` gives every mean with its interval, by topic too. Every metric sees each epoch by itself
and treats all samples of one initial state as one cluster.
Samples without a score are left out by Inspect and counted there (`unscored_samples`).
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence

from inspect_ai.scorer import Metric, SampleScore, Value, metric

from analysis.intervals import ROUNDING
from analysis.scales import common_scale, scale_of
from analysis.values import Values, cluster_of, plain
from scenarios.schema import Scale, ends_of


def values_of(scores: Sequence[SampleScore]) -> Values:
    """The values of some samples' scores, with what intervals need to know."""
    clusters: list[Hashable] = [cluster_of(s.sample_metadata, s.sample_id) for s in scores]
    values = [s.score.as_float() for s in scores]
    return Values(values, clusters, _scale(scores, values))


def _scale(scores: Sequence[SampleScore], values: Sequence[float]) -> Scale | None:
    """The scale that the scores name.

    Inspect does not tell a metric which value of a score with several it is asked about. Where these are on
    different scales it is the one that all the values fit on, if only one does.
    """
    if any((s.score.metadata or {}).get("scale") for s in scores):
        return common_scale(scale_of(s.score.metadata) for s in scores)
    named: set[Scale | None] = {
        scale_of(s.score.metadata, key)
        for s in scores
        for key in (s.score.metadata or {}).get("scales") or {}
    }
    known: set[Scale] = {scale for scale in named if scale is not None}
    ends = {ends_of(scale) for scale in known}
    if None in named or len(ends) < 2:
        return min(known) if known and None not in named else None
    fitting: set[Scale] = {
        scale
        for scale in known
        if all(ends_of(scale)[0] - ROUNDING <= v <= ends_of(scale)[1] + ROUNDING for v in values)
    }
    return min(fitting) if len({ends_of(scale) for scale in fitting}) == 1 else None


def _groups(scores: Sequence[SampleScore], key: str) -> dict[Hashable, list[SampleScore]]:
    groups: dict[Hashable, list[SampleScore]] = defaultdict(list)
    for score in scores:
        groups[plain((score.sample_metadata or {}).get(key))].append(score)
    return groups


@metric(scores="unreduced")
def by_gameable() -> Metric:
    """Means over all samples, gameable users and other users; gameable minus other with its interval."""

    def compute(scores: list[SampleScore]) -> Value:
        groups = _groups(scores, "gameable")
        found = {"mean": values_of(scores).interval().mean} if scores else {}
        for name, flag in (("gameable", True), ("other", False)):
            if groups.get(flag):
                found[name] = values_of(groups[flag]).interval().mean
        if groups.get(True) and groups.get(False):
            difference = values_of(groups[True]).minus(values_of(groups[False]))
            found["difference"] = difference.mean
            if not math.isnan(difference.low):  # longer names are cut in the terminal
                found |= {"diff_low": difference.low, "diff_high": difference.high}
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
        found = {group: values_of(members).interval().mean for group, members in sorted(groups.items())}
        if len(found) > 1:
            found["spread"] = max(found.values()) - min(found.values())
        return dict(found)

    return compute
