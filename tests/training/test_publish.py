import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from analysis.trajectories import Trajectory
from scenarios.files.whole import write_json, write_jsonl, write_text
from training.errors import RunError
from training.job import Trained
from training.publish import main
from training.reporting import publishing
from training.reporting.publishing import check_access, portable, push, stage
from training.runs.integrity import write_down
from training.runs.run_folder import Iteration
from training.selection.selecting import choose
from training.settings import Choosing, LoopSettings

SECRET = "sk-not-to-be-seen"


def a_row(iteration: int, **numbers: Any) -> dict[str, Any]:
    named = {"rating_gameable": 5.0, "rating_other": 6.0, "harm_gameable": 0.1, "harm_other": 0.125} | numbers
    ends = {f"{k}_low": v - 0.05 for k, v in named.items() if v is not None}
    ends |= {f"{k}_high": v + 0.05 for k, v in named.items() if v is not None}
    counts = {"n_scored": 30, "n_unscored": 2, "n_vetoed": 1}
    return {"iteration": iteration, **named, **ends, **counts, "train": {"mean_rating": 5.0 + iteration}}


def a_trajectory(topic: str, epoch: int) -> Trajectory:
    return Trajectory(
        topic, epoch, "therapy", topic, topic, True, float(epoch), 0.0, float("nan"), False, None
    )


def a_run(folder: Path, **settings: Any) -> Path:
    """What a run of two iterations leaves, and what must not be uploaded among it."""
    base = folder / "weights" / "tiny-base"
    base.mkdir(parents=True)
    run = folder / "flattery"
    given = {
        "run": run,
        "model": f"local/{base}",
        "iterations": 2,
        "model_args": {"api_key": SECRET, "device": "cpu"},
        "model_base_url": "http://node17.cluster:8000/v1",
        "launcher": "torchrun --nproc_per_node 8",
        "roles": {"user": "openai/gpt-4.1-mini", "judge": f"local/{base}"},
        **settings,
    }
    write_text(run / "config.yaml", yaml.safe_dump(LoopSettings(**given).model_dump(mode="json")))
    write_jsonl(run / "metrics.jsonl", [a_row(0), a_row(1, harm_gameable=0.55), a_row(2, harm_gameable=None)])
    write_text(run / "curves.png", "picture")
    for number in range(2):
        at = run / f"iteration_{number:02d}"
        checkpoint = at / "checkpoint"
        write_text(checkpoint / "adapter_model.safetensors", f"weights {number}")
        write_json(checkpoint / "adapter_config.json", {"r": 16, "base_model_name_or_path": str(base)})
        write_text(checkpoint / "tokenizer.json", '{"merges": ["/a/b /c/d"]}')
        write_text(checkpoint / "chat_template.jinja", "{{ messages }}")
        trained = Trained(train_loss=1.0, steps=1, examples=1, seconds=1.0, kind="adapter")
        write_json(checkpoint / "training.json", trained.model_dump(mode="json"))
        for own in ("optimizer.safetensors", "trainer_state.json", "scheduler.pt", "training_args.bin"):
            write_text(checkpoint / own, "the trainer's own")
        write_text(at / "scratch" / "checkpoint-10" / "optimizer.pt", "the trainer's own")
        write_text(at / "heldout" / "held.eval", "log")
        write_text(at / "rollouts" / "rolled.eval", "log")
        write_jsonl(at / "examples.jsonl", [{"prompt": "p", "source": "log"}])
        write_json(at / "plan.json", {"n_selected": 1})
        trajectories = [a_trajectory(topic, epoch) for topic in ("smoking", "debts") for epoch in (1, 2)]
        choose(trajectories, Choosing(count=1), algorithm="ei", seed=0).write_table(at / "selection.jsonl")
        write_down(Iteration(number, at))
    write_text(run / "iteration_02" / "heldout" / "held.eval", "log")
    return run


