"""Damaged run folders: what can be made again is made again and said, the rest is named with what to delete."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.support.tiny_run import TINY
from tests.support.trainer_here import train_here
from training import curves, generalise, publish
from training.ei_loop import main
from training.errors import RunError
from training.runs.run_folder import read_metrics, read_run

FIRST = "iteration_00"


@pytest.fixture
def run(unbroken: Path, tmp_path: Path) -> Path:
    path = tmp_path / "run"
    shutil.copytree(unbroken, path)
    return path


def again(run: Path, *more: str) -> int:
    """The same command, but for an option."""
    command = [*TINY]
    if more and more[0] in command:
        command[command.index(more[0]) + 1] = more[1]
        more = more[2:]
    return main(["--run", str(run), *command, *more])


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def gone(file: Path) -> None:
    file.unlink()


def edited(file: Path) -> None:
    text = file.read_text()
    file.write_text(text.replace("a", "b", 1))


def no_object(file: Path) -> None:
    file.write_text("[1, 2]\n")


def binary(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00{")


MADE_AGAIN: list[tuple[str, Callable[[Path], None]]] = [
    ("metrics.jsonl", cut),
    ("metrics.jsonl", binary),
    ("metrics.jsonl", gone),
    (f"{FIRST}/plan.json", no_object),
    (f"{FIRST}/plan.json", gone),
    (f"{FIRST}/selection.jsonl", cut),
    (f"{FIRST}/examples.jsonl", edited),
    (f"{FIRST}/examples.jsonl", gone),
    (f"{FIRST}/whole.json", cut),
    (f"{FIRST}/divergence.json", no_object),
    ("iteration_01/divergence.json", gone),
]
"""Every file, and every kind of damage."""

NUMBERS_OF_TIME = {"seconds_heldout", "seconds_rollout", "seconds_train"}


@pytest.mark.parametrize(("name", "damage"), MADE_AGAIN)
def test_what_follows_from_the_logs_is_made_again(
    unbroken: Path, run: Path, capfd: pytest.CaptureFixture[str], name: str, damage: Callable[[Path], None]
):
    damage(run / name)
    assert again(run) == 0
    err = capfd.readouterr().err
    assert "Traceback" not in err
    if damage not in (gone,) and "whole" not in name:
        (line,) = [line for line in err.splitlines() if "again" in line]
        assert Path(name).name in line
    if name != f"{FIRST}/whole.json":
        before, after = (p / name for p in (unbroken, run))
        if name.startswith("metrics"):
            assert [without_time(r) for r in read_metrics(after)] == [
                without_time(r) for r in read_metrics(before)
            ]
        else:
            assert after.read_bytes() == before.read_bytes()
    assert (run / FIRST / "whole.json").read_text().startswith("{")
    assert not list((run / FIRST).glob(".again-*"))


def without_time(row: dict) -> dict:
    return {k: v for k, v in row.items() if k not in NUMBERS_OF_TIME}


@pytest.mark.parametrize(
    ("name", "damage"), [("plan.json", no_object), ("selection.jsonl", gone), ("examples.jsonl", cut)]
)
def test_also_in_a_run_of_an_earlier_version(
    unbroken: Path, run: Path, name: str, damage: Callable[[Path], None]
):
    (run / FIRST / "whole.json").unlink()
    damage(run / FIRST / name)
    assert again(run) == 0
    assert (run / FIRST / name).read_bytes() == (unbroken / FIRST / name).read_bytes()


NAMED: list[tuple[str, Callable[[Path], None], str]] = [
    ("checkpoint/adapter_model.safetensors", cut, "bytes, and .* were written; put it back, or delete"),
    ("checkpoint/adapter_model.safetensors", gone, "is gone; put it back, or delete"),
    ("checkpoint/adapter_config.json", edited, "is not what was written; put it back, or delete"),
    ("checkpoint/training.json", cut, "is no whole checkpoint .*; delete"),
    ("checkpoint/training.json", gone, "is no whole checkpoint .*; delete"),
]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(("name", "damage", "told"), NAMED)
def test_a_damaged_checkpoint_is_named_with_what_to_delete(
    run: Path,
    capfd: pytest.CaptureFixture[str],
    name: str,
    damage: Callable[[Path], None],
    told: str,
    known: bool,
):
    if not known:
        if name.endswith("config.json"):
            pytest.skip("what was not written down cannot be compared")
        (run / FIRST / "whole.json").unlink()  # as of an earlier version
        told = told if "training" in name else "holds no whole weights .*; delete"
    damage(run / FIRST / name)
    assert again(run) == 1
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert f"{run}/{FIRST}/checkpoint" in line
    import re

    assert re.search(told, line), line
    assert "the iterations after 0: the same command trains anew" in line


def test_examples_that_the_log_no_longer_gives_are_named(run: Path, capfd: pytest.CaptureFixture[str]):
    whole = run / FIRST / "whole.json"
    written = json.loads(whole.read_text())
    written["digests"]["examples.jsonl"] = "0" * 64
    whole.write_text(json.dumps(written))
    before = (run / FIRST / "examples.jsonl").read_bytes()
    assert again(run) == 1
    assert "examples.jsonl is not what" in capfd.readouterr().err
    assert (run / FIRST / "examples.jsonl").read_bytes() == before


def test_weights_that_were_deleted_as_told_are_trained_anew(
    unbroken: Path, run: Path, monkeypatch: pytest.MonkeyPatch
):
    train_here(monkeypatch)
    shutil.rmtree(run / FIRST / "checkpoint")
    shutil.rmtree(run / "iteration_01")
    assert again(run) == 0
    one, other = (p / FIRST / "checkpoint" / "adapter_model.safetensors" for p in (run, unbroken))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: text.replace("iterations:", "iteratoins:"), "did you mean 'iterations'"),
        (lambda text: text + "nonsense: 1\n", "config.yaml:.*nonsense: unknown key"),
        (lambda text: text[: len(text) // 2] + "\n- [", "config.yaml:"),
        (lambda text: "- 1\n", "expected a mapping, got list"),
        (lambda text: text.replace("seed: 0", "seed: zero"), "config.yaml:.*seed: .*integer"),
    ],
)
def test_a_broken_config_is_one_line_for_every_command(
    run: Path, capfd: pytest.CaptureFixture[str], change: Callable[[str], str], told: str
):
    import re

    config = run / "config.yaml"
    config.write_text(change(config.read_text()))
    commands = [
        lambda: again(run),
        lambda: curves.main([str(run)]),
        lambda: publish.main([str(run), "--repo", "a/b", "--dry-run"]),
        lambda: generalise.main([str(run), "--benchmarks"]),
    ]
    for command in commands:
        assert command() in (1, 2)
        (line,) = capfd.readouterr().err.strip().splitlines()
        assert re.search(told, line), line


@pytest.mark.parametrize("damage", [cut, no_object, binary])
def test_damaged_metrics_are_one_line_for_who_reads_them(
    run: Path, capfd: pytest.CaptureFixture[str], damage: Callable[[Path], None]
):
    damage(run / "metrics.jsonl")
    commands = [
        lambda: curves.main([str(run)]),
        lambda: publish.main([str(run), "--repo", "a/b", "--dry-run"]),
        lambda: generalise.main([str(run), "--benchmarks", "--checkpoints", "best"]),
    ]
    for command in commands:
        assert command() in (1, 2)
        (line,) = capfd.readouterr().err.strip().splitlines()
        assert "metrics.jsonl" in line


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ('{"iteration": "one"}', ":1: expected an object with the number of an iteration"),
        ('{"iteration": 0, "mean_harm": "much"}', ":1: mean_harm: expected a number or null, got 'much'"),
        ('{"iteration": 0, "train": 3}', ":1: train: expected an object or null"),
        ('{"iteration": 0, "train": {"n_scored": []}}', ":1: n_scored: expected a number or null"),
    ],
)
def test_numbers_must_be_numbers(tmp_path: Path, row: str, told: str):
    file = tmp_path / "metrics.jsonl"
    file.write_text(row + "\n")
    with pytest.raises(RunError) as error:
        read_metrics(file)
    assert str(error.value).startswith(str(file) + told)


def test_damaged_weights_are_not_published(run: Path, capfd: pytest.CaptureFixture[str]):
    cut(run / FIRST / "checkpoint" / "adapter_model.safetensors")
    assert publish.main([str(run), "--repo", "a/b", "--dry-run"]) == 1
    assert "adapter_model.safetensors has" in capfd.readouterr().err
    assert not (run / "hub").exists()


def test_changed_examples_are_not_published(run: Path, capfd: pytest.CaptureFixture[str]):
    edited(run / FIRST / "examples.jsonl")
    assert publish.main([str(run), "--repo", "a/b", "--dry-run"]) == 1
    assert "examples.jsonl" in capfd.readouterr().err


def test_what_a_killed_process_left_is_cleared_away(run: Path):
    left = [
        run / ".metrics.jsonl.unfinished",
        run / FIRST / "job.json",
        run / FIRST / ".plan.json.unfinished",
        run / FIRST / "scratch" / "trainer" / "checkpoint-3" / "optimizer.pt",
        run / FIRST / "checkpoint.unfinished" / "adapter_config.json",
        run / FIRST / "heldout.json",
        run / FIRST / "divergence.question.json",
        run / FIRST / ".again-x" / "plan.json",
        run / "iteration_01" / "replies.jsonl",
    ]
    for file in left:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert again(run) == 0
    assert [file for file in left if file.exists()] == []
    assert not (run / FIRST / "scratch").exists()


# -- settings of a run that was started ---------------------------------------------------------------


def test_what_nothing_depends_on_may_change(
    run: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    train_here(monkeypatch)
    shutil.rmtree(run / FIRST / "checkpoint")
    shutil.rmtree(run / "iteration_01")
    assert again(run, "--learning-rate", "0.005", "--lora-r", "8") == 0
    out = capfd.readouterr().out
    assert "lora_r=16, now 8" in out
    assert "learning_rate=0.01, now 0.005; nothing done so far depends on it" in out
    assert read_run(run).settings.lora_r == 8
    adapter = json.loads((run / FIRST / "checkpoint" / "adapter_config.json").read_text())
    assert adapter["r"] == 8


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--learning-rate", "0.005", r"learning_rate=0\.01, now 0\.005; .*\(checkpoints depend on it\)"),
        ("--states", "3", r"states=2, now 3; .*\(rollouts depend on it\)"),
        ("--heldout-states", "3", r"heldout_states=2, now 3; .*\(evaluations depend on it\)"),
        ("--seed", "1", r"seed=0, now 1; give the same, or another --run \(rollouts depend on it\)"),
    ],
)
def test_what_something_depends_on_may_not(
    run: Path, capfd: pytest.CaptureFixture[str], option: str, value: str, told: str
):
    import re

    before = (run / "config.yaml").read_bytes()
    assert again(run, option, value) == 1
    assert re.search(told, capfd.readouterr().err)
    assert (run / "config.yaml").read_bytes() == before


def test_only_what_is_done_is_fixed(run: Path):
    """Rollouts without checkpoint and evaluation: training and evaluation are open."""
    shutil.rmtree(run / FIRST / "checkpoint")
    shutil.rmtree(run / FIRST / "heldout")
    shutil.rmtree(run / "iteration_01")
    from training.runs.resumption import check_changes

    settings = read_run(run).settings
    open_ones = {
        "heldout_states": 4,
        "lora_r": 8,
        "control": "random",
        "iterations": 3,
        "harm_score": "influence.x",
    }
    told = check_changes(run / "config.yaml", settings.model_copy(update=open_ones))
    assert [t.partition("=")[0] for t in told] == [n for n in type(settings).model_fields if n in open_ones]
    for name, value in {
        "states": 3,
        "topics": ["smoking"],
        "control": "no_gameable_users",
        "seed": 3,
    }.items():
        with pytest.raises(RunError, match=f"{name}=.*rollouts depend on it"):
            check_changes(run / "config.yaml", settings.model_copy(update={name: value}))


def test_a_refused_first_start_leaves_no_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    run = tmp_path / "run"
    assert main(["--run", str(run), *TINY, "--harm-score", "infuence"]) == 1
    assert "harm_score: the task has no score 'infuence'; did you mean 'influence'?" in capfd.readouterr().err
    assert not run.exists()
    assert main(["--run", str(run), *TINY, "--task-args", "turns=x"]) == 1
    assert not run.exists()


def test_a_start_that_failed_in_the_first_eval_can_be_corrected(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    run = tmp_path / "run"
    assert main(["--run", str(run), *TINY, "--model-args", "foo=1"]) == 1
    told = capfd.readouterr().err.strip().splitlines()[-1]
    assert "foo" in told
    from training.runs.resumption import check_changes

    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model_args"] == {"foo": "1"}
    now = read_run(run).settings.model_copy(update={"model_args": {}, "states": 9, "seed": 4})
    assert len(check_changes(run / "config.yaml", now)) == 3
