"""Logs of a rollout: which is taken, which is put aside, which is left alone."""

import errno
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.places import ROOT
from tests.support.told import told
from training.errors import RunError
from training.rollouts import evals as rollouts
from training.rollouts.evals import Rollout, finished_log
from training.rollouts.policies import check_policy
from training.settings import LoopSettings


@pytest.fixture
def log(converse, tmp_path: Path) -> Path:
    """A finished log, in a folder of its own."""
    made = converse(told("Hello."), states=1, gameable=0.0, turns=1)
    path = Path(made.location.removeprefix("file://"))
    folder = tmp_path / "heldout"
    folder.mkdir()
    return path.rename(folder / path.name)


def asked(log: Path, task: str = "") -> Rollout:
    return Rollout(folder=log.parent, task=task, task_args={}, model="told/model", seed=0)


@pytest.mark.parametrize(
    "number", [errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EIO, errno.ESTALE, errno.ETIMEDOUT]
)
def test_a_log_that_cannot_be_read_for_a_moment_stays(
    log: Path, monkeypatch: pytest.MonkeyPatch, number: int, capfd: pytest.CaptureFixture[str]
):
    def fails(*_: object, **__: object) -> None:
        raise OSError(number, "it does not work now", str(log))

    with monkeypatch.context() as patch:
        patch.setattr(rollouts, "read_eval_log", fails)
        with pytest.raises(RunError, match=r"cannot be read now \(it does not work now\); nothing was moved"):
            finished_log(asked(log))
    assert [p.name for p in log.parent.iterdir()] == [log.name]
    assert capfd.readouterr().err == ""
    assert finished_log(asked(log)) == log


def test_a_folder_that_cannot_be_listed_is_an_error(log: Path, monkeypatch: pytest.MonkeyPatch):
    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(rollouts, "list_eval_logs", fails)
    with pytest.raises(RunError, match="heldout cannot be read now"):
        finished_log(asked(log))


def test_a_process_out_of_files_moves_no_log(log: Path):
    code = f"""
import resource, sys
from pathlib import Path
from training.errors import RunError
from training.rollouts.evals import Rollout, finished_log
rollout = Rollout(folder=Path({str(log.parent)!r}), task="", task_args={{}}, model="told/model", seed=0)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, {resource.getrlimit(resource.RLIMIT_NOFILE)[1]}))
files = []
try:
    while True:
        files.append(open("/dev/null"))
except OSError:
    pass
try:
    finished_log(rollout)
except RunError as error:
    files.clear()
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "cannot be read now (Too many open files)" in done.stdout, done.stderr
    assert log.exists()


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    "damage", [cut, lambda _: b"", lambda _: b"words", lambda c: c[:-300] + bytes(b ^ 255 for b in c[-300:])]
)
def test_a_damaged_log_is_put_aside_and_it_is_said(log: Path, damage, capfd: pytest.CaptureFixture[str]):
    whole = log.read_bytes()
    log.write_bytes(damage(whole))
    assert finished_log(asked(log)) is None
    aside = log.with_suffix(".broken")
    assert aside.read_bytes() == damage(whole)
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert line.startswith(f"{log} is damaged (")
    assert line.endswith(f"it is now {aside.name}")


def test_a_log_that_is_being_written_is_looked_at_twice(log: Path, monkeypatch: pytest.MonkeyPatch):
    whole = log.read_bytes()
    log.write_bytes(cut(whole))
    monkeypatch.setattr(rollouts.time, "sleep", lambda _: log.write_bytes(whole))
    assert finished_log(asked(log)) == log


@pytest.mark.parametrize("wrong", [AttributeError("a mistake of ours"), MemoryError(), RecursionError()])
def test_what_is_no_damage_moves_nothing(log: Path, monkeypatch: pytest.MonkeyPatch, wrong: Exception):
    def fails(*_: object, **__: object) -> None:
        raise wrong

    monkeypatch.setattr(rollouts, "read_eval_log", fails)
    with pytest.raises(type(wrong)):
        finished_log(asked(log))
    assert log.exists()


def test_only_logs_that_were_there_before_are_removed_when_an_eval_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Of two evals in one folder neither removes what the other wrote."""
    from inspect_ai import eval as real

    folder = tmp_path / "heldout"
    foreign = folder / "2000-01-01T00-00-00+00-00_therapy_abc.eval"

    def and_another(*arguments, **options):
        logs = real(*arguments, **options)
        made = Path(logs[0].location.removeprefix("file://"))
        foreign.write_bytes(made.read_bytes())
        return logs

    monkeypatch.setattr(rollouts, "eval", and_another)
    rollout = Rollout(
        folder=folder,
        task="tasks/therapy.py",
        task_args={"topics": "smoking", "states": 2, "turns": 1},
        model="told/model",
        roles={"user": "miniature/user", "judge": "miniature/judge"},
        seed=0,
        display="none",
    )
    with pytest.raises(RunError, match="holds 2 finished logs"):
        rollouts.roll_out(rollout, own_process=False)
    assert foreign.exists()
    assert len(list(folder.glob("*.eval"))) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "tasks/therpy.py"}, "task: there is no file .*therpy.py"),
        ({"task": "tasks/therapy.py@nope"}, "Task named 'nope' not found"),
        ({"task_args": {"turns": "x"}}, "^task_args: turns=x: Input should be a valid integer"),
        ({"task_args": {"monkey": "blue"}}, "^task_args: monkey: no such option"),
        (
            {"task_args": {"topics": "smokng"}, "roles": {"judge": "told/model", "user": "told/model"}},
            "smokng",
        ),
        ({"model": "nonsense/model"}, "nonsense"),
        ({"model": "told/model", "model_args": {"foo": 1}}, "the eval cannot start: TypeError: .*foo"),
    ],
)
def test_what_an_eval_cannot_start_with_is_one_line(tmp_path: Path, change: dict, message: str):
    rollout = Rollout(
        folder=tmp_path / "heldout",
        task="tasks/therapy.py",
        task_args={},
        model="told/model",
        seed=0,
        display="none",
    )
    with pytest.raises(RunError, match=message) as error:
        rollouts.roll_out(rollout.model_copy(update=change), own_process=False)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("gives", [[], "cancelled"])
