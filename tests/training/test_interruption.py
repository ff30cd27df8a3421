"""Stopping and killing: what is running ends, nothing is bought twice, and the same command goes on."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from inspect_ai.log import read_eval_log

from tests.support.openai_stub import openai_stub
from tests.support.places import ROOT
from tests.support.tiny_run import TINY
from tests.support.waiting import is_gone, wait_until
from training.rollouts.evals import Rollout, finished_log

pytestmark = pytest.mark.slow

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


RUNNING: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    yield
    while RUNNING:
        process = RUNNING.pop()
        process.kill()
        process.wait()


def started(command: list[str], **variables: str) -> subprocess.Popen[str]:
    """In a group of its own, as a shell starts it."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    RUNNING.append(process)
    return process


def loop(run: Path) -> subprocess.Popen[str]:
    return started([sys.executable, str(ROOT / "training" / "ei_loop.py"), "--run", str(run), *TINY])


def stopped_in_a_line(process: subprocess.Popen[str], number: signal.Signals, status: int) -> str:
    """Send a signal to the process alone; returns the line that it leaves."""
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert "Traceback" not in err
    assert all(is_gone(child.pid) for child in children)
    *_, line = err.strip().splitlines()
    return line


# -- the loop on the miniature ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "number", "status"),
    [
        ("config.yaml", *SIGNALS[0]),
        ("iteration_00/rollouts/*.eval", *SIGNALS[1]),
        ("iteration_00/job.json", *SIGNALS[0]),
        ("iteration_01/divergence.json", *SIGNALS[1]),
    ],
)
def test_the_loop_stops_in_a_line_and_goes_on(
    unbroken: Path, tmp_path: Path, moment: str, number: signal.Signals, status: int
):
    run = tmp_path / "run"
    if moment.startswith("iteration_01"):
        shutil.copytree(unbroken, run)
        shutil.rmtree(run / "iteration_01")
        (run / "metrics.jsonl").unlink()
    process = loop(run)
    assert wait_until(lambda: list(run.glob(moment)) or process.poll() is not None, 100)
    line = stopped_in_a_line(process, number, status)
    assert line.startswith("stopped; ")
    assert line.endswith(("goes on from here", "the same command begins"))


def test_in_the_background_of_a_script_it_can_be_ended(tmp_path: Path):
    """There, as under nohup, Ctrl-C is ignored; SIGTERM is not."""
    run = tmp_path / "run"
    command = [sys.executable, str(ROOT / "training" / "ei_loop.py"), "--run", str(run), *TINY]
    process = started(["sh", "-c", "trap '' INT; exec \"$@\"", "sh", *command])
    assert wait_until(lambda: (run / "config.yaml").exists() or process.poll() is not None, 100)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    assert stopped_in_a_line(process, signal.SIGTERM, 143).startswith("stopped; ")


def test_before_anything_is_loaded_it_stops_as_well(tmp_path: Path):
    process = loop(tmp_path / "run")
    time.sleep(0.5)
    assert stopped_in_a_line(process, *SIGNALS[0]) == "stopped; nothing was begun; the same command begins"
    assert not (tmp_path / "run").exists()


def test_two_trainers_never_work_side_by_side(unbroken: Path, tmp_path: Path):
    """The loop alone is killed while its trainer works, and started again at once."""
    run = tmp_path / "run"
    shutil.copytree(unbroken, run)
    shutil.rmtree(run / "iteration_00" / "checkpoint")
    shutil.rmtree(run / "iteration_01")
    first = loop(run)
    assert wait_until(lambda: list(run.glob("iteration_00/scratch")), 100)
    trainers = psutil.Process(first.pid).children(recursive=True)
    assert trainers
    first.kill()
    second = loop(run)
    assert wait_until(lambda: second.poll() is not None or psutil.Process(second.pid).children(), 100)
    assert all(is_gone(trainer.pid) for trainer in trainers)
    assert second.wait(200) == 0
    first.wait()
    for name in ("checkpoint/adapter_model.safetensors", "selection.jsonl"):
        mine, other = (p / "iteration_00" / name for p in (run, unbroken))
        assert mine.read_bytes() == other.read_bytes()
    assert not (run / "iteration_00" / "scratch").exists()
    assert not (run / "iteration_00" / "job.json").exists()


# -- rollouts of a real model, in a process of their own ----------------------------------------------

SMALL_LOOP = """
import sys
from pathlib import Path
from scenarios.commands.interruption import leave, say_stopped, termination_as_interrupt
from training.rollouts.evals import Rollout, roll_out
from training.launch.run_lock import locked

def main():
    rollout = Rollout.model_validate_json(Path(sys.argv[1]).read_text())
    try:
        with termination_as_interrupt(), locked(rollout.folder.parent):
            roll_out(rollout, own_process=True)
    except KeyboardInterrupt:
        return say_stopped("the same command goes on")
    return 0

leave(main())
"""

STATES, EPOCHS, AT_ONCE = 4, 4, 2


