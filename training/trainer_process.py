"""Starting the trainer (`training/worker.py`), a process of its own."""

import contextlib
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from training.files import write_text
from training.job import Job
from training.own_process import ROOT
from training.policies import RunError

POLL = 0.05
"""Seconds."""


class Trainer:
    """The trainer process. Started early it loads its libraries while the rollouts still run.

    Args:
        launcher: Command put before `-m training.worker`, e.g. `torchrun --nproc_per_node 8`. With one, the
            process starts when there is a job, because only a plain process can wait for it.
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
        try:
            while self.stays and process.poll() is None and not job.out.exists():
                time.sleep(POLL)
            if not self.stays or process.poll() is not None:
                process.communicate()  # ends its input
                self._process = None
        except KeyboardInterrupt:
            self.stop()
            raise
        if not job.out.exists():
            raise RunError(
                f"training ended with exit status {process.returncode} and no checkpoint; the reason stands "
                f"above. The job is {told}; the same command tries it again"
            )
        told.unlink()
        self._begun = None

    def stop(self) -> None:
        """End the process if there is one."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def _start(self, argument: str) -> subprocess.Popen[str]:
        front = shlex.split(self.launcher) if self.launcher else [sys.executable]
        return subprocess.Popen(
            [*front, "-m", "training.worker", argument],
            stdin=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
