"""Logs of shares as one log: what each holds is in it once, and nothing unfinished looks like a log."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.log import EvalError, EvalLog, EvalSample, EvalStats, list_eval_logs, read_eval_log

import tasks.therapy  # noqa: F401  (the metrics of its scorers)
from scenarios.files import whole
from tests.support.scored_logs import conversation, written
from training.errors import RunError
from training.rollouts.evals import seconds_of
from training.rollouts.joining import join

FAILED = EvalError(message="no answer", traceback="", traceback_ansi="")


def share(path: Path, conversations: list[dict[str, Any]], **times: str) -> Path:
    def finish(log: EvalLog) -> EvalLog:
        log.stats = EvalStats.model_validate(times)
        log.eval.config.epochs, log.eval.config.sample_id = 1, [sample["id"] for sample in conversations]
        log.samples = [EvalSample.model_validate(sample.model_dump()) for sample in log.samples or []]
        return log

    return Path(written(path, conversations, finish=finish))


def rated(name: str | int, value: float | None, **more: Any) -> dict[str, Any]:
    scores = {} if value is None else {"preference": (value, None)}
    return {**conversation(0, scores), "id": name, **more}


TIME = {"started_at": "2026-01-01T10:00:00+00:00", "completed_at": "2026-01-01T10:05:00+00:00"}


@pytest.fixture
def two(tmp_path: Path) -> Callable[..., list[Path]]:
    def made(first: list[dict[str, Any]], second: list[dict[str, Any]], **second_time: str) -> list[Path]:
        times = [TIME, {**TIME, **second_time}]
        return [
            share(tmp_path / f"{n}.eval", of, **time)
            for n, (of, time) in enumerate(zip((first, second), times, strict=True))
        ]

    return made


def test_failed_conversations_and_shares_without_a_score_are_counted(
    two: Callable[..., list[Path]], tmp_path: Path
) -> None:
    shares = two([rated("a/1", 4), rated("c[1]", 8)], [rated(7, None, error=FAILED, uuid="x")])
    out = tmp_path / "out" / "joined.eval"
    join(shares, ["a/1", "7", "c[1]"], out, config={"sample_id": None})
    log = read_eval_log(str(out))
    assert {s.id: s.error is None for s in log.samples or []} == {"a/1": True, 7: False, "c[1]": True}
    assert log.results is not None
    assert (log.results.total_samples, log.results.completed_samples) == (3, 2)
    assert log.eval.dataset.sample_ids == ["a/1", 7, "c[1]"]
    assert log.eval.config.sample_id is None


def test_time_between_two_tries_is_not_counted(two: Callable[..., list[Path]], tmp_path: Path) -> None:
    day = {"started_at": "2026-01-02T10:00:00+00:00", "completed_at": "2026-01-02T10:01:00+00:00"}
    join(two([rated("a", 4)], [rated("b", 8)], **day), ["a", "b"], tmp_path / "j.eval", config={})
    assert seconds_of(tmp_path / "j.eval") == 60
    later = {"started_at": "2026-01-01T10:00:03+00:00", "completed_at": "2026-01-01T10:06:00+00:00"}
    join(two([rated("a", 4)], [rated("b", 8)], **later), ["a", "b"], tmp_path / "j.eval", config={})
    assert seconds_of(tmp_path / "j.eval") == 360


@pytest.mark.parametrize("users", [["a", "b", "c"], ["a"], ["a", "c"]])
def test_users_of_another_task_are_told(
    users: list[str], two: Callable[..., list[Path]], tmp_path: Path
) -> None:
    with pytest.raises(RunError, match="has the task changed"):
        join(two([rated("a", 4)], [rated("b", 8)]), users, tmp_path / "j.eval", config={})
    assert not (tmp_path / "j.eval").exists()


def test_what_is_not_whole_yet_is_no_log_for_inspect(
    two: Callable[..., list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares, out = two([rated("a", 4)], [rated("b", 8)]), tmp_path / "out" / "joined.eval"
    seen: list[list[str]] = []

    def flushed(path: Path) -> None:
        if path.is_file():
            seen.append([info.name for info in list_eval_logs(str(path.parent), recursive=False)])

    monkeypatch.setattr(whole, "_flush", flushed)
    join(shares, ["a", "b"], out, config={})
    assert seen == [[]]
