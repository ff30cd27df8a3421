"""Set by set: probes against monitors that are asked and models that are fine-tuned."""

import math
from pathlib import Path

import numpy as np

from analysis.ranking import area, mean_comparison
from probes.evaluation.comparisons import MEAN
from probes.experiments.book import CONTROL, PROBE, Book, MonitorScores, ScoredSet
from probes.experiments.cells import Cell, Row
from probes.experiments.experiment import Experiment, Picture, Results, Table
from probes.experiments.numbers import (
    each_monitor,
    finite,
    grouped,
    ranked,
    ranked_rows,
    scores_digest,
    told,
)
from probes.experiments.pictures import Bar, draw_bars
from probes.experiments.study import Study


def _cells(study: Study, book: Book | None) -> list[Cell]:
    del study
    assert book is not None
    shown = book.shown()
    reference = shown[0]
    return [
        Cell(
            one.name,
            {"scores": scores_digest(one, book), "reference": scores_digest(reference, book)},
            compute,
        )
        for one, compute in each_monitor(book, lambda one: _rows(one, reference, book))
        if one.name in {s.name for s in shown}
    ]


def _rows(one: MonitorScores, reference: MonitorScores, book: Book) -> list[Row]:
    """As of `ranked_rows`, with the difference to the reference on the rows that both scored."""
    tests = book.of("tests")
    rows = ranked_rows(one, tests)
    parts = {data.name: _both(one, reference, data, number) for number, data in tests}
    known = {name: part for name, part in parts.items() if part is not None}
    if len(known) == len(tests) > 1:
        known[MEAN] = [pair for own in known.values() for pair in own]
    for row in rows:
        compared = None if one is reference else known.get(row["dataset"])
        difference = mean_comparison(compared) if compared else (math.nan,) * 4
        names = ("difference", "difference_low", "difference_high", "p")
        row |= {name: finite(float(value)) for name, value in zip(names, difference, strict=True)}
        row["reference"] = reference.name
    return rows


def _both(one: MonitorScores, reference: MonitorScores, data: ScoredSet, number: int) -> list | None:
    """Both AUROCs on the rows that both scored; None if nothing can be ranked there."""
    rows = ~(np.isnan(one.logits[number]) | np.isnan(reference.logits[number]))
    groups = [group for group, taken in zip(data.groups, rows, strict=True) if taken]
    try:
        return [
            tuple(area(data.labels[rows], of.logits[number][rows], groups) for of in (one, reference)),
        ]
    except ValueError:
        return None


def _table(results: Results) -> Table:
    columns = list(dict.fromkeys(row["dataset"] for row in results.rows))
    body = []
    for (name, kind), own in grouped(results.rows, "monitor", "kind").items():
        by_set = {row["dataset"]: row for row in own}
        cells = [told(ranked(by_set[c])) if c in by_set else "-" for c in columns]
        last = by_set.get(columns[-1])
        difference = "-"
        if last is not None and last["difference"] is not None:
            difference = f"{told(ranked(last, 'difference'))}, p {last['p']:.3f}"
        body.append([name, kind, *cells, difference])
    reference = results.rows[0]["reference"]
    return Table(["monitor", "kind", *columns, f"less {reference}, {columns[-1]}"], body)


def _draw(results: Results, out: Path) -> list[Picture]:
    columns = list(dict.fromkeys(row["dataset"] for row in results.rows))
    bars: dict[str, dict[str, Bar]] = {}
    kinds: dict[str, str] = {}
    order = [PROBE, "prompted", "fine-tuned", CONTROL]
    for row in sorted(results.rows, key=lambda row: order.index(row["kind"])):
        kinds[row["monitor"]] = row["kind"]
        bars.setdefault(row["monitor"], {})[row["dataset"]] = Bar(*ranked(row))
    lowest = min(bar.value for of in bars.values() for bar in of.values() if not math.isnan(bar.value))
    draw_bars(
        columns,
        bars,
        kinds,
        out / "sets.png",
        title="Set by set",
        subtitle="AUROC with 95 % intervals by group; the axis does not begin at 0",
        low=min(0.4, math.floor(10 * lowest) / 10),
    )
    return [Picture("sets.png", "AUROC of each monitor on each data set.", list(results.rows))]


EXPERIMENT = Experiment(
    name="sets",
    title="Set by set, against prompted and fine-tuned",
    asks="Where do probes keep up with models that are asked or fine-tuned, and where not?",
    uses=(),
    cells=_cells,
    table=_table,
    draw=_draw,
    on_scores=True,
    notes=lambda results: [
        "Differences are paired: on the rows that both scored, with the interval by group.",
        *(
            []
            if any(row["kind"] in ("prompted", "fine-tuned") for row in results.rows)
            else ["No prompted and no fine-tuned monitor: name their logs and results with beside."]
        ),
    ],
)
