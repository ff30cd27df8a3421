"""Fits monitors on captured activations.

    python probes/fit.py --data activations/stakes --layers 4,8 --heads mean,attention --out monitors
    python probes/fit.py --data activations/stakes --where split=train --validation activations/stakes \
        --validation-where split=test --layers 4,8,4+8 --heads all --tune true --out monitors

Cross-validation by group chooses the layer of each head (with --tune its parameters too). The head is then
fitted again, once per seed: on all rows, with fits without each part of them for the threshold; or, if it is
trained in steps, without the rows that say when to stop, which set the threshold too. Each monitor is a
folder with weights and a card; `fit.json` has all figures.
"""

from scenarios.commands import starting  # noqa: F401

# isort: split

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tqdm import tqdm

from analysis import ranking
from probes.activations.whole_files import StoreError, write_whole
from probes.fitting.calibration import platt
from probes.fitting.cross_validation import Candidate, Layers, Tried, auroc_in, best_of, cross_validate
from probes.fitting.final_fit import FittedHead, fit_on_all, fit_on_part, named_rows
from probes.fitting.fit_data import LabelledRows, read_labelled
from probes.fitting.fit_settings import FitSettings
from probes.fitting.splits import folds, hold_out
from probes.heads.base import Head
from probes.heads.table import HEADS, PARITY, candidates, make_head
from probes.heads.trained import Progress
from probes.monitors.monitor import Monitor, MonitorCard, Sources, Threshold, parameters_of
from scenarios.commands.command_line import read_settings
from scenarios.commands.exits import exit_status

SUMMARY = "fit.json"
GROUPS_OF_HEADS = {"all": tuple(HEADS), "parity": tuple(head.NAME for head in PARITY)}


class _Data(NamedTuple):
    """Rows of a fit."""

    whole: LabelledRows
    training: LabelledRows
    """Those that are not held out, matched if asked for."""

    validation: LabelledRows
    """Held out, or a set of their own; as they come."""


class Fitted(NamedTuple):
    """What a fit made."""

    tried: list[Tried]
    """Cross-validation; empty without folds."""

    monitors: list[Monitor]


def fit(settings: FitSettings, *, progress: bool = False) -> Fitted:
    """Choose, fit and save monitors.

    Raises:
        StoreError: Data sets that cannot be read, or are of different captures; a full disk.
        ValueError: Heads, parameters or layers that do not exist; data that nothing can be fitted on.
    """
    names = _heads(settings)
    fixed = _parameters(settings, names)
    data = _data(settings)
    layer_sets = _layer_sets(settings, data.training)
    wanted = [Candidate(name, layers, fixed[name]) for name in names for layers in layer_sets]
    for candidate in wanted:
        make_head(candidate.head, **candidate.parameters).check_parameters()
    tried: list[Tried] = []
    if settings.folds:
        tried = _choose(settings, data.training, wanted, progress)
        wanted = _chosen(settings, tried)
    monitors = _fit_chosen(settings, wanted, data, progress)
    for monitor in monitors:
        monitor.save(settings.out / monitor.card.name)
    _write_summary(settings, tried, monitors)
    return Fitted(tried, monitors)


def _heads(settings: FitSettings) -> list[str]:
    names = [name for given in settings.heads for name in GROUPS_OF_HEADS.get(given, (given,))]
    for name in names:
        make_head(name)
    return list(dict.fromkeys(names))


