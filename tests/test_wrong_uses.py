"""Commands that are used wrongly say so in one line. The uses stand in `tests/support/wrong_uses.py`."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.places import ROOT
from tests.support.wrong_uses import USES, WrongUse, material, tried


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return material(tmp_path_factory.mktemp("wrong") / "uses")


@pytest.mark.parametrize("use", USES, ids=lambda use: f"{use.command} {use.arguments}".replace("{at}/", ""))
def test_a_wrong_use_is_told_in_one_line(use: WrongUse, at: Path):
    outcome = tried(use, at)
    assert outcome.in_one_line, outcome
    assert outcome.status == use.status, outcome
    assert use.says.format(at=at) in outcome.lines[0]


def test_every_command_is_used_wrongly():
    commands = {
        path.relative_to(ROOT).as_posix()
        for folder in ("scenarios", "scorers", "analysis", "training", "probes")
        for path in (ROOT / folder).glob("*.py")
        if '__name__ == "__main__"' in path.read_text()
    }
    assert commands == {use.command for use in USES}


def test_a_wrong_use_leaves_nothing_behind(at: Path):
    """A folder that a refused command had begun would stand in the way of the right one."""
    tried(WrongUse("training/ei_loop.py", "--iterations 0 --run {at}/new", 2, ""), at)
    assert not (at / "new").exists()


def test_piped_it_is_one_line_too(at: Path):
    wrong = f"{sys.executable} analysis/table.py {at}/junk.eval"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{wrong} | cat"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "junk.eval" in done.stderr
