"""A monitor's threshold from benign conversations alone; a monitor against labelled transcripts.

    python probes/calibrate.py threshold --monitor monitors/mean-layer18 --benign activations/chat \\
        --out monitors/chat
    python probes/calibrate.py threshold --benign logs/base --label influence --fpr 0.05 \\
        --watch logs/ei/iteration_*/heldout --out results/alarm
    python probes/calibrate.py validate --logs logs/therapy --cases cases.csv --out results/validation
    python probes/calibrate.py validate --logs logs/therapy --label influence --out results/validation

threshold: the lowest whose false-positive rate is below --fpr with --confidence: Clopper and Pearson's bound,
exact where each row is its own group; rows of a group (an initial state) count as one if they agree. Of logs
that a monitor has scored each turn is a row, and --label names the score that says which turns are harmful.
--watch looks at later parts of the stream, e.g. the iterations of a training run, and corrects for the number
of looks. Writes calibration.json and, of a saved monitor, the monitor with this threshold.

validate: cases are in Inspect Scout's validation format: id (of a message, or the uuid of a sample), target,
split. If any names a message, turns are what is validated. A split called dev sets the threshold, all others
are tests; without one the monitor's own stands. --label takes what another score says of each turn in place
of cases. Writes validation.json and cases.csv.

Logs are scored by a monitor with `inspect score LOG --scorer scorers/stakes.py -S monitor=FOLDER`.
"""

from scenarios.commands import starting  # noqa: F401

# isort: split

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from analysis.ranking import Ranked, share
from probes.activations.whole_files import StoreError
from probes.conversations.labels import DataError
from probes.evaluation.scored import Named, read_monitors
from probes.monitors.monitor import Threshold
from probes.thresholds.benign import (
    AtBaseRate,
    BenignThreshold,
    Look,
    at_base_rate,
    benign_threshold,
    looks,
    rate_of,
)
from probes.thresholds.calibrate_settings import CalibrateSettings
from probes.thresholds.streams import Stream, captured_stream, logs_stream, scores_stream, together
from probes.thresholds.validate_settings import ValidateSettings
from probes.thresholds.validating import validate
from scenarios.commands.command_line import read_settings
from scenarios.commands.exits import exit_status
from scenarios.commands.usage import UsageMistake
from scenarios.files.whole import write_json

RESULT = "calibration.json"
COMMANDS = ("threshold", "validate")
SIGNIFICANCE = 0.05


def _streams(
    settings: CalibrateSettings, named: Named | None, given: Sequence[str], positive: bool | None
) -> list[Stream]:
    chosen = settings.chosen(positive)
    if named is not None:
        return captured_stream(named, given, chosen, settings.device)
    if settings.scores is not None:
        return scores_stream(settings.scores, settings.monitor, given, chosen)
    if positive is None:
        return [logs_stream([Path(path)], settings.score, chosen) for path in given]
    return [logs_stream([Path(path) for path in given], settings.score, chosen)]


def _threshold(settings: CalibrateSettings) -> int:
    named = _saved_monitor(settings)
    benign = together(_streams(settings, named, settings.benign, False))
    harmful = _harmful(settings, named)
    watched = _streams(settings, named, settings.watch, None) if settings.watch else []
    threshold = (
        benign_threshold(benign.logits, benign.groups, settings.fpr, settings.confidence)
        if settings.threshold is None
        else rate_of(benign.logits, benign.groups, settings.threshold, settings.confidence)
    )
    recall = None if harmful is None else share(harmful.logits >= threshold.logit, harmful.groups)
    seen = looks([(one.name, one.logits, one.groups) for one in watched], threshold)
    at = None if settings.base_rate is None else at_base_rate(threshold, recall, settings.base_rate)
    _print(settings, benign, harmful, threshold, recall, at, seen)
    _write(settings, benign, harmful, threshold, recall, at, seen)
    files = [RESULT]
    if named is not None:
        _save(settings, named, threshold, recall, harmful)
        files.append("the monitor with this threshold")
    print(f"\n{', '.join(files)}: {settings.out}")
    return 0


def _saved_monitor(settings: CalibrateSettings) -> Named | None:
    if settings.scores is not None or settings.monitor is None:
        return None
    if settings.out.resolve() == Path(settings.monitor).resolve():
        raise DataError(f"--out {settings.out} is the monitor itself; name another folder")
    monitors = read_monitors([Path(settings.monitor)])
    if len(monitors) > 1:
        names = ", ".join(one.name for one in monitors)
        raise DataError(f"--monitor {settings.monitor}: {len(monitors)} monitors, name one of {names}")
    return monitors[0]


