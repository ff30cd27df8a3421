"""One process in a folder at a time; what a killed one had started counts, as long as it lives."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.places import ROOT
from tests.support.waiting import is_gone, wait_until
from training.errors import RunError
from training.launch import run_lock
from training.launch.own_process import start
from training.launch.run_lock import LOCK, locked

OWNER = """
import sys, time
from pathlib import Path
from training.launch.own_process import start
from training.launch.run_lock import locked
with locked(Path(sys.argv[1])):
    child = start([sys.executable, "-c", {child!r}])
    (Path(sys.argv[1]) / "child").write_text(str(child.pid))
    time.sleep(100)
"""

STUBBORN = "import time; time.sleep({seconds})"
"""Does not look whether its parent is there."""


def owner(folder: Path, child: str) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER.format(child=child), str(folder)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert wait_until(lambda: (folder / "child").exists() and (folder / "child").read_text())
    return process


def test_a_folder_that_another_process_works_in_is_refused_at_once(tmp_path: Path):
    other = owner(tmp_path / "run", STUBBORN.format(seconds=100))
    try:
        begun = time.monotonic()
        with (
            pytest.raises(
                RunError, match=rf"another process \({other.pid} on .*\) works in .*run; wait for it"
            ),
            locked(tmp_path / "run"),
        ):
            pass
        assert time.monotonic() - begun < 5
    finally:
        other.kill()
        other.wait()
        os.kill(int((tmp_path / "run" / "child").read_text()), 9)


def test_what_a_killed_process_has_running_is_waited_for(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    run = tmp_path / "run"
    other = owner(run, STUBBORN.format(seconds=4))
    child = int((run / "child").read_text())
    other.kill()  # and is not waited for: it stays in the table of processes
    with locked(run):
        assert is_gone(child)
    assert f"waiting for what a killed process still has running in {run}" in capfd.readouterr().err
    other.wait()


def test_what_does_not_end_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(run_lock, "ORPHANS", 0.5)
    run = tmp_path / "run"
    other = owner(run, STUBBORN.format(seconds=100))
    other.kill()
    other.wait()
    try:
        with (
            pytest.raises(
                RunError, match=rf"what the killed process \({other.pid} on .*\) had started still"
            ),
            locked(run),
        ):
            pass
    finally:
        os.kill(int((run / "child").read_text()), 9)


def test_children_of_children_hold_it_too(tmp_path: Path):
    """A trainer that lets the policy talk starts evals of its own."""
    code = (
        "import sys, time; from training.launch.own_process import start\n"
        "start([sys.executable, '-c', 'import time; time.sleep(3)']); time.sleep(0.2)"
    )
    with locked(tmp_path / "run"):
        (tmp_path / "run" / "something").touch()
        assert start([sys.executable, "-c", code]).wait() == 0
    with pytest.raises(RunError, match="another process"), locked(tmp_path / "run"):
        pass
    assert wait_until(lambda: _is_free(tmp_path / "run"), 15)


def _is_free(folder: Path) -> bool:
    try:
        with locked(folder):
            return True
    except RunError:
        return False


def test_a_new_folder_in_which_nothing_was_put_is_gone_again(tmp_path: Path):
    with locked(tmp_path / "a" / "run"):
        assert (tmp_path / "a" / "run" / LOCK).exists()
    assert not (tmp_path / "a" / "run").exists()
    (tmp_path / "old").mkdir()
    with locked(tmp_path / "old"):
        pass
    assert (tmp_path / "old").exists()
    with locked(tmp_path / "kept"):
        (tmp_path / "kept" / "file").touch()
    assert (tmp_path / "kept" / "file").exists()


def test_a_folder_that_cannot_be_made_is_an_error_of_one_line(tmp_path: Path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(RunError, match=r"file/run cannot be used: Not a directory"),
        locked(tmp_path / "file" / "run"),
    ):
        pass
