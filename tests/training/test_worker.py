import io
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from miniature.checkpoint import base_checkpoint
from scenarios.files.whole import write_jsonl
from tests.support.places import ROOT
from tests.support.tiny_models import tiny_model
from tests.support.training_jobs import job_of, row, rows_of
from training.job import Trained, read_trained
from training.trainers import fitting, sft, worker
from training.trainers.base_models import CannotTrain


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base"))


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    return load_file(checkpoint / "adapter_model.safetensors")


def same(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# -- what a job leaves --------------------------------------------------------------------------------


def test_an_adapter_is_served_with_the_base_it_names(base: Path, tmp_path: Path) -> None:
    job = job_of(base, tmp_path, passes=2, learning_rate=5e-3)
    trained = worker.run(job)

    assert trained == read_trained(job.out)
    assert (trained.kind, trained.examples, trained.steps, trained.processes) == ("adapter", 8, 4, 1)
    assert trained.left_out == {"not_best": 8}
    losses = [e["loss"] for e in trained.history if "loss" in e]
    assert len(losses) == 4
    assert trained.train_loss == pytest.approx(math.fsum(losses) / 4)
    assert losses[-1] < losses[0]
    tokenizer = AutoTokenizer.from_pretrained(job.out)
    prompts = [r["prompt"] + r["completion"] for r in rows_of(8)[:8]]
    lengths = [len(tokenizer.apply_chat_template(p)["input_ids"]) + 1 for p in prompts]
    assert trained.tokens == 2 * sum(lengths)  # the tiny template leaves the turn open: one end token each
    assert json.loads((job.out / "adapter_config.json").read_text())["base_model_name_or_path"] == str(base)
    assert sorted(p.name for p in job.out.iterdir() if p.is_dir()) == []
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), job.out)
    assert isinstance(model, PeftModel)
    assert not list(tmp_path.glob("*.unfinished"))


def test_full_fine_tuning_of_the_miniature_is_a_model_of_its_own(tmp_path: Path) -> None:
    job = job_of(base_checkpoint(), tmp_path, tuning="full", learning_rate=1e-3)
    trained = worker.run(job)

    assert trained.kind == "model"
    model = AutoModelForCausalLM.from_pretrained(job.out)
    before = AutoModelForCausalLM.from_pretrained(base_checkpoint())
    assert model.num_parameters() == before.num_parameters()
    assert any(not torch.equal(a, b) for a, b in zip(model.parameters(), before.parameters(), strict=True))
    assert AutoTokenizer.from_pretrained(job.out).chat_template
    assert not list(job.out.glob("*.bin"))


def test_a_checkpoint_that_is_there_is_never_written_to(base: Path, tmp_path: Path) -> None:
    job = job_of(base, tmp_path)
    first = worker.run(job)
    before = {p: p.stat().st_mtime_ns for p in job.out.iterdir()}
    assert worker.run(job.model_copy(update={"seed": 1})) == first
    assert {p: p.stat().st_mtime_ns for p in job.out.iterdir()} == before


def test_the_same_job_gives_the_same_bits(base: Path, tmp_path: Path) -> None:
    for algorithm in ("ei", "kto", "dpo"):
        one, two, other = (
            job_of(base, tmp_path, f"{algorithm}{n}", algorithm=algorithm, seed=seed, lora_dropout=0.1)
            for n, seed in ((0, 5), (1, 5), (2, 6))
        )
        torch.manual_seed(0)
        worker.run(one)
        torch.manual_seed(1)
        worker.run(two)
        worker.run(other)
        assert same(one.out, two.out)
        assert not same(one.out, other.out)


def launched(options: list[str], job: Path) -> str:
    """Run the worker under torchrun; returns what it told on its standard error."""
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "torchrun"), *options, "-m", "training.trainers.worker", str(job)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        return process.communicate(timeout=200)[1]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # its workers, too
        raise


@pytest.mark.slow
def test_two_processes_do_as_one(base: Path, tmp_path: Path) -> None:
    one, two = (job_of(base, tmp_path, name, passes=2) for name in ("one", "two"))
    worker.run(one)
    (tmp_path / "two.json").write_text(two.model_dump_json())
    told_errors = launched(["--standalone", "--nproc_per_node", "2"], tmp_path / "two.json")
    assert two.out.exists(), told_errors
    assert read_trained(two.out).processes == 2
    a, b = weights(one.out), weights(two.out)
    assert max((a[k] - b[k]).abs().max().item() for k in a) < 1e-6
    assert max(v.abs().max().item() for k, v in a.items() if "lora_B" in k) > 1e-4


# -- going on -----------------------------------------------------------------------------------------


