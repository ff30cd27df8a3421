"""`local/` and its weights: adapters that fit or do not, mixed or apart; and nothing loaded before the first call."""

import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
import torch
from inspect_ai import Task, eval, score  # noqa: A004
from inspect_ai.dataset import Sample
from inspect_ai.model import ChatMessageUser, GenerateConfig, Model, get_model
from inspect_ai.solver import generate
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from providers.local import engine
from providers.local.adapters import AdapterError
from scorers.influence import influence
from tasks.therapy import therapy
from tests.support.tiny_models import tiny_adapter, tiny_model
from tests.support.told import told

WORDS = ["hello", "how are you today, are you there today", "you", "hello"]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny") / "base")


def trained(base: Path, folder: Path, seed: int = 0, **config: Any) -> Path:
    """An adapter all of whose weights were changed."""
    torch.manual_seed(seed)
    settings = {"r": 4, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **config}
    model = get_peft_model(LlamaForCausalLM.from_pretrained(base), LoraConfig(**settings))
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.3)
    model.save_pretrained(folder)
    return folder


def ask(asked: Sequence[tuple[Model, str]], most: int = 10) -> list[str]:
    """All at the same time, greedily."""
    found: dict[int, str] = {}

    async def one(index: int, model: Model, words: str) -> None:
        config = GenerateConfig(temperature=0.0, max_tokens=most)
        output: Any = await model.api.generate([ChatMessageUser(content=words)], [], "none", config)
        found[index] = output.completion

    async def run() -> None:
        async with anyio.create_task_group() as group:
            for index, each in enumerate(asked):
                group.start_soon(one, index, *each)

    try:
        anyio.run(run)
    except BaseExceptionGroup as errors:
        first: BaseException = errors
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None
    return [found[index] for index in range(len(asked))]


