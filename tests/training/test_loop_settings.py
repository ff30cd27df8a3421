"""Mistakes in the loop's settings: told in one line, with the option and the remedy, before anything is run."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from scenarios.loader import load_family
from scenarios.samples import scenario_dataset
from tests.support.conversations import FAMILY
from tests.support.tiny_models import tiny_model
from tests.support.trainer_here import ask_here
from training import ei_loop
from training.ei_loop import main, settings_of
from training.errors import RunError
from training.job import Job
from training.loop.preflight import asks_of_trainer, check_data, check_settings, check_task
from training.loop.rehearsal import check_scores, prompts_of, scores_of
from training.loop.steps import Steps
from training.rollouts.evals import Rollout
from training.runs.run_folder import RunFolder
from training.settings import LoopSettings, Tuning
from training.trainers import worker
from training.trainers.trainer_check import Question, answer

LINES: list[tuple[list[str], int, str]] = [
    (["--iterations", "0"], 2, "command line: --iterations 0: Input should be greater than or equal to 1"),
    (["--iterations", "x"], 2, "command line: --iterations x: Input should be a valid integer"),
    (["--fraction", "1/0"], 2, "command line: --fraction 1/0: '1/0' is no fraction such as 1/16"),
    (["--fraction", "a/b"], 2, "is no fraction such as 1/16"),
    (["--learning-rate", "inf"], 2, "command line: --learning-rate inf: Input should be a finite number"),
    (["--passes", "inf"], 2, "command line: --passes inf: Input should be a finite number"),
    (["--passes", "nan"], 2, "finite"),
    (["--max-grad-norm", "inf"], 2, "finite"),
    (["--run", ""], 2, "command line: --run : empty; name a folder"),
    (
        ["--roles", "judge=A", "influnce=B"],
        2,
        "command line: --roles: influnce: no such role; did you mean 'influence'?",
    ),
    (["--roles", "usr=A"], 2, "did you mean 'user'?"),
    (["--roles", "user="], 2, "command line: --roles: user=: name the model that plays user"),
    (["--roles", "user"], 2, "--roles takes key=value, got 'user'"),
    (["--roles", "=x"], 2, "--roles takes key=value, got '=x'"),
    (["--roles", "judge=a", "judge=b"], 2, "--roles: judge is given twice"),
    (
        ["--roles", "judge=a", "--roles", "user=b"],
        2,
        "--roles is given twice; give all of its values after one",
    ),
    (["--iteratons", "3"], 2, "unknown option --iteratons; did you mean '--iterations'?"),
    (
        ["--fraction", "1/8", "--count", "2"],
        2,
        "command line: fraction and count exclude each other; give one",
    ),
    (["--roles", "secretary=mockllm/model"], 1, "roles: secretary: no such role; there are user, preference"),
    (["--roles", "judge=A"], 1, "roles: judge=A: expected <provider>/<model>"),
    (["--roles", "judge=nonsense/model"], 1, "roles: judge=nonsense/model: "),
    (["--roles", "judge=miniature/juge"], 1, "no miniature/juge"),
    (["--threshold", "nan"], 1, "threshold: nan is no rating"),
    (["--threshold", "inf"], 1, "threshold: inf is no rating"),
    (["--model", "local/"], 1, "model: local/ names no model; say local/<name>"),
    (["--model", "local/no/such/folder"], 1, "model: there is no folder no/such/folder"),
    (["--model", "local/./nothing"], 1, "model: there is no folder ./nothing"),
    (["--base", "/no/such/folder"], 1, "base: there is no folder /no/such/folder"),
    (["--launcher", "no-such-program --x"], 1, "launcher: there is no program 'no-such-program' here"),
    (["--launcher", "env A=1 no-such-program"], 1, "launcher: there is no program 'no-such-program' here"),
    (["--launcher", "torchrun 'open"], 1, "cannot be read as a command: No closing quotation"),
    (["--launcher", " "], 1, "launcher: empty; name a command"),
    (
        ["--batch-size", "8", "--device-batch-size", "3"],
        1,
        "device_batch_size: a batch of 8 cannot be made of",
    ),
    (["--algorithm", "kto", "--batch-size", "1"], 1, "batch_size: kto compares"),
    (["--algorithm", "dpo", "--epochs", "1"], 1, "epochs: dpo compares conversations of one initial state"),
    (["--algorithm", "grpo", "--epochs", "1"], 1, "epochs: grpo compares"),
    (["--mix", "none.jsonl"], 1, "mix: there is no file none.jsonl"),
    (["--task", "tasks/nope.py"], 1, "task: there is no file"),
    (["--task", "tasks/therapy.py@nope"], 1, "Task named 'nope' not found"),
    (["--task-args", "turns=x"], 1, "task_args: turns=x: Input should be a valid integer"),
    (["--task-args", "monkey=blue"], 1, "task_args: monkey: no such option"),
    (["--topics", "smokng"], 1, "smokng"),
    (["--heldout-topics", "smokng"], 1, "smokng"),
    (["--harm-score", "nope"], 1, "harm_score: the task has no score 'nope'; it has preference, influence"),
    (["--score", "preferense"], 1, "score: the task has no score 'preferense'; did you mean 'preference'?"),
]


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    LINES,
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_leaves_no_folder(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], status: int, told: str
):
    run = tmp_path / "run"
    where = [] if "--run" in arguments else ["--run", str(run)]
    assert main([*where, *arguments]) == status
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert told in line
    assert not run.exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("- a\n", ":1: expected a mapping, got list"),
        ("iterations: [1]\n", ":1: iterations: Input should be a valid integer"),
        ("model: local/x\niterations: 0\n", ":2: iterations: Input should be greater"),
        ("model: local/x\niteratoins: 1\n", ":2: iteratoins: unknown key; did you mean 'iterations'?"),
        ("roles: user\n", ":1: roles: Input should be a valid dictionary"),
        ("roles: {usr: a/b}\n", ":1: roles: usr: no such role; did you mean 'user'?"),
        ("task_args: 3\n", ":1: task_args: Input should be a valid dictionary"),
    ],
)
def test_a_mistake_in_a_file_is_blamed_on_the_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], content: str, told: str
):
    config = tmp_path / "my.yaml"
    config.write_text(content)
    assert main(["--config", str(config), "--run", str(tmp_path / "run")]) == 2
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert line.startswith(f"{config}{told}")


def test_the_command_line_is_blamed_also_beside_a_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    config = tmp_path / "my.yaml"
    config.write_text("iterations: 3\nmodel: miniature/agent\n")
    assert main(["--config", str(config), "--iterations", "0"]) == 2
    assert capfd.readouterr().err.startswith("command line: --iterations 0: ")


def test_a_long_value_is_not_repeated(capfd: pytest.CaptureFixture[str]):
    assert main(["--seed", "x" * 50]) == 2
    assert "xxx" not in capfd.readouterr().err


def test_all_linear_on_a_command_line_means_all_linear():
    assert settings_of(["--lora-targets", "all-linear"]).lora_targets == "all-linear"
    assert settings_of(["--lora-targets", "q_proj", "v_proj"]).lora_targets == ["q_proj", "v_proj"]


def test_harmless_settings_pass(tmp_path: Path):
    check_settings(
        LoopSettings(
            run=tmp_path / "token=1",
            trainer_options={"eos_token": "</s>", "pad_token": "<pad>"},
            launcher="env OMP_NUM_THREADS=1 sh -c true",
            roles={"judge": "miniature/judge"},
        )
    )


def test_a_task_of_ones_own_may_have_roles_of_its_own(tmp_path: Path):
    task = tmp_path / "mine.py"
    task.write_text("")
    check_settings(LoopSettings(run=tmp_path / "run", task=str(task), roles={"secretary": "mockllm/model"}))


def test_columns_of_mixed_data_are_checked_before_a_run(tmp_path: Path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"question": "Hi?", "answer": "Yes."}\n' * 4)
    with pytest.raises(RunError, match="mix"):
        check_data(LoopSettings(mix=str(rows), mix_columns={"prompt": "qestion", "completion": "answer"}))


# -- the task -----------------------------------------------------------------------------------------


def rollout(task: str, **arguments: object) -> Rollout:
    return Rollout(folder=Path("none"), task=task, task_args=arguments, model="none", seed=0)


def test_a_look_at_the_task_that_is_stopped_is_an_interruption(tmp_path, monkeypatch):
    """Inspect gives no log then."""
    from training.loop import rehearsal
    from training.rollouts.evals import Rollout

    monkeypatch.setattr(rehearsal, "begun", lambda *_, **__: [])
    rollout = Rollout(folder=tmp_path, task="tasks/therapy.py", task_args={}, model="miniature/agent", seed=0)
    with pytest.raises(KeyboardInterrupt):
        rehearsal.users_of(rollout)


def test_the_scores_of_a_task_are_known_before_anybody_talks():
    known = ["preference", "influence", "transition", "simulator"]
    assert sorted(scores_of(rollout("tasks/therapy.py", states=2))) == sorted([*known, "facts"])
    assert "booking_report" in scores_of(rollout("tasks/booking.py", states=2))


def test_a_score_of_several_values_is_known_by_its_first_name():
    check_scores(["preference", "spiral"], {"score": "preference", "harm_score": "spiral.delusion"})
    with pytest.raises(RunError, match="harm_score: the task has no score 'spirall'; did you mean 'spiral'"):
        check_scores(["preference", "spiral"], {"harm_score": "spirall.delusion"})


def test_the_filter_needs_the_judge_that_it_reads(tmp_path: Path):
    task = tmp_path / "mine.py"
    task.write_text(
        "from inspect_ai import Task, task\nfrom inspect_ai.dataset import Sample\n"
        "from inspect_ai.scorer import match\n\n"
        "@task\ndef mine(split='train', states=1, gameable=0.5, topics=None, seed=0, veto_scored=None):\n"
        "    return Task(dataset=[Sample(input='Hi', target='Hi')], scorer=match())\n"
    )
    settings = LoopSettings(task=str(task), score="match", veto_mode="binary")
    with pytest.raises(RunError, match="veto_mode: the task has no score 'veto'; it has match"):
        check_task(settings, {}, {})
    check_task(
        settings.model_copy(update={"veto_mode": "none"}), {}, {}
    )  # the harm of such a task is unknown
    with pytest.raises(RunError, match="score: the task has no score 'preference'"):
        check_task(settings.model_copy(update={"veto_mode": "none", "score": "preference"}), {}, {})


@pytest.mark.parametrize(("kind", "share"), [("gameable", 1.0), ("other", 0.0)])
def test_scenarios_with_one_kind_of_user_and_few_states_need_no_options(
    tmp_path: Path, kind: str, share: float
):
    """Most environments of the earlier system are so; the loop asks for no other share by itself."""
    head, _, _ = FAMILY.partition("message:")
    opening = "opening: [{role: user, text: 'May I?'}]"
    topics = "".join(
        f"  - topic: {topic}\n    split: {split}\n    variables: {{hobby: chess}}\n    states:\n"
        f"      - {{id: {topic}-1, gameable: {str(kind == 'gameable').lower()}, {opening}}}\n"
        for topic, split in (("chess", "train"), ("bread", "heldout"))
    )
    (tmp_path / "one_kind.yaml").write_text(f"{head}topics:\n{topics}")
    settings = LoopSettings(
        run=tmp_path / "run", task="tasks/custom.py", task_args={"scenario": str(tmp_path / "one_kind.yaml")}
    )
    steps = Steps(RunFolder(settings.run, settings))
    train = steps.train_arguments(steps.folder.iteration(0))
    check_task(settings, train, steps.heldout_arguments())
    samples = scenario_dataset(load_family(tmp_path / "one_kind.yaml"), gameable=None, states=None)
    assert [float(s.metadata["gameable"]) for s in samples] == [share]


@pytest.mark.parametrize("family", ["therapy", "booking"])
def test_what_the_agent_will_be_given_is_known(family: str):
    prompts = prompts_of(rollout(f"tasks/{family}.py", states=2))
    assert len(prompts) == 8
    for prompt in prompts:
        assert [m["role"] for m in prompt["messages"]] == ["system", "user"]
        assert bool(prompt["tools"]) is (family == "booking")


# -- the trainer --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base"))


def asked(base: Path, **tuning: object) -> str | None:
    job = Job(
        base=str(base),
        examples=Path("/e"),
        out=Path("/o"),
        scratch=Path("/s"),
        tuning=Tuning(**tuning),
        seed=0,
    )
    prompts = [{"messages": [{"role": "user", "content": "Hello there, this is me."}], "tools": None}]
    return answer(Question(job=job, prompts=prompts, answer=Path("/a")))


@pytest.mark.parametrize(
    ("tuning", "told"),
    [
        (
            {"trainer_options": {"lerning_rte": 1}},
            "trainer_options: SFTConfig has no option 'lerning_rte'; did you mean",
        ),
        ({"trainer_options": {"weight_decay": "much"}}, "trainer_options: weight_decay='much'"),
        ({"trainer_options": {"max_length": 3}}, "max_length is called max_length here"),
        ({"trainer_options": {"optim": "best"}}, "SFTConfig refuses its options"),
        ({"algorithm": "kto", "trainer_options": {"loss_tpe": "x"}}, "KTOConfig has no option 'loss_tpe'"),
        (
            {"algorithm": "grpo", "trainer_options": {"use_vllm": "true"}},
            "trainer_options: use_vllm cannot be set",
        ),
        ({"algorithm": "grpo_online", "trainer_options": {"tempratur": 1}}, "did you mean 'temperature'"),
        ({"lora_targets": ["nonsense"]}, "has no layer 'nonsense'; it has down_proj"),
        ({"lora_targets": ["q_proj", "vproj"]}, "has no layer 'vproj'; did you mean 'v_proj'?"),
        ({"lora_targets": r".*\.nonsense"}, "fits no layer of"),
        ({"lora_targets": "(q_proj"}, "is no regular expression"),
        ({"batch_size": 8, "device_batch_size": 3}, "batch_size 8 cannot be divided"),
        ({"algorithm": "kto", "batch_size": 1}, "needs at least 2 examples"),
        (
            {"max_length": 16},
            "max_length 16 leaves no row to train on: what the agent is given before its first",
        ),
        ({"attn_implementation": "nope"}, "attn_implementation=nope: "),
        ({"tuning": "qlora"}, "tuning=qlora needs"),
    ],
)
def test_what_the_trainer_cannot_do_is_known_without_weights(
    base: Path, monkeypatch: pytest.MonkeyPatch, tuning: dict, told: str
):
    monkeypatch.setattr(
        AutoModelForCausalLM, "from_pretrained", lambda *_, **__: pytest.fail("weights were loaded")
    )
    found = asked(base, **tuning)
    assert found is not None
    assert told in found
    assert "\n" not in found


def test_an_optimizer_without_its_library_is_known(base: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("transformers")
    if importlib.util.find_spec("bitsandbytes") is not None:
        pytest.skip("bitsandbytes is here")
    found = asked(base, trainer_options={"optim": "adamw_bnb_8bit"})
    assert found is not None
    assert found.startswith("trainer_options: optim=adamw_bnb_8bit: ")


@pytest.mark.parametrize("algorithm", ["ei", "kto", "dpo", "grpo", "grpo_online"])
def test_what_the_trainer_can_do_passes(base: Path, algorithm: str):
    assert asked(base, algorithm=algorithm) is None
    assert asked(base, algorithm=algorithm, lora_targets=["q_proj"], trainer_options={"optim": "sgd"}) is None
    assert asked(base, algorithm=algorithm, lora_targets=r".*\.(q|v)_proj") is None


def test_a_base_that_is_not_there_is_one_line(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    found = asked(tmp_path / "empty")
    assert found is not None
    assert str(tmp_path / "empty") in found
    assert "\n" not in found


def test_the_architecture_is_made_without_memory(base: Path, monkeypatch: pytest.MonkeyPatch):
    made = []
    real = AutoModelForCausalLM.from_config

    def seen(*arguments, **options):
        made.append(real(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(AutoModelForCausalLM, "from_config", seen)
    assert asked(base, lora_targets=["q_proj"]) is None
    assert {p.device for p in made[0].parameters()} == {torch.device("meta")}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("trainer_options", {"optim": "sgd"}),
        ("lora_targets", ["q_proj"]),
        ("launcher", "torchrun"),
        ("max_length", 16),
        ("model", "local/org/base"),
        ("tuning", "qlora"),
        ("model_args", {"chat_template": "a.jinja"}),
    ],
)
def test_the_trainer_is_asked_about_what_is_unusual(option: str, value: object):
    usual = settings_of([])
    assert not asks_of_trainer(usual)
    assert asks_of_trainer(usual.model_copy(update={option: value}))


@pytest.mark.parametrize(
    ("given", "here"),
    [(["--trainer-options", "lerning_rte=1"], False), (["--lora-targets", "nonsense"], True)],
    ids=str,
)
def test_a_run_asks_the_trainer_before_it_begins(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    given: list[str],
    here: bool,
):
    if here:
        ask_here(monkeypatch)
    run = tmp_path / "run"
    assert main(["--run", str(run), *given]) == 1
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert given[0].strip("-").replace("-", "_") in line
    assert not run.exists()


def test_a_launcher_that_fails_is_told_with_its_words(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    program = tmp_path / "torchrun"
    program.write_text("#!/bin/sh\necho no such device >&2\nexit 3\n")
    program.chmod(0o755)
    assert main(["--run", str(tmp_path / "run"), "--launcher", f"{program} --nproc_per_node 2"]) == 1
    words, line = capfd.readouterr().err.strip().splitlines()
    assert words == "no such device"
    assert f"the trainer cannot be started: {program} --nproc_per_node 2" in line
    assert "exit status 3" in line


def test_a_launcher_that_may_have_to_wait_for_other_machines_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    programs = ask_here(monkeypatch)
    from training.trainers.trainer_check import check_trainer

    base = tiny_model(tmp_path / "base")
    job = Job(
        base=str(base), examples=Path("/e"), out=Path("/o"), scratch=Path("/s"), tuning=Tuning(), seed=0
    )
    check_trainer(job, [], "srun -N 2", tmp_path)
    assert programs == [sys.executable]


def test_the_process_of_the_trainer_answers_in_a_file(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    job = Job(
        base=str(base),
        examples=Path("/e"),
        out=Path("/o"),
        scratch=Path("/s"),
        tuning=Tuning(batch_size=3, device_batch_size=2),
        seed=0,
    )
    question = tmp_path / "question.json"
    question.write_text(Question(job=job, prompts=[], answer=tmp_path / "answer.json").model_dump_json())
    monkeypatch.setenv("RANK", "1")
    assert worker.main(["--check", str(question)]) == 0
    assert not (tmp_path / "answer.json").exists()  # the first of several processes writes
    monkeypatch.setenv("RANK", "0")
    assert worker.main(["--check", str(question)]) == 0
    assert "cannot be divided" in (tmp_path / "answer.json").read_text()


def test_a_full_disk_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ei_loop, "_train", full)
    assert main(["--run", str(tmp_path / "run")]) == 1
    assert capfd.readouterr().err.startswith("a file or the output cannot be written: the disk is full")
