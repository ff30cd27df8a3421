"""`local/` with layers of every kind: each reply is that of its prompt alone, whatever stands beside it."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import anyio
import pytest
import torch
from inspect_ai.model import ChatMessageUser, GenerateConfig, Model, ModelOutput, get_model
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.support.tiny_architectures import SPEAKERS, speaker
from tests.support.tiny_models import tiny_tokenizer

ASKED = [
    ("hello", 4),
    ("how are you today, are you there today, hello there, how are you today", 14),
    ("hello", 14),
    ("you", 9),
    ("hello", 4),
    ("today hello", 2),
    ("how are you today, are you there today, hello there, how are you today", 3),
    ("yours", 14),
    ("how are you today, " * 5, 6),
]
"""Prompts with the most tokens that may be written: several lengths, some twice, and some that end early."""

LONGEST = max(most for _, most in ASKED)

SINGLY = ("rwkv", "minimax", "recurrent-gemma")
"""Those whose state is not in a cache that can be put together."""

MIXED = ("qwen3.5", "granite", "falcon-h1", "mamba2", "rwkv")


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Any:
    """A function that gives the folder of a family's random model."""
    root = tmp_path_factory.mktemp("speakers")

    def folder(family: str) -> Path:
        path = root / family
        if not path.exists():
            tokenizer = tiny_tokenizer()
            speaker(family, len(tokenizer)).save_pretrained(path)
            tokenizer.save_pretrained(path)
        return path

    return folder


def ask(asked: Sequence[tuple[Model, str, int]], **config: Any) -> list[ModelOutput]:
    """All at the same time, greedily."""
    found: dict[int, ModelOutput] = {}

    async def one(index: int, model: Model, words: str, most: int) -> None:
        settings = GenerateConfig(temperature=0.0, max_tokens=most, logprobs=True, **config)
        found[index] = await model.api.generate([ChatMessageUser(content=words)], [], "none", settings)  # pyright: ignore

    async def run() -> None:
        async with anyio.create_task_group() as group:
            for index, each in enumerate(asked):
                group.start_soon(one, index, *each)

    anyio.run(run)
    return [found[index] for index in range(len(asked))]


def written(output: ModelOutput) -> list[str]:
    logprobs = output.choices[0].logprobs
    assert logprobs is not None
    return [token.token for token in logprobs.content]


@cache
def tokenizer_of(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(folder)


def prompt(folder: Path, words: str) -> torch.Tensor:
    tokenizer = tokenizer_of(folder)
    messages = [{"role": "user", "content": words}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]


@cache
def alone(model: Any, folder: Path, words: str, most: int) -> list[str]:
    """What the library's own `generate` writes after one prompt."""
    if most < LONGEST:  # the beginning of the same
        return alone(model, folder, words, LONGEST)[:most]
    ids = prompt(folder, words)
    out = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=most, do_sample=False
    )
    return [tokenizer_of(folder).decode([token]) for token in out[0, ids.shape[1] :].tolist()]


def adapter(base: Path, folder: Path, seed: int, **config: Any) -> Path:
    """A LoRA adapter with random weights."""
    torch.manual_seed(seed)
    settings = {"r": 4, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **config}
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(**settings))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.5)
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", SPEAKERS)
def test_each_reply_is_that_of_its_prompt_alone(family, saved):
    folder = saved(family)
    model = get_model(f"local/{folder}")
    own = AutoModelForCausalLM.from_pretrained(folder)
    expected = [alone(own, folder, words, most) for words, most in ASKED]
    outputs = ask([(model, *each) for each in ASKED])
    assert [written(output) for output in outputs] == expected
    assert len({tuple(tokens) for tokens in expected}) >= 5
    again = ask([(model, *each) for each in ASKED])  # nothing is left of the first batch
    assert [written(output) for output in again] == expected


@pytest.mark.parametrize("family", SINGLY)
def test_a_state_that_cannot_be_batched_is_said(family, saved, caplog):
    (output,) = ask([(get_model(f"local/{saved(family)}", batch_size=7), "hello", 1)])
    assert output.usage is not None
    assert output.usage.output_tokens == 1
    assert "they are run one after another" in caplog.text


