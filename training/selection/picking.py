"""Best and worst of one group of conversations, for `training/selection/selecting.py`."""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from analysis.trajectories import Trajectory
from training.algorithms import ALGORITHMS
from training.settings import Algorithm, Choosing, VetoMode

VETO_LEVELS: dict[VetoMode, float] = {
    "none": math.inf,
    "binary": 0.5,
    "constitutional": 0.5,
    "five_point": 2.0,
    "negative": 0.5,
    "five_point_negative": 2.0,
}
"""From these values on a conversation is vetoed. Source: Williams et al. 2024, arXiv:2411.02306, code."""

NEGATIVE: tuple[VetoMode, ...] = ("negative", "five_point_negative")
"""Modes in which a vetoed conversation may be among the worst."""

DEFAULT_FRACTION = 1 / 16
"""Of a topic, a family or all. Source: as above, the published runs."""

Place = tuple[str, int]
"""Sample and epoch."""


def place(trajectory: Trajectory) -> Place:
    """What a conversation is known by."""
    return trajectory.sample, trajectory.epoch


def drawn(trajectory: Trajectory, seed: int, what: str) -> bytes:
    """A number for each conversation that depends on the seed and on nothing around it."""
    told = f"{seed}\0{what}\0{trajectory.sample}\0{trajectory.epoch}".encode()
    return hashlib.blake2b(told, digest_size=16).digest()


def objection(trajectory: Trajectory, rules: Choosing) -> str | None:
    """Why a conversation cannot be among the best, one of `selection.REASONS`; None if it can."""
    level = VETO_LEVELS[rules.veto_mode] if rules.veto_level is None else rules.veto_level
    if trajectory.problem is not None:
        return trajectory.problem
    if trajectory.stopped_by_veto or (rules.veto_mode != "none" and trajectory.veto >= level):
        return "vetoed"
    if not math.isfinite(trajectory.rating):
        return "unscored"
    if rules.veto_mode != "none" and math.isnan(trajectory.veto):
        return "veto_unscored"
    return _by_monitor(trajectory, rules)


def _by_monitor(trajectory: Trajectory, rules: Choosing) -> str | None:
    if rules.monitor is None or rules.monitor_use == "watch":
        return None
    if math.isnan(trajectory.monitor):
        return "monitor_unscored"
    if rules.monitor_use == "penalty":
        return None
    assert rules.monitor_level is not None, "the level of a filter is known when it filters"
    return "flagged" if trajectory.monitor >= rules.monitor_level else None


def penalised(trajectory: Trajectory, rules: Choosing) -> Trajectory:
    """With the monitor's penalty off the rating, if that is its use."""
    if rules.monitor is None or rules.monitor_use != "penalty" or math.isnan(trajectory.monitor):
        return trajectory
    off = rules.monitor_weight * trajectory.monitor
    return trajectory._replace(rating=trajectory.rating - off, penalty=off)


@dataclass(frozen=True)
class Group:
    """Conversations that are ranked together, the best first in each list."""

    ranked: list[Trajectory]
    """All with a rating, the vetoed ones too."""

    clean: list[Trajectory]
    """Those that may be among the best."""

    low: list[Trajectory]
    """Those that may be among the worst; all of `clean`, and in some veto modes more."""


def group_of(members: Iterable[Trajectory], rules: Choosing, algorithm: Algorithm, seed: int) -> Group:
    """Rank a group by rating; the order among equal ratings is drawn."""
    rated = [t for t in members if t.problem is None and math.isfinite(t.rating)]
    ranked = sorted(rated, key=lambda t: (-t.rating, drawn(t, seed, "tie")))
    clean = [t for t in ranked if objection(t, rules) is None]
    if ALGORITHMS[algorithm].learns_from in ("labels", "pairs") and rules.veto_mode in NEGATIVE:
        # of what the run-time veto ended the harmful reply is gone, so the label would fall on the others
        return Group(ranked, clean, [t for t in ranked if not t.stopped_by_veto])
    return Group(ranked, clean, clean)


@dataclass(frozen=True)
class Picked:
    """What is trained on of a group, and why not of the rest."""

    best: Sequence[Trajectory] = ()
    worst: Sequence[Trajectory] = ()
    unlabelled: Sequence[Trajectory] = ()
    fallen: Mapping[Place, str] = field(default_factory=dict)
    """Would have been picked but for this reason."""

    rest: str = "middle"
    """Reason of all others."""

    rewards: Mapping[Place, float] = field(default_factory=dict)
    """Where the reward is not the rating."""


def pick(group: Group, rules: Choosing, algorithm: Algorithm, seed: int) -> Picked:
    """What is trained on of a group; see `selection.choose`."""
    learns_from = ALGORITHMS[algorithm].learns_from
    if learns_from == "groups":
        return Picked(unlabelled=group.clean, rewards=_rewards(group.clean, rules, seed))
    picked = _best(group, rules) if learns_from == "best" else _best_and_worst(group, rules, algorithm)
    return _at_random(picked, group, seed) if rules.control == "random" else picked


# -- expert iteration -----------------------------------------------------------------------------


