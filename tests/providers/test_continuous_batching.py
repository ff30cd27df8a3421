"""`local/`: conversations leave a batch and come into it at any step, and each goes as if it were alone."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
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
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from providers.local.sampling import SamplingSettings
from tests.support.saved_speakers import LINES, PADDED, SYSTEM, engine_of, saved_in
from tests.support.tiny_models import tiny_adapter

OTHERS = ("qwen3.5", "mamba", "rwkv")
"""Into whose batches nobody can come."""


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Any:
    """A function that gives the folder of a family's random model."""
    return saved_in(tmp_path_factory.mktemp("speakers"))


def loaded(name: Path | str, **options: Any) -> Model:
    """With an empty cache of its own."""
    model = get_model(f"local/{name}", memoize=False, **options)
    engine = engine_of(model)
    engine.lend(lambda _: engine.prefixes.clear())
    return model


async def answer(model: Model, words: str | list[ChatMessage], **config: Any) -> ModelOutput:
    settings = {"temperature": 0.0, "max_tokens": 7, "logprobs": True, "top_logprobs": 5, **config}
    messages = [ChatMessageUser(content=words)] if isinstance(words, str) else words
    return await model.api.generate(messages, [], "none", GenerateConfig(**settings))  # pyright: ignore


class Talk:
    """A conversation of some turns, each begun as soon as the one before is answered."""

    def __init__(self, number: int, model: Model, turns: int, **config: Any) -> None:
        self.outputs: list[ModelOutput] = []
        self._number, self._model, self._turns, self._config = number, model, turns, config

    async def run(self) -> None:
        first = LINES[self._number % len(LINES)] + " hello" * self._number
        history: list[ChatMessage] = [ChatMessageSystem(content=SYSTEM), ChatMessageUser(content=first)]
        for turn in range(self._turns):
            most = 2 + (5 * self._number + 7 * turn) % 19
            output = await answer(self._model, history, **{"max_tokens": most, **self._config})
            self.outputs.append(output)
            history.append(ChatMessageAssistant(content=output.completion))
            history.append(ChatMessageUser(content=LINES[(turn + self._number) % len(LINES)]))


def together(talks: Sequence[Talk]) -> list[ModelOutput]:
    """Some begin while others are under way."""

    async def run() -> None:
        async with anyio.create_task_group() as group:
            for number, talk in enumerate(talks):
                group.start_soon(talk.run)
                if number % 3 == 2:
                    await anyio.sleep(0.03)

    anyio.run(run)
    return [output for talk in talks for output in talk.outputs]


def one_by_one(talks: Sequence[Talk]) -> list[ModelOutput]:
    for talk in talks:
        anyio.run(talk.run)
    return [output for talk in talks for output in talk.outputs]


def assert_same(ours: Sequence[ModelOutput], expected: Sequence[ModelOutput], within: float = 1e-4) -> None:
    """The same tokens, and log-probabilities to rounding."""
    assert len(ours) == len(expected)
    for one, other in zip(ours, expected, strict=True):
        assert (one.stop_reason, tokens(one)) == (other.stop_reason, tokens(other))
        for place, same in zip(places(one), places(other), strict=True):
            assert place.logprob == pytest.approx(same.logprob, abs=within)
            tops = [[top.logprob for top in each.top_logprobs or []] for each in (place, same)]
            assert tops[0] == pytest.approx(tops[1], abs=within)


def places(output: ModelOutput) -> list[Any]:
    logprobs = output.choices[0].logprobs
    assert logprobs is not None
    return logprobs.content


def tokens(output: ModelOutput) -> list[str]:
    return [place.token for place in places(output)]


@contextmanager
def at_pass(model: Model, number: int) -> Iterator[threading.Event]:
    """The model stands still before this pass of it until the event is set."""
    go_on, passes = threading.Event(), []

    def before(module: Any, given: Any) -> None:
        passes.append(module)
        if len(passes) == number:
            assert go_on.wait(timeout=60)

    bare = engine_of(model).model
    handle = bare.register_forward_pre_hook(before)
    try:
        yield go_on
    finally:
        go_on.set()
        handle.remove()


