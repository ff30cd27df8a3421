"""The prefix cache of `local/`: less is read, and what is said, weighed and seen stays what it was."""

import gc
import random
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import torch
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    Model,
    ModelOutput,
    get_model,
)
from transformers import AutoModelForCausalLM

from providers.local.kv_cache.prefixes import MEGABYTE, Layers, PrefixCache
from tests.support.saved_speakers import LINES, PADDED, SYSTEM, engine_of, saved_in
from tests.support.tiny_models import tiny_adapter


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Any:
    """A function that gives the folder of a family's random model."""
    return saved_in(tmp_path_factory.mktemp("speakers"))


def loaded(folder: Path | str, megabytes: float) -> Model:
    """With an empty cache of its own."""
    model = get_model(f"local/{folder}", prefix_cache=megabytes, memoize=False)
    engine = engine_of(model)
    engine.lend(lambda _: engine.prefixes.clear())
    engine.prefixes.tokens_read = engine.prefixes.tokens_kept = 0
    return model


def ask(asked: list[tuple[Model, list[ChatMessage]]], **config: Any) -> list[ModelOutput]:
    """All at the same time, greedily, with the likeliest tokens of every place."""
    settings = {"temperature": 0.0, "max_tokens": 7, "logprobs": True, "top_logprobs": 5, **config}
    found: dict[int, ModelOutput] = {}

    async def one(index: int, model: Model, messages: list[ChatMessage]) -> None:
        found[index] = await model.api.generate(messages, [], "none", GenerateConfig(**settings))  # pyright: ignore

    async def run() -> None:
        async with anyio.create_task_group() as group:
            for index, each in enumerate(asked):
                group.start_soon(one, index, *each)

    anyio.run(run)
    return [found[index] for index in range(len(asked))]


def talks(models: list[Model], turns: int = 3, **config: Any) -> list[ModelOutput]:
    """Conversations of different lengths side by side; the outputs of all turns."""
    histories: list[list[ChatMessage]] = [
        [ChatMessageSystem(content=SYSTEM), ChatMessageUser(content=line)] for line in LINES
    ]
    outputs = []
    for turn in range(turns):
        now = ask([(models[n % len(models)], h) for n, h in enumerate(histories)], **config)
        for number, (history, output) in enumerate(zip(histories, now, strict=True)):
            history.append(ChatMessageAssistant(content=output.completion))
            history.append(ChatMessageUser(content=LINES[(turn + number) % len(LINES)]))
        outputs += now
    return outputs


def places(output: ModelOutput) -> list[Any]:
    logprobs = output.choices[0].logprobs
    assert logprobs is not None
    return logprobs.content


def assert_same(ours: list[ModelOutput], expected: list[ModelOutput]) -> None:
    """The same tokens, and log-probabilities to 1e-4."""
    for one, other in zip(ours, expected, strict=True):
        assert [place.token for place in places(one)] == [place.token for place in places(other)]
        for place, same in zip(places(one), places(other), strict=True):
            assert place.logprob == pytest.approx(same.logprob, abs=1e-4)
            tops = [[top.logprob for top in each.top_logprobs or []] for each in (place, same)]
            assert tops[0] == pytest.approx(tops[1], abs=1e-4)


@pytest.mark.parametrize("family", PADDED)
def test_conversations_are_the_same_and_less_is_read(family, saved):
    whole, kept = loaded(saved(family), 0), loaded(saved(family), 64)
    assert_same(talks([kept]), talks([whole]))
    read, reference = engine_of(kept).prefixes, engine_of(whole).prefixes
    assert reference.tokens_kept == reference.bytes == 0
    assert read.tokens_read + read.tokens_kept == reference.tokens_read
    if family != "phi3":  # whose positions turn, so that most of these prompts are read alone
        assert read.tokens_read < 0.5 * reference.tokens_read


def test_one_conversation_at_a_time(saved):
    whole, kept = loaded(saved("llama"), 0), loaded(saved("llama"), 64)
    history: list[ChatMessage] = [ChatMessageUser(content=SYSTEM)]
    for line in LINES:
        expected, ours = ask([(whole, history)]), ask([(kept, history)])
        assert_same(ours, expected)
        history += [ChatMessageAssistant(content=ours[0].completion), ChatMessageUser(content=line)]
    assert engine_of(kept).prefixes.tokens_kept > engine_of(kept).prefixes.tokens_read