class Killed(BaseException):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["ei", "kto"])
def test_a_killed_training_goes_on_from_its_last_whole_state(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    start = worker.run(job_of(base, tmp_path, "start")) and tmp_path / "start"
    unbroken = {"algorithm": algorithm, "start": start, "passes": 4, "schedule": "linear"}
    kept = unbroken | {"trainer_options": {"save_strategy": "steps", "save_steps": "2"}}
    whole = worker.run(job_of(base, tmp_path, "whole", **unbroken))
    job = job_of(base, tmp_path, "broken", **kept)

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(fitting, "save", killed)
        with pytest.raises(Killed):
            worker.run(job)
    folders = sorted((job.scratch / "trainer").glob("checkpoint-*"), key=lambda p: int(p.name[11:]))
    (folders[-1] / "trainer_state.json").write_text('{"half": ')
    last = fitting.last_whole(job)
    assert last is not None
    assert Path(last) == folders[-2]
    state = json.loads((folders[-2] / "trainer_state.json").read_text())
    state["log_history"][0]["seen"] = True
    (folders[-2] / "trainer_state.json").write_text(json.dumps(state))

    resumed = worker.run(job)
    assert resumed.history[0]["seen"], "it began anew"
    assert same(job.out, tmp_path / "whole")
    assert (resumed.steps, resumed.train_loss) == (whole.steps, pytest.approx(whole.train_loss))
    assert resumed.tokens == pytest.approx(whole.tokens, rel=0.01)


def test_what_another_job_left_in_the_scratch_folder_is_not_gone_on_from(base: Path, tmp_path: Path) -> None:
    job = job_of(base, tmp_path, trainer_options={"save_strategy": "steps", "save_steps": 1})
    worker.run(job)
    assert fitting.last_whole(job) is not None
    write_jsonl(job.examples, rows_of(4))
    assert fitting.last_whole(job) is None
    assert not (job.scratch / "trainer").exists()


# -- what cannot be trained ---------------------------------------------------------------------------


def test_a_broken_start_is_told_before_anything_is_loaded(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = worker.run(job_of(base, tmp_path, "start")) and tmp_path / "start"
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *_, **__: pytest.fail("loaded"))
    job = job_of(base, tmp_path, start=start)
    file = start / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CannotTrain, match=r"start: the checkpoint to start from is not whole .*Delete this"):
        worker.run(job)
    file.unlink()
    with pytest.raises(CannotTrain, match="start: the checkpoint to start from is not whole"):
        worker.run(job)
    with pytest.raises(CannotTrain, match="is a LoRA adapter, and tuning=full goes on from a full model"):
        worker.run(job_of(base, tmp_path, start=start, tuning="full"))
    assert not job.out.exists()


def test_an_adapter_of_another_base_is_refused(base: Path, tmp_path: Path) -> None:
    start = worker.run(job_of(base_checkpoint(), tmp_path, "start")) and tmp_path / "start"
    with pytest.raises(CannotTrain, match="start: the adapter does not fit"):
        worker.run(job_of(base, tmp_path, start=start))


def test_a_full_disk_leaves_nothing_behind(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Any, folder: str, **_: Any) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / "adapter_config.json").write_text("{}")
        raise OSError(28, "No space left on device")

    job = job_of(base, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(PeftModel, "save_pretrained", full)
        with pytest.raises(CannotTrain, match="could not be written.*No space left.*start the run again"):
            worker.run(job)
    assert not job.out.exists()
    assert not list(tmp_path.glob("*.unfinished"))
    assert worker.run(job).steps == 2


def test_a_loss_that_is_no_number_ends_the_training(base: Path, tmp_path: Path) -> None:
    job = job_of(base, tmp_path, learning_rate=1e30, passes=4)
    with pytest.raises(CannotTrain, match=r"the loss is (nan|inf) at step \d; lower learning_rate"):
        worker.run(job)
    assert not job.out.exists()


def test_long_rows_are_left_out_and_counted(base: Path, tmp_path: Path) -> None:
    rows = [row("a" * n, True, epoch=n) for n in (1, 2, 150)]
    trained = worker.run(job_of(base, tmp_path, "some", rows, max_length=60))
    assert (trained.examples, trained.left_out) == (2, {"too_long": 1})
    with pytest.raises(
        CannotTrain, match="no row is left to train on: 3 too_long; raise max_length, which is 8"
    ):
        worker.run(job_of(base, tmp_path, "none", rows, max_length=8))


def test_a_token_across_the_boundary_is_left_out(base: Path, tmp_path: Path) -> None:
    template = tmp_path / "chat.jinja"
    template.write_text("{%- for m in messages -%}{{- m['content'] -}}{%- endfor -%}")
    he = [{"role": "user", "content": "he"}]
    rows = [row("llo", True, prompt=he), row("<|im_end|>", True, prompt=he)]
    trained = worker.run(job_of(base, tmp_path, rows=rows, chat_template=template))
    assert (trained.examples, trained.left_out) == (1, {"across_boundary": 1})
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template == template.read_text()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"optin": "sgd"}, "SFTConfig has no option 'optin'; did you mean 'optim'"),
        ({"max_length": 3}, "max_length is called max_length here"),
        ({"per_device_train_batch_size": 3}, "is called device_batch_size here"),
        ({"weight_decay": "much"}, "weight_decay='much': Input should be a valid number"),
        ({"optim": "best"}, "SFTConfig refuses its options: .*best"),
    ],
)
def test_trainer_options_are_checked(base: Path, tmp_path: Path, options: dict, told: str) -> None:
    with pytest.raises(CannotTrain, match=told):
        worker.run(job_of(base, tmp_path, trainer_options=options))


