"""A saved monitor against labelled transcripts: read, measured, printed and written."""

import csv
import io
import math
from collections.abc import Sequence

from analysis.ranking import Ranked
from analysis.reporting.markdown import interval, table
from probes.conversations.labels import DataError
from probes.thresholds.log_scores import read_monitored
from probes.thresholds.validate_settings import ValidateSettings
from probes.thresholds.validated import (
    LabelledUnit,
    LabelledUnits,
    Quality,
    by_cases,
    by_score,
    by_split,
    check_splits,
    chosen_threshold,
    quality,
)
from probes.thresholds.validation_cases import read_cases
from scenarios.files.whole import write_json, write_text

RESULT, CASES = "validation.json", "cases.csv"

WHOLE = (
    "Labels are of whole conversations: one that is harmful is not harmful in every turn, and what a monitor "
    "says of turns cannot be held against them."
)


def validate(settings: ValidateSettings) -> None:
    """Measure, print and write.

    Raises:
        UserMistake: Logs or cases that cannot be read or joined; splits that share an initial state.
    """
    cases = [] if settings.cases is None else read_cases(settings.cases, settings.target)
    logs = read_monitored(settings.logs, settings.score)
    labelled = (
        by_score(logs.conversations, settings.label, settings.harmful_from)
        if settings.label is not None
        else by_cases(logs.conversations, cases)
    )
    splits = dict(by_split(labelled.units))
    dev = splits.pop(settings.dev, None)
    tests = _tests(settings, splits)
    threshold, source = _threshold(settings, dev, tests, logs.threshold)
    found = [quality(units, threshold, name) for name, units in tests.items()]
    if dev is not None:
        found.insert(0, quality(dev, threshold, settings.dev))
    _print(logs.monitor, labelled, found, source, logs.left_out)
    _write(settings, logs.monitor, labelled, found, source, logs.left_out)
    print(f"\n{RESULT}, {CASES}: {settings.out}")


def _tests(
    settings: ValidateSettings, splits: dict[str, list[LabelledUnit]]
) -> dict[str, list[LabelledUnit]]:
    for name in settings.split:
        if name not in splits:
            raise DataError(
                f"--split {name}: no such split with cases in the logs; there are {_named(splits)}"
            )
    return {name: units for name, units in splits.items() if not settings.split or name in settings.split}


def _named(splits: dict[str, list[LabelledUnit]]) -> str:
    return ", ".join(splits) or "none"


def _threshold(
    settings: ValidateSettings,
    dev: list[LabelledUnit] | None,
    tests: dict[str, list[LabelledUnit]],
    saved: float | None,
) -> tuple[float, str]:
    """A logit, and where it is from."""
    if settings.threshold is not None:
        return settings.threshold, "as given"
    if dev is not None:
        for name, units in tests.items():
            check_splits(dev, units, (settings.dev, name))
        try:
            return chosen_threshold(
                dev, settings.fpr
            ), f"split {settings.dev}, FPR at most {settings.fpr:.2%}"
        except ValueError as error:
            raise DataError(f"split {settings.dev}: {error}") from error
    if saved is None:
        raise DataError(
            f"no split {settings.dev!r} sets a threshold, and the monitor was saved without one: name a "
            "split with --dev, or a logit with --threshold"
        )
    return saved, "the monitor's own"


def _print(
    monitor: str, labelled: LabelledUnits, found: Sequence[Quality], source: str, unread: dict[str, int]
) -> None:
    print(
        f"{monitor}: {len(labelled.units)} labelled {labelled.per}s; threshold {found[0].threshold:.3f}, "
        f"{source}"
    )
    if labelled.per == "conversation":
        print(WHOLE)
    for why, count in labelled.left_out.items():
        print(f"cases left out: {count} {why}")
    for why, count in unread.items():
        print(f"conversations left out: {count} {why}")
    head = ["split", "positive", "negative", "groups", "AUROC", "recall", "FPR", "precision"]
    lines = [
        [
            one.split,
            str(one.n_positive),
            str(one.n_negative),
            str(one.groups),
            *("-" if of is None else _told(of) for of in (one.auroc, one.recall, one.fpr, one.precision)),
        ]
        for one in found
    ]
    print(f"\n{table(head, lines)}")


def _told(found: Ranked) -> str:
    value, *ends = found
    low, high = (None if math.isnan(end) else end for end in ends)
    return interval(value, low, high)


def _write(
    settings: ValidateSettings,
    monitor: str,
    labelled: LabelledUnits,
    found: Sequence[Quality],
    source: str,
    unread: dict[str, int],
) -> None:
    threshold = found[0].threshold
    write_json(
        settings.out / RESULT,
        {
            "settings": settings.model_dump(mode="json"),
            "monitor": monitor,
            "per": labelled.per,
            "threshold_from": source,
            "cases_left_out": labelled.left_out,
            "conversations_left_out": unread,
            "splits": [one.row() for one in found],
        },
    )
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "target", "logit", "flagged", "split"])
    for unit in labelled.units:
        flagged = str(unit.logit >= threshold).lower()
        writer.writerow([unit.id, str(unit.positive).lower(), f"{unit.logit:.6g}", flagged, unit.split or ""])
    write_text(settings.out / CASES, text.getvalue())
