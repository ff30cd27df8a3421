"""The rules that look for flaws of simulated users, at an earlier commit (`benchmarks/earlier_commit.py`)."""

import inspect
from collections.abc import Callable
from typing import Any


def answer(load: Callable[..., Any], request: dict[str, Any]) -> list[str]:
    """Flaws of a message.

    Args:
        load: Gives modules of the commit.
        request: Arguments of `user_flaws`; those that the commit's rules do not take are left out.
    """
    rules = load("solvers.user_checks").user_flaws
    taken = inspect.signature(rules).parameters
    return list(rules(**{name: value for name, value in request.items() if name in taken}))
