"""Seconds of rollouts with the `local/` of a commit; run there by `benchmarks/earlier_commit.py`."""

import tempfile
import time
from collections.abc import Callable
from functools import cache
from typing import Any


def answer(load: Callable[..., Any], request: dict[str, Any]) -> dict[str, Any]:
    """One eval from an empty cache, after one that warms up.

    Args:
        load: Gives modules of the commit.
        request: `model` (folder of a checkpoint), `conversations`, `turns`, `max_tokens`, `batch_size`,
            `megabytes` of the prefix cache.

    Returns:
        `seconds`, `cpu` seconds of all threads, `said` (the words of each conversation), and `written`
        (tokens of each reply).
    """
    from inspect_ai import Task, eval  # noqa: A004

    rollouts = load("benchmarks.providers.rollouts")
    model = _model(request["model"], request["batch_size"], request["megabytes"])
    engine = model.api.engine
    engine.lend(lambda _: engine.prefixes.clear())
    count = request["conversations"]
    task = Task(dataset=rollouts.samples(count), solver=rollouts.canned_user(request["turns"]))
    with tempfile.TemporaryDirectory() as logs:
        started, cpu = time.perf_counter(), time.process_time()
        (log,) = eval(
            task,
            model=model,
            log_dir=logs,
            display="none",
            max_samples=count,
            max_connections=count,
            max_tokens=request["max_tokens"],
            temperature=1.0,
            seed=1,
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


@cache
def _model(path: str, batch_size: int, megabytes: float) -> Any:
    from inspect_ai.model import get_model

    return get_model(f"local/{path}", batch_size=batch_size, prefix_cache=megabytes, memoize=False)
