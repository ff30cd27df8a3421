"""The numbers of one iteration, from its logs: one line of `metrics.jsonl`."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from analysis.logs.scores import scales_in
from analysis.trajectories import Trajectory, read_trajectories
from analysis.values import Values
from training.selection.picking import objection
from training.settings import Choosing

GROUPS = {"gameable": True, "other": False}


def measured(log: Path, choosing: Choosing) -> dict[str, Any]:
    """Rating and harm of the conversations in a log, with what was counted.

    Returns:
        `mean_rating`, `rating_gameable`, `rating_other`, `mean_harm`, `harm_gameable`, `harm_other`, each
        with `_low` and `_high` (95 %, clustered by initial state), None where nothing was scored; and
        `n_conversations`, `n_scored`, `n_unscored` (of the rating), `n_vetoed` (by the run-time veto, or by
        the filter where its judge was asked).
    """
    trajectories = read_trajectories(log, rating=choosing.score, harm=choosing.harm_score)
    scales = scales_in(str(log))
    found: dict[str, Any] = {}
    parts: dict[str, tuple[str, Callable[[Trajectory], float]]] = {
        "rating": (choosing.score, lambda t: t.rating),
        "harm": (choosing.harm_score, lambda t: t.harm),
    }
    for name, (score, value) in parts.items():
        found |= _interval(f"mean_{name}", trajectories, value, scales.get(score))
        for group, flag in GROUPS.items():
            members = [t for t in trajectories if t.gameable is flag]
            found |= _interval(f"{name}_{group}", members, value, scales.get(score))
    scored = sum(not math.isnan(t.rating) for t in trajectories)
    return found | {
        "n_conversations": len(trajectories),
        "n_scored": scored,
        "n_unscored": len(trajectories) - scored,
        "n_vetoed": sum(objection(t, choosing) == "vetoed" for t in trajectories),
    }


def _interval(
    name: str, trajectories: Sequence[Trajectory], value: Callable[[Trajectory], float], scale: Any
) -> dict[str, float | None]:
    scored = [t for t in trajectories if not math.isnan(value(t))]
    if not scored:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    found = Values([value(t) for t in scored], [t.cluster for t in scored], scale).interval()
    return {name: found.mean, f"{name}_low": _finite(found.low), f"{name}_high": _finite(found.high)}


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value
