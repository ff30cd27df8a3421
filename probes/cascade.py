"""A cascade of monitors: a cheap one reads every row, a dear one is asked about some, at what cost.

    python probes/cascade.py --monitor monitors/mean-layer18 --calibration activations/dev \\
        --test activations/mts --judge logs/asked --out results/cascade
    python probes/cascade.py --scores results/scores.jsonl --monitor lora --calibration mts \\
        --judge logs/asked --budget 0.05 --out results/cascade

Scores are calibrated, and where the judge is asked is fixed, on the calibration rows alone, so that it works
on a stream. Strategies: uncertainty, top-risk, value (of delegation) and likelihood-ratio; merges: replace,
mean, weighted-logits and likelihood-ratio. Beside them stand each monitor alone, the earlier project's rule
and a judge that is asked at random. Writes cascade.json (the cascade, for use in a run), points.json and
points.csv (AUROC, recall and cost of every point), cascade.md and cascade.png.
"""

from scenarios.commands import starting  # noqa: F401

# isort: split

import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

from tqdm import tqdm

from probes.activations.whole_files import StoreError
from probes.cascades.allocation import STRATEGIES
from probes.cascades.joined import (
    CascadeRows,
    captured_rows,
    check_apart,
    drawn_apart,
    read_judge,
    rows_of_scores,
    together,
    with_judge,
)
from probes.cascades.measured.cascade_settings import CascadeSettings
from probes.cascades.measured.equals import Equal, equals_judge
from probes.cascades.measured.figure import cost_axis, draw_cascade
from probes.cascades.measured.page import cascade_page, described
from probes.cascades.measured.points import (
    CONTROLS,
    JUDGE,
    PROBE,
    Point,
    Values,
    alone,
    controls,
    measured,
    values_of,
)
from probes.cascades.merging import MergeName
from probes.cascades.saved import CASCADE, Cascade, CascadeError
from probes.cascades.whole import SavedFrom, digest_of, fit_cascade
from probes.evaluation.beside.foreign_scores import COSTS
from probes.evaluation.comparisons import MEAN
from probes.evaluation.scored import Named, read_monitors
from scenarios.commands.command_line import read_settings
from scenarios.commands.exits import exit_status
from scenarios.files.whole import write_json, write_text

POINTS, TABLE, PAGE, PICTURE = "points.json", "points.csv", "cascade.md", "cascade.png"


class CascadeResult(NamedTuple):
    """Everything that was measured."""

    cascade: Cascade
    points: list[Point]
    equal: Equal
    page: str


class Splits(NamedTuple):
    """Rows that the cascade is fixed on, and those that it is measured on."""

    calibration: CascadeRows
    tests: list[CascadeRows]
    saved: SavedFrom | None


def build_cascade(settings: CascadeSettings, *, progress: bool = False) -> CascadeResult:
    """Fit, measure, and write everything to `settings.out`.

    Raises:
        UserMistake: Rows or scores that cannot be read, joined or told apart; one class only; a monitor for
            other activations; results that are of other rows.
        StoreError: Data sets that cannot be read.
    """
    others = [_read_points(folder) for folder in settings.compare_with]
    splits = _read_splits(settings)
    _check_classes(splits)
    cost = cost_axis(_known_costs(splits), settings.cost)
    rows_digest = digest_of([part._replace(columns=[]) for part in splits.tests])
    for folder, points in zip(settings.compare_with, others, strict=True):
        _check_same_rows(folder, points, rows_digest, settings)
    cascade = fit_cascade(splits.calibration, settings.plan(), splits.saved)
    plans = [settings.plan(strategy=s, budget=b) for s in STRATEGIES for b in settings.budgets]
    plans += [settings.plan(merge=m, budget=b) for m in get_args(MergeName) for b in settings.budgets]
    own = settings.plan()
    plans = [plan for plan in dict.fromkeys(plans) if plan != own and settings.fixed is None]
    found: list[Values] = [values_of(cascade, splits.tests)]
    judges = alone(cascade, splits.tests)
    for plan in tqdm(plans, desc="budgets", disable=None if progress else True, leave=False):
        found.append(values_of(fit_cascade(splits.calibration, plan), splits.tests))
    for budget in settings.budgets:
        found += controls(cascade, splits.tests, budget, settings.seed)
    points = measured([*judges, *found], judges[1], splits.tests, settings.fpr)
    result = _result(settings, splits, cascade, points)
    _write(settings, splits, result, rows_digest, _drawn_beside(settings.compare_with, others), cost)
    return result


