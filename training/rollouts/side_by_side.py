"""One eval of the loop in several processes, each with its share of the users; their logs become one.

A process of Inspect keeps one core busy, however many conversations it holds at once. The seed of every call
follows from its sample, so that a conversation is the same whichever process holds it, but for sums that a
batch of other rows rounds otherwise.
"""

import re
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from training.errors import RunError
from training.launch.own_process import Apart, StandingProcess
from training.rollouts.evals import (
    Rollout,
    begin_apart,
    finished_apart,
    finished_log,
    request_of,
    roll_out,
)
from training.rollouts.joining import join

SHARE = re.compile(r"share-(?P<number>\d+)-of-(?P<of>\d+)")
"""Folder of a share, in that of the whole; gone when the logs are joined."""

JOINED = "joined.eval"


def roll_out_side_by_side(
    rollout: Rollout,
    processes: int,
    users: Callable[[], Sequence[str]],
    *,
    own_process: bool,
    beside: Callable[[int], StandingProcess] | None = None,
) -> Path:
    """The finished log of a rollout, as `roll_out` gives it, from several processes.

    What one process began, one goes on with; what several began, so many go on with. In each share fewer than
    a tenth of the conversations may fail, hence of all of them.

    Args:
        rollout: Of all users.
        processes: That hold conversations at the same time, from 1.
        users: Gives the ids of the initial states, in the order of the data set.
        own_process: Whether none of them is this one.
        beside: Gives the process of a share by its number, from 1; if None each has a new one.

    Raises:
        RunError: An eval failed, or the folder holds a log of something else.
        KeyboardInterrupt: It was stopped.
    """
    if (found := finished_log(rollout)) is None:
        begun = _begun(rollout.folder)
        ids = list(users()) if (begun or processes) > 1 else []
        count = begun or min(processes, len(ids))
        if count <= 1 or any(rollout.folder.glob("*.eval")):
            return roll_out(rollout, own_process=own_process)
        shares = [_share(rollout, ids, number, count) for number in range(count)]
        logs = _held(shares, beside, own_process=own_process)
        config = {"sample_id": rollout.sample_ids, "log_buffer": rollout.log_buffer}
        join(logs, ids, rollout.folder / JOINED, config=config)
        found = finished_log(rollout)
        if found is None:
            raise RunError(f"{rollout.folder}: the joined log is not a finished one")
    for folder in _folders(rollout.folder):
        shutil.rmtree(folder, ignore_errors=True)
        request_of(folder).unlink(missing_ok=True)  # of a process that was killed
    return found


def _folders(folder: Path) -> list[Path]:
    return [share for share in folder.glob("share-*") if SHARE.fullmatch(share.name)]


def _begun(folder: Path) -> int | None:
    """In how many shares a rollout was begun; None if it was not."""
    return next((int(found["of"]) for f in _folders(folder) if (found := SHARE.fullmatch(f.name))), None)


def _share(rollout: Rollout, ids: Sequence[str], number: int, count: int) -> Rollout:
    """Every `count`-th user, so that each has some of every topic; one process checks the adapter."""
    change = {
        "folder": rollout.folder / f"share-{number}-of-{count}",
        "sample_ids": [_pattern(name) for name in ids[number::count]],
        "log_buffer": max(1, rollout.log_buffer // count),  # so many are lost of all of them together
    }
    return rollout.model_copy(update=change if number == 0 else {**change, "adapter_check": None})


def _pattern(name: str) -> str:
    """What Inspect reads as this id alone: it takes ids for patterns of `fnmatch`, and `task:id` apart."""
    return re.sub(r"[*?\[:]", r"[\g<0>]", name)


def _held(
    shares: Sequence[Rollout], beside: Callable[[int], StandingProcess] | None, *, own_process: bool
) -> list[Path]:
    """Logs of the shares: of the first from this process or one of its own, of the others beside it."""
    others: list[tuple[Rollout, Apart]] = []
    try:
        for number, share in enumerate(shares[1:], 1):
            if finished_log(share) is None:
                others.append((share, begin_apart(share, None if beside is None else beside(number))))
        first = roll_out(shares[0], own_process=own_process)
        for share, process in others:
            finished_apart(share, process)
    except BaseException:
        with ThreadPoolExecutor(len(others) or 1) as pool:  # none goes on while others write down
            list(pool.map(lambda one: one[1].end(), others))
        raise
    return [first, *(log for share in shares[1:] if (log := finished_log(share)) is not None)]
