import anyio
import pytest
import torch
from inspect_ai.model import ChatMessageUser, GenerateConfig, get_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from providers.causal_models import model_size
from providers.local.batching import Batching
from providers.local.likelihood import token_prefix, weigh, weigh_singly
from tests.support.tiny_models import tiny_adapter, tiny_model

PAIR = ["hello there", "hello you today"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("tiny") / "base")


def asked(names, completions=PAIR, words="how are you"):
    """All models at the same time, in one batch where they share a base."""

    async def run():
        found = {}

        async def one(number, name):
            config = GenerateConfig(extra_body={"completions": completions})
            prompt = [ChatMessageUser(content=f"{words} {'today ' * number}")]
            found[number] = await get_model(f"local/{name}").api.generate(prompt, [], "none", config)

        async with anyio.create_task_group() as group:
            for number, name in enumerate(names):
                group.start_soon(one, number, name)
        return [found[number] for number in range(len(names))]

    return anyio.run(run)


def by_whole_passes(folder, completions, words="how are you ", adapter=None):
    """Sum of the log-probabilities of each completion, by transformers alone."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter)
    chat = [{"role": "user", "content": words}]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    sums = []
    for text in completions:
        own = tokenizer.encode(text, add_special_tokens=False)
        with torch.inference_mode():
            logits = model(torch.tensor([[*prompt, *own]])).logits[0]
        logprobs = torch.log_softmax(logits, -1)
        sums.append(sum(float(logprobs[len(prompt) - 1 + n, t]) for n, t in enumerate(own)))
    return sums


def test_two_completions_of_one_prompt_are_as_likely_as_in_passes_of_their_own(base):
    first, second = by_whole_passes(base, PAIR)
    (output,) = asked([base])
    told = output.metadata["completions"]
    assert [one["text"] for one in told] == PAIR
    # tokens that both begin with alike add the same to both
    assert told[0]["logprob"] - told[1]["logprob"] == pytest.approx(first - second, abs=1e-4)
    assert output.completion == PAIR[0 if first > second else 1]
    assert output.metadata["differ_from"] > 0
    assert output.usage.output_tokens == sum(one["tokens"] for one in told)


def test_prompts_of_different_lengths_and_adapters_share_a_batch(base, tmp_path):
    adapter = tiny_adapter(base, tmp_path / "adapter", seed=1)
    outputs = asked([base, f"{base}:{adapter}", base])
    for number, (output, own) in enumerate(zip(outputs, [None, adapter, None], strict=True)):
        first, second = by_whole_passes(base, PAIR, f"how are you {'today ' * number}", own)
        told = output.metadata["completions"]
        assert told[0]["logprob"] - told[1]["logprob"] == pytest.approx(first - second, abs=1e-3), number


def test_a_model_that_takes_no_batches_gives_the_same(base):
    model = AutoModelForCausalLM.from_pretrained(base)
    prompts, completions = [[5, 6, 7], [8, 9]], [[[4, 5], [6]], [[7], [8, 9, 10]]]
    common = {"adapters": ["", ""], "device": torch.device("cpu")}

    def forward(*, adapters, **inputs):
        return model(**inputs)

    def logits_of(*, adapter, **inputs):
        return model(**inputs).logits

    together = weigh(forward, Batching("padded"), model.config, prompts, completions, pad=0, **common)
    for one, other in zip(together, weigh_singly(logits_of, prompts, completions, **common), strict=True):
        for here, there in zip(one.logprobs, other.logprobs, strict=True):
            assert here == pytest.approx(there, abs=1e-4)


@pytest.mark.parametrize(
    ("completions", "problem"),
    [
        (["hello", "hello there"], "begins with the whole"),
        (["hello"], "two are compared"),
        (["a", ""], "empty"),
    ],
)
def test_completions_that_cannot_be_compared_are_refused(base, completions, problem):
    with pytest.raises(ExceptionGroup) as failed:
        asked([base], completions)
    assert problem in str(failed.value.exceptions[0])


def test_what_else_is_in_extra_body_is_refused(base):
    config = GenerateConfig(extra_body={"guided_choice": ["a", "b"]})
    with pytest.raises(ValueError, match="guided_choice"):
        anyio.run(
            get_model(f"local/{base}").api.generate, [ChatMessageUser(content="you")], [], "none", config
        )


def test_a_prompt_that_is_too_long_is_told_so(base):
    (output,) = asked([base], words="hello there " * 200)
    assert output.stop_reason == "model_length"


def test_common_tokens_are_counted_up_to_the_first_that_differs():
    assert token_prefix([[1, 2, 3], [1, 2, 4, 5]]) == 2
    assert token_prefix([[1], [2]]) == 0


def test_the_size_of_a_model_leaves_out_what_is_looked_up(base):
    model = AutoModelForCausalLM.from_pretrained(base)
    size = model_size(model)
    table = model.config.vocab_size * model.config.hidden_size
    every = sum(weight.numel() for weight in model.parameters())
    untied = 0 if model.config.tie_word_embeddings else table
    assert size == {
        "body": every - table - untied, "head": table, "layers": 2, "width": model.config.hidden_size,
    }  # fmt: skip
