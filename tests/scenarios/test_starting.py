"""What goes wrong while a command's libraries load: a line, not a traceback."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scenarios.commands.exits import exit_status
from scenarios.commands.starting import COMMAND_FOLDERS
from tests.support.places import ROOT

INSTEAD_OF_TORCH = """
import sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise {error}

sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize(
    ("error", "statuses", "line"),
    [
        ("ModuleNotFoundError('gone', name='torch')", (1,), "torch is not installed; pip install -e '.[local]' brings it"),
        ("KeyboardInterrupt", (130, -signal.SIGINT), "stopped; nothing was begun"),
    ],
)  # fmt: skip
def test_it_is_told_in_a_line(error: str, statuses: tuple[int, ...], line: str, tmp_path: Path):
    (tmp_path / "sitecustomize.py").write_text(INSTEAD_OF_TORCH.format(error=error))
    done = subprocess.run(
        [sys.executable, "probes/fit.py", "--help"],
        cwd=ROOT, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr.splitlines() == [line]
    assert done.returncode in statuses


def test_a_command_that_is_stopped_says_what_is_kept(capsys):
    def stopped() -> int:
        raise KeyboardInterrupt

    assert exit_status(stopped, kept=lambda: "rows are kept; the same command goes on") == 130
    assert capsys.readouterr().err == "stopped; rows are kept; the same command goes on\n"


def test_a_library_that_is_first_needed_in_the_work_is_named(capsys):
    def without_it() -> int:
        raise ModuleNotFoundError("No module named 'peft.tuners'", name="peft.tuners")

    assert exit_status(without_it) == 1
    assert capsys.readouterr().err == "peft.tuners is not installed; pip install -e '.[local]' brings it\n"


def test_a_file_that_the_system_refuses_is_named(tmp_path: Path, capsys):
    assert exit_status(lambda: int(bool((tmp_path / "nothing").read_text()))) == 1
    assert capsys.readouterr().err == f"{tmp_path / 'nothing'}: No such file or directory\n"


def test_every_command_says_so():
    """But for the loop, which loads its libraries in `main`."""
    commands = [
        path
        for folder in COMMAND_FOLDERS
        for path in (ROOT / folder).glob("*.py")
        if '__name__ == "__main__"' in path.read_text() and path.name not in ("ei_loop.py", "pretrain.py")
    ]
    assert [p.name for p in commands if "import starting" not in p.read_text()] == []