def in_the_middle(
    model: Model, first: Callable[[], Any], *later: Callable[[], Any], at: int = 4
) -> list[str]:
    """Begin with the first; the others come while it is at this pass. The order in which they end."""
    ended: list[str] = []

    async def run() -> None:
        async def noted(name: str, one: Callable[[], Any]) -> None:
            await one()
            ended.append(name)

        with at_pass(model, at) as go_on:
            async with anyio.create_task_group() as group:
                group.start_soon(noted, "first", first)
                await anyio.sleep(0.2)
                for number, one in enumerate(later):
                    group.start_soon(noted, f"later {number}", one)
                await anyio.sleep(0.1)
                go_on.set()

    anyio.run(run)
    return ended


@pytest.fixture(scope="module")
def alone(saved) -> Any:
    """What nine conversations with a family's model say one after the other, with nothing kept between them."""

    @cache
    def of(family: str, seed: int) -> list[ModelOutput]:
        model = loaded(saved(family), prefix_cache=0)
        return one_by_one([Talk(number, model, 3, temperature=1.0, seed=seed) for number in range(9)])

    return of


@pytest.mark.parametrize("megabytes", [0, 64])
@pytest.mark.parametrize("family", [*PADDED, *OTHERS])
def test_each_conversation_goes_as_if_it_were_alone(family, megabytes, saved, alone):
    model = loaded(saved(family), batch_size=5, prefix_cache=megabytes)
    ours = together([Talk(number, model, 3, temperature=1.0, seed=3) for number in range(9)])
    expected = alone(family, 3)
    assert_same(ours, expected, 1e-3 if family in OTHERS else 1e-4)  # a state sums up what was rounded
    assert len({output.completion for output in expected}) > 9


def test_who_comes_later_and_says_less_is_done_first(saved):
    model = loaded(saved("llama"))
    found: dict[str, ModelOutput] = {}

    async def ask(name: str, words: str, most: int) -> None:
        found[name] = await answer(model, words, max_tokens=most, stop_seqs=None)

    asked = [("long", "hello", 120), ("short", "you", 3), ("longer prompt", SYSTEM * 4, 5)]
    order = in_the_middle(model, *(lambda each=each: ask(*each) for each in asked))
    assert order[-1] == "first"
    alone = loaded(saved("llama"), prefix_cache=0)
    expected = [anyio.run(lambda w=w, m=m: answer(alone, w, max_tokens=m)) for _, w, m in asked]
    assert_same([found[name] for name, _, _ in asked], expected)
    assert found["long"].usage.output_tokens == 120


def test_settings_are_a_rows_own(saved):
    model = loaded(saved("llama"))
    settings: list[dict[str, Any]] = [
        {"temperature": 0.0, "max_tokens": 60},
        {"temperature": 1.0, "seed": 2, "max_tokens": 20},
        {"temperature": 0.7, "top_p": 0.8, "seed": 3, "max_tokens": 30},
        {"temperature": 1.5, "top_k": 5, "seed": 4, "top_logprobs": 2, "max_tokens": 9},
        {"temperature": 0.0, "stop_seqs": ["e"], "max_tokens": 40},
    ]
    found: dict[int, ModelOutput] = {}

    async def ask(number: int) -> None:
        found[number] = await answer(model, LINES[number % 4], **settings[number])

    in_the_middle(model, *(lambda n=n: ask(n) for n in range(len(settings))))
    alone = loaded(saved("llama"), prefix_cache=0)
    expected = [
        anyio.run(lambda n=n: answer(alone, LINES[n % 4], **settings[n])) for n in range(len(settings))
    ]
    assert_same([found[number] for number in range(len(settings))], expected)
    assert {output.stop_reason for output in expected} == {"stop", "max_tokens"}


def test_adapters_that_mix_come_in_beside_others(saved, tmp_path):
    folder = saved("llama")
    names = [folder, *(f"{folder}:{tiny_adapter(folder, tmp_path / str(n), seed=n)}" for n in (1, 2))]

    def talks() -> list[Talk]:
        models = [loaded(name, batch_size=5) for name in names]
        return [Talk(number, models[number % 3], 3, temperature=1.0, seed=1) for number in range(9)]

    assert_same(together(talks()), one_by_one(talks()))