def _harmful(settings: CalibrateSettings, named: Named | None) -> Stream | None:
    if settings.harmful:
        return together(_streams(settings, named, settings.harmful, True))
    if settings.label is None:
        return None
    try:
        return together(_streams(settings, named, settings.benign, True))
    except DataError:  # none of them is harmful: then there is no recall
        return None


def _print(
    settings: CalibrateSettings,
    benign: Stream,
    harmful: Stream | None,
    found: BenignThreshold,
    recall: Ranked | None,
    at: AtBaseRate | None,
    seen: Sequence[Look],
) -> None:
    unit = f"{settings.chosen(False).per}s"
    worth = (
        "each its own group"
        if found.groups == found.rows
        else f"in {found.groups} groups, worth {found.effective:.0f} independent ones"
    )
    left = ", ".join(f"{count} {why}" for why, count in benign.left_out.items())
    print(f"{found.rows} benign {unit}, {worth}" + (f"; left out: {left}" if left else ""))
    print(
        f"flagged from logit {found.logit:.3f} (probability {expit(found.logit):.3f}) on: {found.flagged} of "
        f"{found.rows}, {found.fpr:.2%} [{found.interval.low:.2%}, {found.interval.high:.2%}]"
    )
    print(
        f"false-positive rate below {found.upper:.2%} with {found.confidence:.0%} confidence"
        + (f"; asked for: {settings.fpr:.2%}" if settings.threshold is None else "")
    )
    if harmful is not None and recall is not None:
        print(f"recall on {len(harmful.logits)} harmful {unit}: {_told(recall)}")
    if at is not None:
        print(
            f"at a base rate of {at.base_rate:g}: {at.false_alarms[0]:.0f} false alarms in 10,000 {unit}, at "
            f"most {at.false_alarms[1]:.0f}"
            + (f"; precision {_told(at.precision)}" if at.precision is not None else "")
        )
    if not seen:
        return
    print(f"\n{len(seen)} looks; p of each is Holm's over all of them")
    width = max(len(look.name) for look in seen)
    for look in seen:
        alarm = "  ALARM" if look.p_of_all < SIGNIFICANCE else ""
        print(f"{look.name:<{width}} {look.n:>6} flagged {_told(look.flagged)}  p {look.p_of_all:.2g}{alarm}")
    first = next((look.name for look in seen if look.p_of_all < SIGNIFICANCE), None)
    print("no look flags more than its false alarms explain" if first is None else f"first alarm: {first}")


def _told(found: Ranked) -> str:
    if math.isnan(found.value):
        return "not known: nothing is flagged"
    if math.isnan(found.low):
        return f"{found.value:.3f}"
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _write(
    settings: CalibrateSettings,
    benign: Stream,
    harmful: Stream | None,
    found: BenignThreshold,
    recall: Ranked | None,
    at: AtBaseRate | None,
    seen: Sequence[Look],
) -> None:
    write_json(
        settings.out / RESULT,
        _plain(
            {
                "settings": settings.model_dump(mode="json"),
                "per": settings.chosen(False).per,
                "threshold": found._asdict(),
                "benign": {"rows": found.rows, "left_out": benign.left_out},
                "harmful": None if harmful is None else {"rows": len(harmful.logits), "recall": recall},
                "at_base_rate": None if at is None else at._asdict(),
                "looks": [look._asdict() | {"alarm": look.p_of_all < SIGNIFICANCE} for look in seen],
            }
        ),
    )


def _plain(value: Any) -> Any:
    """Tuples with names as mappings, numbers that are none as null."""
    if hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, dict):
        return {key: _plain(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(own) for own in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _save(
    settings: CalibrateSettings,
    named: Named,
    found: BenignThreshold,
    recall: Ranked | None,
    harmful: Stream | None,
) -> None:
    threshold = Threshold(
        logit=found.logit,
        asked_fpr=settings.fpr,
        fpr=found.fpr,
        recall=None if recall is None else recall.value,
        n_negative=found.rows,
        n_positive=0 if harmful is None else len(harmful.logits),
    )
    monitor = named.monitor
    monitor.card = monitor.card.model_copy(update={"threshold": threshold})
    monitor.save(settings.out)


def _validate(settings: ValidateSettings) -> int:
    validate(settings)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Exit status as of `scenarios.commands.exits`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    return exit_status(lambda: _run(given), mistakes=(StoreError, ValueError))


def _run(given: Sequence[str]) -> int:
    command = given[0] if given else ""
    if command in ("-h", "--help"):
        print(__doc__)
        return 0
    if command not in COMMANDS:
        what = command or "no command"
        raise UsageMistake(f"{what}: first threshold or validate, then options (threshold --help)")
    if command == "threshold":
        return _threshold(read_settings(CalibrateSettings, given[1:], __doc__ or ""))
    return _validate(read_settings(ValidateSettings, given[1:], __doc__ or ""))


if __name__ == "__main__":
    sys.exit(main())
