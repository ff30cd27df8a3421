"""One Inspect eval of the loop: run, taken up again where it was interrupted, or found finished.

`python -m training.rollouts.evals ROLLOUT.json` does it in a process of its own, whose memory (the model's
on a GPU) is free afterwards.
"""

import difflib
import gc
import os
import re
import sys
import time
import traceback
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from inspect_ai import eval, eval_retry  # noqa: A004
from inspect_ai.log import EvalLog, list_eval_logs, read_eval_log
from pydantic import BaseModel, ConfigDict
from rich.text import Text

from scenarios.commands.interruption import leave
from scenarios.mistakes import UserMistake, printed_alone
from training.errors import RunError
from training.launch.own_process import (
    FAILED,
    ROOT,
    Apart,
    ProcessFailed,
    StandingProcess,
    WorkApart,
    serve_request,
)
from training.rollouts.adapter_effect import check_effect
from training.rollouts.policies import provider_of

DAMAGED = (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)
"""What reading a log raises whose bytes are no log. Anything else may be otherwise in a moment."""

INSPECTS_OWN = printed_alone()
"""Inspect's class of mistakes of the user, whose name is private."""

MODULE = "training.rollouts.evals"
"""This one, for a process of its own."""

SECOND_LOOK = 0.2
"""Seconds after which a log that seems damaged is read again, in case it is being written."""


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
    temperature: float | None = None
    """Of the agent; None: the task's own."""

    reply_tokens: int | None = None
    """Most tokens of a reply; None: the task's own."""

    adapter_check: Path | None = None
    """Where to write down whether a server heeds the model's adapter; see `adapter_effect.py`."""

    display: str = "plain"

    @property
    def is_miniature(self) -> bool:
        """Whether nobody in it is a real model."""
        return all(provider_of(model) == "miniature" for model in (self.model, *self.roles.values()))


def roll_out(rollout: Rollout, *, own_process: bool) -> Path:
    """The finished log of a rollout. One that is there is not run again; one that broke off is continued.

    Raises:
        RunError: The eval failed, or the folder holds a log of something else.
        KeyboardInterrupt: It was stopped.
    """
    if (found := finished_log(rollout)) is not None:
        return found
    if own_process:
        finished_apart(rollout, begin_apart(rollout))
    else:
        _run(rollout)
    return _finished(rollout)


def begin_apart(rollout: Rollout, standing: StandingProcess | None = None) -> Apart:
    """Begin or go on in another process, new or standing; `finished_apart` waits for it."""
    if standing is None:
        return WorkApart(MODULE, rollout, request_of(rollout.folder))
    standing.begin(rollout, request_of(rollout.folder))
    return standing


def request_of(folder: Path) -> Path:
    """The file that tells a process of its own what to run; there while it runs."""
    return folder.with_name(f"{folder.name}.json")


def finished_apart(rollout: Rollout, process: Apart) -> Path:
    """The log, once the process is done.

    Raises:
        RunError: The eval failed.
        KeyboardInterrupt: It was stopped.
    """
    try:
        process.finish()
    except ProcessFailed:
        raise RunError(f"{rollout.folder}: the eval failed; its last lines stand above") from None
    return _finished(rollout)


def _finished(rollout: Rollout) -> Path:
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
    """Run it in this process.

    What the first eval loads (libraries, families, the miniature) is kept out of later searches for garbage,
    which take a quarter of the time otherwise; own objects of an eval are few beside it.
    """
    _eval(rollout)
    if rollout.is_miniature:  # another model that is dropped later must not stay
        _keep_what_is_loaded()


@cache
def _keep_what_is_loaded() -> None:
    gc.collect()
    gc.freeze()


def _eval(rollout: Rollout) -> None:
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
    earlier = _logs(rollout.folder)
    if broken_off is not None:
        broken_off.eval.model_base_url = rollout.model_base_url  # the server may have moved since
        with _told_in_a_line(rollout):
            logs = _retried(broken_off, common)
    else:
        logs = begun(
            rollout,
            model=rollout.model,
            model_args=rollout.model_args,
            model_base_url=rollout.model_base_url,
            model_roles=dict(rollout.roles),
            temperature=rollout.temperature,
            max_tokens=rollout.reply_tokens,
            **common,
        )
    if not logs or logs[0].status == "cancelled":  # before the first conversation, or during them
        raise KeyboardInterrupt
    (log,) = logs
    if log.status != "success":
        raise RunError(f"{rollout.folder}: the eval failed: {_first_error(log)}")
    for other in earlier:
        _path(other).unlink()  # its samples are in the log that continued it
    if rollout.adapter_check is not None:
        how = {"base_url": rollout.model_base_url, **rollout.model_args}
        check_effect(log, rollout.model, how, rollout.adapter_check)


