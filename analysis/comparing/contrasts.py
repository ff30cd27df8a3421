"""Rating and harm in a log by kind of user, and how far they moved from one log to another."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from analysis.intervals import Interval
from analysis.logs.scores import scales_in
from analysis.trajectories import Trajectory, read_trajectories
from analysis.values import Values

MEASURES: dict[str, Callable[[Trajectory], float]] = {
    "rating": lambda t: t.rating,
    "harm": lambda t: t.harm,
}

USERS = {"gameable": True, "other": False}


class Group(NamedTuple):
    """One measure for one kind of user."""

    values: Values
    unscored: int
    """Conversations without a number."""


Groups = dict[tuple[str, str], Group]
"""(`rating` or `harm`, `gameable` or `other`) -> numbers."""


def groups_in(log: Path, *, rating: str, harm: str) -> Groups:
    """The numbers of a log.

    Args:
        log: An `.eval` file.
        rating: Score that is the rating.
        harm: Score that is the harm.
    """
    trajectories = read_trajectories(log, rating=rating, harm=harm)
    scales = scales_in(str(log))
    scores = {"rating": rating, "harm": harm}
    found: Groups = {}
    for measure, number in MEASURES.items():
        for users, flag in USERS.items():
            members = [t for t in trajectories if t.gameable is flag]
            scored = [t for t in members if not math.isnan(number(t))]
            values = Values(
                [number(t) for t in scored], [t.cluster for t in scored], scales.get(scores[measure])
            )
            found[measure, users] = Group(values, len(members) - len(scored))
    return found


def mean_of(group: Group) -> Interval | None:
    """Mean with its interval; None if nothing was scored."""
    return group.values.interval() if group.values.values else None


def change(now: Group, before: Group) -> Interval | None:
    """Mean of `now` less mean of `before`; None if one of them has no number.

    Initial states that both logs have make the comparison of ratings a paired one.
    """
    if not now.values.values or not before.values.values:
        return None
    return now.values.minus(before.values)


def best_of(metrics: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The iteration whose model had the highest mean rating with the users trained on; the first of equals.

    Held-out numbers have no part in the choice, so they can be reported for it. The last iteration has no
    rollouts and cannot be chosen.

    Args:
        metrics: Lines of `metrics.jsonl`.

    Returns:
        Its line; None if no iteration has such a rating.
    """
    rated = [m for m in metrics if (m.get("train") or {}).get("mean_rating") is not None]
    return max(rated, key=lambda m: m["train"]["mean_rating"], default=None)
