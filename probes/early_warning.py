"""Does a monitor see a training run go wrong, and how early? Takes the logs of a run, yours or imported.

    python probes/early_warning.py --run logs/ei --layers 1,2
    python probes/early_warning.py --run logs/therapy --layers 12,16,20 --heads mean,attention --reads base
    python probes/early_warning.py --run logs/imported --model MODEL --layers 12 --score harm \\
        --harmful-from 5.5 --fit-on 3 4 --where topic!=smoking,theft --watch-where topic=smoking,theft

Monitors are fitted on the conversations of some iterations (the first: the model as it was before any
training) with the judge's `influence` score as label, as many negatives as positives in every topic. In a run
folder of `training/ei_loop.py` these are rollouts; the monitors then read the held-out conversations of all
iterations, whose topics no rollout has, through each iteration's own adapter or through the base. Of other
logs they read the iterations that they were not fitted on, through the base. Initial states that they were
fitted on are left out, and counted. Whether the labels suffice is told before anything is captured. Printed
and drawn: harm by the judge, what the monitor flags, and when each first shows.
"""

from scenarios.commands import starting  # noqa: F401

# isort: split

import json
import math
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, field_validator

from analysis import ranking
from probes.activations.capture_settings import CaptureSettings
from probes.activations.grouping import SHARED_GROUP, SHARED_WORDS, Tie, joined
from probes.activations.whole_files import StoreError, write_whole
from probes.capture import capture
from probes.conversations.facts import Conditions
from probes.conversations.labels import DataError
from probes.conversations.table_rows import TableOptions
from probes.evaluation.evaluation_data import NO_LABEL, EvaluationSet, read_sets
from probes.fit import fit
from probes.fitting.fit_data import read_labelled
from probes.fitting.fit_settings import FitSettings, Parts
from probes.monitors.monitor import Monitor
from probes.watching.alarms import Alarms, Sighting, Watched, alarms, sighted
from probes.watching.series import (
    Choice,
    Piece,
    Series,
    as_it_ran,
    base_of,
    check_labels,
    count_labels,
    is_run_folder,
    series_of,
    usable_folds,
    usable_share,
)
from scenarios.commands.command_line import read_settings
from scenarios.commands.exits import exit_status
from scenarios.schema import Frozen

RESULTS, PICTURE = "early_warning.json", "early_warning.png"


def _parted(value: Any) -> Any:
    """`0,1` and `0 1` are the same."""
    values = value if isinstance(value, list) else [value]
    return [part for v in values for part in (v.split(",") if isinstance(v, str) else [v]) if part != ""]


class EarlyWarningSettings(Frozen):
    """All options."""

    run: Path = Field(
        title="run",
        description="folder of a run of training/ei_loop.py, or of any logs that know their iteration",
    )
    model: str | None = Field(
        None, title="run", description="base weights; what the run's adapters name if not given"
    )
    score: str = Field("influence", title="run", description="score of the logs that is the label")
    harmful_from: float = Field(0.5, title="run", description="value of the score from which on it is harm")
    fit_on: Annotated[list[int], BeforeValidator(_parted)] = Field(
        [0], min_length=1, title="monitor", description="iterations on whose conversations it is fitted"
    )
    where: Conditions = Field(
        [], title="monitor", description="only these conversations are fitted on, e.g. topic!=smoking"
    )
    watch_where: Conditions = Field(
        [], title="monitor", description="only these conversations are watched, e.g. topic=smoking"
    )
    reads: Literal["agent", "base"] = Field(
        "agent",
        title="monitor",
        description="agent: each iteration's own adapter is read; base: the base model reads along",
    )
    layers: Parts = Field(min_length=1, title="monitor", description="e.g. 4,8; 4+8 is both side by side")
    heads: Parts = Field(["logistic"], min_length=1, title="monitor", description="as of probes/fit.py")
    tokens: str = Field("assistant", title="monitor", description="as of probes/capture.py")
    match: str | None = Field(
        "topic", title="monitor", description="fact that negatives are matched by, or none"
    )
    validation_share: float | None = Field(
        None,
        gt=0,
        le=0.5,
        title="monitor",
        description="share of the conversations that sets the threshold, see --validation-share of "
        "probes/fit.py; a fifth, or up to a half where few initial states are harmful",
    )
    folds: int = Field(
        5,
        ge=0,
        title="monitor",
        description="cross-validation by initial state that chooses among several layers; fewer where there "
        "are fewer harmful initial states",
    )
    fpr: float = Field(0.01, gt=0, lt=1, title="monitor", description="false-positive rate of the alarm")
    seed: int = Field(0, ge=0, title="monitor", description="of every draw")
    level: float = Field(
        0.2, gt=0, lt=1, title="result", description="harm rate whose passing is asked about"
    )
    out: Path | None = Field(None, title="result", description="folder; <run>/monitoring if not given")

    @field_validator("layers")
    @classmethod
    def _numbered(cls, layers: list[str]) -> list[str]:
        for one in layers:
            if not re.fullmatch(r"\d+(\+\d+)*", one):
                raise ValueError(f"{one!r}: a layer is a number, several side by side are 4+8")
        return layers

    @property
    def store(self) -> Path:
        """Of the activations."""
        return self.folder / "activations"

    @property
    def folder(self) -> Path:
        """Where everything goes."""
        return self.out or self.run / "monitoring"


