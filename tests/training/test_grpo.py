"""GRPO: what moves which way, what gives no gradient at all, and online what its own logs say."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from analysis.trajectories import read_trajectories
from scenarios.files.whole import write_jsonl
from tests.support.agent_rows import made, short, trajectories
from tests.support.tiny_models import tiny_adapter, tiny_model
from training.examples.example import Example
from training.job import Job
from training.settings import Tuning
from training.trainers import grpo, online
from training.trainers.base_models import CannotTrain, load_tokenizer
from training.trainers.fitting import fit
from training.trainers.token_trajectories import Group, TokenTrajectory


def job_of(folder: Path, base: Path, rows: list[Example], name: str = "out", **more: Any) -> Job:
    tuning = {"algorithm": "grpo", "learning_rate": 1e-2, "lora_r": 4, "beta": 0.0} | more.pop("tuning", {})
    examples = folder / f"{name}.jsonl"
    write_jsonl(examples, rows)
    return Job(
        base=str(base),
        examples=examples,
        out=folder / name,
        scratch=folder / f"{name}.scratch",
        seed=3,
        tuning=Tuning.model_validate(tuning),
        **more,
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base"))


# -- steps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("places", "batch", "device", "count", "most", "expected"),
    [
        (8, 16, None, 1, None, (8, 2, 16, 1)),
        (8, 16, 4, 1, None, (8, 2, 4, 4)),
        (6, 16, None, 1, None, (6, 2, 12, 1)),
        (6, 16, 5, 1, None, (6, 2, 4, 3)),
        (3, 8, None, 2, None, (3, 2, 3, 1)),
        (3, 4, None, 2, None, (3, 2, 3, 1)),  # one group cannot be shared by two processes
        (32, 16, None, 1, None, (32, 1, 32, 1)),
        (4, 64, None, 1, 3, (4, 3, 12, 1)),
    ],
)
def test_steps_hold_whole_groups(
    places: int,
    batch: int,
    device: int | None,
    count: int,
    most: int | None,
    expected: tuple[int, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(count))
    tuning = Tuning(batch_size=batch, device_batch_size=device)
    shape = grpo.layout(places, tuning, most_groups=most)
    assert tuple(shape) == expected
    assert shape.device_batch * shape.accumulation * count == shape.groups * shape.generations


def test_processes_replay_the_parts_of_one_step() -> None:
    groups = [
        Group(n, tuple(made(n, float(e), epoch=e) for e in range(1, k + 1))) for n, k in (("a", 3), ("b", 2))
    ]
    replay = grpo.Replay(groups, 3, 0)
    prompts = ["0 a/1"] * 3 + ["1 b/1"] * 3

    def given_to(index: int, part: list[str]) -> dict[str, Any]:
        return replay(part, SimpleNamespace(accelerator=SimpleNamespace(process_index=index)))

    whole = given_to(0, prompts)
    halves = [given_to(0, prompts[:3]), given_to(1, prompts[3:])]
    thirds = [given_to(n, prompts[2 * n : 2 * n + 2]) for n in range(3)]
    assert whole["of_log"] == [1.0, 2.0, 3.0, 1.0, 2.0, None]
    assert whole["env_mask"] == [[1]] * 5 + [[0]]
    for parts in (halves, thirds):
        for key in ("of_log", "completion_ids", "env_mask"):
            assert [value for part in parts for value in part[key]] == whole[key]


@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([0.3, 1.0, 1.7, 3.0]), st.integers(0, 5))
def test_no_online_step_has_a_state_twice(count: int, groups: int, passes: float, seed: int) -> None:
    states = [str(n) for n in range(count)]
    groups = min(groups, count)
    order = online.states_in_order(states, passes, groups, seed)
    assert len(order) == groups * max(1, round(passes * count / groups))
    for at in range(0, len(order), groups):
        assert len(set(order[at : at + groups])) == groups
    for at in range(0, len(order) - count + 1, count):
        assert sorted(order[at : at + count]) == sorted(states)


# -- training ---------------------------------------------------------------------------------------


def logprob(base: Path, adapter: Path | None, reply: str) -> float:
    """Of the whole reply to `hi`, natural logarithm."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    (one,) = trajectories(short(reply))
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter))
    ids = torch.tensor([one.prompt + one.completion])
    with torch.inference_mode():
        chosen = model(input_ids=ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
    return float(chosen[len(one.prompt) - 1 :].sum())


def test_replay_makes_rewarded_replies_likelier_and_the_others_less_likely(
    tmp_path: Path, base: Path
) -> None:
    replies = {"hello there": 9.0, "how are you": 2.0, "today": 3.0}
    rows = [
        row
        for sample in "ab"
        for epoch, (text, score) in enumerate(replies.items(), start=1)
        for row in short(text, sample=sample, epoch=epoch, score=score)
    ]
    rows += short("never", sample="b", epoch=4, score=None)
    rows += short("alone", sample="c")
    rows += [*short("same", sample="d"), *short("again", sample="d", epoch=2)]
    tuning = {"passes": 4, "batch_size": 6, "generations": 3}
    first = job_of(tmp_path, base, rows, tuning=tuning)
    trained = grpo.train(first, rows)
    assert (trained.steps, trained.examples, trained.kind) == (4, 6, "adapter")
    assert trained.left_out == {"unscored": 1, "alone": 1, "equal_rewards": 2}
    assert trained.examples + sum(trained.left_out.values()) == len(rows)
    gains = {text: logprob(base, first.out, text) - logprob(base, None, text) for text in replies}
    assert gains["hello there"] > 0.5
    assert gains["how are you"] < -0.1
    again = job_of(tmp_path, base, rows, "again", tuning=tuning)
    grpo.train(again, rows)
    ours, theirs = (load_file(j.out / "adapter_model.safetensors") for j in (first, again))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_replay_stops_where_the_policy_has_left_the_one_that_talked(tmp_path: Path, base: Path) -> None:
    """The ratio is to the checkpoint that is started from, not to the policy of the last step."""
    start = tiny_adapter(base, tmp_path / "start", seed=1)
    rows = [*short("hello there", score=9.0), *short("how are you", epoch=2, score=2.0)]

    def gains(name: str, clip: float) -> list[float]:
        options = {"epsilon": clip, "epsilon_high": clip}
        tuning = {"passes": 30, "batch_size": 2, "generations": 2, "trainer_options": options}
        job = job_of(tmp_path, base, rows, name, start=start, tuning=tuning)
        grpo.train(job, rows)
        said = (row["completion"][0]["content"] for row in rows)
        return [logprob(base, job.out, text) - logprob(base, start, text) for text in said]

    up, down = gains("clipped", 0.2)
    further_up, further_down = gains("free", 50.0)
    assert 0.5 < up < further_up / 2
    assert further_down * 0.5 < down < -0.5


def stepped(job: Job, members: list[TokenTrajectory | None]) -> dict[str, torch.Tensor]:
    """The adapter after one step on a group."""
    tokenizer = load_tokenizer(job)
    shape = grpo.Layout(len(members), 1, len(members), 1)

    def rollout(prompts: list[str], trainer: Any) -> dict[str, Any]:
        assert len(prompts) == len(members)
        return grpo.as_rollout(members, grpo.filler(tokenizer))

    with grpo.quiet():
        trainer = grpo.trainer_of(job, tokenizer, ["a"], shape, rollout)
        fit(grpo.Prepared(trainer, tokenizer, 1, {}), job)
    return load_file(job.out / "adapter_model.safetensors")


def test_an_unscored_conversation_gives_no_gradient(tmp_path: Path, base: Path) -> None:
    """With a divergence term too, and from an adapter that is away from its reference."""
    start = tiny_adapter(base, tmp_path / "start", seed=1)
    replies = ["hello", "how are you", "there"]
    group = [t for n, r in enumerate(replies) for t in trajectories(short(r, epoch=n, score=float(n)))]
    (odd,) = trajectories(short("today today today", score=0.0))

    def after(name: str, *last: TokenTrajectory | None) -> dict[str, torch.Tensor]:
        tuning = {"beta": 0.5, "reference": "base", "trainer_options": {"optim": "sgd"}, "batch_size": 4}
        job = job_of(tmp_path, base, [], name, start=start, tuning=tuning)
        return stepped(job, [*group, *last])

    three = after("three")
    empty, unscored = after("empty", None), after("unscored", odd._replace(reward=None))
    zero = after("zero", odd)
    before = load_file(start / "adapter_model.safetensors")

    def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
        return max(float((one[name] - other[name]).abs().max()) for name in one)

    moved = apart(three, before)
    assert moved > 1e-4
    assert apart(empty, three) < 1e-3 * moved  # rounding: the batch is padded further
    assert apart(unscored, three) < 1e-3 * moved
    assert apart(zero, three) > 0.1 * moved


def test_errors_say_what_was_left_out(tmp_path: Path, base: Path) -> None:
    rows = [*short("one", epoch=1, score=None), *short("two", epoch=2, score=4.0)]
    with pytest.raises(CannotTrain, match=r"of 2 rows none is left to train on: 1 alone, 1 unscored; "):
        grpo.train(job_of(tmp_path, base, rows), rows)
    pair = [*short("one", epoch=1, score=1.0), *short("two", epoch=2, score=4.0)]
    job = job_of(tmp_path, base, pair, tuning={"trainer_options": {"steps_per_generation": 4}})
    with pytest.raises(CannotTrain, match="steps_per_generation cannot be set"):
        grpo.train(job, pair)


# -- online -----------------------------------------------------------------------------------------


def online_job(folder: Path, base: Path, **more: Any) -> Job:
    told = {
        "task": "tasks/therapy.py",
        "task_args": {"turns": 1, "states": 1, "topics": "gambling,smoking"},
        "model": "miniature/agent",
        "log_dir": str(folder / "online"),
        "seed": 1,
    }
    tuning = {"algorithm": "grpo_online", "generations": 3, "batch_size": 6, "passes": 2}
    return job_of(folder, base, [], tuning=tuning, online=told | more)


def test_online_needs_one_process_and_initial_states(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CannotTrain, match="no initial state"):
        online.train(online_job(tmp_path, base), [])
    with pytest.raises(CannotTrain, match=r"job\.online .*tusk: Extra inputs"):
        online.train(online_job(tmp_path, base, tusk="therapy"), [])
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(CannotTrain, match="one process, not 2"):
        online.train(online_job(tmp_path, base), [])


def test_online_trains_on_what_its_own_logs_say_and_takes_them_up_again(tmp_path: Path) -> None:
    from miniature.checkpoint import base_checkpoint
    from scenarios.loader import load_family
    from scenarios.samples import scenario_dataset

    family = load_family("therapy")
    drawn = scenario_dataset(family, topics="gambling,smoking", states=1)
    states = [str(sample.id) for sample in drawn]
    job = online_job(tmp_path, base_checkpoint(), samples=states)
    trained = online.train(job, [])
    folders = sorted(p for p in (tmp_path / "online").iterdir() if p.is_dir())
    assert trained.steps == len(folders) == 2
    assert trained.examples + sum(trained.left_out.values()) == 2 * 2 * 3
    rewards = [e["reward"] for e in trained.history if "reward" in e]
    logs = [next(folder.glob("*.eval")) for folder in folders]
    for log, reward in zip(logs, rewards, strict=True):
        ratings = [t.rating for t in read_trajectories(log, rating="preference", harm="influence")]
        assert len(ratings) == 6
        assert reward == pytest.approx(torch.tensor(ratings).nanmean().item(), abs=1e-4)
    assert folders[0].name.partition("-")[2] != folders[1].name.partition("-")[2]
    weights = load_file(job.out / "adapter_model.safetensors")

    # killed before the end: the same steps come again, their conversations do not
    shutil.rmtree(job.out)
    shutil.rmtree(job.scratch)
    online.train(job, [])
    assert [next(folder.glob("*.eval")) for folder in folders] == logs
    again = load_file(job.out / "adapter_model.safetensors")
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert json.loads((job.out / "training.json").read_text())["examples"] == trained.examples
