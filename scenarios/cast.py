"""Who plays which role. A model never silently grades itself."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from inspect import currentframe
from typing import Protocol, runtime_checkable

from inspect_ai.model import Model, get_model, model_roles
from inspect_ai.util import suspend_token_limit, suspend_turn_limit, suspend_working_limit

from scenarios.conversations.roles import JUDGES, Role, misspelled_role
from scenarios.mistakes import UserMistake


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
    roles = model_roles()
    name = _named_role(role)
    if name is None or misspelled_role(roles):
        check_cast([role])
    if name is None:
        return get_model(_partner(role))
    found = roles[name]  # as `get_model(role=...)` gives it, which looks at every setting first
    return found[0] if isinstance(found, list) else found


def check_cast(roles: Sequence[Role]) -> None:
    """Tell all at once which roles nobody plays, before a model is loaded or paid.

    Raises:
        MissingRole: As for `cast_model`.
    """
    if mistake := misspelled_role(model_roles()):
        raise MissingRole(f"--model-role {mistake}")
    lacking = [role for role in roles if _named_role(role) is None and _partner(role) is None]
    if not lacking:
        return
    flags = [f"--model-role {role}=<model>" for role in lacking]
    what = f"role {lacking[0]!r}" if len(lacking) == 1 else f"roles {', '.join(map(repr, lacking))}"
    judges = [role for role in lacking if role in JUDGES]
    judge = "--model-role judge=<model> for all judges that are not named" if judges else ""
    advice = " ".join(flags) + (f", or {judge}" if judge else "")
    raise MissingRole(f"No model plays the {what}. Add {advice}.")


def check_cast_of_eval(roles: Sequence[Role]) -> None:
    """As `check_cast` while a task is made in an eval that has a model; elsewhere nobody is cast yet.

    Raises:
        MissingRole: As for `cast_model`.
    """
    if model_of_eval() is not None and default_model() is None:
        check_cast(roles)


def cast_of_eval(roles: Sequence[Role]) -> list[Model]:
    """The models that are known to play some roles, while a task is made in an eval; elsewhere none."""
    if model_of_eval() is None:
        return []
    named = [name for role in roles if (name := _named_role(role)) is not None]
    if default_model() is None:
        return [cast_model(role) for role in roles]
    return [get_model(role=name) for name in named]


def model_of_eval() -> Model | None:
    """The model of the eval that is making a task or running a sample; None outside of one.

    Outside, Inspect's `get_model` answers as well: with the model that its last set of evals left behind in
    the process, or with the environment's. So it counts only if it is Inspect that has called.
    The names are private: should they be gone, missing roles and a monitor for another model are told when
    the first conversation begins.
    """
    try:
        models = import_module("inspect_ai.model._model").active_model_context_var
    except (ImportError, AttributeError):
        return None
    return models.get(None) if _called_by_inspect() else None


def _called_by_inspect() -> bool:
    frame = currentframe()
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith("inspect_ai._eval."):
            return True
        frame = frame.f_back
    return False


def _named_role(role: Role) -> str | None:
    names = (role, "judge") if role in JUDGES else (role,)
    return next((name for name in names if name in model_roles()), None)


def _partner(role: Role) -> str | None:
    api = get_model().api
    return api.partner(role) if isinstance(api, BringsCast) else None


def default_model() -> str | None:
    """The model that a task is run on if the user named none: the miniature. For `Task(model=)`."""
    model = model_of_eval()
    return "miniature/agent" if model is not None and model.name in ("none", "") else None


@contextmanager
def outside_limits() -> Iterator[None]:
    """Calls in here do not count against the limits set for the agent (turns, tokens, working time)."""
    with suspend_turn_limit(), suspend_token_limit(), suspend_working_limit():
        yield
