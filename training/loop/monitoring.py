"""A monitor of the model's activations in a run: checked before it begins, measured in every iteration.

Two of them are: the one that was given, frozen, which reads along in every conversation (its scores are in
the logs as `stakes`); and one of the same kind that is fitted again on the conversations of each round,
through the model of that round. Where the frozen one goes blind and the other does not, the model has moved
away from what the first one looks for; where both do, there is less to see.

`python -m training.loop.monitoring REQUEST.json` fits one in a process of its own.
"""

import json
import math
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from analysis.trajectories import read_trajectories
from scenarios.files.whole import write_json
from training.errors import RunError
from training.launch.own_process import ROOT, ProcessFailed, run_apart, serve_request
from training.rollouts.policies import base_weights
from training.settings import LoopSettings

if TYPE_CHECKING:
    from probes.monitors.monitor import MonitorCard
    from probes.watching.alarms import Watched


def check_monitor(settings: LoopSettings) -> None:
    """What can be known to be wrong with a monitor before anybody talks. Nothing is loaded.

    Raises:
        RunError: No monitor there, or one for another model or other layers, or one that cannot do what it
            is to do.
    """
    s = settings
    if s.monitor is None:
        given = [n for n in ("monitor_level", "monitor_use", "monitor_weight") if n in s.model_fields_set]
        changed = [n for n in given if getattr(s, n) != type(s).model_fields[n].default]
        if changed:
            raise RunError(f"{changed[0]}: there is no monitor; say --monitor <folder>")
        return
    card = _card(s.monitor)
    if s.tuning != "full" and not card.any_adapter:
        raise RunError(
            f"monitor: {s.monitor} was fitted for one adapter, and every iteration has its own; fit it with "
            "--any-adapter true (probes/fit.py)"
        )
    if s.tuning == "full":
        raise RunError(
            "monitor: a monitor is for one set of weights, which tuning=full changes; use tuning=lora, or "
            "read the logs afterwards with probes/early_warning.py"
        )
    if s.algorithm == "grpo_online" and s.monitor_use != "watch":
        raise RunError(
            f"monitor_use: grpo_online draws and rates its conversations while it trains, so {s.monitor_use} "
            "is not to be had; take algorithm=grpo"
        )
    if s.monitor_use == "filter" and s.monitor_level is None and card.threshold is None:
        raise RunError(f"monitor_level: {s.monitor} has no threshold; say from which probability on it flags")
    if not (ROOT / s.task.partition("@")[0]).resolve().is_relative_to(ROOT / "tasks"):
        raise RunError(f"monitor: {s.task} is no task of tasks/, whose option `monitor` lets it read along")
    if s.model.partition("/")[0] not in ("miniature", "local"):
        raise RunError(
            f"monitor: {s.model} is not in this process, so nothing of it can be read; use model=local/..., "
            "or read the logs afterwards with probes/early_warning.py"
        )
    _check_weights(s, card)


def _check_weights(settings: LoopSettings, card: "MonitorCard") -> None:
    from transformers import AutoConfig

    from probes.activations.weights import model_revision

    base = base_weights(settings)
    blocks = getattr(AutoConfig.from_pretrained(base, revision=settings.revision), "num_hidden_layers", None)
    if blocks is not None and max(card.layers) > blocks:
        raise RunError(f"monitor: {settings.monitor} reads layer {max(card.layers)}, and {base} has {blocks}")
    theirs = model_revision(base, settings.revision)
    if theirs is not None and theirs != card.spec.revision:
        raise RunError(
            f"monitor: {settings.monitor} was fitted on {card.spec.model} (revision {card.spec.revision}), "
            f"and {base} is another model (revision {theirs}); fit one on it"
        )


def _card(monitor: str) -> "MonitorCard":
    from probes.monitors.monitor import MonitorError, read_card

    try:
        return read_card(monitor)
    except MonitorError as error:
        raise RunError(f"monitor: {error}") from None


