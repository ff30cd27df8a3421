"""Which conversations are trained on, and as what. Pure: from scores and facts alone.

How conversations are ranked and counted follows the earlier system (Williams et al. 2024, arXiv:2411.02306,
code): best and worst by rating within a group, `ceil(size * fraction)` of each. Four things differ: ties are
drawn and not taken in the order of rows, no conversation can be best and worst at once, a conversation
without a number is counted and never read as harmless, and a topic that vanishes is an error.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from analysis.trajectories import Trajectory
from scenarios.files.strict_json import read_jsonl
from scenarios.files.whole import write_jsonl
from training.selection.picking import Picked, Place, group_of, objection, pick, place
from training.settings import Algorithm, Choosing, Level

REASONS = (
    "error",
    "limit",
    "invalidated",
    "unfinished",
    "vetoed",
    "unscored",
    "veto_unscored",
    "flagged",
    "monitor_unscored",
    "single",
    "tied",
    "small_gap",
    "no_partner",
    "below_threshold",
    "middle",
)
"""Why a conversation is not trained on, in the order in which the reasons are looked at.

`error`, `limit`, `unfinished`: it did not end well. `invalidated`: somebody declared it so in the log.
`vetoed`: its harm reached the level, or the run-time veto ended it. `unscored`: no rating. `veto_unscored`:
filtered by a veto whose judge gave no number. `flagged`: by the monitor that filters. `monitor_unscored`:
the monitor that filters, or takes off the rating, had no score. `single`: alone in its group, so better or
worse than nothing.
`tied`: not rated above, or below, the other end of its group. `small_gap`: not by the minimum gap.
`no_partner`: dpo, and its group has no other end. `below_threshold`: ei, and rated below it. `middle`:
neither among the best nor among the worst.
"""


class SelectionError(ValueError):
    """There is nothing, or nothing of a topic, to train on. Says what became of the conversations."""


class Choice(NamedTuple):
    """What becomes of one conversation."""

    trajectory: Trajectory
    group: str
    """Initial state, topic, family or `all`."""

    rank: int | None
    """By rating among those of the group that could be picked, from 1, the best first; None of the others."""

    label: bool | None
    """True: of the best; False: of the worst; None: neither, or grpo, which learns from the reward."""

    dropped: str | None
    """Why it is not trained on, one of `REASONS`; None if it is."""

    reward: float | None
    """Reward that training is told: the rating, but for grpo's controls. None if it is unscored."""

    barred: str | None
    """Why it could not be among the best, one of `REASONS`; a worst may be barred, as `vetoed`."""


@dataclass(frozen=True)
class Selection:
    """All conversations, each with what becomes of it."""

    choices: tuple[Choice, ...]
    """In the order of family, topic, initial state, sample and epoch, whatever the order of the log was."""

    @cached_property
    def counts(self) -> dict[str, int]:
        """`best`, `worst`, `unlabelled` (of grpo) and each reason -> conversations; together all of them."""
        found = Counter(_outcome(c) for c in self.choices)
        names = ["best", "worst", *(n for n in ("unlabelled", *REASONS) if found[n])]
        return {name: found[name] for name in names}

    @property
    def taken(self) -> tuple[Choice, ...]:
        """Those that are trained on."""
        return tuple(c for c in self.choices if c.dropped is None)

    @cached_property
    def vanished(self) -> dict[str, dict[str, int]]:
        """Topic of which nothing is trained on -> reason -> conversations."""
        reasons: dict[str, Counter[str]] = defaultdict(Counter)
        for choice in self.choices:
            reasons[choice.trajectory.topic][_outcome(choice)] += 1
        left = {c.trajectory.topic for c in self.taken}
        return {topic: dict(found) for topic, found in reasons.items() if topic not in left}

    def write_table(self, path: Path) -> None:
        """One line per conversation. The same conversations and the same seed give the same bytes."""
        write_jsonl(path, (_table_row(c) for c in self.choices))


def read_table(path: Path) -> Selection:
    """What `write_table` wrote.

    Raises:
        ValueError: Names the file and the line that is not one of ours.
    """
    return Selection(tuple(_parse_choice(path, n, row) for n, row in enumerate(read_jsonl(path), start=1)))


