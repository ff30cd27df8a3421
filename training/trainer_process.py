"""Starting the trainer (`training/worker.py`), a process of its own."""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Self

from training.files import write_text
from training.job import Job
from training.own_process import ROOT
from training.policies import RunError


class Trainer:
    """One trainer process. Started early it loads its libraries while the rollouts still run.

    Args:
        launcher: Command put before `-m training.worker`, e.g. `torchrun --nproc_per_node 8`. With one, the
            process starts when there is a job, because only a plain process can wait for it.
    """

    def __init__(self, launcher: str | None) -> None:
        self.launcher = launcher
        self._waiting: subprocess.Popen[str] | None = None

    def prepare(self) -> None:
        """Start the process, which waits for its job."""
        if self.launcher is None:
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
        waited = self._waiting is not None
        process = self._waiting = self._waiting or self._start(str(told.resolve()))
        try:
            process.communicate(f"{told.resolve()}\n" if waited else None)
        except KeyboardInterrupt:
            self.stop()
            raise
        self._waiting = None
        if not job.out.exists():
            raise RunError(
                f"training ended with exit status {process.returncode} and no checkpoint; the reason stands "
                f"above. The job is {told}; the same command tries it again"
            )
        told.unlink()

    def stop(self) -> None:
        """End the process if there is one."""
        if self._waiting is not None:
            self._waiting.terminate()
            self._waiting.wait()
            self._waiting = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self, argument: str) -> subprocess.Popen[str]:
        front = shlex.split(self.launcher) if self.launcher else [sys.executable]
        return subprocess.Popen(
            [*front, "-m", "training.worker", argument],
            stdin=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
