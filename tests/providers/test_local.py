import math

import anyio
import pytest
import torch
from inspect_ai.model import (
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    Model,
    ModelOutput,
    get_model,
)
from inspect_ai.tool import ToolInfo
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from providers.chat.errors import ChatTemplateError, ModelOptionError
from providers.local import engines
from providers.local.api import split_name
from providers.local.engine import Engine
from tests.support.tiny_models import TEMPLATE, tiny_adapter, tiny_model
from tests.support.told import told

WORDS = ["hello", "hello there, how are you", "you", "how are you today, are you there today", "today hello"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("tiny") / "base")


@pytest.fixture(scope="module")
def adapters(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    return [tiny_adapter(base, folder / str(seed), seed=seed) for seed in (1, 2)]


def ask(model: Model, prompts: list[str] | list[list], **config) -> list[ModelOutput]:
    """All prompts at the same time."""

    async def run() -> list[ModelOutput]:
        found: dict[int, ModelOutput] = {}

        async def one(index: int, prompt) -> None:
            messages = [ChatMessageUser(content=prompt)] if isinstance(prompt, str) else prompt
            found[index] = await model.api.generate(messages, [], "none", GenerateConfig(**config))  # pyright: ignore

        async with anyio.create_task_group() as group:
            for index, prompt in enumerate(prompts):
                group.start_soon(one, index, prompt)
        return [found[i] for i in range(len(prompts))]

    return anyio.run(run)


def speech_of(folder):
    return get_model(f"local/{folder}").api.speech  # pyright: ignore


def texts(outputs):
    return [o.completion for o in outputs]


def test_greedy_answers_are_those_of_generate(base):
    ours = ask(get_model(f"local/{base}"), WORDS, temperature=0.0, max_tokens=12)
    tokenizer, model = AutoTokenizer.from_pretrained(base), AutoModelForCausalLM.from_pretrained(base)
    for word, output in zip(WORDS, ours, strict=True):
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": word}], tokenize=False, add_generation_prompt=True
        )
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt", return_token_type_ids=False)
        best = model.generate(**ids, max_new_tokens=12, do_sample=False, temperature=None, top_k=None)
        assert output.completion == tokenizer.decode(
            best[0, ids["input_ids"].shape[1] :], skip_special_tokens=True
        )


def test_a_row_does_not_depend_on_the_rows_beside_it(base):
    model = get_model(f"local/{base}", memoize=False)
    together = texts(ask(model, WORDS, seed=5, max_tokens=20))
    fresh = get_model(f"local/{base}", memoize=False)
    alone = [ask(fresh, [word], seed=5, max_tokens=20)[0].completion for word in WORDS]
    assert together == alone
    assert len(set(together)) > 1


def test_repeats_of_a_call_differ_but_not_from_run_to_run(base):
    runs = [
        texts(ask(get_model(f"local/{base}", memoize=False), ["hello"] * 4, seed=5, max_tokens=20))
        for _ in "ab"
    ]
    assert len(set(runs[0])) > 1
    assert sorted(runs[0]) == sorted(runs[1])


def test_without_a_seed_calls_differ(base):
    assert len(set(texts(ask(get_model(f"local/{base}"), ["hello"] * 4, max_tokens=20)))) > 1


@pytest.mark.parametrize(("seeds", "same"), [((3, 3), True), ((3, 4), False)])
def test_the_evals_seed_is_that_of_other_roles_too(tmp_path, converse, seeds, same):
    folder = tiny_model(tmp_path / "speaks", context=4096)
    said = []
    for number, seed in enumerate(seeds):
        user = get_model(f"local/{folder}", memoize=False)
        log = converse(told("Hello."), turns=3, roles={"user": user}, seed=seed, max_samples=1 + 3 * number)
        said.append({s.id: [m.text for m in s.messages if m.role == "user"] for s in log.samples})
    assert (said[0] == said[1]) == same


def test_an_eval_loads_its_model_once_and_as_it_is_told_to(tmp_path, converse, monkeypatch):
    # Inspect makes a model that is not in its list again, by name alone, to look up how much it takes
    loaded = []

    def engine(options):
        loaded.append(options.dtype)
        return Engine(options)

    monkeypatch.setattr(engines, "Engine", engine)
    folder = tiny_model(tmp_path / "speaks", context=4096)
    log = converse(get_model(f"local/{folder}", dtype="float64"))
    assert log.status == "success", log.error
    assert loaded == ["float64"]


def test_the_checkpoints_own_sampling_is_not_used(base):
    # its generation_config says temperature 0.1 and top-k 1: all four would be alike
    assert len(set(texts(ask(get_model(f"local/{base}"), ["you"] * 6, max_tokens=12)))) > 1


