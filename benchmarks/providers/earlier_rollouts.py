"""Seconds of rollouts with the `local/` of a commit; run there by `benchmarks/earlier_commit.py`."""

import tempfile
import time
from collections.abc import Callable
from functools import cache
from typing import Any


def answer(load: Callable[..., Any], request: dict[str, Any]) -> dict[str, Any]:
    """One eval from an empty prefix cache.

    Args:
        load: Gives modules of the commit.
        request: `model` (folder of a checkpoint), `conversations`, `turns`, `max_tokens`, `batch_size`,
            `megabytes` of the prefix cache, and `cast`: whether the model plays user and judges too.

    Returns:
        `seconds`, `cpu` seconds of all threads, `said` (the words of each conversation), and `written`
        (tokens of each reply, judges' included).
    """
    from inspect_ai import eval  # noqa: A004

    model = _model(*(request[name] for name in ("model", "batch_size", "megabytes", "max_tokens")))
    engine, count = model.api.engine, request["conversations"]
    engine.lend(lambda _: engine.prefixes.clear())
    with tempfile.TemporaryDirectory() as logs:
        started, cpu = time.perf_counter(), time.process_time()
        (log,) = eval(
            _task(load, request),
            model=model,
            model_roles={"user": model, "judge": model} if request["cast"] else {},
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


def _task(load: Callable[..., Any], request: dict[str, Any]) -> Any:
    from inspect_ai import Task

    count, turns = request["conversations"], request["turns"]
    if request["cast"]:
        return load("tasks.therapy").therapy(states=-(-count // 12) + 1, turns=turns)
    rollouts = load("benchmarks.providers.rollouts")
    return Task(dataset=rollouts.samples(count), solver=rollouts.canned_user(turns))


@cache
def _model(path: str, batch_size: int, megabytes: float, max_tokens: int) -> Any:
    from inspect_ai.model import GenerateConfig, get_model

    config = GenerateConfig(seed=1, temperature=1.0, max_tokens=max_tokens)  # roles' own settings go before
    options = {"batch_size": batch_size, "prefix_cache": megabytes}
    return get_model(f"local/{path}", config=config, memoize=False, **options)
