"""Runs: curves by iteration, and the first, the best and the last of them."""

import math
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from analysis.figures.panels import Curve, Dot, Drawn, Point, colour_of, draw_curves, draw_dots
from analysis.figures.style import COLOURS
from analysis.intervals import Interval
from analysis.reporting.evaluations import HELD_OUT, TRAINED_ON, Evaluation, Run
from analysis.reporting.gathering import Material
from analysis.reporting.means import ALL_USERS, Measured, is_harm, is_rating, measured, text, users_in
from analysis.reporting.page import Part, Section, Table
from analysis.score_tables.columns import Column, ScoreRow, belonging, values_of
from analysis.score_tables.figures import DIFFERENCE
from scenarios.schema import Scale, ends_of

MOST_PANELS = 24
"""Of one run; the numbers of further measures are in the files."""


class Chosen(NamedTuple):
    """The best iteration of a run."""

    iteration: Evaluation
    rows: list[ScoreRow]
    """Conversations that had no part in the choice, which its numbers are of."""

    how: str


def runs_section(material: Material, figures: Path) -> Section | None:
    """Every run with its curves; None without runs."""
    if not material.runs:
        return None
    parts = [part for key in _names(material.runs) for part in _run_parts(material, key, figures)]
    lines = (
        "Each point is the mean over the conversations of one iteration; bands are 95 % intervals that take "
        "all conversations "
        "of one initial state as one cluster: they would hold the true mean in 19 of 20 draws of states. "
        "Iteration 0 is the model before training; dashed lines are users whom the model was trained on."
    )
    return Section("runs", "Runs by iteration", [lines], parts)


def _names(runs: Sequence[Run]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((run.name, run.task) for run in runs))


def _run_parts(material: Material, key: tuple[str, str], figures: Path) -> Iterator[Part]:
    runs = [run for run in material.runs if (run.name, run.task) == key]
    main = next((run for run in runs if run.phase != TRAINED_ON), runs[0])
    number = _names(material.runs).index(key)
    drawn: list[Drawn] = []
    for place, column in enumerate(material.columns):
        curves = [c for run in runs for c in _curves(material, run, column, solid=run is main)]
        if curves and len(drawn) < MOST_PANELS:
            out = figures / f"run{number}-{place}.svg"
            drawn.append(draw_curves(curves, out, title=column.title, y=unit(column), ends=ends(column)))
    told = [f"{run.title}: iterations {_listed([e.iteration or 0 for e in run.iterations])}." for run in runs]
    if any(len({e.model for e in run.iterations}) > 1 for run in runs):
        told.append("The model under test has another name in each iteration, as each has its own weights.")
    best = best_of(runs, material.columns)
    tables = [_first_best_last(material, main, best)]
    yield Part(f"{key[0]}, {key[1]}" if key[0] != key[1] else key[0], told, drawn, tables)
    bars = list(_bars(material, main, best, figures, number))
    if bars:
        yield Part("", [], bars)


def _listed(numbers: Sequence[int]) -> str:
    if list(numbers) == list(range(numbers[0], numbers[-1] + 1)) and len(numbers) > 2:
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers))


def _curves(material: Material, run: Run, column: Column, *, solid: bool) -> Iterator[Curve]:
    means = [m for m in material.means if m.column == column and m.evaluation in run.iterations]
    for users in users_in(means):
        points = [
            Point(m.evaluation.iteration or 0, m.mean)
            for m in means
            if m.users == users and m.mean is not None
        ]
        if points:
            name = users.removesuffix(" users") if solid else ""
            yield Curve(
                "" if users == "users" and solid else name,
                colour_of(users),
                points,
                "solid" if solid else "dashed",
            )


def unit(column: Column) -> str:
    """What is up along an axis."""
    scale = column.asked.scale
    told = {"yes-no": "probability", "0-1": "0 to 1", None: "number"}
    if column.asked.name == "length of a reply":
        return "characters"
    if column.asked.name == "turns":
        return "replies"
    return told.get(scale, f"{(scale or '').replace('-', ' to ')}")


