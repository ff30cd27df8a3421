"""Which settings of a run that was started may still change: those that nothing on disk depends on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from analysis.logs.finding import LogError, open_log
from analysis.logs.samples import read_records
from scenarios.files.located_yaml import ScenarioError, read_yaml, validated
from training.errors import RunError
from training.settings import Cast, LoopSettings

FREE = {"run", "report_to", "push_to_hub", "max_connections", "processes", "model_base_url", "launcher"}
"""Settings that change no number, and so may change whenever a run is taken up again."""

OF_ALL_CONVERSATIONS = (set(Cast.model_fields) | {"task", "task_args", "seed", "monitor"}) - FREE

OF_ROLLOUTS = {"topics", "states", "epochs", "gameable", "fresh_states", "veto_mode"}

OF_EVALUATIONS = {"heldout_topics", "heldout_states", "heldout_gameable", "heldout_epochs"}


def read_config(file: Path) -> LoopSettings:
    """Settings as a run folder holds them.

    Raises:
        RunError: It is not one of ours, or not whole; names line and key, of an unknown key the nearest.
    """
    try:
        located = read_yaml(file)
        return validated(LoopSettings, located._replace(data=located.data | {"run": file.parent}))
    except ScenarioError as error:
        raise RunError(
            f"{error}. What a run was started with stands in this file; mend it, or give another --run"
        ) from None


def check_changes(file: Path, settings: LoopSettings) -> list[str]:
    """The settings that change, each as `name=before, now after`.

    Args:
        file: `config.yaml` of the run.
        settings: As they are now.

    Raises:
        RunError: What was done already depends on one of them. Names it, both values, and what to do.
    """
    before, now = (s.model_dump(mode="json") for s in (read_config(file), settings))
    changed = [name for name in now if name not in FREE and before[name] != now[name]]
    if not changed:
        return []
    done = {name: what for name in changed if (what := _depends(file.parent, name, before, now)) is not None}
    if done:
        told = ", ".join(_difference(name, before, now) for name in done)
        what = ", ".join(dict.fromkeys(done.values()))
        raise RunError(
            f"{file.parent} was started with {told}; give the same, or another --run ({what} depend on it)"
        )
    return [_difference(name, before, now) for name in changed]


def has_begun(run: Path) -> bool:
    """There are conversations of the run."""
    return any(_has_conversations(f) for kind in ("rollouts", "heldout") for f in _parts(run, kind))


def _difference(name: str, before: dict[str, Any], now: dict[str, Any]) -> str:
    return f"{name}={before[name]!r}, now {now[name]!r}"


def _depends(run: Path, name: str, before: dict[str, Any], now: dict[str, Any]) -> str | None:
    """What on disk would be otherwise with another value of a setting; None if nothing."""
    checkpoints = len(list(_parts(run, "checkpoint")))
    if name == "iterations":
        return "checkpoints" if now[name] < checkpoints else None
    rollouts = name in OF_ROLLOUTS | OF_ALL_CONVERSATIONS
    if name == "control":
        rollouts = "no_gameable_users" in (before[name], now[name])
    if rollouts and any(map(_has_conversations, _parts(run, "rollouts"))):
        return "rollouts"
    if name in OF_EVALUATIONS | OF_ALL_CONVERSATIONS and any(map(_has_conversations, _parts(run, "heldout"))):
        return "evaluations"
    if name in OF_EVALUATIONS:
        return None
    steps = (step for online in _parts(run, "online") for step in online.iterdir() if step.is_dir())
    return "checkpoints" if checkpoints or any(map(_has_conversations, steps)) else None


def _parts(run: Path, name: str) -> Iterator[Path]:
    yield from sorted(run.glob(f"iteration_*/{name}"))


def _has_conversations(folder: Path) -> bool:
    for log in folder.rglob("*.eval"):  # in folders of their own: shares of processes side by side
        try:
            if next(read_records(open_log(log)), None) is not None:
                return True
        except LogError:
            return True  # for what cannot be read, the worse is assumed
    return False