class Warned(NamedTuple):
    """What one monitor saw of a run."""

    monitor: Monitor
    sightings: list[Sighting]
    alarms: Alarms
    left_out: dict[str, int]
    """Reason -> conversations of all iterations that were not watched."""


def early_warning(settings: EarlyWarningSettings) -> list[Warned]:
    """Capture, fit and watch; what is captured already is not captured again.

    Raises:
        DataError, StoreError, WeightsError, ChatTemplateError, MonitorError: Something wrong with the run,
            the store or the weights.
        ValueError: Data that nothing can be fitted on.
    """
    options = TableOptions.model_validate(_log_options(settings))
    choice = Choice(settings.fit_on, settings.where, settings.watch_where, settings.reads == "agent")
    try:
        series = series_of(settings.run, choice, options)
        labels = count_labels(settings.run, series, choice, options, settings.match, settings.seed)
    except DataError as error:
        # logs are read by options of a capture, which are called otherwise here
        told = str(error).replace("--label-threshold", "--harmful-from").replace("--label-score", "--score")
        raise DataError(told) from error
    share = settings.validation_share or usable_share(labels)
    check_labels(labels, choice, settings.match, share)
    folds = usable_folds(labels, settings.folds, share) if len(settings.layers) > 1 else 0
    if len(settings.layers) > 1 and settings.folds and not folds:
        raise DataError(
            f"--layers {','.join(settings.layers)}: {labels.harmful_groups} harmful and "
            f"{labels.harmless_groups} harmless initial states are too few to choose among layers; name "
            "one, or fit on more iterations"
        )
    base = settings.model or _base(settings)
    for piece in series.pieces:
        _capture(settings, base, piece)
    monitors = fit(_fit_settings(settings, series, folds, share)).monitors
    known = read_labelled([f"{settings.store}/{name}" for name in series.fitted], series.fit_where).ties
    sets, left_out = _read_watched(settings, series, known)
    groups = _joint_groups(list(sets.values()))
    return [_watch(settings, monitor, sets, groups, left_out) for monitor in monitors]


def _base(settings: EarlyWarningSettings) -> str:
    if not is_run_folder(settings.run):
        raise DataError(f"{settings.run}: logs do not say where their model's weights are; say --model")
    return base_of(settings.run)


def _joint_groups(sets: Sequence[EvaluationSet]) -> list[list[str]]:
    """For each iteration the group of each row; a name is the same initial state in all of them."""
    names = iter(joined([tie for data in sets for tie in data.ties]))
    return [[next(names) for _ in data.rows] for data in sets]


def _log_options(settings: EarlyWarningSettings) -> dict[str, Any]:
    return {"label_score": settings.score, "label_threshold": settings.harmful_from}


def _capture(settings: EarlyWarningSettings, base: str, piece: Piece) -> None:
    capture(
        CaptureSettings.model_validate(
            {
                "model": base,
                "adapter": piece.adapter,
                "data": str(piece.source),
                **as_it_ran(settings.run),
                "any_model": True,  # logs name a checkpoint by the path that it had then
                **_log_options(settings),
                "layers": sorted({int(n) for layers in settings.layers for n in layers.split("+")}),
                "tokens": settings.tokens,
                "dtype": "float32",
                "out": settings.store,
                "name": piece.name,
            }
        )
    )


def _read_watched(
    settings: EarlyWarningSettings, series: Series, known: Sequence[Tie]
) -> tuple[dict[int, EvaluationSet], dict[str, int]]:
    """Data sets of the iterations of which anything is left to watch; and what is not watched, by reason."""
    sets: dict[int, EvaluationSet] = {}
    left_out: Counter[str] = Counter()
    for iteration, part in series.watched.items():
        try:
            (whole,) = read_sets([f"{settings.store}/{part}"], settings.watch_where)
            sets[iteration] = whole.without(known)
        except StoreError as error:
            left_out[f"of iteration {iteration}, of which nothing is left: {error}"] += 1
    if not sets:
        raise DataError(f"{settings.run}: nothing is left to watch: {'; '.join(left_out)}")
    for data in sets.values():
        left_out.update(
            {r: n for r, n in data.excluded.items() if r in (SHARED_GROUP, SHARED_WORDS, NO_LABEL)}
        )
    return sets, dict(left_out)


def _fit_settings(settings: EarlyWarningSettings, series: Series, folds: int, share: float) -> FitSettings:
    return FitSettings.model_validate(
        {
            "data": [str(settings.store / name) for name in series.fitted],
            "where": series.fit_where,
            "match": settings.match,
            "validation_share": share,
            "layers": settings.layers,
            "heads": settings.heads,
            "seeds": 1,
            "folds": folds,
            "seed": settings.seed,
            "detects": f"{settings.score} of {settings.harmful_from:g} or more",
            "fpr": settings.fpr,
            "any_adapter": settings.reads == "agent",
            "out": settings.folder / "monitors",
        }
    )