def _best(group: Group, rules: Choosing) -> Picked:
    best, _ = _ends(group, rules)
    fallen: dict[Place, str] = {}
    if rules.min_gap > 0 and best:
        over = group.ranked if rules.veto_counting == "after" else group.clean
        mean = math.fsum(t.rating for t in over) / len(over)
        fallen = {place(t): "small_gap" for t in best if _lead(t.rating, mean, rules) < rules.min_gap}
        best = [t for t in best if place(t) not in fallen]
    if fallen and not best:
        return Picked(rest="small_gap")
    below = rules.threshold is not None and rules.control != "reversed"
    return Picked(best, fallen=fallen, rest="below_threshold" if below else "middle")


# -- best against worst ---------------------------------------------------------------------------


def _best_and_worst(group: Group, rules: Choosing, algorithm: Algorithm) -> Picked:
    best, worst = _ends(group, rules)
    if rules.threshold is None:
        half = len(group.ranked if rules.veto_counting == "after" else group.low) // 2
        if half == 0:
            return Picked(rest="single")
        best, worst = best[:half], worst[:half]
    best, worst, fallen = _apart(best, worst, rules)
    if ALGORITHMS[algorithm].learns_from == "pairs" and not (best and worst) and (best or worst):
        return Picked(rest="no_partner")
    if fallen and not best and not worst:
        return Picked(rest="tied" if "tied" in fallen.values() else "small_gap")
    return Picked(best, worst, fallen=fallen)


def _apart(
    best: list[Trajectory], worst: list[Trajectory], rules: Choosing
) -> tuple[list[Trajectory], list[Trajectory], dict[Place, str]]:
    """Drop from the inside, of the longer end first, until every best lies above every worst by the gap."""
    best, worst = list(best), list(worst)
    fallen: dict[Place, str] = {}
    while best and worst:
        gap = _lead(best[-1].rating, worst[-1].rating, rules)
        if gap > 0 and gap >= rules.min_gap:
            break
        longest = max(len(best), len(worst))
        for end in (best, worst):
            if len(end) == longest:
                fallen[place(end.pop())] = "small_gap" if gap > 0 else "tied"
    kept = {place(t) for t in (*best, *worst)}
    return best, worst, {k: v for k, v in fallen.items() if k not in kept}


# -- both -----------------------------------------------------------------------------------------


def _ends(group: Group, rules: Choosing) -> tuple[list[Trajectory], list[Trajectory]]:
    """Candidates for best and worst, the most extreme first."""
    reverse = rules.control == "reversed"
    ranked, clean, low = (_turned(g, reverse) for g in (group.ranked, group.clean, group.low))
    if (level := rules.threshold) is not None:
        best = [t for t in clean if (t.rating >= level) is not reverse]
        return best, [t for t in reversed(low) if (t.rating >= level) is reverse]
    if rules.veto_counting == "before":
        return clean[: _quota(len(clean), rules)], low[::-1][: _quota(len(low), rules)]
    quota = _quota(len(ranked), rules)
    may_be_best, may_be_worst = ({place(t) for t in g} for g in (clean, low))
    return (
        [t for t in ranked[:quota] if place(t) in may_be_best],
        [t for t in ranked[::-1][:quota] if place(t) in may_be_worst],
    )


def _quota(size: int, rules: Choosing) -> int:
    """Conversations of a group of `size` that are taken as best, and as worst."""
    if rules.count is not None:
        return rules.count
    if rules.fraction is None and rules.select_per == "state":
        return 1
    given = DEFAULT_FRACTION if rules.fraction is None else rules.fraction
    # the fraction that was meant: 0.1 is stored as a little more, and 30 times that would give 4
    return math.ceil(Fraction(given).limit_denominator(1_000_000) * size)


def _lead(one: float, other: float, rules: Choosing) -> float:
    """By how much the first is better, in units of the rating; rounded, as 7.3 - 6.3 is below 1."""
    return round((other - one) if rules.control == "reversed" else (one - other), 9)


def _turned(members: list[Trajectory], reverse: bool) -> list[Trajectory]:
    return members[::-1] if reverse else members


# -- controls -------------------------------------------------------------------------------------


def _at_random(picked: Picked, group: Group, seed: int) -> Picked:
    """As many of each, from those that may be picked."""
    clean = sorted(group.clean, key=lambda t: drawn(t, seed, "random"))
    best = clean[: len(picked.best)]
    taken = {place(t) for t in best}
    low = sorted(group.low, key=lambda t: drawn(t, seed, "random worst"))
    worst = [t for t in low if place(t) not in taken][: len(picked.worst)]
    return Picked(best, worst, rest="middle" if best or worst else picked.rest)


def _rewards(members: list[Trajectory], rules: Choosing, seed: int) -> dict[Place, float]:
    """Rewards of grpo's controls: shuffled in the group, or mirrored at its middle."""
    if rules.control == "random":
        shuffled = sorted(members, key=lambda t: drawn(t, seed, "random"))
        return {place(t): other.rating for t, other in zip(members, shuffled, strict=True)}
    if rules.control == "reversed" and members:
        ends = members[0].rating + members[-1].rating
        return {place(t): ends - t.rating for t in members}
    return {}
