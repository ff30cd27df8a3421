"""Who plays which role. A model never silently grades itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Protocol, runtime_checkable

from inspect_ai.model import Model, get_model, model_roles
from inspect_ai.util import suspend_token_limit, suspend_turn_limit, suspend_working_limit

Role = Literal["user", "preference", "transition", "influence", "veto"]

JUDGES: tuple[Role, ...] = ("preference", "transition", "influence", "veto")
"""Roles for which the model role `judge` may stand in."""


class MissingRole(RuntimeError):
    """No model plays a role that the task needs. The message says which flag to add."""


@runtime_checkable
class BringsCast(Protocol):
    """A model provider whose models have partners of their own (the miniature)."""

    def partner(self, role: str) -> str | None:
        """Name of the model that plays `role` beside this one, or None."""
        ...


def cast_model(role: Role) -> Model:
    """The model that plays `role`.

    In this order: the model role of that name; for judges, the model role `judge`; the partner that
    the evaluated model's provider brings along.

    Raises:
        MissingRole: None of them is there. The evaluated model is never used instead.
    """
    for name in (role, "judge") if role in JUDGES else (role,):
        if name in model_roles():
            return get_model(role=name)
    api = get_model().api
    if isinstance(api, BringsCast) and (partner := api.partner(role)) is not None:
        return get_model(partner)
    flags = f"--model-role {role}=<model>"
    if role in JUDGES:
        flags += ", or --model-role judge=<model> for all judges that are not named"
    raise MissingRole(f"No model plays the role '{role}'. Add {flags}.")


def default_model() -> str | None:
    """The model that a task is run on if the user named none: the miniature. For `Task(model=)`."""
    try:
        named = get_model().name not in ("none", "")
    except ValueError:  # the task is made outside of an eval
        return None
    return None if named else "miniature/agent"


@contextmanager
def outside_limits() -> Iterator[None]:
    """Calls in here do not count against the limits set for the agent (turns, tokens, working time)."""
    with suspend_turn_limit(), suspend_token_limit(), suspend_working_limit():
        yield