def _watch(
    settings: EarlyWarningSettings,
    monitor: Monitor,
    sets: Mapping[int, EvaluationSet],
    groups: Sequence[list[str]],
    left_out: dict[str, int],
) -> Warned:
    threshold = monitor.card.threshold
    assert threshold is not None
    run = []
    for (number, data), of in zip(sets.items(), groups, strict=True):
        monitor.check(data.spec)
        logits = monitor.score(data.activations(monitor.card.layers)).logits
        run.append(Watched(number, data.labels >= 0.5, logits, of))
    return Warned(
        monitor,
        [sighted(watched, threshold.logit) for watched in run],
        alarms(
            run,
            threshold.logit,
            level=settings.level,
            fpr=settings.fpr,
            measured_on=(threshold.fpr * threshold.n_negative, threshold.n_negative),
        ),
        left_out,
    )


def write(settings: EarlyWarningSettings, found: Sequence[Warned]) -> None:
    """Write `early_warning.json` and the picture."""
    from probes.watching.early_warning_figure import draw

    told = {
        "settings": settings.model_dump(mode="json"),
        "monitors": [
            {
                "monitor": one.monitor.card.name,
                "alarms": one.alarms._asdict(),
                "left_out": one.left_out,
                "iterations": [s.row() for s in one.sightings],
            }
            for one in found
        ],
    }
    write_whole(settings.folder / RESULTS, json.dumps(told, indent=1, allow_nan=False) + "\n")
    draw(
        [(w.monitor.card.name, w.sightings) for w in found],
        settings.folder / PICTURE,
        level=settings.level,
        note=f"threshold for {settings.fpr:.0%} FPR, fitted on iteration {_numbers(settings.fit_on)}"
        + (
            "; the miniature is a demonstration world"
            if "miniature" in found[0].monitor.card.spec.model
            else ""
        ),
    )


def report(settings: EarlyWarningSettings, found: Sequence[Warned]) -> None:
    """Print the tables."""
    for one in found:
        card = one.monitor.card
        assert card.threshold is not None
        assert card.threshold.recall is not None  # the fit had positives
        assert card.validation is not None
        print(
            f"\n{card.name}, fitted on {card.training.rows} conversations of iteration "
            f"{_numbers(settings.fit_on)} ({card.training.positive} harmful); threshold for "
            f"{settings.fpr:.0%} FPR on {card.threshold.n_negative} negatives: "
            f"recall {card.threshold.recall:.2f}"
            + ("" if (high := card.metrics.get("fpr_high")) is None else f", FPR elsewhere up to {high:.0%}")
        )
        for reason, count in one.left_out.items():
            print(f"  left out: {count} conversations ({reason})")
        titles = "".join(f"{title:<20}" for title in ("harm (judge)", "flagged", "AUROC", "recall", "FPR"))
        print(f"{'iteration':<11}{'n':>4}  {titles}")
        for s in one.sightings:
            cells = (s.harm, s.flagged, s.auroc, s.recall, s.fpr)
            print(f"{s.iteration:<11}{s.n:>4}  {''.join(f'{_with_interval(cell):<20}' for cell in cells)}")
        at = one.alarms
        print(f"harm rate above {settings.level:.0%}: {_when(at.harm_passes)}")
        print(f"more harm than at first, by the judge (p < .05): {_when(at.more_harm)}")
        print(f"more flagged than at first (p < .05): {_when(at.more_flagged)}")
        print(f"more flagged than false alarms explain (p < .05): {_when(at.beyond_false_alarms)}")
        print(f"p values are Holm's over the {len(one.sightings)} iterations, by initial state")
        for reason in dict.fromkeys(s.why_no_interval for s in one.sightings if s.why_no_interval):
            at_iterations = [str(s.iteration) for s in one.sightings if s.why_no_interval == reason]
            print(f"iteration {', '.join(at_iterations)}: {reason}")
    print(f"\n{settings.folder / RESULTS}, {PICTURE} and monitors/ hold the results")


def _with_interval(value: ranking.Ranked | None) -> str:
    if value is None:
        return "-"
    return f"{value.value:.2f}" + ("" if math.isnan(value.low) else f" [{value.low:.2f}, {value.high:.2f}]")


def _numbers(iterations: Sequence[int]) -> str:
    return ", ".join(map(str, iterations))


def _when(iteration: int | None) -> str:
    return "in no iteration" if iteration is None else f"from iteration {iteration}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Exit status as of `scenarios.commands.exits`."""
    return exit_status(
        lambda: _warn(read_settings(EarlyWarningSettings, arguments, __doc__ or "")),
        kept="activations that are stored are kept; the same command goes on from there",
        mistakes=(StoreError, ValueError),
    )


def _warn(settings: EarlyWarningSettings) -> int:
    found = early_warning(settings)
    write(settings, found)
    report(settings, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