def _parameters(settings: FitSettings, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """For each head what was given for it; `name` is for all that have it, `head.name` for one."""
    given: dict[str, dict[str, Any]] = {
        name: {"class_weight": settings.class_weight, "base_rate": settings.base_rate} for name in names
    }
    for option, value in settings.parameters.items():
        head, _, parameter = option.rpartition(".")
        if head and head not in given:
            raise ValueError(
                f"--parameters {option}: head {head!r} is not fitted; there are {', '.join(names)}"
            )
        takers = [head] if head else [name for name in names if option in make_head(name).get_params()]
        if not takers:
            raise ValueError(f"--parameters {option}: none of {', '.join(names)} has such a parameter")
        for name in takers:
            make_head(name, **{parameter or option: value})
            given[name][parameter or option] = value
    return given


def _data(settings: FitSettings) -> _Data:
    rows = read_labelled(settings.data, settings.where)
    training, validation = _divided(settings, rows)
    if settings.match is not None:
        training = training.matched(settings.match, settings.seed)
    return _Data(rows, training, validation)


def _divided(settings: FitSettings, rows: LabelledRows) -> tuple[LabelledRows, LabelledRows]:
    if not settings.validation:
        part = hold_out(rows.labels, rows.groups, settings.validation_share, settings.seed)
        return rows.take(part.train), rows.take(part.test)
    validation = read_labelled(settings.validation, settings.validation_where)
    if differing := rows.spec.differences(validation.spec):
        told = "; ".join(f"{name} {mine!r} and {theirs!r}" for name, (mine, theirs) in differing.items())
        raise StoreError(f"data and validation are of different captures: {told}")
    validation = validation.without(rows)
    if not validation.keys:
        told = ", ".join(f"{count} {reason}" for reason, count in validation.excluded.items())
        raise ValueError(
            f"all conversations of the validation set are trained on, or of a group that is ({told}); "
            "--where and --validation-where tell them apart"
        )
    return rows, validation


def _layer_sets(settings: FitSettings, rows: LabelledRows) -> list[Layers]:
    there = rows.entry.layers_of(rows.keys)
    if settings.layers == ["all"]:
        return [(number,) for number in there]
    wanted = [tuple(int(number) for number in layers.split("+")) for layers in settings.layers]
    if lacking := {number for layers in wanted for number in layers} - set(there):
        raise StoreError(f"layer {min(lacking)} is not stored for all rows; there are {there}")
    return wanted


def _choose(
    settings: FitSettings, rows: LabelledRows, wanted: Sequence[Candidate], progress: bool
) -> list[Tried]:
    tried = [
        one._replace(parameters=parameters)
        for one in wanted
        for parameters in (
            candidates(one.head, **one.parameters) if settings.tune else [dict(one.parameters)]
        )
    ]
    parts = folds(rows.labels, rows.groups, settings.folds, settings.seed)
    seeded = [
        one._replace(parameters={**one.parameters, "seed": settings.seed})
        if HEADS[one.head].SEEDED and "seed" not in one.parameters
        else one
        for one in tried
    ]
    bars = _bars("cross-validation", progress)
    with named_rows(rows):
        return cross_validate(
            rows,
            seeded,
            parts,
            asked_fpr=settings.fpr,
            within=settings.within,
            device=settings.device,
            progress=bars,
        )


def _chosen(settings: FitSettings, tried: Sequence[Tried]) -> list[Candidate]:
    """The best candidate of each head, or of each head on each layer."""
    if settings.keep == "best":
        return [one.candidate for one in best_of(tried, settings.select).values()]
    layer_sets = dict.fromkeys(one.candidate.layers for one in tried)
    return [
        one.candidate
        for layers in layer_sets
        for one in best_of([t for t in tried if t.candidate.layers == layers], settings.select).values()
    ]


def _fit_chosen(
    settings: FitSettings, chosen: Sequence[Candidate], data: _Data, progress: bool
) -> list[Monitor]:
    """Heads of the same layers in the same reads."""
    monitors: list[Monitor] = []
    for layers in dict.fromkeys(candidate.layers for candidate in chosen):
        heads = [
            head
            for candidate in chosen
            if candidate.layers == layers
            for head in _seeded(candidate, settings.seed, settings.seeds)
        ]
        on_all = [head for head in heads if _takes_all(settings, head)]
        on_part = [head for head in heads if not _takes_all(settings, head)]
        bar = _bars("fit", progress)(layers)
        fitted = {}
        if on_all:
            fitted |= {
                id(one.head): one
                for one in fit_on_all(
                    on_all,
                    layers,
                    data.whole,
                    share=settings.validation_share,
                    match=settings.match,
                    seed=settings.seed,
                    device=settings.device,
                    progress=bar,
                )
            }
        if on_part:
            fitted |= {
                id(one.head): one
                for one in fit_on_part(
                    on_part, layers, data.training, data.validation, device=settings.device, progress=bar
                )
            }
        monitors += [_monitor(settings, layers, fitted[id(head)]) for head in heads]
    return monitors


def _takes_all(settings: FitSettings, head: Head) -> bool:
    """Whether it is fitted on all rows: those that need no validation rows, unless something else is said."""
    if settings.validation or settings.final == "part":
        return False
    return settings.final == "all" or not HEADS[head.NAME].SEEDED


def _seeded(candidate: Candidate, first: int, count: int) -> list[Head]:
    if not HEADS[candidate.head].SEEDED:
        return [make_head(candidate.head, **candidate.parameters)]
    return [
        make_head(candidate.head, **{**candidate.parameters, "seed": seed})
        for seed in range(first, first + count)
    ]


def _monitor(settings: FitSettings, layers: Layers, fitted: FittedHead) -> Monitor:
    head, training, validation, logits, parts = fitted
    flagged = ranking.largest_recall(validation.labels, logits, validation.groups, settings.fpr)
    area = auroc_in(validation.strata(settings.within, parts), validation, logits)
    card = MonitorCard(
        detects=settings.detects,
        head=head.NAME,
        parameters=parameters_of(head),
        layers=list(layers),
        hidden=head.n_features_in_,
        spec=training.spec,
        any_adapter=settings.any_adapter,
        training=training.sources,
        validation=validation.sources,
        cross_fitted=len(parts) if fitted.is_cross_fitted else None,
        threshold=Threshold(
            logit=flagged.logit,
            asked_fpr=settings.fpr,
            fpr=flagged.fpr.value,
            recall=flagged.recall.value,
            n_negative=flagged.n_negative,
            n_positive=flagged.n_positive,
        ),
        calibration=platt(validation.labels, logits),
        metrics={
            name: None if math.isnan(value) else value
            for name, value in (
                *_with_ends("auroc", area),
                *_with_ends(f"recall_at_{100 * settings.fpr:g}pct_fpr", flagged.recall),
                *_with_ends("fpr", flagged.fpr),
            )
        },
    )
    return Monitor(head, card)


def _with_ends(name: str, found: ranking.Ranked) -> list[tuple[str, float]]:
    return [(name, found.value), (f"{name}_low", found.low), (f"{name}_high", found.high)]


def _bars(what: str, shown: bool) -> Callable[[Layers], Progress]:
    """Progress bars, one for each set of layers."""

    def bar(layers: Layers) -> Progress:
        told = tqdm(desc=f"{what}, layer {'+'.join(map(str, layers))}", unit="step", disable=None)

        def advance(step: int, of: int) -> None:
            told.total = of
            told.update(step - told.n)
            if step == of:
                told.close()

        return advance

    return bar if shown else lambda _: lambda _step, _of: None


def _write_summary(settings: FitSettings, tried: Sequence[Tried], monitors: Sequence[Monitor]) -> None:
    summary = {
        "settings": settings.model_dump(mode="json"),
        "cross_validation": [_candidate_row(one) for one in tried],
        "monitors": [{"monitor": m.card.name, **m.card.metrics} for m in monitors],
    }
    write_whole(settings.out / SUMMARY, json.dumps(summary, indent=1, allow_nan=False) + "\n")


def _candidate_row(tried: Tried) -> dict[str, Any]:
    candidate = tried.candidate
    figures = (*_with_ends("auroc", tried.auroc), *_with_ends("recall", tried.recall))
    return {
        "head": candidate.head,
        "layers": list(candidate.layers),
        "parameters": dict(candidate.parameters),
        **{name: None if math.isnan(value) else value for name, value in figures},
    }


def _report(settings: FitSettings, done: Fitted) -> None:
    rate = f"{100 * settings.fpr:g} % FPR"
    if done.tried:
        of = "" if settings.within is None else f"; AUROC within {settings.within}"
        print(f"cross-validation in {settings.folds} folds by group{of}")
        print(f"{'head':<22} {'layer':<8} {'AUROC':<20} {'recall at ' + rate:<20} parameters")
        for one in done.tried:
            layers = "+".join(map(str, one.candidate.layers))
            figures = f"{_interval(*one.auroc):<20} {_interval(*one.recall):<20}"
            print(f"{one.candidate.head:<22} {layers:<8} {figures} {_in_words(one.candidate.parameters)}")
    for parts in dict.fromkeys(monitor.card.cross_fitted for monitor in done.monitors):
        mine = [monitor.card for monitor in done.monitors if monitor.card.cross_fitted == parts]
        if len(mine) < len(done.monitors):
            print(f"{', '.join(dict.fromkeys(card.head for card in mine))}:")
        print(f"fitted on {_counts(mine[0].training)}")
        if parts is None:
            print(f"validated on {_counts(mine[0].validation)}")
        else:
            print(
                f"validated on the same in {parts} parts, each scored by heads that were fitted on the others"
            )
    of = "" if settings.within is None else f"; AUROC within {settings.within}"
    print(f"on the rows that validate, which chose the threshold: on other data monitors do worse{of}")
    print(f"{'monitor':<38} {'AUROC':<20} {'recall at ' + rate:<20} {'threshold':>9} FPR")
    for monitor in done.monitors:
        found, threshold = list(monitor.card.metrics.values()), monitor.card.threshold
        if threshold is not None:
            print(
                f"{monitor.card.name:<38} {_interval(*found[:3]):<20} {_interval(*found[3:6]):<20} "
                f"{threshold.logit:>9.3f} {_interval(*found[6:9])}"
            )
    negatives = min(m.card.threshold.n_negative for m in done.monitors if m.card.threshold is not None)
    if negatives * settings.fpr < 1:
        print(
            f"only {negatives} negatives to set thresholds on: at {rate} none of them may be flagged, and "
            "the rate elsewhere may be as high as its interval reaches"
        )
    print(f"monitors and {SUMMARY} are in {settings.out}")
    fitted = {monitor.card.name for monitor in done.monitors}
    there = sorted(card.parent.name for card in settings.out.glob("*/monitor.json"))
    if earlier := [name for name in there if name not in fitted]:
        print(f"there from before, not fitted by this command: {', '.join(earlier)}")


def _counts(data: Sources | None) -> str:
    assert data is not None
    told = f"{data.rows} conversations, {data.positive} positive, in {data.groups} groups"
    return told + "".join(f"\n  left out: {count} ({reason})" for reason, count in data.excluded.items())


def _interval(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "-"
    if low is None or high is None or math.isnan(low):
        return f"{value:.3f}"
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _in_words(parameters: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in parameters.items() if value is not None)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Exit status as of `scenarios.commands.exits`."""
    return exit_status(
        lambda: _fit(read_settings(FitSettings, arguments, __doc__ or "")),
        kept="monitors that are written are whole; the same command fits all of them again",
        mistakes=(StoreError, ValueError),
    )


def _fit(settings: FitSettings) -> int:
    done = fit(settings, progress=True)
    _report(settings, done)
    return 0


if __name__ == "__main__":
    sys.exit(main())