class Paid:
    """A service that takes its time, and what it was asked."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.variables = {
            "STUB_BASE_URL": f"http://127.0.0.1:{server.server_address[1]}",
            "STUB_API_KEY": "none",
        }

    def replies(self) -> int:
        """Replies of the agent that were paid for."""
        return sum(body["model"] == "agent" for body in self.server.requests)


@pytest.fixture
def paid() -> Iterator[Paid]:
    def slow(body: Mapping[str, Any]) -> None:
        if body["model"] == "agent":
            time.sleep(0.3)

    with openai_stub() as server:
        server.refuses = slow
        yield Paid(server)


@pytest.fixture
def rollout(tmp_path: Path) -> Rollout:
    return Rollout(
        folder=tmp_path / "run" / "rollouts",
        task="tasks/therapy.py",
        task_args={"states": STATES, "turns": 1, "topics": ["smoking"]},
        model="openai-api/stub/agent",
        roles={"user": "miniature/user", "judge": "miniature/judge"},
        epochs=EPOCHS,
        seed=0,
        max_connections=AT_ONCE,
        log_buffer=1,
        display="none",
    )


def small_loop(rollout: Rollout, tmp_path: Path, paid: Paid) -> subprocess.Popen[str]:
    told = tmp_path / "rollout.json"
    told.write_text(rollout.model_dump_json())
    return started([sys.executable, "-c", SMALL_LOOP, str(told)], **paid.variables)


def the_whole_log(rollout: Rollout) -> Path:
    log = finished_log(rollout)
    assert log is not None
    assert [p.name for p in rollout.folder.glob("*.eval")] == [log.name]
    samples = read_eval_log(str(log)).samples or []
    assert len({(s.id, s.epoch) for s in samples}) == len(samples) == STATES * EPOCHS
    return log


@pytest.mark.parametrize(("number", "status"), [*SIGNALS, (signal.SIGKILL, -signal.SIGKILL)])
def test_no_conversation_is_bought_twice_and_no_log_is_lost(
    rollout: Rollout, tmp_path: Path, paid: Paid, number: signal.Signals, status: int
):
    first = small_loop(rollout, tmp_path, paid)
    assert wait_until(lambda: paid.replies() >= 6, 100)
    if number == signal.SIGKILL:
        children = psutil.Process(first.pid).children(recursive=True)
        first.kill()
        second = small_loop(rollout, tmp_path, paid)  # at once
        assert wait_until(lambda: second.poll() is not None or psutil.Process(second.pid).children(), 100)
        assert all(is_gone(child.pid) for child in children)
        first.wait()
        first.communicate()
    else:
        assert stopped_in_a_line(first, number, status) == "stopped; the same command goes on"
        second = small_loop(rollout, tmp_path, paid)
    _, err = second.communicate(timeout=200)
    assert second.returncode == 0, err
    the_whole_log(rollout)
    assert paid.replies() <= STATES * EPOCHS + AT_ONCE  # what was on its way is lost
    assert not rollout.folder.with_name("rollouts.json").exists()


def test_a_second_loop_beside_the_first_is_refused(rollout: Rollout, tmp_path: Path, paid: Paid):
    first = small_loop(rollout, tmp_path, paid)
    assert wait_until(lambda: paid.replies() >= 2, 100)
    second = small_loop(rollout, tmp_path, paid)
    _, err = second.communicate(timeout=100)
    assert second.returncode != 0
    assert f"another process ({first.pid} on " in err
    assert first.wait(200) == 0
    first.communicate()
    the_whole_log(rollout)
    assert paid.replies() == STATES * EPOCHS


# -- generalise ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "status"), SIGNALS)
def test_generalise_stops_in_a_line(unbroken: Path, tmp_path: Path, number: signal.Signals, status: int):
    run = tmp_path / "run"
    shutil.copytree(unbroken, run)
    command = [sys.executable, str(ROOT / "training" / "generalise.py"), str(run), "--benchmarks"]
    process = started([*command, "--families", "therapy", "--states", "2", "--checkpoints", "last"])
    assert wait_until(lambda: list(run.glob("generalise/logs/0/*")) or process.poll() is not None, 100)
    line = stopped_in_a_line(process, number, status)
    assert line == "stopped; the logs that are finished are kept; the same command goes on from here"


def test_two_generalise_in_one_folder_are_refused(
    unbroken: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    from training.generalise import main
    from training.launch.run_lock import locked

    run = tmp_path / "run"
    shutil.copytree(unbroken, run)
    with locked(run / "generalise"):
        (run / "generalise" / "something").touch()
        assert main([str(run), "--benchmarks", "--families", "therapy", "--states", "2"]) == 1
    assert "another process" in capfd.readouterr().err


# -- the miniature's own training ---------------------------------------------------------------------


def test_the_miniatures_training_ends_with_who_began_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from miniature import checkpoint
    from providers import kept_folders

    monkeypatch.setenv(kept_folders.CACHE_VARIABLE, str(tmp_path))
    code = "from miniature.checkpoint import base_checkpoint; base_checkpoint()"
    process = started([sys.executable, "-c", code])
    assert wait_until(lambda: psutil.Process(process.pid).children() or process.poll() is not None, 60)
    children = psutil.Process(process.pid).children()
    assert wait_until(lambda: list(tmp_path.glob("miniature/unfinished-*")), 20)
    time.sleep(1)
    process.kill()
    assert wait_until(lambda: all(is_gone(child.pid) for child in children), 20)

    def trained(folder: Path) -> dict[str, float]:
        (folder / "config.json").write_text("{}")
        return {}

    monkeypatch.setattr(checkpoint, "_train", trained)
    folder = checkpoint.base_checkpoint()
    assert sorted(p.name for p in folder.parent.iterdir() if p.is_dir()) == [folder.name]
