"""Commands that are used wrongly say so in one line. The uses stand in `tests/support/wrong_uses.py`."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from inspect_ai._cli.main import inspect as inspect_command
from inspect_ai._util.error import PrerequisiteError

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
        for folder in ("scenarios", "scorers", "tasks", "analysis", "training", "probes", "providers")
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


EVAL = "eval tasks/therapy.py --display none --log-dir {at}/logs"
SCORE = "score {at}/log.eval --action append --overwrite --display none"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (f"{EVAL} -T turn=2", "did you mean 'turns'?"),
        (f"{EVAL} -T states=x", "-T states=x: Input should be a valid integer"),
        (f"{EVAL} -T states=0", "-T states=0: Input should be greater than or equal to 1"),
        (f"{EVAL} -T gameable=nan", "-T gameable=nan"),
        (f"{EVAL} -T gameable=0.021", "not a whole number"),
        (f"{EVAL} -T topics=smokin", "no topics ['smokin']"),
        (f"{EVAL} -T split=test", "-T split=test"),
        (f"{EVAL} -T judging=often", "judging must be logprobs"),
        (f"{EVAL} -T monitor={{at}}/nowhere", "{at}/nowhere"),
        (f"{EVAL} --model miniature/nobody", "no miniature/nobody; there are miniature/agent"),
        (f"{EVAL} --model miniature/judge -M size=5", "takes no options"),
        (f"{EVAL} --model local/{{at}}/model -M foo=1", "local/ takes no option foo"),
        (f"{EVAL} --model local/{{at}}/model -M chat_template=5", "chat_template=5 is no name of a file"),
        (f"{EVAL} --model local/{{at}}/model -M batch_size=x", "batch_size='x' must be a whole number"),
        (f"{EVAL} --model local/{{at}}/model", "No model plays the roles 'user', 'transition', 'preference', 'influence'."),
        (f"{EVAL} --model local/{{at}}/model --model-role usr=miniature/user", "did you mean 'user'?"),
        ("eval tasks/custom.py --display none", "-T scenario=<file or folder>"),
        ("eval tasks/custom.py --display none -T scenario=terapy", "did you mean 'therapy'?"),
        ("eval tasks/custom.py --display none -T scenario={at}/cut.yaml", "{at}/cut.yaml"),
        (f"{SCORE} --scorer scorers/influence.py -S frm=binary", "did you mean 'form'?"),
        (f"{SCORE} --scorer scorers/influence.py -S form=long", "form must be one of"),
        (f"{SCORE} --scorer scorers/influence.py --model-role influnce=miniature/judge", "did you mean 'influence'?"),
        (f"{SCORE} --scorer scorers/preference.py -S reward=median", "reward must be mean or last"),
        (f"{SCORE} --scorer scorers/rubric.py -S constructs=harms", "did you mean 'harm'?"),
        (f"{SCORE} --scorer scorers/rubric.py -S role=nobody", "role must be one of user, preference,"),
        (f"{EVAL} -T escalate=judge", "say -T monitor=<folder>"),
        (f"{EVAL} -T monitor={{at}}/nowhere -T escalate=judge", "{at}/nowhere is no monitor"),
        (f"{SCORE} --scorer scorers/watched.py", "-S monitor=<folder>"),
        (f"{SCORE} --scorer scorers/watched.py -S monitor=x -S betwen=0,1", "did you mean 'between'?"),
        (f"{SCORE} --scorer scorers/stakes.py", "-S monitor=<folder>"),
        (f"{SCORE} --scorer scorers/stakes.py -S monitor={{at}}/nowhere", "{at}/nowhere is no monitor"),
    ],
)  # fmt: skip
def test_inspect_is_given_an_error_that_it_prints_in_one_line(
    arguments: str, says: str, at: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(ROOT)
    before = (at / "log.eval").read_bytes()
    done = CliRunner().invoke(inspect_command, arguments.format(at=at).split())
    # of this class Inspect prints the text alone, and ends with status 1 (tests/scenarios/test_mistakes.py)
    assert isinstance(done.exception, PrerequisiteError), done.exception
    line = str(done.exception)
    assert "\n" not in line
    assert says.format(at=at) in line
    assert (at / "log.eval").read_bytes() == before