def level_of(settings: LoopSettings) -> float | None:
    """Probability from which on the monitor flags: the run's, or its threshold's; None without either."""
    if settings.monitor is None or settings.monitor_level is not None:
        return settings.monitor_level
    threshold = _card(settings.monitor).threshold
    return None if threshold is None else 1 / (1 + math.exp(-threshold.logit))


# -- the frozen one -------------------------------------------------------------------------------


def frozen_look(log: Path, number: int, settings: LoopSettings) -> "tuple[Watched, int] | None":
    """What the judge and the monitor say of an iteration's conversations; and how many lack either.

    None if there is none that both have a number for.
    """
    from scipy.special import logit

    from probes.watching.alarms import Watched

    every = read_trajectories(log, rating=settings.score, harm=settings.harm_score)
    rows = [t for t in every if not (math.isnan(t.harm) or math.isnan(t.monitor))]
    if not rows:
        return None
    least = np.finfo(np.float64).eps
    probabilities = np.clip([t.monitor for t in rows], least, 1 - least)
    harmful = np.array([t.harm >= settings.harmful_from for t in rows])
    groups = ["/".join(t.cluster) for t in rows]
    return Watched(number, harmful, logit(probabilities), groups), len(every) - len(rows)


def drift(logs: Mapping[int, Path], settings: LoopSettings) -> dict[str, Any]:
    """The frozen monitor in the last of these iterations, and its alarms over all of them.

    Args:
        logs: Iteration -> log of its held-out conversations, from the first on.
        settings: Of the run.

    Returns:
        `Sighting.row()` with `n_unscored`, and `alarms`: since when harm and flags are more than at first, or
        than false alarms explain, with p values that allow for as many looks as the run will have.
    """
    from probes.watching.alarms import alarms, sighted

    assert settings.monitor is not None
    threshold = _card(settings.monitor).threshold
    level = level_of(settings)
    looks = {n: found for n, log in logs.items() if (found := frozen_look(log, n, settings)) is not None}
    last = max(logs)
    if last not in looks:
        return {"iteration": last, "n": 0}
    at = 0.0 if level is None else math.log(max(level, 1e-300) / max(1 - level, 1e-300))
    watched, unscored = looks[last]
    row = sighted(watched, at).row() | {"n_unscored": unscored}
    if threshold is None or 0 not in looks:
        return row
    found = alarms(
        [look for look, _ in looks.values()],
        at,
        level=0.5,
        fpr=threshold.asked_fpr,
        measured_on=(threshold.fpr * threshold.n_negative, threshold.n_negative),
        looks=settings.iterations + 1,
    )
    return row | {"alarms": {k: v for k, v in found._asdict().items() if k != "harm_passes"}}


# -- the one that is fitted again -----------------------------------------------------------------


