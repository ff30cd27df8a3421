"""Which processes hold the conversations of rollouts: this one, one of their own, or several side by side."""

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from training.launch.own_process import StandingProcess
from training.rollouts.evals import MODULE, Rollout, finished_log
from training.rollouts.side_by_side import roll_out_side_by_side

WORTH = 32
"""Conversations of the miniature for which another process is worth what it must load first."""

MOST = 4
"""Processes for the miniature's conversations, if nobody says more: each has libraries of .7 GB in memory,
and of a round with four of them most is no longer conversations."""


class RolloutProcesses:
    """Runs rollouts one after the other. Whoever makes this ends it.

    Args:
        users: Gives the ids of a rollout's initial states, in the order of the data set.
        own_process: A model whose memory must be free between rollouts: each has a process of its own, and
            one alone if nobody says more. Otherwise this process holds conversations, and where all models
            are the miniature's others beside it, as far as it is worth it, at most `MOST` in all, which stay
            for the rollouts to come.
    """

    def __init__(self, users: Callable[[Rollout], Sequence[str]], *, own_process: bool) -> None:
        self._users, self._own_process = users, own_process
        self._beside: list[StandingProcess] = []

    def roll_out(self, rollout: Rollout, processes: int | None = None) -> Path:
        """The finished log of a rollout.

        Args:
            rollout: Of all users.
            processes: That hold its conversations, from 1; by default as many as are worth it.

        Raises:
            RunError: The eval failed, or the folder holds a log of something else.
            KeyboardInterrupt: It was stopped.
        """
        users = cache(lambda: self._users(rollout))
        if processes is None:
            most = min(cores(), MOST) if rollout.is_miniature and not self._own_process else 1
            talks = most > 1 and finished_log(rollout) is None
            processes = max(1, min(most, len(users()) * rollout.epochs // WORTH)) if talks else 1
        own = self._own_process
        beside = None if own else self._process
        return roll_out_side_by_side(rollout, processes, users, own_process=own, beside=beside)

    def end(self) -> None:
        """End the processes that stay."""
        with ThreadPoolExecutor(len(self._beside) or 1) as pool:  # none goes on while others write down
            list(pool.map(StandingProcess.end, self._beside))

    def _process(self, number: int) -> StandingProcess:
        while len(self._beside) < number:
            self._beside.append(StandingProcess(MODULE))
        return self._beside[number - 1]


def cores() -> int:
    """Of the machine, those that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))  # a cluster's job has some of its machine's
    return os.cpu_count() or 1
