"""Seconds of rollouts with the `local/` of a commit; run there by `benchmarks/earlier_commit.py`."""

import random
import tempfile
import time
from collections.abc import Callable
from functools import cache
from typing import Any

SYSTEM, LINE = 150, 20
"""Tokens that all conversations begin with, and of each line of a user, where only the engine is at work."""


def answer(load: Callable[..., Any], request: dict[str, Any]) -> dict[str, Any]:
    """One run from an empty prefix cache.

    Args:
        load: Gives modules of the commit.
        request: `model` (folder of a checkpoint), `conversations`, `turns`, `max_tokens`, `batch_size`,
            `megabytes` of the prefix cache, and `work`: `talk`, an eval whose user says fixed lines; `cast`,
            one whose user and judges are the same model; `engine`, tokens through the engine alone.

    Returns:
        `seconds`, `cpu` seconds of all threads, `said` (what was said in each conversation), and `written`
        (tokens of each answer, judges' included).
    """
    model = _model(*(request[name] for name in ("model", "batch_size", "megabytes", "max_tokens")))
    engine = model.api.engine
    engine.lend(lambda _: engine.prefixes.clear())
    if request["work"] == "engine":
        return _through_engine(load, engine, request)
    return _through_inspect(load, model, request)


def _through_inspect(load: Callable[..., Any], model: Any, request: dict[str, Any]) -> dict[str, Any]:
    from inspect_ai import eval  # noqa: A004

    count = request["conversations"]
    with tempfile.TemporaryDirectory() as logs:
        started, cpu = time.perf_counter(), time.process_time()
        (log,) = eval(
            _task(load, request),
            model=model,
            model_roles={"user": model, "judge": model} if request["work"] == "cast" else {},
            limit=count,
            log_dir=logs,
            display="none",
            max_samples=count,
            max_connections=count,
            log_realtime=False,
        )
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        assert log.status == "success", log.error
        samples = log.samples or []
        calls = [event for sample in samples for event in sample.events if event.event == "model"]
    return {
        "seconds": seconds,
        "cpu": cpu,
        "said": sorted([message.text for message in sample.messages] for sample in samples),
        "written": [call.output.usage.output_tokens for call in calls if call.output.usage is not None],
    }


def _through_engine(load: Callable[..., Any], engine: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Conversations whose replies are of 4 tokens to `max_tokens`, all lengths equally likely."""
    import anyio

    settings = load("providers.local.sampling").SamplingSettings(temperature=0.0)
    vocabulary = engine.model.config.vocab_size
    shared = random.Random(-1)
    system = [shared.randrange(3, vocabulary) for _ in range(SYSTEM)]
    said: list[list[int]] = [[] for _ in range(request["conversations"])]
    written: list[int] = []

    async def talk(number: int) -> None:
        drawn = random.Random(number)
        history = list(system)
        for turn in range(request["turns"]):
            history += [drawn.randrange(3, vocabulary) for _ in range(LINE)]
            most = drawn.randint(4, request["max_tokens"])
            given = {"seed": 1000 * number + turn, "adapter": "__base__", "settings": settings}
            answer = await engine.generate(list(history), max_tokens=most, **given)
            history += answer.written.tokens
            said[number] += answer.written.tokens
            written.append(len(answer.written.tokens))

    async def together() -> None:
        async with anyio.create_task_group() as group:
            for number in range(request["conversations"]):
                group.start_soon(talk, number)

    started, cpu = time.perf_counter(), time.process_time()
    anyio.run(together)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    return {"seconds": seconds, "cpu": cpu, "said": said, "written": written}


def _task(load: Callable[..., Any], request: dict[str, Any]) -> Any:
    from inspect_ai import Task

    count, turns = request["conversations"], request["turns"]
    if request["work"] == "cast":
        return load("tasks.therapy").therapy(states=-(-count // 12) + 1, turns=turns)
    rollouts = load("benchmarks.providers.rollouts")
    return Task(dataset=rollouts.samples(count), solver=rollouts.canned_user(turns))


@cache
def _model(path: str, batch_size: int, megabytes: float, max_tokens: int) -> Any:
    from inspect_ai.model import GenerateConfig, get_model

    config = GenerateConfig(seed=1, temperature=0.0, max_tokens=max_tokens)  # roles' own settings go before
    options = {"batch_size": batch_size, "prefix_cache": megabytes}
    return get_model(f"local/{path}", config=config, memoize=False, **options)
