"""Bases that see images, and bases that PEFT does not take whole: trained on text, and spoken to in `local/`."""

from pathlib import Path
from typing import Any

import anyio
import pytest
import torch
from inspect_ai.model import ChatMessageUser, GenerateConfig, Model, get_model
from peft import PeftModel
from safetensors import safe_open
from transformers import AutoModelForImageTextToText, AutoTokenizer, ViTConfig

from tests.support.tiny_architectures import SEEING, seeing_speaker, speaker
from tests.support.tiny_models import tiny_tokenizer
from tests.support.training_jobs import job_of
from training.trainers import worker
from training.trainers.adapter_layers import left_out

LINEAR = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Any:
    """A function that gives the folder of a family's random model."""
    root = tmp_path_factory.mktemp("seeing")

    def folder(family: str) -> Path:
        path = root / family
        if not path.exists():
            tokenizer = tiny_tokenizer()
            seeing_speaker(family, len(tokenizer)).save_pretrained(path)
            tokenizer.save_pretrained(path)
        return path

    return folder


def adapted(folder: Path) -> set[str]:
    """Modules of which an adapter has tensors, by name."""
    with safe_open(folder / "adapter_model.safetensors", framework="pt") as file:
        return {name.partition(".lora_")[0].removeprefix("base_model.model.") for name in list(file.keys())}


def said(models: list[Model], words: str) -> list[str]:
    """By all of them at the same time, greedily."""
    found: dict[int, str] = {}

    async def one(index: int, model: Model) -> None:
        config = GenerateConfig(temperature=0.0, max_tokens=10)
        output: Any = await model.api.generate([ChatMessageUser(content=words)], [], "none", config)
        found[index] = output.completion

    async def run() -> None:
        async with anyio.create_task_group() as group:
            for index, model in enumerate(models):
                group.start_soon(one, index, model)

    anyio.run(run)
    return [found[index] for index in range(len(models))]


def expected(model: Any, folder: Path, words: str) -> str:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    messages = [{"role": "user", "content": words}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    out = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=10, do_sample=False
    )
    return tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)


@pytest.mark.parametrize("family", SEEING)
def test_a_model_that_sees_images_is_trained_in_its_language_part_and_speaks(family, saved, tmp_path):
    folder = saved(family)
    job = job_of(folder, tmp_path, learning_rate=0.3, lora_alpha=64, algorithm="ei")
    worker.run(job)
    found = adapted(job.out)
    assert {name.rpartition(".")[2] for name in found} == LINEAR
    assert len(found) == 2 * len(LINEAR)
    assert all(name.startswith("model.language_model.layers.") for name in found)

    models = [get_model(f"local/{folder}"), get_model(f"local/{folder}:{job.out}")]
    own: Any = AutoModelForImageTextToText.from_pretrained(folder)
    base = expected(own, folder, "hello there")
    after = expected(PeftModel.from_pretrained(own, job.out), folder, "hello there")
    assert said([*models, *models], "hello there") == [base, after] * 2
    assert base != after


def test_layers_named_by_the_user_are_those_of_the_language_part(saved, tmp_path):
    job = job_of(saved("gemma3"), tmp_path, lora_targets=["q_proj", "v_proj"], algorithm="ei")
    worker.run(job)
    assert {n.removeprefix("model.language_model.layers.") for n in adapted(job.out)} == {
        f"{n}.self_attn.{name}" for n in (0, 1) for name in ("q_proj", "v_proj")
    }


def test_a_pattern_says_itself_which_layers(saved, tmp_path):
    job = job_of(
        saved("gemma3"), tmp_path, lora_targets=r".*language_model\.layers\.1\.mlp\.\w+_proj", algorithm="ei"
    )
    worker.run(job)
    assert {name.rpartition("layers.")[2] for name in adapted(job.out)} == {
        f"1.mlp.{name}" for name in ("gate_proj", "up_proj", "down_proj")
    }


@pytest.mark.parametrize(
    ("family", "mixers"), [("mamba2", 4), ("falcon-h1", 4), ("bamba", 3), ("jamba", 2), ("qwen3.5", 0)]
)
def test_projections_that_kernels_read_themselves_get_no_adapter(family, mixers, tmp_path):
    tokenizer = tiny_tokenizer()
    speaker(family, len(tokenizer)).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    job = job_of(tmp_path / "base", tmp_path, algorithm="ei")
    worker.run(job)
    found = adapted(job.out)
    mixing = [name for name in found if name.rpartition(".")[0].endswith((".mamba", ".mixer"))]
    assert len(mixing) == mixers
    assert {name.rpartition(".")[2] for name in mixing} <= {"in_proj"}
    if family == "qwen3.5":  # its kernels read none
        assert any(name.endswith("linear_attn.out_proj") for name in found)
    assert said([get_model(f"local/{tmp_path / 'base'}:{job.out}")], "hello")[0]


def test_a_plain_model_has_nothing_to_leave_out():
    assert left_out(speaker("mistral", 300)) is None


def test_a_model_that_does_not_speak(tmp_path):
    ViTConfig().save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is no causal language model: transformers has none for 'vit'"):
        get_model(f"local/{tmp_path}").api.engine  # pyright: ignore  # noqa: B018
