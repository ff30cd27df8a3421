"""One Inspect eval of the loop: run, taken up again where it was interrupted, or found finished.

`python -m training.rollouts ROLLOUT.json` does it in a process of its own, whose memory (the model's on a
GPU) is free afterwards.
"""

import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from inspect_ai import eval, eval_retry  # noqa: A004
from inspect_ai.log import EvalLog, list_eval_logs, read_eval_log
from pydantic import BaseModel, ConfigDict

from training.own_process import FAILED, ROOT, Ended, obey, run_apart
from training.policies import RunError


class Rollout(BaseModel):
    """What is to be run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path
    """Where the log goes; it holds nothing else."""

    task: str
    """Task file, relative to the suite's folder or absolute; `@name` picks one of several."""

    task_args: dict[str, Any]
    model: str
    model_args: dict[str, Any] = {}
    model_base_url: str | None = None
    roles: dict[str, str] = {}
    epochs: int = 1
    sample_ids: list[str] | None = None
    """Ids of the initial states that are talked about; all of the task's if not given."""

    seed: int
    log_buffer: int = 10
    """Conversations after which the log is written out, the whole file each time; so many may be lost."""

    max_connections: int | None = None
    display: str = "plain"


def roll_out(rollout: Rollout, *, own_process: bool) -> Path:
    """The finished log of a rollout. One that is there is not run again; one that broke off is continued.

    Raises:
        RunError: The eval failed, or the folder holds a log of something else.
        KeyboardInterrupt: It was stopped.
    """
    if (found := finished_log(rollout)) is not None:
        return found
    if own_process:
        try:
            run_apart("training.rollouts", rollout, rollout.folder.with_name(f"{rollout.folder.name}.json"))
        except Ended:
            raise RunError(f"{rollout.folder}: the eval failed; its last lines stand above") from None
    else:
        _run(rollout)
    if (found := finished_log(rollout)) is None:
        raise RunError(f"{rollout.folder}: the eval ended without a finished log")
    return found


def finished_log(rollout: Rollout) -> Path | None:
    """The log of a rollout that was finished, or None.

    Raises:
        RunError: There is a finished log, but of another task or model, or more than one.
    """
    done = [log for log in _logs(rollout.folder) if log.status == "success"]
    if not done:
        return None
    if len(done) > 1:
        raise RunError(f"{rollout.folder} holds {len(done)} finished logs; leave the one that belongs there")
    _check(done[0], rollout)
    return _path(done[0])


def seconds_of(log: Path) -> float:
    """Wall time of an eval by its own clock; of one that was continued, of the last part."""
    stats = read_eval_log(str(log), header_only=True).stats
    started, ended = (datetime.fromisoformat(t) for t in (stats.started_at, stats.completed_at))
    return (ended - started).total_seconds()


def _run(rollout: Rollout) -> None:
    broken_off = _broken_off(rollout)
    common: dict[str, Any] = {
        "log_dir": str(rollout.folder),
        "log_realtime": False,
        "log_buffer": rollout.log_buffer,
        "display": rollout.display,
        "fail_on_error": 0.1,
        "retry_on_error": 1,
        "max_connections": rollout.max_connections,
        "score_display": False,
    }
    task, at, name = rollout.task.partition("@")
    path = Path(task) if Path(task).is_absolute() else ROOT / task
    if not path.exists():
        raise RunError(f"task: there is no {path}")
    if broken_off is not None:
        broken_off.eval.model_base_url = rollout.model_base_url  # the server may have moved since
        (log,) = eval_retry(broken_off, **common)
    else:
        (log,) = eval(
            f"{os.path.relpath(path)}{at}{name}",  # Inspect takes relative ones alone
            task_args=rollout.task_args,
            model=rollout.model,
            model_args=rollout.model_args,
            model_base_url=rollout.model_base_url,
            model_roles=dict(rollout.roles),
            epochs=rollout.epochs,
            sample_id=rollout.sample_ids,
            seed=rollout.seed,
            **common,
        )
    if log.status == "cancelled":
        raise KeyboardInterrupt
    if log.status != "success":
        raise RunError(f"{rollout.folder}: the eval failed: {_first_error(log)}")
    for other in _logs(rollout.folder):
        if _path(other) != _path(log):
            _path(other).unlink()  # its samples are in the log that continued it


def _broken_off(rollout: Rollout) -> EvalLog | None:
    """The latest log that was begun, unless no sample of it can be read."""
    begun = [log for log in _logs(rollout.folder) if log.status != "success"]
    for log in reversed(begun):
        _check(log, rollout)
        try:
            whole = read_eval_log(str(_path(log)))
        except Exception:
            # killed while it was being written
            _path(log).rename(_path(log).with_suffix(".broken"))
            continue
        if whole.samples:
            return whole
        _path(log).unlink()
    return None


def _logs(folder: Path) -> list[EvalLog]:
    """Headers of the logs in a folder, oldest first; files that cannot be read are put aside."""
    if not folder.exists():
        return []
    headers: list[EvalLog] = []
    for info in sorted(list_eval_logs(str(folder), recursive=False), key=lambda i: i.name):
        try:
            headers.append(read_eval_log(info, header_only=True))
        except Exception:
            # an eval was killed while it was being written
            path = Path(info.name.removeprefix("file://"))
            path.rename(path.with_suffix(".broken"))
    return headers


def _path(log: EvalLog) -> Path:
    return Path(log.location.removeprefix("file://"))


def _check(log: EvalLog, rollout: Rollout) -> None:
    asked = rollout.task.partition("@")
    file = Path(log.eval.task_file or "").stem
    other = {
        key: (log.eval.task_args.get(key), value)
        for key, value in rollout.task_args.items()
        if log.eval.task_args.get(key) != value
    }
    if file != Path(asked[0]).stem or other:
        told = (
            ", ".join(f"{key}={was!r}, not {now!r}" for key, (was, now) in other.items()) or f"task {file!r}"
        )
        raise RunError(
            f"{_path(log)} is the log of something else ({told}); move it away, or name another folder"
        )
    if _name(log.eval.model) != _name(rollout.model):
        raise RunError(
            f"{_path(log)} is the log of {log.eval.model}, not of {rollout.model}; move it away, "
            "or name another folder"
        )


def _name(model: str) -> tuple[str, ...]:
    """A model's name without the place where a checkpoint lies, which moves with the run folder."""
    head, _, checkpoint = model.partition(":")
    return (
        (head, *Path(checkpoint).parts[-2:]) if checkpoint else (head.split("/")[0], *Path(head).parts[-2:])
    )


def _first_error(log: EvalLog) -> str:
    if log.error is not None:
        return log.error.message
    return next((s.error.message for s in log.samples or [] if s.error is not None), log.status)


if __name__ == "__main__":
    sys.exit(obey(Rollout, _run, {RunError: FAILED}))