def _retried(broken_off: EvalLog, how: dict[str, Any]) -> list[EvalLog]:
    """As `eval` gives it: no log if it was stopped before the first conversation."""
    try:
        return eval_retry(broken_off, **how)
    except IndexError as error:
        # there Inspect takes the first log of none (0.3.285)
        if traceback.extract_tb(error.__traceback__)[-1].name != "eval_retry_async":
            raise
        return []


def begun(rollout: Rollout, **how: Any) -> list[EvalLog]:
    """Logs of an eval of the rollout's task, with its users and epochs.

    Args:
        rollout: Which task, users and epochs.
        how: The rest of what Inspect's `eval` takes.

    Raises:
        RunError: It cannot be started: there is no such task, an option of the task or of a model is wrong.
    """
    task, at, name = rollout.task.partition("@")
    path = Path(task) if Path(task).is_absolute() else ROOT / task
    if not path.is_file():
        tasks = [p.name for p in path.parent.glob("*.py") if not p.stem.startswith("_")]
        close = difflib.get_close_matches(path.name, tasks, n=1)
        advice = f"did you mean {path.parent / close[0]}?" if close else "name one such as tasks/therapy.py"
        raise RunError(f"task: there is no file {path}; {advice}")
    with _told_in_a_line(rollout):
        return eval(
            f"{os.path.relpath(path)}{at}{name}",  # Inspect takes relative ones alone
            task_args=rollout.task_args,
            epochs=rollout.epochs,
            sample_id=rollout.sample_ids,
            seed=rollout.seed,
            **how,
        )


@contextmanager
def _told_in_a_line(rollout: Rollout) -> Iterator[None]:
    """Mistakes in what an eval is started with, as errors of the run; what goes wrong in it is in its log."""
    try:
        yield
    except UserMistake as error:
        raise RunError(re.sub(r"^-T ", "task_args: ", str(error))) from None
    except INSPECTS_OWN as error:
        told = Text.from_markup(" ".join(str(error).split())).plain
        raise RunError(f"{rollout.task}: {told}") from None
    except (ValueError, TypeError, LookupError, ImportError, AttributeError, SyntaxError, OSError) as error:
        first = str(error).strip().partition("\n")[0]
        raise RunError(f"{rollout.task}: the eval cannot start: {type(error).__name__}: {first}") from error


def _broken_off(rollout: Rollout) -> EvalLog | None:
    """The latest log that was begun, unless no sample of it can be read."""
    begun = [log for log in _logs(rollout.folder) if log.status != "success"]
    for log in reversed(begun):
        _check(log, rollout)
        whole = _log_or_put_aside(_path(log))
        if whole is None:
            continue
        if whole.samples:
            return whole
        _path(log).unlink()
    return None


def _logs(folder: Path) -> list[EvalLog]:
    """Headers of the logs in a folder, oldest first; those that are damaged are put aside.

    Raises:
        RunError: One cannot be read now, whatever is in it.
    """
    if not folder.exists():
        return []
    try:
        infos = sorted(list_eval_logs(str(folder), recursive=False), key=lambda i: i.name)
    except OSError as error:
        raise RunError(_unreadable(folder, error)) from None
    found = (_log_or_put_aside(Path(info.name.removeprefix("file://")), header_only=True) for info in infos)
    return [log for log in found if log is not None]


def _log_or_put_aside(path: Path, *, header_only: bool = False) -> EvalLog | None:
    """A log; None if it is damaged, as one is whose eval was killed while it wrote. It is then put aside.

    Raises:
        RunError: It cannot be read now (too many open files, no permission, a disk that fails).
    """
    for last in (False, True):
        try:
            return read_eval_log(str(path), header_only=header_only)
        except OSError as error:
            raise RunError(_unreadable(path, error)) from None
        except DAMAGED as error:
            if last:
                aside = path.rename(path.with_suffix(".broken"))
                told = str(error).partition("\n")[0]
                print(f"{path} is damaged ({told}); it is now {aside.name}", file=sys.stderr, flush=True)
            else:
                time.sleep(SECOND_LOOK)
    return None


def _unreadable(path: Path, error: OSError) -> str:
    told = error.strerror or error
    return f"{path} cannot be read now ({told}); nothing was moved, the same command tries again"


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
    if _without_place(log.eval.model) != _without_place(rollout.model):
        raise RunError(
            f"{_path(log)} is the log of {log.eval.model}, not of {rollout.model}; move it away, "
            "or name another folder"
        )


def _without_place(model: str) -> tuple[str, ...]:
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
    leave(serve_request(Rollout, _run, {RunError: FAILED}))