def test_sampled_conversations_are_the_same(saved):
    sampled: dict[str, Any] = {"temperature": 1.0, "seed": 3, "max_tokens": 20}
    whole, kept = (talks([loaded(saved("llama"), size)], **sampled) for size in (0, 64))
    assert_same(kept, whole)
    assert len({output.completion for output in whole}) > 4


def test_what_prompts_of_a_batch_begin_with_alike_is_read_once(saved):
    prompts: list[list[ChatMessage]] = [
        [ChatMessageSystem(content=SYSTEM), ChatMessageUser(content=line)] for line in LINES
    ]
    whole, kept = loaded(saved("llama"), 0), loaded(saved("llama"), 64)
    assert_same(ask([(kept, p) for p in prompts]), ask([(whole, p) for p in prompts]))
    prefixes = engine_of(kept).prefixes
    system = len(kept.api.speech.tokenizer.encode(SYSTEM))  # pyright: ignore[reportAttributeAccessIssue]
    assert prefixes.tokens_kept >= (len(LINES) - 1) * system


@pytest.mark.parametrize("family", ["llama", "mistral"])
def test_likelihoods_of_completions(family, saved):
    asked: dict[str, Any] = {"extra_body": {"completions": ["you are", "how are", "hello"]}}
    found = []
    for size in (0, 64):
        model = loaded(saved(family), size)
        talks([model])
        outputs = talks([model], turns=1, **asked) + talks([model], turns=1, **asked)
        found.append([[c["logprob"] for c in (o.metadata or {})["completions"]] for o in outputs])
        read = engine_of(model).prefixes.tokens_read
        ask([(model, [ChatMessageSystem(content=SYSTEM), ChatMessageUser(content=LINES[0])])], **asked)
        # all but the last token of a prompt that was read before
        assert engine_of(model).prefixes.tokens_read - read == (1 if size else outputs[0].usage.input_tokens)  # pyright: ignore
    for whole, kept in zip(*found, strict=True):
        assert kept == pytest.approx(whole, abs=1e-4)


def test_adapters_do_not_take_what_another_has_read(saved, tmp_path):
    folder = saved("llama")
    names = [folder, *(f"{folder}:{tiny_adapter(folder, tmp_path / str(n), seed=n)}" for n in (1, 2))]
    whole, kept = ([loaded(name, size) for name in names] for size in (0, 64))
    expected = talks(whole)
    assert_same(talks(kept), expected)
    for turned in (kept[1:] + kept[:1], kept[2:] + kept[:2]):  # the same prompts, from other mouths
        alone = [loaded(name, 0) for name in names]
        shift = kept.index(turned[0])
        assert_same(talks(turned), talks(alone[shift:] + alone[:shift]))
    assert engine_of(kept[0]).prefixes.tokens_kept > 0


@pytest.mark.parametrize("megabytes", [0.01, 0.05, 0.3])
def test_memory_is_bounded_and_answers_stay(megabytes, saved, caplog):
    small, whole = loaded(saved("llama"), megabytes), loaded(saved("llama"), 0)
    for _ in range(2):
        assert_same(talks([small]), talks([whole]))
        assert engine_of(small).prefixes.bytes <= megabytes * MEGABYTE
    said = [record for record in caplog.records if "does not hold the conversations" in record.message]
    assert len(said) == (1 if megabytes < 0.1 else 0)


@pytest.mark.parametrize(("family", "times"), [("qwen3.5", 1), ("mamba", 1), ("rwkv", 1)])
def test_models_that_keep_a_state_do_without_and_it_is_said(family, times, saved, caplog):
    model, whole = loaded(saved(family), 33), loaded(saved(family), 0)
    assert_same(talks([model], turns=2), talks([whole], turns=2))
    assert engine_of(model).prefixes.tokens_kept == engine_of(model).prefixes.bytes == 0
    said = [record for record in caplog.records if "each prompt is read anew" in record.message]
    assert len(said) == times


