"""The process that trains: what it is told, how long it stays, how it fails."""

from pathlib import Path

import psutil
import pytest

from tests.support.tiny_models import tiny_model
from tests.support.training_jobs import job_of
from tests.support.waiting import wait_until
from training.errors import RunError
from training.job import read_trained
from training.launch.own_process import ROOT
from training.launch.trainer_process import Trainer


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


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_a_launcher_is_ended_with_all_that_it_started(tmp_path: Path):
    told = tmp_path / "pids"
    launcher = tmp_path / "torchrun"
    launcher.write_text(f"#!/bin/sh\nsleep 100 &\nsetsid sleep 100 &\necho $$ >{told}\nwait\n")
    launcher.chmod(0o755)
    trainer = Trainer(f"{launcher} --nproc_per_node 2")
    process = trainer._start("job.json")
    trainer._process = process
    assert wait_until(lambda: told.exists() and len(psutil.Process(process.pid).children()) == 2)
    children = psutil.Process(process.pid).children()
    trainer.stop()
    assert process.returncode is not None
    assert not any(
        psutil.pid_exists(child.pid) and child.status() != "zombie" for child in children
    )  # at once
    trainer.stop()  # nothing is there any more


def test_another_launcher_is_asked_first(tmp_path: Path):
    """It may have processes on other machines, which only it can end."""
    ended = tmp_path / "ended"
    launcher = tmp_path / "srun"
    launcher.write_text(
        f"#!/bin/sh\ntrap 'touch {ended}; exit 1' TERM\ntouch {tmp_path}/up\nwhile :; do sleep 0.1; done\n"
    )
    launcher.chmod(0o755)
    trainer = Trainer(f"env A=1 {launcher}")
    trainer._process = trainer._start("job.json")
    assert wait_until((tmp_path / "up").exists)
    trainer.stop()
    assert ended.exists()


def test_the_process_keeps_the_users_python_path_and_tells_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    launcher = tmp_path / "printenv"
    launcher.write_text(f"#!/bin/sh\nenv >{tmp_path}/seen\n")
    launcher.chmod(0o755)
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "0")
    Trainer(str(launcher))._start("job.json").wait()
    seen = dict(line.split("=", 1) for line in (tmp_path / "seen").read_text().splitlines() if "=" in line)
    assert seen["PYTHONPATH"].split(":") == [str(ROOT), "/somewhere"]
    assert seen["HF_HUB_DISABLE_TELEMETRY"] == seen["DO_NOT_TRACK"] == "1"