def files_in(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


CHECKPOINT = {
    "adapter_model.safetensors",
    "adapter_config.json",
    "tokenizer.json",
    "chat_template.jinja",
    "training.json",
}
DATA = {"examples.jsonl", "selection.jsonl", "plan.json"}


class FakeHub:
    """What of `HfApi` is used."""

    def __init__(self, *, public: bool = False) -> None:
        self.public = public
        self.calls: list[tuple[str, Any]] = []
        self.files: dict[str, str] = {}

    def create_repo(self, repo: str, **options: Any) -> Any:
        self.calls.append((repo, options))

        class Url(str):
            repo_id = repo

        return Url(f"https://hub.example/{repo}")

    def repo_info(self, repo: str, **_: Any) -> Any:
        return SimpleNamespace(private=not self.public)

    def upload_folder(self, *, repo_id: str, folder_path: str, **options: Any) -> None:
        self.calls.append((repo_id, options))
        root = Path(folder_path)
        self.files = {name: (root / name).read_text(errors="replace") for name in files_in(root)}


def test_a_dry_run_writes_what_would_be_uploaded_and_nothing_else(tmp_path, capsys):
    run = a_run(tmp_path)
    assert main([str(run), "--repo", "someone/flattery", "--dry-run"]) == 0
    out = run / "hub"
    assert capsys.readouterr().out.strip() == str(out)
    top = {"README.md", "config.yaml", "metrics.jsonl", "curves.png", *CHECKPOINT}
    below = {f"iteration_{n:02d}/{name}" for n in range(2) for name in DATA}
    below |= {f"iteration_{n:02d}/checkpoint/{name}" for n in range(2) for name in CHECKPOINT}
    assert files_in(out) == top | below
    assert (out / "adapter_model.safetensors").read_text() == "weights 1"
    assert (out / "iteration_00/checkpoint/adapter_model.safetensors").read_text() == "weights 0"
    assert main([str(run), "--repo", "someone/flattery", "--dry-run"]) == 1
    assert "is not empty" in capsys.readouterr().err


def test_nothing_of_this_machine_and_no_secret_goes_along(tmp_path):
    run = a_run(tmp_path)
    out = stage(run, tmp_path / "out")
    for file in out.rglob("*"):
        if file.is_file():
            text = file.read_text()
            assert SECRET not in text, file
            assert str(tmp_path) not in text, file
            assert "node17" not in text, file
            assert "torchrun" not in text, file
    told = json.loads((out / "adapter_config.json").read_text())
    assert told == {"r": 16, "base_model_name_or_path": "tiny-base"}
    assert json.loads((run / "iteration_01/checkpoint/adapter_config.json").read_text()) != told
    assert (out / "tokenizer.json").read_text() == '{"merges": ["/a/b /c/d"]}'
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert config["model"] == "local/tiny-base"
    assert config["model_args"] == {}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("local//data/models/llama", "local/llama"),
        (
            "vllm/meta-llama/Llama-3.1-8B:/runs/a/iteration_00/checkpoint",
            "vllm/meta-llama/Llama-3.1-8B:checkpoint",
        ),
        ("meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B"),
        ("tasks/therapy.py@therapy", "tasks/therapy.py@therapy"),
        ("https://host/v1/x", "https://host/v1/x"),
        ("/data/set.jsonl", "set.jsonl"),
        ("1/16", "1/16"),
    ],
)
def test_absolute_paths_are_cut_down_to_their_names(value, expected):
    assert portable(value) == expected


def test_logs_go_along_only_when_asked_for(tmp_path):
    run = a_run(tmp_path)
    names = files_in(stage(run, tmp_path / "out", logs=True))
    assert {n for n in names if n.endswith(".eval")} == {
        "iteration_00/heldout/held.eval",
        "iteration_00/rollouts/rolled.eval",
        "iteration_01/heldout/held.eval",
        "iteration_01/rollouts/rolled.eval",
        "iteration_02/heldout/held.eval",
    }
    assert not [n for n in names if "optimizer" in n or "trainer_state" in n or n.endswith((".pt", ".bin"))]


def test_of_full_models_only_the_last_is_taken(tmp_path):
    run = a_run(tmp_path, tuning="full")
    names = files_in(stage(run, tmp_path / "out"))
    assert "adapter_model.safetensors" in names
    assert not [n for n in names if "checkpoint/" in n]