def ends(column: Column) -> tuple[float, float] | None:
    """Of a measure's scale; None without one, and of shares that may be small."""
    scale: Scale | None = column.asked.scale
    return None if scale is None else ends_of(scale)


def best_of(runs: Sequence[Run], columns: Sequence[Column]) -> Chosen | None:
    """The iteration with the highest rating, by conversations that its numbers are not of.

    In a training run those with the users trained on choose, and held-out users are reported. Where there are
    no others, half of the initial states choose and the other half is reported.
    """
    rows = [row for run in runs for e in run.iterations for row in e.rows]
    rating = next((c for c in columns if is_rating(c) and any(c.asked in row.scores for row in rows)), None)
    trained = next((run for run in runs if run.phase == TRAINED_ON), None)
    heldout = next((run for run in runs if run.phase == HELD_OUT), None)
    if rating is None:
        return None
    if trained is not None and heldout is not None:
        by_number = {e.iteration: e for e in heldout.iterations}
        rated = [
            (m, e)
            for e in trained.iterations
            if (m := _mean(e.rows, rating)) is not None and e.iteration in by_number
        ]
        if rated:
            best = max(rated, key=lambda one: one[0])[1]
            chosen = by_number[best.iteration]
            return Chosen(chosen, chosen.rows, "chosen by the rating of the users trained on")
        return None
    run = heldout or runs[0]
    halves = [(e, [r for r in e.rows if _chooses(r)]) for e in run.iterations]
    rated = [(m, e) for e, rows in halves if (m := _mean(rows, rating)) is not None]
    if len(rated) < 2:
        return None
    chosen = max(rated, key=lambda one: one[0])[1]
    rest = [r for r in chosen.rows if not _chooses(r)]
    return (
        Chosen(chosen, rest, "chosen by the rating in half of the initial states, numbers of the other half")
        if rest
        else None
    )


def _mean(rows: Sequence[ScoreRow], column: Column) -> float | None:
    values = values_of(belonging(rows, column), column).values
    return math.fsum(values) / len(values) if values else None


def _chooses(row: ScoreRow) -> bool:
    """Half of the initial states, always the same."""
    return zlib.crc32(repr(row.state).encode()) % 2 == 0


def _first_best_last(material: Material, run: Run, best: Chosen | None) -> Table:
    rows: list[list[str]] = []
    lines = [("first", run.iterations[0], run.iterations[0].rows)]
    if best is not None:
        lines.append(("best", best.iteration, best.rows))
    if len(run.iterations) > 1:
        lines.append(("last", run.iterations[-1], run.iterations[-1].rows))
    columns = [c for c in material.columns if any(measured(e, c) for e in run.iterations)]
    for column in columns:
        for users in ("gameable users", "other users", "users", DIFFERENCE):
            found = [_of(users, measured(e, column, r)) for _, e, r in lines]
            if any(m is not None for m in found):
                cells = [_cell(m, signed=users == DIFFERENCE) for m in found]
                rows.append([column.title, column.asked.scale or "", users, *cells])
    head = ["measure", "scale", "users", *(f"{name} (iteration {e.iteration})" for name, e, _ in lines)]
    notes = [
        "Means with 95 % intervals by initial state; in brackets conversations without a number, then "
        "partly scored ones."
    ]
    if best is not None:
        notes.append(f"The best is the iteration with the highest rating, {best.how}.")
    elif len(run.iterations) > 1:
        notes.append("No best iteration: there are no ratings of other conversations to choose it by.")
    return Table(head, rows, "First, best and last", notes, folded=len(rows) > 24)


def _of(users: str, means: Sequence[Measured]) -> Measured | None:
    return next((m for m in means if m.users == users), None)


def _cell(m: Measured | None, *, signed: bool = False) -> str:
    if m is None:
        return "–"
    counts = (
        ""
        if not m.unscored and not m.partly
        else f" ({m.unscored} unscored" + (f", {m.partly} partly)" if m.partly else ")")
    )
    return text(m.mean, signed=signed) + counts