def choose(
    trajectories: Sequence[Trajectory], rules: Choosing, *, algorithm: Algorithm, seed: int
) -> Selection:
    """Rank the conversations within their groups and take the best, and the worst for kto and dpo.

    Without `fraction`, `count` or `threshold` one conversation of an initial state is taken, or 1/16 of a
    larger group. `ceil(size * fraction)` is computed exactly: 1/10 of 30 is 3.

    Ties. The order among equal ratings is drawn with the seed and does not depend on the order of the log.

    - ei: only the best. A tied group and a single survivor give a best, as there is no label to get wrong;
      a `min_gap` above 0 leaves out both, as no rating lies above the mean there.
    - kto, dpo: best and worst of a group are as many, at most half of it each, and every best is rated
      above every worst, by `min_gap` at least: pairs from the inside out are dropped until it holds. Tied
      groups and single survivors give nothing. With `threshold` a group may have one end only, which kto
      trains on and dpo does not.
    - grpo: every scored conversation that was not vetoed, without a label.

    Veto. From `veto_level` on (0.5, of five points 2) a conversation is not among the best. It leaves its
    group `before` the fraction is counted (the earlier system), or `after`, which takes it out of the picks
    and leaves fewer. In the modes `negative` and `five_point_negative` it may still be a worst of kto and
    dpo, if it is among the lowest rated of all, never because it was vetoed: then best and worst may differ
    in number. What the run-time veto ended counts as vetoed in every mode and is never a worst, as the
    reply that was harmful is not in it.

    Monitor. What it flags (`filter`) is neither best nor worst. A `penalty` is off the rating before anything
    is ranked (`picking.penalised`).

    Controls. `random` draws as many as would have been taken; `reversed` takes the lowest rated as best and
    the highest rated as worst. For grpo they change the rewards instead: shuffled within the group, or
    mirrored at its middle. A vetoed conversation is not among the best in them either.

    Args:
        trajectories: All conversations of an iteration, those that failed too.
        rules: How to choose.
        algorithm: What is trained with them.
        seed: Draws the order among ties, and the random control.

    Raises:
        SelectionError: Nothing is left; kto or dpo lacks one label; a topic has nothing left (ranked per
            state or topic, unless `allow_vanished`; ranked per family or over all, topics compete and
            `Selection.vanished` only reports it); a conversation is there twice; or `grpo_online` has a
            control that it cannot have.
    """
    _check(trajectories, rules, algorithm)
    groups: dict[tuple[str, ...], list[Trajectory]] = defaultdict(list)
    for trajectory in trajectories:
        groups[_group(trajectory, rules.select_per)].append(trajectory)
    choices = [
        choice
        for key, members in groups.items()
        for choice in _choices(key[-1], members, rules, algorithm, seed)
    ]
    selection = Selection(tuple(sorted(choices, key=_order)))
    _check_left(selection, rules, algorithm)
    return selection


def _choices(
    name: str, members: list[Trajectory], rules: Choosing, algorithm: Algorithm, seed: int
) -> list[Choice]:
    group = group_of(members, rules, algorithm, seed)
    picked = pick(group, rules, algorithm, seed)
    ranked = group.ranked if rules.veto_counting == "after" else group.low
    ranks = {place(t): number for number, t in enumerate(ranked, start=1)}
    labels = _labels(picked)
    choices = []
    for t in members:
        here, barred = place(t), objection(t, rules)
        choices.append(
            Choice(
                trajectory=t,
                group=name,
                rank=ranks.get(here),
                label=labels.get(here),
                dropped=None if here in labels else barred or picked.fallen.get(here, picked.rest),
                reward=picked.rewards.get(here, t.rating) if math.isfinite(t.rating) else None,
                barred=barred,
            )
        )
    return choices


def _labels(picked: Picked) -> dict[Place, bool | None]:
    parts = ((picked.best, True), (picked.worst, False), (picked.unlabelled, None))
    return {place(t): label for part, label in parts for t in part}


def _group(trajectory: Trajectory, level: Level) -> tuple[str, ...]:
    """What a conversation is ranked within; the last part is its name."""
    parts = {
        "state": (trajectory.family, trajectory.topic, trajectory.state),
        "topic": (trajectory.family, trajectory.topic),
        "family": (trajectory.family,),
        "all": ("all",),
    }
    return parts[level]


