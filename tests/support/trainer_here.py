"""The trainer in the test's own process: one of its own takes seconds to load its libraries."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from scenarios.files.whole import write_text
from training.job import Job
from training.launch.trainer_process import Trainer
from training.trainers import worker


class TrainerHere(Trainer):
    """Does a job when its end is waited for."""

    def prepare(self) -> None:
        """There is nothing to start."""

    def begin(self, job: Job, told: Path) -> None:
        """See `Trainer`."""
        write_text(told, job.model_dump_json(indent=1) + "\n")
        self._begun = (job, told)

    def finish(self) -> None:
        """See `Trainer`."""
        if self._begun is not None:
            job, told = self._begun
            worker.run(job)
            told.unlink()
            self._begun = None


class _Asked:
    """What `check_trainer` takes for the process that it started."""

    returncode = 0

    def communicate(self) -> tuple[str, str]:
        """It has ended."""
        return "", ""


def train_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let loops of this test train here."""
    monkeypatch.setattr("training.loop.rounds.Trainer", TrainerHere)


def ask_here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let `check_trainer` ask here; the programs that it would have started are told in the list."""
    programs: list[str] = []

    def start(command: Sequence[str], **_: Any) -> _Asked:
        programs.append(command[0])
        assert worker.main(list(command[command.index("-m") + 2 :])) == 0
        return _Asked()

    monkeypatch.setattr("training.trainers.trainer_check.start", start)
    return programs