def test_logprobs_are_the_models_own_at_temperature_one(base):
    (output,) = ask(
        get_model(f"local/{base}"),
        ["hello"],
        max_tokens=3,
        temperature=0.3,
        logprobs=True,
        top_logprobs=5,
        seed=1,
    )
    tokenizer, model = AutoTokenizer.from_pretrained(base), AutoModelForCausalLM.from_pretrained(base)
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hello"}], tokenize=False, add_generation_prompt=True
    )
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    expected = torch.log_softmax(model(ids).logits[0, -1], -1)
    content = output.choices[0].logprobs.content
    assert [t.logprob for t in content[0].top_logprobs] == pytest.approx(
        expected.topk(5).values.tolist(), abs=1e-4
    )
    assert len(content[0].top_logprobs) == 5
    assert min(abs(content[0].logprob - e) for e in expected.tolist()) < 1e-4
    assert sum(math.exp(t.logprob) for t in content[0].top_logprobs) < 1


def test_stop_reasons_and_counts_are_true(base):
    (cut,) = ask(get_model(f"local/{base}"), ["hello"], max_tokens=2, temperature=0.0)
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 2)
    outputs = ask(get_model(f"local/{base}"), ["hello"] * 40, max_tokens=200, seed=1)
    ended = [o for o in outputs if o.stop_reason == "stop"]
    assert ended
    assert all(o.usage.output_tokens < 200 for o in ended)
    assert not any("<|im_end|>" in o.completion for o in outputs)


def test_stop_sequences(base):
    whole = ask(get_model(f"local/{base}"), ["hello"], max_tokens=20, temperature=0.0)[0].completion
    stop = whole[4:6]
    (output,) = ask(get_model(f"local/{base}"), ["hello"], max_tokens=20, temperature=0.0, stop_seqs=[stop])
    assert output.completion == whole[: whole.index(stop)]
    assert output.stop_reason == "stop"


def test_a_prompt_longer_than_the_context_says_so(tmp_path):
    folder = tiny_model(tmp_path / "short", context=32)
    (output,) = ask(get_model(f"local/{folder}"), ["hello there " * 50], max_tokens=5)
    assert output.stop_reason == "model_length"
    (close,) = ask(get_model(f"local/{folder}"), ["hello"], max_tokens=500, temperature=0.0)
    assert close.usage.total_tokens <= 32


def test_one_copy_of_the_weights_serves_all_roles_and_adapters(base, adapters):
    names = [f"local/{base}", f"local/{base}:{adapters[0]}", f"local/{base}:{adapters[1]}"]
    models = [get_model(name) for name in names]
    assert len({id(m.api.engine) for m in models}) == 1  # pyright: ignore


def test_adapters_answer_as_if_each_were_loaded_alone(base, adapters):
    tokenizer = AutoTokenizer.from_pretrained(base)
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hello"}], tokenize=False, add_generation_prompt=True
    )
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt", return_token_type_ids=False)
    expected = []
    for adapter in (None, *adapters):
        model = AutoModelForCausalLM.from_pretrained(base)
        model = model if adapter is None else PeftModel.from_pretrained(model, adapter)
        out = model.generate(**ids, max_new_tokens=10, do_sample=False, temperature=None, top_k=None)
        expected.append(tokenizer.decode(out[0, ids["input_ids"].shape[1] :], skip_special_tokens=True))
    names = [f"local/{base}", *(f"local/{base}:{a}" for a in adapters)]
    found: dict[int, str] = {}

    async def run() -> None:
        async def one(index: int) -> None:
            output = await get_model(names[index % 3]).api.generate(
                [ChatMessageUser(content="hello")], [], "none", GenerateConfig(temperature=0.0, max_tokens=10)
            )
            found[index] = output.completion  # pyright: ignore

        async with anyio.create_task_group() as group:  # mixed in one batch
            for index in range(9):
                group.start_soon(one, index)

    anyio.run(run)
    assert [found[i] for i in range(9)] == expected * 3
    assert len(set(expected)) == 3
    assert texts(ask(get_model(names[1]), ["hello"] * 3, temperature=0.0, max_tokens=10)) == [expected[1]] * 3


def test_a_last_message_of_the_assistant_is_continued(base):
    api = get_model(f"local/{base}").api
    started = api.speech.prompt(
        [ChatMessageUser(content="hello"), ChatMessageAssistant(content="you")]
    ).tokens  # pyright: ignore
    assert api.engine.tokenizer.decode(started).endswith("assistant\nyou")  # pyright: ignore