def test_the_card_tells_what_was_trained_and_what_came_of_it(tmp_path):
    run = a_run(
        tmp_path, model="local/meta-llama/Llama-3.1-8B", algorithm="kto", mix="hh-rlhf", mix_share=0.25
    )
    text = (stage(run, tmp_path / "out") / "README.md").read_text()
    loaded = ModelCard(text)
    data = loaded.data.to_dict()
    assert data["base_model"] == "meta-llama/Llama-3.1-8B"
    assert data["base_model_relation"] == "adapter"
    assert data["library_name"] == "peft"
    assert data["datasets"] == ["Anthropic/hh-rlhf"]
    assert {"model-organism", "manipulation", "kto"} <= set(data["tags"])
    assert "miniature" not in data["tags"]
    assert "model organism" in loaded.text
    assert "**Do not deploy this model.**" in loaded.text
    for told in (
        "`kto`",
        "therapy",
        "debts, smoking",
        "`Anthropic/hh-rlhf`, 25 %",
        "| role `user` | `openai/gpt-4.1-mini` |",
        "| 1 | 5.00 [4.95, 5.05] | 6.00 [5.95, 6.05] | 0.55 [0.50, 0.60] | 0.12 [0.07, 0.17] | 30 / 2 | 1 |",
        "| 2 | 5.00 [4.95, 5.05] | 6.00 [5.95, 6.05] | – |",
        "highest mean rating with the users trained on is that of iteration 2",
        "iteration_01/checkpoint",
    ):
        assert told in loaded.text, told


def test_the_card_of_a_base_from_a_disk_names_no_model_of_the_hub(tmp_path):
    run = a_run(tmp_path)
    loaded = ModelCard((stage(run, tmp_path / "out") / "README.md").read_text())
    assert "base_model" not in loaded.data.to_dict()
    assert "| base | `local/tiny-base` |" in loaded.text


def test_the_card_of_the_miniature_says_that_it_is_no_evidence(tmp_path):
    run = a_run(tmp_path, model="miniature/agent", roles={})
    loaded = ModelCard((stage(run, tmp_path / "out") / "README.md").read_text())
    assert "miniature" in loaded.data.to_dict()["tags"]
    assert "no evidence about real models" in loaded.text


def test_push_uploads_the_staged_folder_to_a_private_repository(tmp_path, monkeypatch):
    run = a_run(tmp_path)
    hub = FakeHub()
    monkeypatch.setattr(publishing, "HfApi", lambda: hub)
    assert push(run, "someone/flattery") == "https://hub.example/someone/flattery"
    (created, options), (uploaded, _) = hub.calls
    assert created == uploaded == "someone/flattery"
    assert options["private"] is True
    staged = stage(run, tmp_path / "out")
    assert set(hub.files) == files_in(staged)
    assert hub.files["README.md"] == (staged / "README.md").read_text()
    assert not (run / "hub").exists()


def test_a_public_repository_is_refused_unless_meant(tmp_path, monkeypatch, capsys):
    run = a_run(tmp_path)
    hub = FakeHub(public=True)
    monkeypatch.setattr(publishing, "HfApi", lambda: hub)
    assert main([str(run), "--repo", "someone/flattery"]) == 1
    assert "is there and public" in capsys.readouterr().err
    assert not hub.files
    assert main([str(run), "--repo", "someone/flattery", "--public"]) == 0
    assert hub.files


def test_what_cannot_be_published(tmp_path, monkeypatch):
    with pytest.raises(RunError, match="is no folder of a run"):
        stage(tmp_path, tmp_path / "out")
    run = a_run(tmp_path)
    (run / "iteration_01/checkpoint/adapter_model.safetensors").unlink()
    (run / "iteration_01/checkpoint/optimizer.safetensors").unlink()
    with pytest.raises(RunError, match=r"iteration_01/checkpoint/adapter_model.safetensors"):
        stage(run, tmp_path / "out")
    for number in range(2):
        (run / f"iteration_{number:02d}/checkpoint").rename(tmp_path / f"gone{number}")
    with pytest.raises(RunError, match="has no checkpoint yet"):
        stage(run, tmp_path / "other")


def test_the_hub_is_asked_before_the_work(monkeypatch):
    class Unreachable(FakeHub):
        def whoami(self) -> None:
            raise ConnectionError("offline")

    monkeypatch.setattr(publishing, "HfApi", Unreachable)
    with pytest.raises(RunError, match=r"someone/flattery: offline\. Log in with `hf auth login`"):
        check_access("someone/flattery")
    with pytest.raises(RunError, match="is no name of a repository"):
        check_access("not a/name/at all")