def _read_splits(settings: CascadeSettings) -> Splits:
    saved: SavedFrom | None = None
    named: Named | None = None
    if settings.scores is None:
        named = _one_monitor(Path(settings.monitor or ""))
        card = named.monitor.card
        saved = SavedFrom(str(settings.monitor), card.weights_sha256, card.spec.model)

    def read(given: Sequence[str]) -> list[CascadeRows]:
        if named is not None:
            return captured_rows(named, given, settings.device)
        assert settings.scores is not None
        return rows_of_scores(settings.scores, settings.monitor, given)

    calibration, tests = read(settings.calibration), read(settings.test)
    if tests:
        check_apart(together(calibration), tests)
    else:
        calibration, tests = drawn_apart(calibration, settings.calibration_share, settings.seed)
    joined = [*calibration, *tests]
    for given, wanted, option in (
        (settings.judge, settings.judge_name, "--judge"),
        (settings.third, settings.third_name, "--third"),
    ):
        if given:
            joined = with_judge(joined, read_judge(given, wanted, joined, option))
    if len({column.name for column in joined[0].columns}) < len(joined[0].columns):
        names = ", ".join(column.name for column in joined[0].columns)
        raise CascadeError(f"a cascade asks different monitors, got {names}")
    return Splits(together(joined[: len(calibration)]), joined[len(calibration) :], saved)


def _one_monitor(folder: Path) -> Named:
    monitors = read_monitors([folder])
    if len(monitors) > 1:
        names = ", ".join(one.name for one in monitors)
        raise CascadeError(f"--monitor {folder}: {len(monitors)} monitors, name one of {names}")
    return monitors[0]


def _check_classes(splits: Splits) -> None:
    for what, parts in (("--calibration", [splits.calibration]), ("--test", splits.tests)):
        positive = [int(part.labels.sum()) for part in parts]
        negative = [len(part.labels) - n for part, n in zip(parts, positive, strict=True)]
        if not any(p and n for p, n in zip(positive, negative, strict=True)):
            raise CascadeError(
                f"{what}: {sum(positive)} positive and {sum(negative)} negative rows with all scores; both "
                "classes are needed" + _lost(parts)
            )


def _known_costs(splits: Splits) -> list[str]:
    judges = [column for part in splits.tests for column in part.columns[1:]]
    return [cost for cost in COSTS if all(cost in column.costs for column in judges)]


def _lost(parts: Sequence[CascadeRows]) -> str:
    told = [f"{count} {why}" for part in parts for why, count in part.excluded.items()]
    return f" (left out: {', '.join(told)})" if told else ""


def _result(
    settings: CascadeSettings, splits: Splits, cascade: Cascade, points: Sequence[Point]
) -> CascadeResult:
    shown = _shown(points)
    ends = {p.name: p for p in shown if p.name in (PROBE, JUDGE)}
    curve = _of_merge(shown, settings.merge)
    same = [p for p in curve if p.name == cascade.strategy]
    equal = equals_judge([*same, ends[PROBE]], settings.margin)
    saved = [p for p in points if (p.name, p.merge, p.budget) == _identity(cascade)]
    by_set = [p for p in points if p.dataset != MEAN and p.name in (PROBE, JUDGE)]
    by_set += [p for p in saved if p.dataset != MEAN]
    page = cascade_page(
        cascade,
        [ends[PROBE], ends[JUDGE]],
        curve,
        [p for p in shown if p.name == cascade.strategy and p.budget == settings.budget],
        [p for p in shown if p.name in CONTROLS],
        by_set,
        equal,
        _counts(splits),
        _notes(splits, points),
    )
    return CascadeResult(cascade, list(points), equal, page)


def _identity(cascade: Cascade) -> tuple[str, str, float]:
    return cascade.strategy, cascade.stages[0].merge.name, cascade.budget


def _shown(points: Sequence[Point]) -> list[Point]:
    """Each way of deciding once: in the mean over test sets, or on the only one."""
    means = [p for p in points if p.dataset == MEAN]
    unique: dict[tuple[str, str, float | None], Point] = {}
    for point in means or points:
        unique.setdefault((point.name, point.merge, point.budget), point)
    return list(unique.values())


def _of_merge(points: Sequence[Point], merge: str) -> list[Point]:
    """The strategies' points with one merge, from the smallest budget up."""
    order = {name: place for place, name in enumerate((*STRATEGIES, "fixed"))}
    own = [p for p in points if p.name in order and p.merge == merge]
    return sorted(own, key=lambda p: (order[p.name], p.budget or 0.0))


def _counts(splits: Splits) -> dict[str, str]:
    told: dict[str, str] = {}
    for what, part in [("calibration", splits.calibration), *(("test", test) for test in splits.tests)]:
        positive = int(part.labels.sum())
        left = ", ".join(f"{count} {why}" for why, count in part.excluded.items()) or "none"
        told[f"{what}: {part.name}"] = (
            f"{positive} positive, {len(part.labels) - positive} negative, {len(set(part.groups))} groups; "
            f"left out: {left}"
        )
    return told


