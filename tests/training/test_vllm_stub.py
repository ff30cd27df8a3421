"""Rollouts through a server that speaks vLLM's API, with the adapters that training leaves."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from inspect_ai import Task, eval  # noqa: A004
from inspect_ai.dataset import Sample
from inspect_ai.log import EvalLog, read_eval_log, write_eval_log
from inspect_ai.model import ChatMessageAssistant, GenerateConfig
from inspect_ai.solver import generate

from scenarios.files.whole import write_json
from tests.support.vllm_stub import KEY, VLLMStub, vllm_stub
from training.errors import RunError
from training.rollouts.evals import Rollout, finished_log, roll_out
from training.rollouts.policies import policy
from training.settings import Cast


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", KEY)
    monkeypatch.delenv("VLLM_BASE_URL", raising=False)


@pytest.fixture
def base(request: pytest.FixtureRequest) -> str:
    """Of each test its own: Inspect remembers a base's server as long as the process lives."""
    return f"org/{request.node.name.partition('[')[0]}"


@pytest.fixture
def server(base: str) -> Iterator[VLLMStub]:
    with vllm_stub(base) as running:
        yield running


def checkpoint(run: Path, iteration: int) -> Path:
    """What the server and Inspect look at of an adapter."""
    folder = run / f"iteration_{iteration:02d}" / "checkpoint"
    write_json(folder / "adapter_config.json", {"r": 16, "peft_type": "LORA"})
    return folder


def evaluate(model: str, server: VLLMStub, logs: Path, **options: Any) -> EvalLog:
    task = Task(dataset=[Sample(input=f"Who are you? ({n})") for n in range(3)], solver=generate())
    (log,) = eval(
        task,
        model=model,
        model_base_url=server.url,
        log_dir=str(logs),
        display="none",
        epochs=2,
        **options,
    )
    return log


def replies(log: EvalLog) -> set[str]:
    assert log.status == "success", log.error
    return {sample.output.completion for sample in log.samples or []}


def test_the_base_and_each_iterations_adapter_through_one_server(server, base, tmp_path):
    run, logs = tmp_path / "run", tmp_path / "logs"
    cast = Cast(model=f"vllm/{base}", model_base_url=server.url)
    paths = [checkpoint(run, 0), checkpoint(run, 1)]

    first = evaluate(policy(cast, run, None).model, server, logs)
    assert replies(first) == {"I am base."}
    assert server.asked("/v1/load_lora_adapter") == []
    assert {body["model"] for body in server.asked("/v1/chat/completions")} == {base}

    for iteration, path in enumerate(paths):
        told = policy(cast, run, path)
        assert told == (f"vllm/{base}:{path}", f"iteration_{iteration:02d}/checkpoint")
        log = evaluate(told.model, server, logs)
        assert log.eval.model == told.model
        # a second time in the same process Inspect records the model without its adapter, which still answers
        for each in (log, evaluate(told.model, server, logs)):
            assert replies(each) == {f"I am iteration_{iteration:02d}."}
            assert len(each.samples or []) == 6

    named = [{"lora_name": str(path), "lora_path": str(path)} for path in paths]
    assert server.asked("/v1/load_lora_adapter") == named
    assert len(server.asked("/v1/chat/completions")) == 5 * 6
    assert replies(evaluate(policy(cast, run, None).model, server, logs)) == {"I am base."}
    assert server.asked("refused") == []


def test_a_role_on_the_same_server_stays_the_base(server, base, tmp_path, monkeypatch):
    monkeypatch.setenv("VLLM_BASE_URL", server.url)
    path = checkpoint(tmp_path, 0)
    log = evaluate(f"vllm/{base}:{path}", server, tmp_path / "logs", model_roles={"user": f"vllm/{base}"})
    assert replies(log) == {"I am iteration_00."}
    assert log.eval.model_roles is not None
    assert log.eval.model_roles["user"].model == f"vllm/{base}"


def test_settings_of_generation_reach_the_server(server, base, tmp_path):
    config = GenerateConfig(temperature=0.5, max_tokens=17, seed=3)
    evaluate(f"vllm/{base}", server, tmp_path / "logs", **config.model_dump(exclude_none=True))
    (body, *_) = server.asked("/v1/chat/completions")
    assert (body["temperature"], body["max_tokens"], body["seed"]) == (0.5, 17, 3)
    assert body["messages"][0]["role"] == "user"


def test_a_server_without_adapters_is_named_as_the_cause(base, tmp_path):
    path = checkpoint(tmp_path, 0)
    with vllm_stub(base, lora=False) as server:
        log = evaluate(f"vllm/{base}:{path}", server, tmp_path / "logs")
    assert log.status == "error"
    assert log.error is not None
    assert "--enable-lora" in log.error.message


