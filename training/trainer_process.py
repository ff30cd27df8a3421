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
        self.launcher, self.stays = launcher, stays
        self._waiting: subprocess.Popen[str] | None = None

    def prepare(self) -> None:
        """Start the process, which waits for its job; nothing if it is there."""
        if self.launcher is None and self._waiting is None:
            self._waiting = self._start("--wait")

    def train(self, job: Job, told: Path) -> None:
        """Run a job to its end.

        Args:
            job: What is to be done.
            told: Where the job is written for the process.

        Raises:
            RunError: The process ended without a checkpoint.
        """
        write_text(told, job.model_dump_json(indent=1) + "\n")
        try:
            status = self._waited_for(job, told) if self._waiting else self._started_for(told)
        except KeyboardInterrupt:
            self.stop()
            raise
        if not job.out.exists():
            raise RunError(
                f"training ended with exit status {status} and no checkpoint; the reason stands "
                f"above. The job is {told}; the same command tries it again"
            )
        told.unlink()

    def _started_for(self, told: Path) -> int:
        self._waiting = self._start(str(told.resolve()))
        status = self._waiting.wait()
        self._waiting = None
        return status

    def _waited_for(self, job: Job, told: Path) -> int | None:
        """Exit status; None if the process stays for the next job."""
        process = self._waiting
        assert process is not None
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, and is found so below
            process.stdin.write(f"{told.resolve()}\n")
            process.stdin.flush()
        while process.poll() is None and not job.out.exists():
            time.sleep(POLL)
        if self.stays and process.poll() is None:
            return None
        self._waiting = None
        process.communicate()  # ends its input
        return process.returncode

    def stop(self) -> None:
        """End the process if there is one."""
        if self._waiting is not None:
            self._waiting.terminate()
            self._waiting.wait()
            self._waiting = None

    def _start(self, argument: str) -> subprocess.Popen[str]:
        front = shlex.split(self.launcher) if self.launcher else [sys.executable]
        return subprocess.Popen(
            [*front, "-m", "training.worker", argument],
            stdin=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
