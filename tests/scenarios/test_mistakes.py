"""Mistakes of the user under `inspect eval` and `inspect score`: one line, no traceback."""

import copy
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from scenarios import mistakes
from scenarios.mistakes import UserMistake
from tests.support.places import ROOT

INSPECT = str(Path(sys.executable).with_name("inspect"))
EXAMPLE = "logs/example.eval"


def printed(*arguments: str) -> tuple[int, list[str]]:
    """Exit status, and the lines that are not empty, of a command whose output is piped."""
    done = subprocess.run(
        [INSPECT, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    return done.returncode, [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["eval", "tasks/custom.py", "-T", "scenario=no[where]"], "no[where]; families of the suite are ['advice', 'booking',"),
        (
            ["score", EXAMPLE, "--scorer", "scorers/influence.py", "-S", "frm=binary", "--action", "append"],
            "-S frm: influence has no such option; did you mean 'form'?",
        ),
    ],
)  # fmt: skip
def test_inspect_prints_one_line(arguments, line):
    """Which mistakes are of this class: `tests/test_wrong_uses.py`."""
    status, lines = printed(*arguments)
    assert status == 1
    assert len(lines) == 1
    assert line in lines[0]


def test_a_mistake_is_a_value_error_that_keeps_its_text():
    error = UserMistake("no ['x'] here, [bold]")
    assert isinstance(error, ValueError)
    assert str(error) == str(copy.copy(error)) == "no ['x'] here, [bold]"


def test_a_wrong_option_does_not_wait_for_inspect():
    code = "import sys; from probes.store import main; print(main(['--nope']), 'inspect_ai' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )  # fmt: skip
    assert done.stdout == "2 False\n"


def test_without_inspects_private_name_it_is_an_error_all_the_same(monkeypatch):
    import inspect_ai._util.error as private

    monkeypatch.delattr(private, "PrerequisiteError")
    spec = importlib.util.spec_from_file_location("mistakes_alone", mistakes.__file__)
    alone = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(alone)
    with pytest.raises(ValueError, match="wrong"):
        raise alone.UserMistake("wrong")


PRINTS = (
    "import sys; from scenarios.commands.exits import exit_status; from scenarios.mistakes import UserMistake\n"
    "def many(): print('a' * 100_000, flush=True); return 0\n"
    "def wrong(): raise UserMistake('nothing of that name')\n"
    "sys.exit(exit_status({'many': many, 'wrong': wrong}[sys.argv[1]]))"
)


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ("{python} -c '{code}' many | head -c 1", 0, ""),
        (
            "{python} -c '{code}' many > /dev/full",
            1,
            "a file or the output cannot be written: the disk is full",
        ),
        ("{python} -c '{code}' wrong", 1, "nothing of that name"),
    ],
)
def test_commands_end_in_one_line_or_none(command, status, said):
    code = PRINTS.replace("'", '"')
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command.format(python=sys.executable, code=code)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == status
    assert done.stderr.count("\n") == bool(said)
    assert said in done.stderr