def test_who_cannot_be_in_the_batch_has_a_turn_though_others_keep_coming(saved, tmp_path):
    folder = saved("llama")
    torch.manual_seed(7)
    settings = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", use_dora=True)
    unlike = get_peft_model(AutoModelForCausalLM.from_pretrained(folder), settings)
    with torch.no_grad():
        for name, weight in unlike.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.5)
    unlike.save_pretrained(tmp_path / "dora")
    model, other = loaded(folder, batch_size=4), loaded(f"{folder}:{tmp_path / 'dora'}", batch_size=4)
    expected = anyio.run(lambda: answer(other, "you", max_tokens=5))
    served: list[Any] = []

    async def keep_coming() -> None:
        async with anyio.create_task_group() as group:
            for number in range(4):
                group.start_soon(stream, number)
            await anyio.sleep(0.05)
            served.append(await answer(other, "you", max_tokens=5))
            group.cancel_scope.cancel()

    async def stream(number: int) -> None:
        while True:  # for ever, unless the other is served
            await answer(model, LINES[number], max_tokens=10 + number, seed=number)

    anyio.run(keep_coming)
    assert_same(served, [expected])


def test_likelihoods_do_not_wait_for_replies(saved):
    model = loaded(saved("llama"))
    asked: dict[str, Any] = {"extra_body": {"completions": ["you are", "how are", "hello"]}}
    found: list[ModelOutput] = []

    async def weigh() -> None:
        found.append(await answer(model, SYSTEM, **asked))

    async def talk() -> None:
        found.append(await answer(model, "hello", max_tokens=120))

    assert in_the_middle(model, talk, weigh) == ["later 0", "first"]
    alone = loaded(saved("llama"), prefix_cache=0)
    weighed = anyio.run(lambda: answer(alone, SYSTEM, **asked))
    ours, expected = ([c["logprob"] for c in o.metadata["completions"]] for o in (found[0], weighed))
    assert ours == pytest.approx(expected, abs=1e-4)
    assert_same(found[1:], [anyio.run(lambda: answer(alone, "hello", max_tokens=120))])


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
            assert not found  # asked after every pass

    def keep(self, message: str, tokens: list[int], numbers: torch.Tensor) -> None:
        del message
        self.kept.append((list(tokens), numbers))


@pytest.mark.parametrize("megabytes", [0, 64])
@pytest.mark.parametrize("family", ["llama", "gemma3", "qwen3.5"])
def test_whoever_reads_along_sees_their_conversations_and_no_others(family, megabytes, saved, alone):
    folder = saved(family)
    models = [loaded(folder, batch_size=5, prefix_cache=megabytes) for _ in range(3)]
    readers = [Reader(), Reader()]
    for model, reader in zip(models, readers, strict=False):  # nobody watches the third
        model.api.watch(reader)  # pyright: ignore[reportAttributeAccessIssue]
    talks = [Talk(number, models[number % 3], 3, temperature=1.0, seed=1) for number in range(9)]
    weighed = Talk(1, models[2], 4, extra_body={"completions": ["you are", "hello"]})
    together([*talks, weighed])
    rounding = 1e-3 if family in OTHERS else 1e-4  # a state sums up what was rounded
    assert_same([o for talk in talks for o in talk.outputs], alone(family, 1), rounding)
    own, expected = AutoModelForCausalLM.from_pretrained(folder), Reader()
    with torch.no_grad(), expected.reading(own) as read:
        for reader in readers:
            assert len(reader.kept) == 9
            for ids, numbers in reader.kept:
                own(torch.tensor([ids]))
                assert numbers.shape == (len(ids), 32)
                torch.testing.assert_close(numbers, read()[0], atol=1e-3, rtol=1e-3)