class TestChatTemplates:
    def test_none(self, tmp_path):
        with pytest.raises(ChatTemplateError, match="has no chat template; name a file with one"):
            speech_of(tiny_model(tmp_path / "m", template=None))

    def test_one_that_drops_a_role(self, tmp_path):
        template = TEMPLATE.replace(
            "{%- for m in messages -%}", "{%- for m in messages if m['role'] != 'assistant' -%}"
        )
        with pytest.raises(ChatTemplateError, match=r"drops messages of \['assistant'\]"):
            speech_of(tiny_model(tmp_path / "m", template=template))

    def test_one_without_a_prompt_for_the_answer(self, tmp_path):
        template = TEMPLATE.split("{%- if add_generation_prompt -%}")[0]
        template = template.replace(" and not add_generation_prompt", " and false")
        with pytest.raises(ChatTemplateError, match="ignores add_generation_prompt"):
            speech_of(tiny_model(tmp_path / "m", template=template))

    def test_one_that_takes_no_system_message_gets_it_with_the_first_user_message(self, tmp_path):
        template = (
            "{%- if messages[0]['role'] == 'system' -%}{{- raise_exception('no system') -}}{%- endif -%}"
            + TEMPLATE
        )
        speech = speech_of(tiny_model(tmp_path / "m", template=template))
        prompt = speech.prompt([ChatMessageSystem(content="how"), ChatMessageUser(content="hello")])
        assert "user\nhow\n\nhello" in speech.tokenizer.decode(prompt.tokens)

    def test_another_one_from_a_file(self, tmp_path):
        path = tmp_path / "template.jinja"
        path.write_text(TEMPLATE.replace("'\n' +", "':\n' +", 1))
        model = get_model(f"local/{tiny_model(tmp_path / 'm', template=None)}", chat_template=str(path))
        assert model.api.speech.prompt([ChatMessageUser(content="hello")]).tokens  # pyright: ignore


def test_what_is_not_honoured_is_refused(base, tmp_path):
    with pytest.raises(
        ValueError, match="local/ takes no option batchsize; it takes attn_implementation, batch_size"
    ):
        get_model(f"local/{base}", batchsize=3)
    with pytest.raises(FileNotFoundError, match="holds no LoRA adapter"):
        get_model(f"local/{base}:{tmp_path}").api.check_weights()  # pyright: ignore
    model = get_model(f"local/{base}")
    with pytest.raises(ValueError, match="does not honour frequency_penalty"):
        anyio.run(
            model.api.generate,
            [ChatMessageUser(content="x")],
            [],
            "none",
            GenerateConfig(frequency_penalty=1.0),
        )
    with pytest.raises(ValueError, match="cannot make its models call a tool"):
        anyio.run(
            model.api.generate,
            [ChatMessageUser(content="x")],
            [ToolInfo(name="t", description="d")],
            "any",
            GenerateConfig(),
        )
    with pytest.raises(ValueError, match="does not write calls of tools"):
        anyio.run(
            model.api.generate,
            [ChatMessageUser(content="x")],
            [ToolInfo(name="teleport", description="d")],
            "auto",
            GenerateConfig(),
        )


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ({"chat_template": 5}, "chat_template=5 is no name of a file; name a Jinja file"),
        ({"batch_size": "x"}, "batch_size='x' must be a whole number of 1 or more"),
        ({"batch_size": 0}, "batch_size=0 must be a whole number of 1 or more"),
        ({"batch_size": True}, "batch_size=True must be a whole number"),
        ({"window": float("nan")}, "window=nan must be a number of seconds"),
        ({"window": "x"}, "window='x' must be a number of seconds"),
        ({"prefix_cache": -1}, "prefix_cache=-1 must be a number of megabytes, 0 to keep nothing"),
        ({"prefix_cache": "much"}, "prefix_cache='much' must be a number of megabytes"),
        ({"device": 5}, "device=5 must be a name"),
        ({"dtype": 32}, "dtype=32 must be a name"),
        ({"revision": 1.5}, "revision=1.5 must be a name"),
    ],
)
def test_options_of_the_wrong_kind_are_told_when_the_model_is_named(option, line):
    with pytest.raises(ModelOptionError) as error:
        get_model("local/nowhere", **option, memoize=False)
    assert line in str(error.value)
    assert isinstance(error.value, ValueError)
    assert "Traceback" not in str(error.value.message)


def test_names(tmp_path):
    assert split_name("org/model") == ("org/model", None)
    assert split_name("org/model:runs/adapter") == ("org/model", "runs/adapter")
    odd = tmp_path / "a:b"
    odd.mkdir()
    assert split_name(str(odd)) == (str(odd), None)