def test_an_eval_that_was_stopped_is_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gives: object
):
    """Before the first conversation Inspect gives no log at all."""
    from types import SimpleNamespace

    logs = [] if gives == [] else [SimpleNamespace(status=gives)]
    monkeypatch.setattr(rollouts, "eval", lambda *_, **__: logs)
    rollout = Rollout(
        folder=tmp_path / "x", task="tasks/therapy.py", task_args={}, model="told/model", seed=0
    )
    with pytest.raises(KeyboardInterrupt):
        rollouts.roll_out(rollout, own_process=False)


BREAKS_ON_B = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.solver import generate, solver


@solver
def breaks():
    async def solve(state, generate):
        if state.sample_id == "b":
            raise ValueError("breaks")
        return await generate(state)

    return solve


@task
def odd():
    return Task([Sample(input="Hi", id=name) for name in "ab"], solver=[breaks()])
"""


def test_an_eval_that_is_stopped_as_it_goes_on_is_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Inspect 0.3.285 takes the first log of none then. Other errors of that kind are errors."""

    def eval_retry_async(*_, **__):
        return [][0]

    def of_the_task(*_, **__):
        raise IndexError("of the task")

    task = tmp_path / "odd.py"
    task.write_text(BREAKS_ON_B)
    rollout = Rollout(
        folder=tmp_path / "odd", task=str(task), task_args={}, model="told/model", seed=0, display="none"
    )
    with pytest.raises(RunError, match="breaks"):
        rollouts.roll_out(rollout, own_process=False)
    monkeypatch.setattr(rollouts, "eval_retry", eval_retry_async)
    with pytest.raises(KeyboardInterrupt):
        rollouts.roll_out(rollout, own_process=False)
    monkeypatch.setattr(rollouts, "eval_retry", of_the_task)
    with pytest.raises(RunError, match="IndexError: of the task"):
        rollouts.roll_out(rollout, own_process=False)


def test_how_the_agent_speaks_can_be_set_and_changes_no_other_role(tmp_path: Path):
    from inspect_ai.log import read_eval_log

    rollout = Rollout(
        folder=tmp_path / "short",
        task="tasks/therapy.py",
        task_args={"states": 1, "turns": 2, "topics": "smoking"},
        model="miniature/agent",
        seed=0,
        temperature=0.25,
        reply_tokens=3,
        display="none",
    )
    log = read_eval_log(str(rollouts.roll_out(rollout, own_process=False)))
    calls = [e for s in log.samples for e in s.events if e.event == "model"]
    agents = [e for e in calls if e.model == "miniature/agent"]
    assert {(e.config.temperature, e.config.max_tokens) for e in agents} == {(0.25, 3)}
    assert all(e.output.usage.output_tokens <= 3 for e in agents)
    others = {e.config.max_tokens for e in calls if e.model != "miniature/agent"}
    assert others
    assert 3 not in others


def test_an_algorithm_that_draws_its_own_conversations_refuses_to_be_told_how():
    with pytest.raises(RunError, match="temperature and reply_tokens: grpo_online draws its conversations"):
        check_policy(LoopSettings(algorithm="grpo_online", temperature=0.5, reply_tokens=9))
