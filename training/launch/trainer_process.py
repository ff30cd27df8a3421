"""Starting the trainer (`training/trainers/worker.py`), a process of its own."""

import contextlib
import shlex
import subprocess
import sys
import time
from pathlib import Path

from scenarios.files.whole import write_text
from training.errors import RunError
from training.job import Job
from training.launch.own_process import PATIENCE, end, start

POLL = 0.05
"""Seconds."""

LOCAL_LAUNCHERS = {"torchrun", "accelerate"}
"""Those whose processes are all on this machine, unless another launcher started them."""


class Trainer:
    """The trainer process. Started early it loads its libraries while the rollouts still run.

    Args:
        launcher: Command put before `-m training.trainers.worker`, e.g. `torchrun --nproc_per_node 8`. With
            one, the process starts when there is a job, because only a plain process can wait for it.
        stays: The same process does one job after the other; otherwise it ends with each, and its memory is
            free.
    """

    def __init__(self, launcher: str | None, *, stays: bool = False) -> None:
        self.launcher, self.stays = launcher, stays and launcher is None
        self._process: subprocess.Popen[str] | None = None
        self._begun: tuple[Job, Path] | None = None

    def prepare(self) -> None:
        """Start the process, which waits for its job; nothing if it is there."""
        if self.launcher is None and self._process is None:
            self._process = self._start("--wait")

    def begin(self, job: Job, told: Path) -> None:
        """Hand over a job. It is done when `finish` has returned; one that is begun must be finished.

        Args:
            job: What is to be done.
            told: Where the job is written for the process.
        """
        write_text(told, job.model_dump_json(indent=1) + "\n")
        self._begun = (job, told)
        if self.launcher is not None:
            self._process = self._start(str(told.resolve()))
            return
        self.prepare()
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, and `finish` finds it so
            self._process.stdin.write(f"{told.resolve()}\n")
            self._process.stdin.flush()

    def finish(self) -> None:
        """Wait for the end of the job that was begun, if one was.

        Raises:
            RunError: The process ended without a checkpoint.
        """
        if self._begun is None or self._process is None:
            return
        (job, told), process = self._begun, self._process
        while self.stays and process.poll() is None and not job.out.exists():
            time.sleep(POLL)
        if not self.stays or process.poll() is not None:
            process.communicate()  # ends its input
            self._process = None
        if not job.out.exists():
            raise RunError(
                f"training ended with exit status {process.returncode} and no checkpoint; the reason stands "
                f"above. The job is {told}; the same command tries it again"
            )
        told.unlink()
        self._begun = None

    def stop(self) -> None:
        """End the process if there is one, with what a launcher has started.

        What a training has not saved yet is lost either way. A launcher is asked first, as it may have
        processes on other machines; torchrun and accelerate have none, and would write pages.
        """
        process, self._process = self._process, None
        if process is not None:
            asks = self.launcher is not None and Path(program(self.launcher)).name not in LOCAL_LAUNCHERS
            end(process, patience=PATIENCE if asks else 0)

    def _start(self, argument: str) -> subprocess.Popen[str]:
        return start(
            [*front(self.launcher), "-m", "training.trainers.worker", argument], stdin=subprocess.PIPE
        )


def front(launcher: str | None) -> list[str]:
    """What stands before `-m training.trainers.worker`."""
    return shlex.split(launcher) if launcher else [sys.executable]


def program(launcher: str) -> str:
    """The program that a launcher is, without the variables that are set for it."""
    words = [word for word in shlex.split(launcher) if "=" not in word and Path(word).name != "env"]
    return words[0] if words else ""