@pytest.mark.parametrize("family", ["qwen3.5", "mamba", "rwkv"])
def test_seeds_log_probabilities_and_stops_are_a_rows_own(family, saved):
    folder = saved(family)
    settings: Any = {"seed": 3, "top_logprobs": 4}

    def told(outputs: Sequence[ModelOutput]) -> list[Any]:
        contents = [o.choices[0].logprobs.content for o in outputs]  # pyright: ignore
        return [
            [(t.token, round(t.logprob, 3), [a.token for a in t.top_logprobs or []]) for t in content]
            for content in contents
        ]

    together = told(
        ask([(get_model(f"local/{folder}", memoize=False), *each) for each in ASKED[1:4]], **settings)
    )
    fresh = [get_model(f"local/{folder}", memoize=False) for _ in range(3)]
    assert together == [
        *(told(ask([(model, *each)], **settings))[0] for model, each in zip(fresh, ASKED[1:4], strict=True))
    ]
    whole = written(ask([(fresh[0], "you", 9)])[0])
    (stopped,) = ask([(fresh[0], "you", 9)], stop_seqs=[whole[3]])
    assert stopped.stop_reason == "stop"
    assert len(written(stopped)) == whole.index(whole[3]) + 1


@pytest.mark.parametrize("family", MIXED)
def test_adapters_in_one_batch(family, saved, tmp_path):
    folder = saved(family)
    targets = {"mamba2": ["in_proj"], "falcon-h1": ["q_proj", "in_proj", "down_proj"]}.get(
        family, "all-linear"
    )
    paths = [adapter(folder, tmp_path / str(seed), seed, target_modules=targets) for seed in (1, 2)]
    models = [get_model(f"local/{folder}"), *(get_model(f"local/{folder}:{path}") for path in paths)]
    own: list[Any] = [AutoModelForCausalLM.from_pretrained(folder)]
    own += [PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), path) for path in paths]
    mixed = [(number % 3, words, most) for number, (words, most) in enumerate([*ASKED, *ASKED[1:], ASKED[0]])]
    expected = [alone(own[n], folder, words, most) for n, words, most in mixed]
    outputs = ask([(models[n], words, most) for n, words, most in mixed])
    assert [written(output) for output in outputs] == expected
    assert len({tuple(alone(each, folder, "hello", 9)) for each in own}) == 3


class Reader:
    """Reads the stream after the last block of every token."""

    width = 32

    def __init__(self) -> None:
        self.kept: list[tuple[list[int], torch.Tensor]] = []

    @contextmanager
    def reading(self, model: Any) -> Iterator[Any]:
        found: list[torch.Tensor] = []

        def after(block: Any, given: Any, output: Any) -> None:
            del block, given
            found.append(output[0] if isinstance(output, tuple) else output)

        handle = last_block(model).register_forward_hook(after)
        try:
            yield found.pop
        finally:
            handle.remove()

    def keep(self, message: str, tokens: Sequence[int], numbers: torch.Tensor) -> None:
        del message
        self.kept.append((list(tokens), numbers))


def last_block(model: Any) -> Any:
    blocks = [m for name, m in model.named_modules() if re.search(r"\.(layers|blocks|h)\.\d+$", name)]
    return blocks[-1]


@pytest.mark.parametrize("family", ["qwen3.5", "mamba2", "falcon-h1", "gemma3", "rwkv"])
def test_whoever_reads_along_sees_each_conversation_as_if_alone(family, saved):
    folder = saved(family)
    model = get_model(f"local/{folder}", memoize=False)
    reader = Reader()
    model.api.watch(reader)  # pyright: ignore[reportAttributeAccessIssue]
    outputs = ask([(model, *each) for each in ASKED])
    own = AutoModelForCausalLM.from_pretrained(folder)
    assert [written(o) for o in outputs] == [alone(own, folder, words, most) for words, most in ASKED]
    assert len(reader.kept) == len(ASKED)
    expected = Reader()
    with torch.no_grad(), expected.reading(own) as read:
        for tokens, numbers in reader.kept:
            own(torch.tensor([tokens]))
            assert numbers.shape == (len(tokens), 32)
            torch.testing.assert_close(numbers, read()[0], atol=1e-3, rtol=1e-3)
    prompts = {tuple(prompt(folder, words)[0].tolist()) for words, _ in ASKED}
    assert {tuple(tokens)[: len(p)] for tokens, _ in reader.kept for p in prompts} >= prompts