class TestWhatGoesWrong:
    async def generate(self, engine: Any, prompt: list[int], **given: Any) -> Any:
        settings = {
            "max_tokens": 40,
            "seed": 1,
            "adapter": "__base__",
            "settings": SamplingSettings(),
            **given,
        }
        return await engine.generate(prompt, **settings)

    def test_a_prompt_that_cannot_be_read_fails_alone(self, saved):
        model = loaded(saved("llama"))
        engine, found, errors = engine_of(model), {}, []

        async def good(name: str, prompt: list[int]) -> None:
            found[name] = (await self.generate(engine, prompt)).written.tokens

        async def bad() -> None:
            try:
                await self.generate(engine, [5, 10**6, 7])  # no such token
            except IndexError as error:
                errors.append(error)

        in_the_middle(model, lambda: good("first", [5, 6, 7]), bad, lambda: good("beside", [8, 9]))
        assert len(errors) == 1
        for name, prompt in (("first", [5, 6, 7]), ("beside", [8, 9])):
            assert anyio.run(lambda p=prompt: self.generate(engine, p)).written.tokens == found[name]

    def test_a_row_whose_end_cannot_be_told_fails_alone(self, saved):
        engine, found, errors = engine_of(loaded(saved("llama"))), [], []

        def over(tokens: list[int]) -> bool:
            if len(tokens) == 3:
                raise ZeroDivisionError("of a test")
            return False

        async def bad() -> None:
            try:
                await self.generate(engine, [5, 6, 7], over=over)
            except ZeroDivisionError as error:
                errors.append(error)

        async def run() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(bad)
                found.append(await self.generate(engine, [8, 9]))

        anyio.run(run)
        assert len(errors) == 1
        assert anyio.run(self.generate, engine, [8, 9]).written.tokens == found[0].written.tokens

    def test_whoever_is_not_waited_for_leaves(self, saved):
        model = loaded(saved("llama"))
        engine, found, passes = engine_of(model), [], []
        greedy = SamplingSettings(temperature=0)

        async def run() -> None:
            with at_pass(model, 30) as go_on:
                async with anyio.create_task_group() as group:
                    group.start_soon(lambda: self.generate(engine, [5, 6], max_tokens=490, settings=greedy))
                    found.append(await self.generate(engine, [8, 9], max_tokens=4))
                    group.cancel_scope.cancel()
                handle = engine.model.register_forward_pre_hook(lambda module, given: passes.append(module))
                go_on.set()
                await anyio.to_thread.run_sync(engine.lend, lambda _: None)
                handle.remove()

        anyio.run(run)
        assert len(passes) <= 30
        alone = anyio.run(lambda: self.generate(engine, [8, 9], max_tokens=4))
        assert alone.written.tokens == found[0].written.tokens

    @pytest.mark.parametrize("most", [1, 3])
    def test_memory_that_is_out_when_others_come_in(self, most, saved):
        def talks(**options: Any) -> list[Talk]:
            model = loaded(saved("llama"), **options)
            return [Talk(number, model, 3, temperature=1.0, seed=3) for number in range(7)]

        expected = one_by_one(talks(prefix_cache=0))
        ours, wide = talks(), []

        def full(block: Any, given: tuple[torch.Tensor, ...]) -> None:
            if len(given[0]) > most:
                wide.append(len(given[0]))
                raise torch.OutOfMemoryError("of a test")

        layers = engine_of(ours[0]._model).model.model.layers
        handle = layers[1].register_forward_pre_hook(full)
        found = together(ours)
        handle.remove()
        assert wide
        assert_same(found, expected)

    def test_who_borrows_the_model_has_a_turn_though_others_keep_coming(self, saved):
        model = loaded(saved("llama"), batch_size=4)
        lent: list[Any] = []

        async def stream(number: int) -> None:
            while not lent:
                await answer(model, LINES[number], max_tokens=10 + number)

        async def run() -> None:
            async with anyio.create_task_group() as group:
                for number in range(4):
                    group.start_soon(stream, number)
                await anyio.sleep(0.05)
                await anyio.to_thread.run_sync(engine_of(model).lend, lent.append)

        anyio.run(run)
        assert lent == [engine_of(model).model]


@pytest.mark.parametrize("temperature", [0.0, 1e-4])  # of logits that differ by as little
def test_rounding_beside_others_turns_no_draw(saved, temperature):
    noise = torch.Generator().manual_seed(0)
    turned = []

    def round_otherwise(_: Any, __: Any, output: Any) -> Any:
        """Many logits are all but equal, and beside other rows they are rounded otherwise."""
        output.logits = output.logits * 1e-4
        if len(output.logits) > 1:
            exact = output.logits[:, -1].argmax(-1)
            output.logits = output.logits + 9e-5 * torch.rand(output.logits.shape, generator=noise)
            turned.append((output.logits[:, -1].argmax(-1) != exact).sum().item())
        return output

    said = []
    for way in (one_by_one, together):
        model = loaded(saved("llama"))
        hook = engine_of(model).lend(lambda own: own.register_forward_hook(round_otherwise))
        talks = [Talk(number, model, 2, temperature=temperature, seed=number) for number in range(9)]
        said.append([output.completion for output in way(talks)])
        hook.remove()
    assert sum(turned) > 20
    assert said[0] == said[1]