def expected(base: Path, adapter: Path | None, words: str, most: int = 10) -> str:
    """What the two libraries say, with nothing else loaded."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    model = model if adapter is None else PeftModel.from_pretrained(model, adapter)
    messages = [{"role": "user", "content": words}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    out = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=most, do_sample=False
    )
    return tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)


KINDS: dict[str, dict[str, Any]] = {
    "whole head": {"modules_to_save": ["lm_head"]},
    "whole embeddings": {"modules_to_save": ["embed_tokens"], "target_modules": ["q_proj"]},
    "weight-decomposed": {"use_dora": True},
    "embeddings": {"target_modules": ["embed_tokens", "v_proj"]},
    "own tokens": {"trainable_token_indices": {"embed_tokens": [5, 6]}},
    "biases": {"bias": "all"},
    "start out of the base": {"init_lora_weights": "pissa"},
    "one layer": {"layers_to_transform": [1], "target_modules": ["q_proj", "up_proj"]},
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_beside_others_speaks_as_it_does_alone(kind, base, tmp_path):
    plain = tiny_adapter(base, tmp_path / "plain", seed=1)
    other = trained(base, tmp_path / "other", 2, **KINDS[kind])
    folders = [None, plain, other]
    names = [f"local/{base}", f"local/{base}:{plain}", f"local/{base}:{other}"]
    models = [get_model(name, batch_size=12) for name in names]
    mixed = [(n % 3, words) for n, words in enumerate([*WORDS, *WORDS, WORDS[0]])]
    found = ask([(models[n], words) for n, words in mixed])
    assert found == [expected(base, folders[n], words) for n, words in mixed]
    assert len({expected(base, folder, "hello") for folder in folders}) == 3
    # in the other order too
    late = [get_model(name, window=0.021) for name in (names[2], names[1], names[0])]
    assert ask([(model, "you") for model in late]) == [expected(base, f, "you") for f in (other, plain, None)]


def test_adapters_do_not_mix_themselves_up_when_memory_runs_out(base, tmp_path):
    """A pass that breaks off half way must leave nothing in the layers."""
    folders = [None, *(tiny_adapter(base, tmp_path / str(seed), seed=seed) for seed in (1, 2))]
    models = [get_model(f"local/{base}" + (f":{f}" if f else ""), window=0.05) for f in folders]
    mixed = [(n % 3, words) for n, words in enumerate(WORDS)]
    ask([(model, "you") for model in models], most=1)
    wide: list[int] = []

    def full(block: Any, given: tuple[torch.Tensor, ...]) -> None:
        del block
        if len(given[0]) > 2:
            wide.append(len(given[0]))
            raise torch.OutOfMemoryError("of a test")

    blocks = models[0].api.engine.model.get_base_model().model.layers  # pyright: ignore[reportAttributeAccessIssue]
    handle = blocks[1].register_forward_pre_hook(full)
    found = ask([(models[n], words) for n, words in mixed])
    handle.remove()
    assert wide
    assert found == [expected(base, folders[n], words) for n, words in mixed]


def edited(folder: Path, change: Any) -> Path:
    """An adapter with other tensors: `change` gets and gives them by name."""
    file = folder / "adapter_model.safetensors"
    save_file(change(load_file(file)), file)
    return folder


class TestAdaptersThatDoNotFit:
    def refused(self, base: Path, adapter: Path, message: str) -> None:
        """For a reason, and the base still speaks as before; with and without an adapter loaded before."""
        for first in (None, tiny_adapter(base, adapter.with_name("fits"), seed=5)):
            window = 0.02 if first is None else 0.0201
            if first is not None:
                ask([(get_model(f"local/{base}:{first}", window=window), "you")])
            model = get_model(f"local/{base}:{adapter}", window=window)
            with pytest.raises((AdapterError, FileNotFoundError), match=message):
                ask([(model, "hello")])
            names = [f"local/{base}", *([] if first is None else [f"local/{base}:{first}"])]
            replies = ask([(get_model(name, window=window), "hello") for name in names])
            assert replies == [expected(base, folder, "hello") for folder in (None, first)[: len(names)]]

    def test_tensors_of_other_modules(self, base, tmp_path):
        def moved(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return {
                name.replace("model.layers.1", "language_model.layers.1"): t for name, t in tensors.items()
            }

        folder = edited(tiny_adapter(base, tmp_path / "moved", seed=1), moved)
        self.refused(
            base,
            folder,
            r"moved: .* 14 of its tensors find no place \(.*language_model\.layers\.1\.\S+, .*\.\.\.\)",
        )

    def test_tensors_that_its_settings_do_not_name(self, base, tmp_path):
        folder = tiny_adapter(base, tmp_path / "half", seed=1)
        config = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps({**config, "target_modules": ["q_proj"]}))
        self.refused(base, folder, "24 of its tensors find no place")

    def test_layers_without_tensors(self, base, tmp_path):
        def cut(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return {name: t for name, t in tensors.items() if "layers.1" not in name}

        folder = edited(tiny_adapter(base, tmp_path / "cut", seed=1), cut)
        self.refused(base, folder, "14 places find no tensor in it")

    def test_another_width(self, base, tmp_path):
        def narrow(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return {n: t[:, :16].contiguous() if "lora_A" in n else t for n, t in tensors.items()}

        folder = edited(tiny_adapter(base, tmp_path / "narrow", seed=1), narrow)
        self.refused(
            base, folder, r"14 tensors of other sizes \(size mismatch for .*lora_A.*\[4, 16\].*\[4, 32\]"
        )

    def test_no_module_of_that_name(self, base, tmp_path):
        folder = tiny_adapter(base, tmp_path / "other", seed=1)
        config = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps({**config, "target_modules": ["c_attn"]}))
        self.refused(base, folder, "c_attn")

    def test_a_whole_module_that_is_not_there(self, base, tmp_path):
        def headless(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return {n: t for n, t in tensors.items() if "lm_head" not in n}

        folder = edited(trained(base, tmp_path / "headless", modules_to_save=["lm_head"]), headless)
        self.refused(base, folder, "it has no tensor base_model.model.lm_head.weight")

    def test_a_pickle(self, base, tmp_path):
        folder = tiny_adapter(base, tmp_path / "pickled", seed=1)
        tensors = load_file(folder / "adapter_model.safetensors")
        (folder / "adapter_model.safetensors").unlink()
        torch.save(tensors, folder / "adapter_model.bin")
        self.refused(
            base, folder, "adapter_model.bin alone, a pickle, which is not loaded; save .* with safetensors"
        )

    def test_files_that_are_not_whole(self, base, tmp_path):
        folder = tiny_adapter(base, tmp_path / "cut", seed=1)
        whole = (folder / "adapter_model.safetensors").read_bytes()
        (folder / "adapter_model.safetensors").write_bytes(whole[: len(whole) // 2])
        self.refused(base, folder, "adapter_model.safetensors cannot be read")
        (folder / "adapter_model.safetensors").unlink()
        self.refused(base, folder, "holds no LoRA adapter .* no adapter_model.safetensors")
        (folder / "adapter_config.json").write_text("{")
        (folder / "adapter_model.safetensors").write_bytes(whole)
        self.refused(base, folder, "adapter_config.json is no JSON")

    def test_an_adapter_of_another_kind(self, base, tmp_path):
        folder = tiny_adapter(base, tmp_path / "prompt", seed=1)
        config = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps({**config, "peft_type": "PROMPT_TUNING"}))
        self.refused(base, folder, "PROMPT_TUNING is not taken here")


def test_an_adapter_that_was_made_for_another_base_is_told(base, tmp_path, caplog):
    folder = tiny_adapter(base, tmp_path / "adapter", seed=1)
    elsewhere = shutil.copytree(base, tmp_path / "base")
    another = tiny_model(tmp_path / "another", seed=7)
    with caplog.at_level(logging.WARNING):
        ask([(get_model(f"local/{base}:{folder}", window=0.03), "hello")])
        ask([(get_model(f"local/{elsewhere}:{folder}", window=0.03), "hello")])  # moved
        assert "was made for" not in caplog.text
        ask([(get_model(f"local/{another}:{folder}", window=0.03), "hello")])
    assert f"{folder} was made for {base}, and is used on {another}" in caplog.text


class TestTheFirstCall:
    def test_loads_once_for_all_roles(self, tmp_path, monkeypatch):
        folder = tiny_model(tmp_path / "model")
        loads: list[str] = []
        own = engine.load_model
        monkeypatch.setattr(
            engine, "load_model", lambda path, *a, **k: (loads.append(path), own(path, *a, **k))[1]
        )
        models = [get_model(f"local/{folder}", memoize=False) for _ in range(3)]
        assert loads == []
        assert [(m.api.path, m.api.max_connections()) for m in models] == [(str(folder), 128)] * 3  # pyright: ignore
        assert loads == []
        replies = ask([(model, "hello") for model in models * 3])
        assert len(set(replies)) == 1
        assert loads == [str(folder)]
        assert len({id(model.api.engine) for model in models}) == 1  # pyright: ignore

    def test_does_not_hold_up_others(self, tmp_path, monkeypatch):
        folder = tiny_model(tmp_path / "model")
        own = engine.load_model
        ticks: list[int] = []

        def slowly(*arguments: Any, **options: Any) -> Any:
            before = len(ticks)
            while len(ticks) < before + 3:  # the event loop goes on while this waits for it
                pass
            return own(*arguments, **options)

        monkeypatch.setattr(engine, "load_model", slowly)

        async def run() -> None:
            async with anyio.create_task_group() as group:

                async def call() -> None:
                    config = GenerateConfig(max_tokens=1)
                    await get_model(f"local/{folder}").api.generate(
                        [ChatMessageUser(content="you")], [], "none", config
                    )  # pyright: ignore
                    group.cancel_scope.cancel()

                group.start_soon(call)
                with anyio.fail_after(60):
                    while True:
                        ticks.append(1)
                        await anyio.sleep(0.001)

        anyio.run(run)
        assert len(ticks) >= 3


class TestWeightsThatAreGone:
    @pytest.fixture(scope="class")
    def judged_once(self, tmp_path_factory) -> Any:
        """A log whose agent, an adapter on a base, and whose user are not there any more."""
        root = tmp_path_factory.mktemp("gone")
        agent, user = tiny_model(root / "agent", context=4096), tiny_model(root / "user", context=4096)
        adapter = tiny_adapter(agent, root / "adapter", seed=1)
        (log,) = eval(
            therapy(states=2, topics="smoking", turns=1),
            model=f"local/{agent}:{adapter}",
            model_roles={"user": f"local/{user}", "judge": told({"2": 0.5, "3": 0.5})},  # pyright: ignore
            log_dir=str(root / "logs"),
            display="none",
            log_realtime=False,
        )
        assert log.status == "success", log.error
        for folder in (agent, user, adapter):
            folder.rename(folder.with_name(f"{folder.name}_elsewhere"))
        return log

    def test_a_log_can_be_judged_again(self, judged_once):
        judge = told({"1": 0.75, "0": 0.25})
        again = score(
            judged_once,
            influence(form="constitutional"),
            model_roles={"influence": judge},
            action="overwrite",
            display="none",
        )
        values = {sample.scores["influence"].value for sample in again.samples}
        assert values == {0.75}

    def test_a_new_eval_says_so_before_anybody_speaks(self, judged_once, tmp_path):
        user = told("Yes.")
        gone = judged_once.eval.model.removeprefix("local/").partition(":")[0]
        (log,) = eval(
            therapy(states=2, topics="smoking", turns=1),
            model=told("I see."),
            model_roles={"user": user, "judge": f"local/{gone}"},  # pyright: ignore
            log_dir=str(tmp_path),
            display="none",
            log_realtime=False,
        )
        assert log.status == "error"
        assert log.error.message.endswith(
            f"local/{gone}: there is no such folder')"
        ) or log.error.message == (f"local/{gone}: there is no such folder")
        assert user.api.calls == 0

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("local/{root}/nothing", "{root}/nothing: there is no such folder"),
            ("local/{root}/empty", "{root}/empty holds no model"),
            ("local/{root}/adapter", "holds a LoRA adapter, no model; name both: local/.*:{root}/adapter"),
            (
                "local/{root}/base:{root}/nothing",
                "{root}/nothing: there is no such folder, so no LoRA adapter",
            ),
            ("local/{root}/base:{root}/empty", "{root}/empty holds no LoRA adapter"),
            ("local/./nothing", "./nothing: there is no such folder"),
        ],
    )
    def test_the_first_call_says_so_too(self, name, message, tmp_path):
        (tmp_path / "empty").mkdir()
        base = tiny_model(tmp_path / "base")
        tiny_adapter(base, tmp_path / "adapter", seed=1)
        model = get_model(name.format(root=tmp_path))
        with pytest.raises(FileNotFoundError, match=message.format(root=tmp_path)):
            ask([(model, "hello")])
        (log,) = eval(
            Task(dataset=[Sample(input="hello")], solver=generate()), model=model, display="none", log_realtime=False,
            log_dir=str(tmp_path / "logs"),
        )  # fmt: skip
        assert log.status == "error"