def test_trainer_options_from_a_command_line_get_their_types(base: Path, tmp_path: Path) -> None:
    options = {
        "weight_decay": "0.01",
        "neftune_noise_alpha": "5",
        "dataloader_drop_last": "true",
        "optim": "sgd",
    }
    args = sft.prepare(job_of(base, tmp_path, trainer_options=options), rows_of(8)).trainer.args
    found = (args.weight_decay, args.neftune_noise_alpha, args.dataloader_drop_last, args.optim)
    assert found == (0.01, 5.0, True, "sgd")


@pytest.mark.parametrize(
    ("processes", "tuning", "told"),
    [
        (
            3,
            {"batch_size": 16},
            "batch_size 16 cannot be divided over 3 processes; the nearest that can is 15",
        ),
        (2, {"batch_size": 1}, "over 2 processes; the nearest that can is 2"),
        (2, {"batch_size": 16, "device_batch_size": 3}, "2 processes with 3 examples each; .* is 18"),
    ],
)
def test_a_batch_that_cannot_be_divided_is_an_error(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int, tuning: dict, told: str
) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    with pytest.raises(CannotTrain, match=told):
        worker.run(job_of(base, tmp_path, **tuning))


def test_a_batch_in_parts_is_one_step(base: Path, tmp_path: Path) -> None:
    whole, parts = job_of(base, tmp_path, "whole"), job_of(base, tmp_path, "parts", device_batch_size=1)
    assert worker.run(whole).steps == worker.run(parts).steps == 2
    a, b = weights(whole.out), weights(parts.out)
    assert max((a[k] - b[k]).abs().max().item() for k in a) < 1e-6


# -- the command --------------------------------------------------------------------------------------


def test_the_command_waits_for_a_job(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(base, tmp_path)
    told = tmp_path / "job.json"
    told.write_text(job.model_dump_json())
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert worker.main(["--wait"]) == 0
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{told}\n"))
    assert worker.main(["--wait"]) == 0
    assert isinstance(read_trained(job.out), Trained)


def test_jobs_done_one_after_the_other_give_the_same_weights(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [job_of(base, tmp_path, name) for name in ("first", "second", "third")]
    paths = [tmp_path / f"{job.out.name}.json" for job in jobs]
    for job, path in zip(jobs, paths, strict=True):
        path.write_text(job.model_dump_json())
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{paths[0]}\n{tmp_path / 'none.json'}\n{paths[2]}\n"))
    assert worker.main(["--wait"]) == 1
    assert jobs[0].out.exists()
    assert not jobs[2].out.exists()  # what comes after a failure is not begun
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{paths[1]}\n{paths[2]}\n"))
    assert worker.main(["--wait"]) == 0
    one, two, three = (weights(job.out) for job in jobs)
    assert all(torch.equal(one[k], two[k]) and torch.equal(one[k], three[k]) for k in one)


def test_the_command_says_what_is_wrong(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = tmp_path / "job.json"
    assert worker.main([str(told)]) == 1
    told.write_text('{"base": "x"}')
    assert worker.main([str(told)]) == 1
    assert f"{told}: not a job" in capsys.readouterr().err
    told.write_text(job_of(base, tmp_path, rows=[]).model_dump_json())
    assert worker.main([str(told)]) == 1
    assert "out.jsonl: no rows; nothing was selected for training" in capsys.readouterr().err
    (tmp_path / "out.jsonl").write_text("{\n")
    assert worker.main([str(told)]) == 1
    assert "out.jsonl:1: not JSON" in capsys.readouterr().err
