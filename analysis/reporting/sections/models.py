"""Models and families beside each other: targeting, the matrix, topics, and tests between evaluations."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from analysis.figures.panels import Dot, Drawn, draw_dots
from analysis.figures.style import COLOURS
from analysis.reporting.evaluations import Evaluation
from analysis.reporting.gathering import Material
from analysis.reporting.means import ALL_USERS, Measured, is_harm, is_rating, measured, text
from analysis.reporting.page import Part, Section, Shade, Table
from analysis.reporting.sections.runs import unit
from analysis.score_tables.columns import Column
from analysis.score_tables.figures import DIFFERENCE, EVERYBODY
from scenarios.schema import ends_of

MOST_DOTS = 30
"""Evaluations of one panel; of more, the first and the last iterations of runs alone."""


def targeting_section(material: Material, figures: Path) -> Section:
    """Gameable less other users in every evaluation, and the means that it comes of."""
    parts: list[Part] = []
    for task in _tasks(material):
        listed = [one for one in material.evaluations if one.task == task]
        drawn: list[Drawn] = []
        shown = _few(listed)
        for column in _main(material):
            means = {
                id(m.evaluation): m for m in material.means if m.column == column and m.users == DIFFERENCE
            }
            dots = [Dot(e.name, COLOURS[2], means[id(e)].mean) for e in shown if id(e) in means]
            if any(dot.mean is not None for dot in dots):
                out = (
                    figures / f"targeting-{_tasks(material).index(task)}-{material.columns.index(column)}.svg"
                )
                title = f"{column.title}: gameable less other users"
                drawn.append(
                    draw_dots(dots, out, title=title, x=f"difference, {unit(column)}", ends=None, zero=True)
                )
        parts.append(Part(task, [], drawn, [_means_table(material, listed)]))
    words = (
        "Targeting is the mean with gameable users less the mean with the others: how far a model treats "
        "those differently who "
        "reward it for it. Intervals (95 %) are clustered by initial state and hold the true difference in "
        "19 of 20 draws of "
        "states; one that does not reach 0 is evidence of targeting, before many looks are allowed for."
    )
    return Section("targeting", "Targeting, and all means", [words], parts)


def _tasks(material: Material) -> list[str]:
    return list(dict.fromkeys(one.task for one in material.evaluations))


def _main(material: Material) -> list[Column]:
    return [c for c in material.columns if is_rating(c) or is_harm(c)]


def _few(listed: Sequence[Evaluation]) -> list[Evaluation]:
    if len(listed) <= MOST_DOTS:
        return list(listed)
    ends_of_runs = [
        one
        for n, one in enumerate(listed)
        if one.run is None
        or n in (0, len(listed) - 1)
        or (listed[n - 1].run, listed[n - 1].phase) != (one.run, one.phase)
        or (listed[n + 1].run, listed[n + 1].phase) != (one.run, one.phase)
    ]
    return ends_of_runs[:MOST_DOTS]


def _means_table(material: Material, listed: Sequence[Evaluation]) -> Table:
    rows: list[list[Any]] = []
    for one in listed:
        for column in material.columns:
            means = {m.users: m for m in material.means if m.evaluation is one and m.column == column}
            if not means:
                continue
            gameable, other = means.get("gameable users"), means.get("other users")
            everybody = means.get(EVERYBODY) or means.get(ALL_USERS)
            rows.append(
                [
                    one.name,
                    column.title,
                    column.asked.scale or "",
                    *(text(m.mean if m else None) for m in (gameable, other)),
                    text(means[DIFFERENCE].mean, signed=True) if DIFFERENCE in means else "–",
                    text(everybody.mean if everybody else None),
                    counts(means),
                ]
            )
    head = ["evaluation", "measure", "scale", "gameable users", "other users", "difference", "all users",
            "scored / unscored / partly"]  # fmt: skip
    note = (
        "Conversations in the last column, gameable and other users apart where the logs tell. Unscored: no "
        "usable answer, "
        "never 0. Partly: some turns have no number, and the mean is over the others."
    )
    return Table(head, rows, "All means", [note], folded=len(rows) > 40)


def counts(means: dict[str, Measured]) -> str:
    """Scored, unscored and partly scored conversations by kind of user."""
    shown = [m for users, m in means.items() if users not in (DIFFERENCE, ALL_USERS)]
    return ", ".join(f"{m.scored} / {m.unscored} / {m.partly}" for m in shown)


# -- models by families ---------------------------------------------------------------------------


def matrix_section(material: Material) -> Section | None:
    """Models down, tasks across; None with one of each."""
    tasks = _tasks(material)
    if len(material.evaluations) < 2 or (len(tasks) < 2 and all(e.run for e in material.evaluations)):
        return None
    names = list(dict.fromkeys(_row_name(e) for e in material.evaluations))
    parts = [
        part
        for column in _main(material)
        for users in ("gameable users", DIFFERENCE, EVERYBODY)
        if (part := _matrix(material, column, users, names, tasks)) is not None
    ]
    if not parts:
        return None
    words = (
        "Each cell is one evaluation, with its 95 % interval by initial state; where a model has several on "
        "a task, each is "
        "listed. Deeper ground is a higher number; with differences, orange above 0 and blue below."
    )
    return Section("matrix", "Models by families", [words], parts)


def _row_name(one: Evaluation) -> str:
    return (
        one.model
        if one.run is None
        else f"{one.run}, iteration {one.iteration}{', ' + one.phase if one.phase else ''}"
    )


def _matrix(
    material: Material, column: Column, users: str, names: Sequence[str], tasks: Sequence[str]
) -> Part | None:
    cells: dict[tuple[str, str], list[Measured]] = {}
    for m in material.means:
        if m.column == column and m.users == users and m.mean is not None:
            cells.setdefault((_row_name(m.evaluation), m.evaluation.task), []).append(m)
    if not cells:
        return None
    across = [task for task in tasks if any((name, task) in cells for name in names)]
    rows = [
        [name, *(_shade(cells.get((name, task), []), column, users) for task in across)]
        for name in names
        if any((name, task) in cells for task in across)
    ]
    title = f"{column.title}, {'gameable less other users' if users == DIFFERENCE else users}"
    return Part(tables=[Table(["model", *across], rows, title, folded=len(rows) > 30)])


def _shade(found: Sequence[Measured], column: Column, users: str) -> Shade | str:
    if not found:
        return "–"
    told = "; ".join(text(m.mean, signed=users == DIFFERENCE) for m in found)
    scale = column.asked.scale
    mean = found[0].mean
    if scale is None or mean is None:
        return told
    low, high = ends_of(scale)
    share = abs(mean.mean) / (high - low) if users == DIFFERENCE else (mean.mean - low) / (high - low)
    return Shade(told, round(max(0.0, min(1.0, share)), 3), cold=users == DIFFERENCE and mean.mean < 0)


# -- topics ---------------------------------------------------------------------------------------


def topics_section(material: Material) -> Section | None:
    """Rating and harm by topic: of every evaluation by itself, of runs their first and last iteration."""
    parts: list[Part] = []
    for one in _few(_ends(material)):
        topics = sorted({row.topic for row in one.rows})
        if len(topics) < 2:
            continue
        rows = [row for topic in topics for row in _topic_rows(material, one, topic)]
        head = [
            "topic",
            "measure",
            "gameable users",
            "other users",
            "difference",
            "scored / unscored / partly",
        ]
        if rows:
            parts.append(Part(tables=[Table(head, rows, f"{one.name} ({one.task})", folded=True)]))
    if not parts:
        return None
    words = (
        "Every topic by itself; 95 % intervals by initial state, which are wide where a topic has few. Many "
        "topics are many looks: "
        "that the highest of them stands out is to be expected. All evaluations and measures: topics.csv."
    )
    return Section("topics", "Topics", [words], parts)


def _ends(material: Material) -> list[Evaluation]:
    in_runs = {id(e): run for run in material.runs for e in (run.iterations[0], run.iterations[-1])}
    return [e for e in material.evaluations if e.run is None or id(e) in in_runs]


def _topic_rows(material: Material, one: Evaluation, topic: str) -> Iterator[list[str]]:
    rows = [row for row in one.rows if row.topic == topic]
    for column in _main(material):
        means = {m.users: m for m in measured(one, column, rows)}
        if means:
            first = means.get("gameable users") or means.get(EVERYBODY)
            other, difference = means.get("other users"), means.get(DIFFERENCE)
            yield [
                topic.replace("_", " "),
                column.title,
                text(first.mean if first else None),
                text(other.mean if other else None),
                text(difference.mean if difference else None, signed=True),
                counts(means),
            ]


# -- tests ----------------------------------------------------------------------------------------


def tests_section(material: Material) -> Section | None:
    """Comparisons of models on one task, and of the iterations of a run with its first."""
    if not material.tests:
        return None
    rows = [
        [
            test.first.task,
            test.first.name + " → " + test.second.name + (" †" if test.apart else ""),
            test.column.title,
            "targeting" if test.users == DIFFERENCE else test.users,
            text(test.change, signed=True),
            str(test.states),
            _p(test.p),
            _p(test.p_holm),
        ]
        for test in material.tests
    ]
    head = [
        "task",
        "first → second",
        "measure",
        "users",
        "second less first",
        "states in both",
        "p",
        "p, all looks",
    ]
    words = (
        f"{len(rows)} comparisons, second less first. Where both sides have the same initial states these "
        "are compared with themselves; "
        "intervals are 95 %, by initial state. p: how often permuting the states gives a change as large, "
        "though nothing changed; the last "
        "column allows for all comparisons here (Holm). Targeting: the change with gameable users less that "
        "with the others."
    )
    notes = []
    if any(test.apart for test in material.tests):
        names = sorted({name for test in material.tests for name in test.apart})
        notes.append(f"† the two differ in more than the model: {', '.join(names)}.")
    return Section(
        "tests", "Comparisons", [words], [Part(tables=[Table(head, rows, "", notes, folded=False)])]
    )


def _p(value: float) -> str:
    if math.isnan(value):
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
