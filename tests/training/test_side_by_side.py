"""A rollout in several processes: the same conversations, in the same one log, whatever stops it on the way."""

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from inspect_ai.log import EvalLog, read_eval_log, read_eval_log_sample_summaries

from analysis.logs.finding import open_log
from analysis.logs.samples import SpokenRecord, records_of
from tests.support.openai_stub import openai_stub
from training.errors import RunError
from training.loop.rehearsal import users_of
from training.loop.steps import Steps
from training.rollouts import processes
from training.rollouts.evals import Rollout, roll_out
from training.rollouts.processes import RolloutProcesses, cores
from training.rollouts.side_by_side import roll_out_side_by_side
from training.runs.run_folder import opened
from training.settings import LoopSettings

STATES, EPOCHS = 5, 2


ODD_TASK = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.solver import generate


@task
def odd():
    return Task([Sample(input="Hi", id=n) for n in ("odd:1", "a[1]", "a*", "ab", 7)], solver=generate())
"""


def rollout_in(folder: Path, model: str = "miniature/agent") -> Rollout:
    return Rollout(
        folder=folder / "rollouts",
        task="tasks/therapy.py",
        task_args={"states": STATES, "turns": 2, "topics": ["smoking"]},
        model=model,
        roles={"user": "miniature/user", "judge": "miniature/judge"},
        epochs=EPOCHS,
        seed=3,
        log_buffer=1,
        display="none",
    )


def side_by_side(rollout: Rollout, count: int) -> Path:
    return roll_out_side_by_side(rollout, count, lambda: users_of(rollout), own_process=False)


def processes_at_work() -> list[int]:
    children = psutil.Process().children(recursive=True)
    return [child.pid for child in children if "training.rollouts.evals" in child.cmdline()]


def said_and_scored(log: Path) -> dict[Any, Any]:
    return {
        record.unit: (
            [(m["role"], m["content"]) for m in record.messages],
            {name: score.value for name, score in (record.scores or {}).items()},
        )
        for record in records_of(open_log(log), SpokenRecord)
    }


def metrics(log: EvalLog) -> dict[str, float]:
    assert log.results is not None
    return {
        f"{score.name}/{name}": metric.value
        for score in log.results.scores
        for name, metric in score.metrics.items()
    }


@pytest.mark.slow
def test_two_processes_give_the_log_of_one(tmp_path: Path) -> None:
    one = roll_out(rollout_in(tmp_path / "one"), own_process=False)
    rollout = rollout_in(tmp_path / "two")
    two = side_by_side(rollout, 2)

    assert list(rollout.folder.iterdir()) == [two]
    assert said_and_scored(two) == said_and_scored(one)
    assert len(said_and_scored(two)) == STATES * EPOCHS
    logs = [read_eval_log(str(log)) for log in (one, two)]
    assert metrics(logs[1]) == pytest.approx(metrics(logs[0]), nan_ok=True)
    for before, now in zip(*([log.samples or [] for log in logs]), strict=True):
        assert (before.id, before.epoch, len(before.events)) == (now.id, now.epoch, len(now.events))
    a, b = logs
    assert a.results is not None
    assert b.results is not None
    assert a.results.completed_samples == b.results.completed_samples == STATES * EPOCHS
    assert a.results.total_samples == b.results.total_samples
    assert a.eval.dataset.sample_ids == b.eval.dataset.sample_ids
    assert a.eval.config == b.eval.config
    used = [{name: one.total_tokens for name, one in log.stats.role_usage.items()} for log in logs]
    assert used[0] == used[1]
    assert a.reductions is not None
    assert b.reductions is not None
    assert [(r.scorer, len(r.samples)) for r in a.reductions] == [
        (r.scorer, len(r.samples)) for r in b.reductions
    ]
    assert len(read_eval_log_sample_summaries(str(two))) == STATES * EPOCHS
    assert side_by_side(rollout, 3) == two


class Stub:
    """A server that may end the first process that asks it for the given person."""

    def __init__(self, server: Any) -> None:
        self.server, self.asked = server, 0
        # one of its own: Inspect keeps the models it made by name, with the address they were made for
        self.service = f"stub{server.server_port}"
        self.kill_at: int | None = None
        server.refuses = self._count

    @property
    def agent(self) -> str:
        return f"openai-api/{self.service}/agent"

    def _count(self, body: Mapping[str, Any]) -> None:
        if body["model"] != "agent":
            return
        self.asked += 1
        if self.asked == self.kill_at:
            for pid in processes_at_work():
                psutil.Process(pid).kill()


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    with openai_stub() as server:
        found = Stub(server)
        monkeypatch.setenv(f"{found.service.upper()}_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv(f"{found.service.upper()}_API_KEY", "none")
        yield found


def test_a_killed_process_is_an_error_with_a_name_and_what_is_there_is_not_bought_again(
    stub: Stub, tmp_path: Path
) -> None:
    rollout = rollout_in(tmp_path, stub.agent)
    stub.kill_at = STATES * EPOCHS * 2 - 2
    with pytest.raises(RunError, match=r"share-\d-of-2: the eval failed"):
        side_by_side(rollout, 2)
    bought, stub.kill_at = stub.asked, None
    (rollout.folder / "share-1-of-2.json").touch()  # as a process leaves it that is killed with its parent
    log = side_by_side(rollout, 4)  # goes on with two, as it was begun
    assert list(rollout.folder.iterdir()) == [log]
    assert len(said_and_scored(log)) == STATES * EPOCHS
    assert stub.asked - bought < STATES * EPOCHS * 2


def test_odd_ids_are_held_once_each(tmp_path: Path) -> None:
    """Inspect takes ids for patterns, and what is before a colon for the name of a task."""
    task = tmp_path / "odd.py"
    task.write_text(ODD_TASK)
    rollout = rollout_in(tmp_path / "odd", "miniature/user").model_copy(
        update={"task": str(task), "task_args": {}}
    )
    log = read_eval_log(str(side_by_side(rollout, 2)))
    held = [(sample.id, sample.epoch) for sample in log.samples or []]
    ids = ["odd:1", "a[1]", "a*", "ab", 7]
    assert sorted(held, key=str) == sorted([(name, epoch) for name in ids for epoch in (1, 2)], key=str)


def test_only_cores_are_counted_that_may_be_used() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_what_one_process_began_one_goes_on_with(stub: Stub, tmp_path: Path) -> None:
    rollout = rollout_in(tmp_path, stub.agent)
    log = roll_out(rollout, own_process=False)
    bought = stub.asked
    assert side_by_side(rollout, 2) == log
    assert stub.asked == bought


@pytest.mark.slow
def test_a_standing_process_holds_its_share_of_one_rollout_after_the_other(
    stub: Stub, tmp_path: Path
) -> None:
    together = RolloutProcesses(users_of, own_process=False)
    try:
        rollouts = [rollout_in(tmp_path / name, stub.agent) for name in ("a", "b", "c", "d")]
        assert len(said_and_scored(together.roll_out(rollouts[0], 2))) == STATES * EPOCHS
        (process,) = processes_at_work()
        assert len(said_and_scored(together.roll_out(rollouts[1], 2))) == STATES * EPOCHS
        assert processes_at_work() == [process]

        psutil.Process(process).kill()  # while it waits
        while psutil.Process(process).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        assert len(said_and_scored(together.roll_out(rollouts[2], 2))) == STATES * EPOCHS
        assert process not in processes_at_work()

        stub.kill_at = stub.asked + STATES * EPOCHS
        with pytest.raises(RunError, match=r"share-1-of-2: the eval failed"):
            together.roll_out(rollouts[3], 2)
        stub.kill_at = None
        log = together.roll_out(rollouts[3], 2)
        assert len(said_and_scored(log)) == STATES * EPOCHS
        assert list(rollouts[3].folder.iterdir()) == [log]
    finally:
        together.end()
    assert processes_at_work() == []


def test_held_out_states_are_as_many_as_those_trained_on_if_nobody_says_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[int | None] = []

    def note(rollout: Rollout, *args: object, **how: object) -> Path:
        states.append(rollout.task_args.get("states"))
        return tmp_path

    monkeypatch.setattr(processes, "roll_out_side_by_side", note)
    for number, given in enumerate(({}, {"states": 3}, {"states": 3, "heldout_states": 2})):
        settings = LoopSettings.model_validate({"run": tmp_path / str(number), **given})
        with opened(settings) as folder:
            Steps(folder).heldout(folder.iteration(0))
    assert states == [None, 3, 2]


@pytest.mark.parametrize(
    ("options", "on", "expected"),
    [
        ({"states": 2, "epochs": 12}, 2, 2),  # of each of twelve topics
        ({"states": 2, "epochs": 12}, 64, 4),  # each takes memory
        ({"states": 1, "epochs": 1, "topics": ["smoking"]}, 2, 1),
        ({"states": 1, "epochs": 1, "topics": ["smoking"], "processes": 3}, 2, 3),
        # the task's own number of states
        ({"epochs": 1, "topics": ["smoking", "gambling", "gaming", "drinking"]}, 2, 2),
        ({"states": 2, "epochs": 12, "model": "vllm/some/model"}, 2, 1),
        ({"states": 2, "epochs": 12, "roles": {"judge": "local/a/judge"}}, 2, 1),
    ],
)
def test_many_conversations_of_the_miniature_keep_every_core_busy(
    options: dict[str, Any], on: int, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def note(_: Rollout, count: int, *args: object, **how: object) -> Path:
        asked.append(count)
        return tmp_path

    monkeypatch.setattr(processes, "roll_out_side_by_side", note)
    monkeypatch.setattr(processes, "cores", lambda: on)
    with opened(LoopSettings(**({"run": tmp_path / "run"} | options))) as folder:
        Steps(folder).rollouts(folder.iteration(0))
    assert asked == [expected]
