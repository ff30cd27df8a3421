"""Saved monitors at work in scorers, vetoes and sentinels: which one, and for which agent.

The one place of `scorers` that knows `probes`, which it loads when a monitor is named.
"""

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from inspect_ai.event import ModelEvent
from inspect_ai.log import transcript
from inspect_ai.model import Model
from inspect_ai.solver import TaskState
from inspect_ai.tool import ToolDef, ToolInfo

from scenarios.cast import model_of_eval

if TYPE_CHECKING:
    from probes.cascades.saved import Cascade
    from probes.monitors.serving import ServedMonitor

_serving: "WeakValueDictionary[str, ServedMonitor]" = WeakValueDictionary()


def served_monitor(
    monitor: str,
    any_model: bool = False,
    adapter: str | None = None,
    template: str | None = None,
    options: dict[str, Any] | None = None,
) -> "ServedMonitor":
    """A monitor that scores conversations; the same one for all who ask for it in the same way.

    Args:
        monitor: Its folder, or that of a cascade in which it comes first.
        any_model: See `scorers/stakes.py`, as for the rest.
        adapter: See there.
        template: See there.
        options: Variables of the template.

    Raises:
        MonitorError: No monitor in this folder, or a damaged one.
        ModuleNotFoundError: What monitors need is not installed.
    """
    try:
        from probes.monitors.agents import Reading
        from probes.monitors.monitor import read_card
        from probes.monitors.serving import ServedMonitor
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"monitors need {error.name}: pip install -e '.[probes]' (or `make install`)"
        ) from error
    named = template is not None and template != "plain"
    folder = monitor_folder(monitor)
    how = Reading(
        any_model=any_model,
        adapter=None if adapter is None else path_as_meant(adapter),
        template=str(path_as_meant(template or "")) if named else template,
        template_options=options or {},
    )
    # the scorer and the set-up of a task are to have the same one, and nobody else for longer than they
    key = f"{folder} {read_card(folder).weights_sha256} {how}"
    if (served := _serving.get(key)) is None:
        served = _serving[key] = ServedMonitor(folder, how)
    return served


def monitor_folder(monitor: str) -> Path:
    """Folder of a monitor, or of the one that comes first in a saved cascade.

    Raises:
        CascadeError: The cascade cannot be read, or its monitor is not where it was or is another one.
    """
    saved = saved_cascade(monitor)
    if saved is None:
        return path_as_meant(monitor)
    from probes.cascades.saved import CASCADE, CascadeError
    from probes.monitors.monitor import MonitorError, read_card

    first, path = saved.monitor, path_as_meant(monitor)
    if first.folder is None:
        raise CascadeError(
            f"{path / CASCADE}: its first scores, {first.name}, are of no saved monitor; it cannot act live"
        )
    beside = path / first.folder
    folder = beside if beside.exists() else path_as_meant(first.folder)
    try:
        weights = read_card(folder).weights_sha256
    except MonitorError as error:
        raise CascadeError(f"{path / CASCADE} names {first.folder}: {error}") from error
    if first.weights_sha256 not in (None, weights):
        raise CascadeError(
            f"{path / CASCADE} was fitted with another monitor than {folder} holds now; fit the cascade again"
        )
    return folder


def saved_cascade(monitor: str) -> "Cascade | None":
    """The cascade in this folder; None if it is a monitor's.

    Raises:
        CascadeError: It cannot be read.
    """
    from probes.cascades.saved import CASCADE, read_cascade

    folder = path_as_meant(monitor)
    return read_cascade(folder) if (folder / CASCADE).exists() else None


def path_as_meant(path: str) -> Path:
    """A path as the user meant it: while Inspect loads a scorer, the scorer's folder is the current one."""
    here = Path(path).expanduser()
    started_in = Path(os.environ.get("PWD", "."))
    return (here if here.exists() else started_in / here).absolute()


def agent_in_sight() -> Model | None:
    """The model under test, if it is known already: in a task that an eval is making, mostly."""
    model = model_of_eval()
    return None if model is None or model.name in ("none", "") else model


def local_model(model: Model) -> Any:
    """The model, if its weights are in this process (`providers/local`, the miniature)."""
    return getattr(model.api, "local", None)


def last_call(name: str) -> ModelEvent | None:
    """The agent's last call in this sample.

    Args:
        name: The agent, as logs name it.
    """
    for event in reversed(transcript().events):
        if isinstance(event, ModelEvent) and event.role is None and name.endswith(event.model):
            return event
    return None


def tools_offered(state: TaskState, name: str) -> list[ToolInfo]:
    """That the agent was offered: in a run those of the state, in a log those of its last call."""
    if state.tools:
        offered = [ToolDef(tool) for tool in state.tools]
        return [ToolInfo(name=t.name, description=t.description, parameters=t.parameters) for t in offered]
    call = last_call(name)
    return [] if call is None else list(call.tools)


def probability(logit: float) -> float:
    """The logistic function, in a form that does not overflow."""
    low = math.exp(-abs(logit))
    return (1.0 if logit >= 0 else low) / (1.0 + low)
