"""The prompts of simulated users at an earlier commit (`benchmarks/earlier_commit.py`)."""

from collections.abc import Callable
from typing import Any


def answer(load: Callable[..., Any], request: dict[str, Any]) -> dict[str, str]:
    """Initial state -> the prompt of the one who plays it.

    Args:
        load: Gives modules of the commit.
        request: `family`, and `options` of `scenario_dataset`.
    """
    family = load("scenarios.loader").load_family(request["family"])
    samples = load("scenarios.samples").scenario_dataset(family, **request["options"])
    return {sample.id: sample.metadata["user"] for sample in samples}
