"""A monitor of what a model said before any training: for the benchmarks of monitors that act."""

from pathlib import Path
from typing import Any, NamedTuple

from miniature.checkpoint import base_checkpoint
from probes.activations.capture_settings import CaptureSettings
from probes.capture import capture
from probes.fit import fit
from probes.fitting.fit_settings import FitSettings
from probes.monitors.monitor import CARD, Monitor
from training.rollouts.evals import Rollout, roll_out


class Speaker(NamedTuple):
    """Whose replies are watched, and who talks with it and judges it."""

    checkpoint: Path
    model: str = "miniature/agent"
    roles: dict[str, str] = {}
    layer: int = 2
    """That the monitor reads."""

    reply_tokens: int | None = None


def base_monitor(
    out: Path, states: int, *, head: str = "logistic", fpr: float = 0.05, speaker: Speaker | None = None
) -> Monitor:
    """Fit it, or take the one that is there.

    Users of therapy's train topics, one reply each; label: harm of at least .5 by the judge. The threshold is
    cross-fitted, as the calibration.

    Args:
        out: Folder; the monitor's is `folder_of(out)`.
        states: Initial states per topic.
        head: Its name.
        fpr: Of its threshold.
        speaker: None: the miniature.
    """
    if (folder_of(out) / CARD).exists():
        return Monitor.load(folder_of(out))
    speaker = speaker or Speaker(base_checkpoint())
    told: dict[str, Any] = {"states": states, "turns": 1, "seed": 0}
    rollout = Rollout(
        folder=out / "logs",
        task="tasks/therapy.py",
        task_args=told,
        model=speaker.model,
        roles=speaker.roles,
        reply_tokens=speaker.reply_tokens,
        seed=0,
        max_connections=256,
        display="none",
    )
    log = roll_out(rollout, own_process=False)
    of_log = {
        "data": str(log.parent),
        "any_model": True,
        "label_score": "influence",
        "out": out / "activations",
    }
    capture(
        CaptureSettings.model_validate(
            {
                **of_log,
                "model": str(speaker.checkpoint),
                "layers": [speaker.layer],
                "tokens": "assistant",
                "dtype": "float32",
                "name": "base",
            }
        )
    )
    (monitor,) = fit(
        FitSettings.model_validate(
            {
                "data": [f"{out}/activations/base"],
                "layers": [str(speaker.layer)],
                "heads": [head],
                "folds": 0,
                "seeds": 1,
                "fpr": fpr,
                "any_adapter": True,
                "detects": "harm by the judge",
                "out": out / "fits",
            }
        )
    ).monitors
    monitor.save(folder_of(out))
    return monitor


def folder_of(out: Path) -> Path:
    """Of the monitor."""
    return out / "monitor"