def _order(choice: Choice) -> tuple[str, str, str, str, int]:
    t = choice.trajectory
    return t.family, t.topic, t.state, t.sample, t.epoch


def _outcome(choice: Choice) -> str:
    if choice.dropped is not None:
        return choice.dropped
    return {True: "best", False: "worst", None: "unlabelled"}[choice.label]


# -- checks ---------------------------------------------------------------------------------------

ADVICE = {
    "veto_unscored": "the log has no veto scores; run the task with -T veto_scored=<form>",
    "unscored": "the log has no such score, or its judge gave no numbers; see --score",
    "vetoed": "raise --veto-level, or choose another --veto-mode",
    "flagged": "raise --monitor-level, or say --monitor-use watch",
    "monitor_unscored": "the monitor had no score of them; the log tells why in `stakes`",
    "single": "raise --epochs, so that there is more to compare, or choose another --select-per",
    "tied": "raise --epochs, or choose another --select-per",
    "small_gap": "lower --min-gap, or raise --epochs",
    "no_partner": "choose another --threshold, or --fraction in its place",
    "below_threshold": "lower --threshold",
}
"""Reason that most conversations were dropped for -> what to do."""


def _check(trajectories: Sequence[Trajectory], rules: Choosing, algorithm: Algorithm) -> None:
    if algorithm == "grpo_online" and rules.control in ("random", "reversed"):
        raise SelectionError(
            f"--control {rules.control} changes what is selected, and grpo_online selects nothing; use grpo"
        )
    twice = [key for key, n in Counter(place(t) for t in trajectories).items() if n > 1]
    if twice:
        sample, epoch = twice[0]
        raise SelectionError(
            f"sample {sample!r}, epoch {epoch} is there twice ({len(twice)} conversations are); give the "
            "conversations of one log"
        )


def _check_left(selection: Selection, rules: Choosing, algorithm: Algorithm) -> None:
    counts = selection.counts
    if not selection.taken:
        raise SelectionError(f"nothing is left to train on: {_counts_line(counts)}{_advice(counts)}")
    if algorithm == "kto" and not (counts["best"] and counts["worst"]):
        raise SelectionError(
            f"kto needs best and worst conversations: {_counts_line(counts)}{_advice(counts)}"
        )
    if selection.vanished and rules.select_per in ("state", "topic") and not rules.allow_vanished:
        topics = "; ".join(f"{topic} ({_counts_line(found)})" for topic, found in selection.vanished.items())
        every = Counter[str]()
        for found in selection.vanished.values():
            every.update(found)
        raise SelectionError(
            f"nothing is left of these topics: {topics}{_advice(every)}. "
            "To go on without them give --allow-vanished true"
        )


def _counts_line(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in counts.items() if n) or "no conversations"


def _advice(counts: Mapping[str, int]) -> str:
    reasons = {name: n for name, n in counts.items() if name in REASONS}
    most = max(reasons, key=lambda name: reasons[name], default="")
    return f"; {ADVICE[most]}" if most in ADVICE else ""


# -- the table ------------------------------------------------------------------------------------

NUMBERS = ("rating", "harm", "veto", "monitor")


def _table_row(choice: Choice) -> dict[str, Any]:
    facts = choice.trajectory._asdict()
    known = {name: facts[name] if math.isfinite(facts[name]) else None for name in NUMBERS}
    return {**facts, **known, **{k: v for k, v in choice._asdict().items() if k != "trajectory"}}


def _parse_choice(path: Path, line: int, row: Any) -> Choice:
    fields = {*Trajectory._fields, *Choice._fields} - {"trajectory"}
    if isinstance(row, dict):
        row = {"monitor": None, "penalty": 0.0, **row}  # tables of earlier runs are without
    if not isinstance(row, dict) or set(row) != fields:
        found = sorted(row) if isinstance(row, dict) else type(row).__name__
        raise ValueError(f"{path}:{line}: expected a conversation with {sorted(fields)}, got {found}")
    numbers = {name: math.nan if row[name] is None else float(row[name]) for name in NUMBERS}
    facts: dict[str, Any] = {name: row[name] for name in Trajectory._fields} | numbers
    rest = {name: row[name] for name in Choice._fields if name != "trajectory"}
    return Choice(Trajectory(**facts), **rest)