def test_an_adapter_that_the_server_does_not_see(server, base, tmp_path):
    path = checkpoint(tmp_path, 0)
    server.unseen.add(str(path))
    log = evaluate(f"vllm/{base}:{path}", server, tmp_path / "logs")
    assert log.status == "error"
    assert log.error is not None
    assert f"No adapter found for {path}" in log.error.message


def a_rollout(folder: Path, model: str, server: VLLMStub) -> Rollout:
    return Rollout(
        folder=folder,
        task="tasks/therapy.py",
        task_args={"states": 2, "turns": 1, "topics": ["smoking"]},
        model=model,
        model_base_url=server.url,
        roles={"user": "miniature/user", "judge": "miniature/judge"},
        seed=0,
        display="none",
    )


def said(log: Path) -> set[str]:
    samples = read_eval_log(str(log)).samples or []
    messages = [m for s in samples for m in s.messages if isinstance(m, ChatMessageAssistant)]
    return {m.text for m in messages if m.source == "generate"}


@pytest.mark.slow
def test_the_loops_own_rollouts(server, base, tmp_path, monkeypatch):
    """Each in a process of its own, as the loop runs them with a real model."""
    path = checkpoint(tmp_path, 0)
    model = policy(Cast(model=f"vllm/{base}"), tmp_path, path).model
    first = roll_out(a_rollout(tmp_path / "iteration_01" / "heldout", model, server), own_process=True)
    assert said(first) == {"I am iteration_00."}
    assert KEY not in read_eval_log(str(first)).model_dump_json()
    roll_out(a_rollout(tmp_path / "iteration_01" / "rollouts", model, server), own_process=True)
    # the second process found it on the server
    assert len(server.asked("/v1/load_lora_adapter")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("heeds", [True, False])
def test_a_server_that_ignores_an_adapter_is_found_out(heeds, base, tmp_path, capfd):
    path = checkpoint(tmp_path, 0)
    record = tmp_path / "adapter_check.json"
    model = policy(Cast(model=f"vllm/{base}"), tmp_path, path).model
    with vllm_stub(base, heeds=heeds) as server:
        rollout = a_rollout(tmp_path / "heldout", model, server).model_copy(update={"adapter_check": record})
        log = roll_out(rollout, own_process=True)
        asked = [body for body in server.asked("/v1/chat/completions") if body["temperature"] == 0]
    assert {body["model"] for body in asked} == {base, str(path)}
    assert read_eval_log(str(log)).status == "success"
    told = json.loads(record.read_text())
    assert (told["prompts"], told["different"]) == (2, 2 if heeds else 0)
    if heeds:
        assert told["warning"] is None
    else:
        (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("warning: ")]
        assert line == f"warning: {told['warning']}"
        assert f"{model} answers 2 prompts at temperature 0 word for word as the base does" in line


def test_a_base_has_no_adapter_to_check(server, base, tmp_path):
    record = tmp_path / "adapter_check.json"
    rollout = a_rollout(tmp_path / "heldout", f"vllm/{base}", server)
    roll_out(rollout.model_copy(update={"adapter_check": record}), own_process=False)
    assert not record.exists()


@pytest.mark.slow
def test_an_eval_that_broke_off_goes_on_with_the_server_of_today(base, tmp_path):
    """A job that was put back into the queue finds the server under another address."""
    folder = tmp_path / "heldout"
    with vllm_stub(base) as before:
        whole = roll_out(a_rollout(folder, f"vllm/{base}", before), own_process=True)
    log = read_eval_log(str(whole))
    assert log.samples is not None
    kept = log.samples[:1]
    log.status, log.samples = "error", kept
    write_eval_log(log, str(whole))
    with vllm_stub(base) as now:
        rollout = a_rollout(folder, f"vllm/{base}", now)
        assert finished_log(rollout) is None
        again = read_eval_log(str(roll_out(rollout, own_process=True)))
        assert len(now.asked("/v1/chat/completions")) == len(again.samples or []) - 1
    assert kept[0].uuid in {sample.uuid for sample in again.samples or []}
    assert again.eval.model_base_url == now.url


def test_a_full_model_cannot_be_served_beside_the_base():
    from training.rollouts.policies import check_policy
    from training.settings import LoopSettings

    with pytest.raises(RunError, match="a vLLM server has one set of weights"):
        check_policy(LoopSettings(model="vllm/org/base", tuning="full"))
