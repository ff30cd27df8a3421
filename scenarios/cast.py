"""Who plays which role. A model never silently grades itself."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal, Protocol, get_args, runtime_checkable

from inspect_ai.model import Model, get_model, model_roles
from inspect_ai.util import suspend_token_limit, suspend_turn_limit, suspend_working_limit

from scenarios.mistakes import UserMistake

Role = Literal["user", "preference", "transition", "influence", "veto"]

JUDGES: tuple[Role, ...] = ("preference", "transition", "influence", "veto")
"""Roles for which the model role `judge` may stand in."""


ROLES = (*get_args(Role), "judge")
"""All names that models may be cast as."""


class MissingRole(UserMistake):
    """No model plays a role that the task needs. The message says which flag to add."""


@runtime_checkable
class BringsCast(Protocol):
    """A model provider whose models have partners of their own (the miniature)."""

    def partner(self, role: str) -> str | None:
        """Name of the model that plays `role` beside this one, or None."""
        ...


@runtime_checkable
class ChecksWeights(Protocol):
    """A model provider that loads weights at its first call, and can look for them before."""

    def check_weights(self) -> None:
        """Raise what can be seen to be wrong with them, without loading anything."""
        ...


def check_weights(models: Iterable[Model]) -> None:
    """Tell before anybody speaks what would else be told at a model's first call, in the middle of an eval.

    Not done where logs are judged, in which models are named that nobody calls any more.

    Raises:
        UserMistake: A model's weights are not where its name says.
    """
    for model in models:
        if isinstance(model.api, ChecksWeights):
            try:
                model.api.check_weights()
            except (OSError, ValueError) as error:
                raise UserMistake(str(error)) from error


def cast_model(role: Role) -> Model:
    """The model that plays `role`.

    In this order: the model role of that name; for judges, the model role `judge`; the partner that
    the evaluated model's provider brings along.

    Raises:
        MissingRole: None of them is there, the evaluated model is never used instead; or a model was cast
            under a name that must be a misspelled one of these.
    """
    if mistake := misspelled_role(model_roles()):
        raise MissingRole(f"--model-role {mistake}")
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


def misspelled_role(names: Iterable[str], *, all_known: bool = False) -> str | None:
    """What is wrong with names under which models were cast, and the nearest right one; None if nothing.

    Args:
        names: Of model roles.
        all_known: Every name must be one of ours. Otherwise other tasks and scorers may have theirs.
    """
    for name in names:
        if name in ROLES:
            continue
        near = difflib.get_close_matches(name.lower(), ROLES, n=1, cutoff=0.7)
        if near:
            return f"{name}: no such role; did you mean {near[0]!r}?"
        if all_known:
            return f"{name}: no such role; there are {', '.join(ROLES)}"
    return None


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
