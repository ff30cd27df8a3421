"""A child ends with the process that started it, however that ended, and through whatever lies between them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scenarios.commands.parent_process import PARENT, tied
from tests.support.places import ROOT
from tests.support.waiting import is_gone, wait_until

PARENT_CODE = """
import os, subprocess, sys, time
from scenarios.commands.parent_process import tied
subprocess.Popen({command}, env=tied(os.environ), start_new_session=True)
time.sleep(100)
"""

CHILD = """
import os, signal, sys, time
from pathlib import Path
told = Path({told!r})
{before}
from scenarios.commands.parent_process import end_with_parent
end_with_parent()
told.with_suffix(".unfinished").write_text(str(os.getpid()))
told.with_suffix(".unfinished").rename(told)
time.sleep(100)
"""


@pytest.mark.parametrize("through_a_launcher", [False, True])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_ends_with_its_parent(tmp_path: Path, number: signal.Signals, through_a_launcher: bool):
    told = tmp_path / "pid"
    (tmp_path / "child.py").write_text(CHILD.format(told=str(told), before=""))
    command = [sys.executable, str(tmp_path / "child.py")]
    if through_a_launcher:  # which stays between the two, as torchrun does
        command = ["sh", "-c", " ".join([*command, "; true"])]
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT_CODE.format(command=command)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert wait_until(told.exists)
    child = int(told.read_text())
    time.sleep(0.5)
    assert not is_gone(child)
    parent.send_signal(number)  # and is not waited for: it stays in the table of processes
    assert wait_until(lambda: is_gone(child), 10)
    parent.wait()


def test_a_child_that_does_not_end_when_asked_is_ended(tmp_path: Path):
    told = tmp_path / "pid"
    before = (
        "import scenarios.commands.parent_process as module\n"
        "module.GRACE = 0.5\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    )
    (tmp_path / "child.py").write_text(CHILD.format(told=str(told), before=before))
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT_CODE.format(command=[sys.executable, str(tmp_path / "child.py")])],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert wait_until(told.exists)
    parent.kill()
    parent.wait()
    assert wait_until(lambda: is_gone(int(told.read_text())), 10)


@pytest.mark.parametrize("named", ["", "nonsense", "1@another-machine", f"{2**22 + 1}@another-machine"])
def test_nobody_is_watched_whom_this_machine_cannot_see(named: str):
    code = (
        "import os, threading\n"
        "from scenarios.commands.parent_process import PARENT, end_with_parent\n"
        "end_with_parent()\n"
        "assert PARENT not in os.environ\n"
        "print(threading.active_count())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {PARENT: named},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "1\n"


def test_a_child_whose_parent_is_gone_before_it_looks_ends_as_well():
    code = "import time; from scenarios.commands.parent_process import end_with_parent; end_with_parent(); time.sleep(60)"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    named = tied({})[PARENT].replace(str(os.getpid()), str(gone.pid), 1)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ | {PARENT: named}, timeout=30, check=False
    )
    assert done.returncode == -signal.SIGTERM


def test_a_module_runs_as_a_child(tmp_path: Path):
    (tmp_path / "said.py").write_text("import sys\nprint(__name__, sys.argv[1:])\nsys.exit(3)\n")
    done = subprocess.run(
        [sys.executable, "-m", "scenarios.commands.parent_process", "said", "a", "b"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, "__main__ ['a', 'b']\n")
