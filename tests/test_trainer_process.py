"""The process that trains: what it is told, how long it stays, how it fails."""

from pathlib import Path

import pytest

from tests.tiny_models import tiny_model
from tests.training_jobs import job_of
from training.job import read_trained
from training.policies import RunError
from training.trainer_process import Trainer


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base"))


def test_a_process_that_stays_does_one_job_after_the_other(base: Path, tmp_path: Path):
    trainer = Trainer(None, stays=True)
    try:
        processes = []
        for name in ("first", "second"):
            job = job_of(base, tmp_path, name)
            trainer.begin(job, tmp_path / "job.json")
            trainer.finish()
            assert read_trained(job.out).examples == 8
            assert not (tmp_path / "job.json").exists()
            processes.append(trainer._process)
        assert processes[0] is processes[1]
        trainer.finish()  # nothing was begun
    finally:
        trainer.stop()


def test_a_job_that_cannot_be_done_is_told_and_the_next_gets_a_new_process(
    base: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    trainer = Trainer(None, stays=True)
    try:
        trainer.begin(job_of(base, tmp_path, "none", rows=[]), tmp_path / "job.json")
        with pytest.raises(RunError, match="exit status 1 and no checkpoint"):
            trainer.finish()
        assert "nothing was selected for training" in capfd.readouterr().err
        job = job_of(base, tmp_path, "good")
        trainer.begin(job, tmp_path / "job.json")
        trainer.finish()
        assert job.out.exists()
    finally:
        trainer.stop()


def test_a_process_that_does_not_stay_has_ended(base: Path, tmp_path: Path):
    trainer = Trainer(None)
    trainer.prepare()
    process = trainer._process
    assert process is not None
    job = job_of(base, tmp_path)
    trainer.begin(job, tmp_path / "job.json")
    trainer.finish()
    assert process.returncode == 0
    assert job.out.exists()
