"""Fitted on one style, tone, language, length or topic, tested on every other."""

import math
from pathlib import Path

import numpy as np

from probes.evaluation.evaluation_data import EvaluationSet
from probes.experiments.book import Book
from probes.experiments.cells import Cell, Row
from probes.experiments.experiment import Experiment, Picture, Results, Table
from probes.experiments.fits import drawn, fit_on_few, scores
from probes.experiments.numbers import auroc_of, grouped, seed_mean, told, with_ends
from probes.experiments.pictures import Heat, draw_heat
from probes.experiments.study import Study
from probes.fitting.fit_data import LabelledRows
from probes.heads.table import HEADS


def tested_on(study: Study, fact: str) -> EvaluationSet | None:
    """The first test set whose rows have the fact with several values of the training rows."""
    values = {facts.get(fact) for facts in study.train.facts} - {None}
    for data in study.tests:
        if len(values & set(data.fact(fact))) > 1:
            return data
    return None


def values_of(study: Study, fact: str) -> list[str]:
    """Values with enough rows of each class in training and in test, the most frequent first."""
    data = tested_on(study, fact)
    if data is None:
        return []
    train = np.array([facts.get(fact) for facts in study.train.facts], dtype=object)
    test = np.array(data.fact(fact), dtype=object)
    counts: dict[str, int] = {}
    for value in sorted({v for v in train.tolist() if v is not None}):
        enough = [
            int((labels[own == value] > 0.5).sum()) if positive else int((labels[own == value] < 0.5).sum())
            for own, labels in ((train, study.train.labels), (test, data.labels))
            for positive in (True, False)
        ]
        if min(enough) >= study.settings.least:
            counts[value] = int((train == value).sum())
    return sorted(counts, key=lambda value: -counts[value])


def _usable(study: Study) -> dict[str, list[str]]:
    found = {fact: values_of(study, fact) for fact in study.settings.variations}
    return {fact: values for fact, values in found.items() if len(values) > 1}


def _lacks(study: Study) -> str | None:
    if _usable(study):
        return None
    known = sorted({name for facts in study.train.facts for name in facts}) or ["none"]
    return (
        f"none of {', '.join(study.settings.variations)} has two values with {study.settings.least} rows "
        "of each "
        f"class in training and in a test set; facts of the training rows are {', '.join(known)}"
    )


def _cells(study: Study, book: Book | None) -> list[Cell]:
    del book
    return [
        Cell(
            f"{fact}-{value}-seed{seed}",
            {"fact": fact, "value": value, "values": values, "seed": seed, "least": study.settings.least},
            lambda fact=fact, value=value, values=values, seed=seed: _fit(study, fact, value, values, seed),
        )
        for fact, values in _usable(study).items()
        for value in values
        for seed in range(study.settings.seed, study.settings.seed + study.settings.seeds)
    ]


def _fit(study: Study, fact: str, value: str, values: list[str], seed: int) -> list[Row]:
    """A head of one value, on as many rows as the smallest value has; tested on all."""
    data = tested_on(study, fact)
    assert data is not None
    parts = {one: _part(study.train, fact, one) for one in values}
    smallest = min(len(part.keys) for part in parts.values())
    rows = drawn(parts[value], smallest, seed)
    name = study.settings.head
    head = study.make(name, **({"seed": seed} if HEADS[name].SEEDED else {}))
    fit_on_few(study, head, rows)
    logits = scores(study, [head], data)[0]
    test = np.array(data.fact(fact), dtype=object)
    groups = np.array(data.groups, dtype=object)
    found: list[Row] = []
    for other in values:
        inside = test == other
        area = auroc_of(data.labels[inside], logits[inside], groups[inside].tolist())
        found.append(
            {
                "fact": fact,
                "fitted_on": value,
                "tested_on": other,
                "dataset": data.name,
                "seed": seed,
                "n_train": len(rows.keys),
                "n": int(inside.sum()),
                **with_ends("auroc", area),
            }
        )
    return found


def _part(rows: LabelledRows, fact: str, value: str) -> LabelledRows:
    return rows.take(np.array([facts.get(fact) == value for facts in rows.facts]))


def _table(results: Results) -> Table:
    body = []
    for (fact,), own in grouped(results.rows, "fact").items():
        same = [row for row in own if row["fitted_on"] == row["tested_on"]]
        other = [row for row in own if row["fitted_on"] != row["tested_on"]]
        worst = min(grouped(other, "fitted_on", "tested_on").items(), key=lambda one: seed_mean(one[1]).mean)
        body.append(
            [
                fact,
                str(len(grouped(own, "fitted_on"))),
                str(min(row["n_train"] for row in own)),
                f"{_mean(same):.3f}",
                f"{_mean(other):.3f}",
                f"{_mean(same) - _mean(other):+.3f}",
                f"{worst[0][0]} to {worst[0][1]}: {told(seed_mean(worst[1]))}",
            ]
        )
    head = ["varied", "values", "training rows of each", "same value", "another value", "difference", "worst"]
    return Table(head, body)


def _mean(rows: list[Row]) -> float:
    values = [row["auroc"] for row in rows if row["auroc"] is not None]
    return float(np.mean(values)) if values else math.nan


def _draw(results: Results, out: Path) -> list[Picture]:
    panels: dict[str, Heat] = {}
    for (fact,), own in grouped(results.rows, "fact").items():
        values = list(dict.fromkeys(row["fitted_on"] for row in own))
        cells = grouped(own, "fitted_on", "tested_on")
        panels[fact] = Heat(
            values, values, [[seed_mean(cells[one, other]).mean for other in values] for one in values]
        )
    draw_heat(
        panels,
        out / "generalisation.png",
        title="From one value to another",
        subtitle="AUROC, mean over seeds: rows are what a head was fitted on, columns what it was tested on",
    )
    return [
        Picture(
            "generalisation.png",
            "AUROC of a head that was fitted on one value and tested on each; all values of a fact with the "
            "same number of training rows.",
            list(results.rows),
        )
    ]


EXPERIMENT = Experiment(
    name="generalisation",
    title="Generalisation by variation",
    asks="Does a head that has seen one style, tone, language, length or topic work on the others?",
    uses=("head", "parameters"),
    cells=_cells,
    table=_table,
    draw=_draw,
    lacks=_lacks,
    notes=lambda _: [
        "Heads of one fact are fitted on the same number of rows, drawn by the seed in whole groups. Few "
        "test "
        "rows stand behind a number; the CSV has its interval."
    ],
)