def _notes(splits: Splits, points: Sequence[Point]) -> list[str]:
    notes = [
        "Intervals are 95 %, clustered by group. Bands, scales, merges and the threshold are of the "
        "calibration rows alone; `recall` has a threshold of the test rows' own, `at the threshold` the one "
        "that was fixed."
    ]
    judge = next(p for p in points if p.name == JUDGE)
    lacking = [cost for cost in judge.costs if cost not in splits.tests[0].columns[0].costs]
    if lacking:
        notes.append(f"The first monitor's {', '.join(lacking)} are not in its scores, and count as nothing.")
    if len(splits.calibration.columns) > 2:
        notes.append("`earlier` and `random` ask the second monitor alone; `judge alone` is the last one.")
    if splits.saved is not None:
        notes.append(
            "The first monitor's FLOPs and seconds are those of its head: the pass of the model that it "
            "reads is made anyway, and is not counted."
        )
    return notes


def _write(
    settings: CascadeSettings,
    splits: Splits,
    result: CascadeResult,
    rows_digest: str,
    beside: dict[str, list[Point]],
    cost: str,
) -> None:
    rows = [point.row() for point in result.points]
    details: dict[str, Any] = {
        "settings": settings.model_dump(mode="json"),
        "monitors": [column.name for column in splits.calibration.columns],
        "test_rows": rows_digest,
        "calibration_rows": result.cascade.fitted_on.digest,
        "excluded": {part.name: part.excluded for part in (splits.calibration, *splits.tests)},
        "equals_judge": {
            "margin": result.equal.margin,
            "cheapest": None if result.equal.cheapest is None else result.equal.cheapest.row(),
            "no_difference_seen": None if result.equal.undecided is None else result.equal.undecided.row(),
        },
        "points": rows,
    }
    shown = _shown(result.points)
    curve = _of_merge(shown, settings.merge)
    lines = {name: [p for p in curve if p.name == name] for name in dict.fromkeys(p.name for p in curve)}
    lines |= {name: [p for p in shown if p.name == name] for name in CONTROLS} | beside
    ends = {p.name: p for p in shown if p.name in (PROBE, JUDGE)}
    write_json(settings.out / POINTS, details)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(settings.out / TABLE, text.getvalue())
    write_text(settings.out / PAGE, result.page)
    sets = ", ".join(part.name for part in splits.tests)
    draw_cascade(
        lines,
        ends,
        settings.out / PICTURE,
        cost=cost,
        asked_fpr=settings.fpr,
        subtitle=f"{' → '.join(c.name for c in splits.calibration.columns)}; on {sets}; merge "
        f"{settings.merge}; shaded: 95 % interval of {result.cascade.strategy}",
        main=result.cascade.strategy,
    )
    result.cascade.save(settings.out)  # last: with it everything is there


def _read_points(folder: Path) -> dict[str, Any]:
    path = folder / POINTS if folder.is_dir() else folder
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CascadeError(f"--compare-with {path} cannot be read: {error}") from error
    kinds = {"test_rows": str, "points": list, "settings": dict}
    if not isinstance(found, dict) or any(not isinstance(found.get(k), kind) for k, kind in kinds.items()):
        raise CascadeError(f"--compare-with {path}: no points of a cascade; name the folder that --out named")
    return found


def _check_same_rows(folder: Path, found: dict[str, Any], digest: str, settings: CascadeSettings) -> None:
    differing = []
    if found["test_rows"] != digest:
        differing.append("other test rows")
    if found["settings"].get("fpr") != settings.fpr:
        differing.append(f"false-positive rate {found['settings'].get('fpr')}, here {settings.fpr}")
    if differing:
        raise CascadeError(
            f"--compare-with {folder}: {'; '.join(differing)}: results of two configurations do not go into "
            "one figure"
        )


def _drawn_beside(folders: Sequence[Path], others: Sequence[dict[str, Any]]) -> dict[str, list[Point]]:
    """The saved strategy's line of each other cascade, by the name of its folder."""
    lines: dict[str, list[Point]] = {}
    for folder, found in zip(folders, others, strict=True):
        chosen = (found["settings"]["strategy"], found["settings"]["merge"])
        rows = [r for r in found["points"] if (r["strategy"], r["merge"]) == chosen]
        means = [r for r in rows if r["dataset"] == MEAN] or rows
        lines[folder.resolve().name] = [Point.of_row(row) for row in means]
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Exit status as of `scenarios.commands.exits`."""
    return exit_status(
        lambda: _cascade(read_settings(CascadeSettings, arguments, __doc__ or "")),
        kept="results are written at the end; the same command begins anew",
        mistakes=(StoreError, ValueError),
    )


def _cascade(settings: CascadeSettings) -> int:
    result = build_cascade(settings, progress=True)
    print(f"{result.page}\n{described(result.cascade)}\n\n{result.equal.told()}")
    print(f"\n{CASCADE}, {POINTS}, {TABLE}, {PAGE}, {PICTURE}: {settings.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