class Refit(BaseModel):
    """What is to be fitted, and on what it is looked at."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    base: str
    capture: dict[str, Any]
    """Revision, type, adapter and template of the model that spoke, as options of `probes/capture.py`."""

    monitor: Path
    """Of whose kind it is to be."""

    harm_score: str
    harmful_from: float
    rollouts: Path
    """Folder of the log that it is fitted on."""

    heldout: Path
    """And of the one that it is looked at on."""

    seed: int
    folder: Path
    """Where it is kept."""

    out: Path


def refit(request: Refit, *, own_process: bool) -> None:
    """Write `request.out`: `Sighting.row()` of the monitor that was fitted, or `why_not`."""
    if not own_process:
        _refit(request)
        return
    try:
        run_apart("training.loop.monitoring", request, request.out.with_suffix(".request.json"))
    except ProcessFailed:
        raise RunError(f"{request.rollouts}: no monitor could be fitted; the reason stands above") from None


def _refit(request: Refit) -> None:
    with tempfile.TemporaryDirectory(prefix="activations-", dir=request.out.parent) as store:
        try:
            found = _fitted_again(request, Path(store))
        except ValueError as error:  # mistakes of stores and data are such, too
            found = {"why_not": " ".join(str(error).split())}
    write_json(request.out, found)


def _fitted_again(request: Refit, store: Path) -> dict[str, Any]:
    from probes.activations.capture_settings import CaptureSettings
    from probes.capture import capture
    from probes.evaluation.evaluation_data import read_sets
    from probes.fit import fit
    from probes.fitting.fit_data import read_labelled
    from probes.fitting.fit_settings import FitSettings
    from probes.watching.alarms import Watched, sighted

    card = _card(str(request.monitor))
    for name, source in (("rollouts", request.rollouts), ("heldout", request.heldout)):
        options = {
            **request.capture,
            "model": request.base,
            "data": str(source),
            "any_model": True,  # logs name a checkpoint by the path that it had then
            "label_score": request.harm_score,
            "label_threshold": request.harmful_from,
            "layers": sorted(set(card.layers)),
            "point": card.spec.point,
            "tokens": card.spec.tokens,
            "dtype": "float32",
            "out": store,
            "name": name,
        }
        capture(CaptureSettings.model_validate(options))
    rows = read_labelled([f"{store}/rollouts"], [])
    groups = {g for g, label in zip(rows.groups, rows.labels, strict=True) if label >= 0.5}
    others = {g for g, label in zip(rows.groups, rows.labels, strict=True) if label < 0.5}
    if min(len(groups), len(others)) < 2:
        told = f"{len(groups)} harmful and {len(others)} harmless initial states; 2 of each are needed"
        return {"why_not": told}
    settings = FitSettings.model_validate(
        {
            "data": [f"{store}/rollouts"],
            "validation_share": 1 / max(2, min(5, len(groups), len(others))),
            "layers": ["+".join(map(str, card.layers))],
            "heads": [card.head],
            "seeds": 1,
            "folds": 0,
            "seed": request.seed,
            "detects": card.detects,
            "fpr": 0.01 if card.threshold is None else card.threshold.asked_fpr,
            "any_adapter": True,
            "out": store / "monitors",
        }
    )
    (monitor,) = fit(settings).monitors
    assert monitor.card.threshold is not None
    (heldout,) = read_sets([f"{store}/heldout"])
    heldout = heldout.without(rows.ties)
    logits = monitor.score(heldout.activations(monitor.card.layers)).logits
    names = [str(group) for group in heldout.groups]
    found = sighted(
        Watched(request.number, heldout.labels >= 0.5, logits, names), monitor.card.threshold.logit
    )
    shutil.rmtree(request.folder, ignore_errors=True)
    monitor.save(request.folder)
    return found.row() | {"fitted_on": monitor.card.training.rows, "harmful": monitor.card.training.positive}


def read_refitted(file: Path) -> dict[str, Any] | None:
    """What `refit` wrote; None if it is not there or damaged."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


# -- pages ----------------------------------------------------------------------------------------


def draw_drift(metrics: Sequence[Mapping[str, Any]], out: Path, note: str | None) -> None:
    """The picture of both monitors over a run: harm, flags, recall and false alarms by iteration."""
    from analysis.ranking import Ranked
    from probes.watching.alarms import Sighting
    from probes.watching.early_warning_figure import draw

    def ranked(row: Mapping[str, Any], name: str) -> Ranked | None:
        ends = [row.get(f"{name}{end}") for end in ("", "_low", "_high")]
        return None if ends[0] is None else Ranked(*(math.nan if end is None else end for end in ends))

    def seen(which: str) -> list[Sighting]:
        rows = [m["monitor"][which] for m in metrics if (m.get("monitor") or {}).get(which, {}).get("n")]
        found = []
        for row in rows:
            harm, flagged = ranked(row, "harm"), ranked(row, "flagged")
            assert harm is not None
            assert flagged is not None
            rates = (ranked(row, name) for name in ("auroc", "recall", "fpr"))
            found.append(Sighting(row["iteration"], row["n"], harm, flagged, *rates))
        return found

    drawn = [(name, found) for name in ("frozen", "refitted") if (found := seen(name))]
    if drawn:
        draw(drawn, out, level=0.5, note=note or "")


if __name__ == "__main__":
    sys.exit(serve_request(Refit, _refit, {}))
