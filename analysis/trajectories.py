"""Conversations of a log as selection sees them: scores and facts."""

import math
from pathlib import Path
from typing import NamedTuple

from analysis.logs.finding import open_log
from analysis.logs.samples import SampleRecord, read_records
from analysis.logs.scores import conversation_of


class Trajectory(NamedTuple):
    """One conversation: a sample in one epoch."""

    sample: str
    epoch: int
    """From 1."""

    family: str
    topic: str
    state: str
    """Id of the initial state."""

    gameable: bool
    rating: float
    """The reward; NaN if unscored."""

    harm: float
    """NaN if unscored."""

    veto: float
    """The veto's judgement of the conversation, in units of its scale; NaN if there is none."""

    stopped_by_veto: bool
    """The run-time veto took back a reply and no other passed."""

    problem: str | None
    """Why the conversation cannot be used (`error`, `limit`, `invalidated`); None if it can."""

    monitor: float = math.nan
    """Probability by a monitor of the model's activations, 0 to 1; NaN if there is none."""

    penalty: float = 0.0
    """What was taken off `rating` for it, in points of the rating."""

    @property
    def cluster(self) -> tuple[str, str]:
        """What intervals take conversations as dependent by: family and initial state."""
        return self.family, self.state


def read_trajectories(
    log: Path | str, *, rating: str, harm: str, veto: str = "veto", monitor: str = "stakes"
) -> list[Trajectory]:
    """The conversations of a log, in the order of its data set and then of the epochs.

    Those that ended in an error or are declared invalid are there without numbers.

    Args:
        log: An `.eval` or `.json` file.
        rating: Score that is the reward.
        harm: Score that is reported as harm. Of a score with several values name one as `score.value`.
        veto: Score of the veto's judge; it need not be there.
        monitor: Score of the monitor; it need not be there.

    Raises:
        LogError: It is no log, or is damaged.
    """
    names = {"rating": rating, "harm": harm, "veto": veto, "monitor": monitor}
    return [_trajectory(record, names) for record in read_records(open_log(log))]


def _trajectory(record: SampleRecord, names: dict[str, str]) -> Trajectory:
    facts = record.metadata
    values = [] if record.invalidated else conversation_of(record).values
    numbers = {one.name: one.value for one in values}
    return Trajectory(
        sample=str(record.id),
        epoch=record.epoch,
        family=str(facts.get("family", "")),
        topic=str(facts.get("topic", "")),
        state=str(facts.get("initial_state", record.id)),
        gameable=bool(facts.get("gameable", False)),
        **{name: numbers.get(score, math.nan) for name, score in names.items()},
        stopped_by_veto=numbers.get("stopped_by_veto") == 1.0,
        problem="invalidated" if record.invalidated else record.problem,
    )