def _bars(material: Material, run: Run, best: Chosen | None, figures: Path, number: int) -> Iterator[Drawn]:
    if len(run.iterations) < 2:
        return
    lines = [("first", run.iterations[0], run.iterations[0].rows)]
    lines += [("best", best.iteration, best.rows)] if best is not None else []
    lines.append(("last", run.iterations[-1], run.iterations[-1].rows))
    for column in (c for c in material.columns if is_rating(c) or is_harm(c)):
        dots = [
            Dot(f"{name}, iteration {e.iteration}", colour_of(m.users), m.mean)
            for name, e, rows in lines
            for m in measured(e, column, rows)
            if m.users not in (DIFFERENCE, ALL_USERS) and m.scored + m.unscored
        ]
        if dots:
            out = figures / f"run{number}-bars-{material.columns.index(column)}.svg"
            title = f"{column.title}: first, best, last"
            yield draw_dots(dots, out, title=title, x=unit(column), ends=ends(column))


def seeds_section(material: Material, figures: Path) -> Section | None:
    """Evaluations that differ in their seed alone; None without any."""
    if not material.seeds:
        return None
    head = ["task", "model", "iteration", "users", "measure", "seeds", "mean over seeds", "of each seed"]
    rows = [
        [
            one.evaluations[0].task,
            one.evaluations[0].model,
            "–"
            if one.evaluations[0].iteration is None
            else f"{one.evaluations[0].iteration} {one.evaluations[0].phase}",
            one.users,
            one.column.title,
            ", ".join(e.seed for e in one.evaluations),
            text(one.mean, signed=one.users == DIFFERENCE),
            ", ".join(f"{v:.2f}" for v in one.values),
        ]
        for one in material.seeds
        if one.users != ALL_USERS
    ]
    drawn = list(_seed_curves(material, figures))
    words = (
        "Evaluations that differ in nothing but their seed. Intervals are t intervals over the seeds (95 "
        "%): what varies is the "
        "run, so the number of seeds counts and not that of conversations. With two or three seeds they are "
        "very wide, and rightly so."
    )
    return Section(
        "seeds", "Several seeds", [words], [Part("", [], drawn, [Table(head, rows, folded=len(rows) > 30)])]
    )


def _seed_curves(material: Material, figures: Path) -> Iterator[Drawn]:
    for place, column in enumerate(c for c in material.columns if is_rating(c) or is_harm(c)):
        mine = [o for o in material.seeds if o.column == column and o.evaluations[0].iteration is not None]
        for task, phase in dict.fromkeys((o.evaluations[0].task, o.evaluations[0].phase) for o in mine):
            group = [o for o in mine if (o.evaluations[0].task, o.evaluations[0].phase) == (task, phase)]
            curves: list[Curve] = []
            for users in dict.fromkeys(o.users for o in group if o.users not in (DIFFERENCE, ALL_USERS)):
                of = sorted(
                    (o for o in group if o.users == users), key=lambda o: o.evaluations[0].iteration or 0
                )
                curves += _thin(of, users)
                points = [Point(o.evaluations[0].iteration or 0, _on_scale(o.mean, column)) for o in of]
                curves.append(Curve(users.removesuffix(" users"), colour_of(users), points))
            if any(len(curve.points) > 1 for curve in curves):
                out = figures / f"seeds-{place}-{task}-{phase.replace(' ', '-') or 'all'}.svg"
                title = ", ".join(filter(None, (column.title, task, phase)))
                yield draw_curves(curves, out, title=title, y=unit(column), ends=ends(column))


def _thin(of: Sequence, users: str) -> list[Curve]:
    seeds = len(of[0].values) if of else 0
    nowhere = (math.nan, math.nan)
    lines = (
        [
            Point(o.evaluations[0].iteration or 0, Interval(o.values[n], *nowhere, 1, 1))
            for o in of
            if len(o.values) > n
        ]
        for n in range(seeds)
    )
    return [
        Curve("", colour_of(users) if users != "users" else COLOURS[2], points, "thin") for points in lines
    ]


def _on_scale(found: Interval, column: Column) -> Interval:
    """An interval of two seeds is many times the scale: what is drawn of it ends where the scale does."""
    if (limits := ends(column)) is None or math.isnan(found.low):
        return found
    return found._replace(low=max(found.low, limits[0]), high=min(found.high, limits[1]))