class Reader:
    """Reads the stream after the last block of every token."""

    width = 32

    def __init__(self) -> None:
        self.kept: list[tuple[list[int], torch.Tensor]] = []

    @contextmanager
    def reading(self, model: Any) -> Any:
        bare = model.get_base_model() if hasattr(model, "get_base_model") else model
        found: list[torch.Tensor] = []
        handle = bare.model.layers[-1].register_forward_hook(
            lambda block, given, output: found.append(output[0] if isinstance(output, tuple) else output)
        )
        try:
            yield found.pop
        finally:
            handle.remove()

    def keep(self, message: str, tokens: list[int], numbers: torch.Tensor) -> None:
        del message
        self.kept.append((list(tokens), numbers))


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_whoever_reads_along_sees_every_token(family, saved):
    folder = saved(family)
    model, unwatched = loaded(folder, 64), loaded(folder, 64)
    talks([unwatched])  # in the same engine: much is kept that nobody read along with
    first, second = Reader(), Reader()
    model.api.watch(first)  # pyright: ignore[reportAttributeAccessIssue]
    expected = talks([loaded(folder, 0)])
    assert_same(talks([model, unwatched]), expected)
    before = engine_of(model).prefixes.tokens_read
    model.api.watch(second)  # pyright: ignore[reportAttributeAccessIssue]
    assert_same(talks([model]), expected)
    between = engine_of(model).prefixes.tokens_read
    assert_same(talks([model]), expected)
    # what both have read need not be read again
    assert engine_of(model).prefixes.tokens_read - between < 0.5 * (between - before)
    own = AutoModelForCausalLM.from_pretrained(folder)
    assert (len(first.kept), len(second.kept)) == (6 + 24, 24)
    alone = Reader()
    with torch.no_grad(), alone.reading(own) as read:
        for tokens, numbers in first.kept + second.kept:
            own(torch.tensor([tokens]))
            assert numbers.shape == (len(tokens), 32)
            torch.testing.assert_close(numbers, read()[0], atol=1e-4, rtol=1e-4)


def test_nobody_is_kept_watching(saved):
    model, unwatched = loaded(saved("llama"), 64), loaded(saved("llama"), 64)
    reader = Reader()
    model.api.watch(reader)  # pyright: ignore[reportAttributeAccessIssue]
    talks([model], turns=1)
    assert reader.kept
    del reader
    talks([unwatched], turns=1)  # the last batch is not the watched one any more
    gc.collect()
    assert not list(model.api._watches)  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("size", [0.02, 1])
def test_the_longest_beginning_is_found_with_its_own_states(seed, size):
    drawn = random.Random(seed)
    cache, held = PrefixCache(size), []

    def states(tokens: list[int]) -> torch.Tensor:  # of each token by all before it
        sums = torch.tensor(tokens, dtype=torch.float).cumsum(0)
        return sums[None, :, None].expand(2, -1, 8)

    for _ in range(60):
        start = drawn.choice(held)[: drawn.randint(0, 30)] if held and drawn.random() < 0.7 else []
        tokens = [*start, *(drawn.randint(0, 3) for _ in range(drawn.randint(1, 20)))]
        known = max((_alike(tokens, other) for other in held), default=0)
        cache.next_batch()
        found = cache.find("a", tokens)
        assert found.length <= known if size < 1 else found.length == known
        assert cache.find("b", tokens).length == 0
        for layer in (0, 1):
            kept = [piece.layers[layer][1][:, : piece.length] for piece in found.pieces]  # pyright: ignore
            if kept:
                torch.testing.assert_close(
                    torch.cat(kept, 1), states(tokens)[:, : found.length] * (layer + 1)
                )

        def layers(a: int, b: int, tokens: list[int] = tokens) -> Layers:
            own = states(tokens)[:, a:b]
            return [(own, own), (2 * own, 2 * own)]

        cache.add("a", tokens, layers, {})
        held.append(tokens)
        assert cache.bytes <= size * MEGABYTE
    assert cache.bytes > 0
    cache.clear()
    assert cache.bytes == 0
    assert cache.find("a", held[0]).length == 0


def _alike(one: list[int], other: list[int]) -> int:
    return next(
        (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
