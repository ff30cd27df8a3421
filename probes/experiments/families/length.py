"""Short and long conversations: AUROC by number of tokens, beside what the length alone tells."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from analysis.ranking import auroc_within
from probes.evaluation.evaluation_data import length_bins
from probes.evaluation.pages.figures import Bin, draw_lengths
from probes.experiments.book import CONTROL, Book, MonitorScores
from probes.experiments.cells import Cell, Row
from probes.experiments.experiment import Experiment, Picture, Results, Table
from probes.experiments.numbers import (
    NOWHERE,
    about,
    auroc_of,
    each_monitor,
    grouped,
    ranked,
    scores_digest,
    told,
    with_ends,
)
from probes.experiments.study import Study

ALL, WITHIN = "all", "within bins"


def _cells(study: Study, book: Book | None) -> list[Cell]:
    assert book is not None
    edges = study.settings.length_edges
    return [
        Cell(one.name, {"scores": scores_digest(one, book)}, compute)
        for one, compute in each_monitor(book, lambda one: _rows(one, book, edges))
    ]


def _rows(one: MonitorScores, book: Book, edges: Sequence[int]) -> list[Row]:
    found: list[Row] = []
    for number, data in book.of("tests"):
        scored = ~np.isnan(one.logits[number])
        if not scored.any():
            continue
        labels, logits = data.labels[scored], one.logits[number][scored]
        groups = [group for group, taken in zip(data.groups, scored, strict=True) if taken]
        bins = length_bins(data.lengths[scored], edges)
        for name, inside in {ALL: np.ones(len(labels), dtype=bool), **bins}.items():
            here = [group for group, taken in zip(groups, inside, strict=True) if taken]
            area = auroc_of(labels[inside], logits[inside], here)
            found.append(
                about(one, data.name) | {"tokens": name, "n": int(inside.sum())} | with_ends("auroc", area)
            )
        try:
            within = auroc_within(labels, logits, groups, list(bins.values()))
        except ValueError:  # no bin has both classes
            within = NOWHERE
        found.append(
            about(one, data.name) | {"tokens": WITHIN, "n": len(labels)} | with_ends("auroc", within)
        )
    return found


def _table(results: Results) -> Table:
    assert results.book is not None
    shown = [one.name for one in results.book.shown()]
    columns = list(dict.fromkeys(row["dataset"] for row in results.rows))
    body = []
    for name in shown:
        own = grouped([row for row in results.rows if row["monitor"] == name], "tokens", "dataset")
        for part in (ALL, WITHIN):
            cells = [told(ranked(own[part, c][0])) if (part, c) in own else "-" for c in columns]
            body.append([name, part, *cells])
    return Table(["monitor", "pairs compared", *columns], body)


def _draw(results: Results, out: Path) -> list[Picture]:
    assert results.book is not None
    shown = {one.name: one.kind for one in results.book.shown()}
    panels: dict[str, dict[str, list[Bin]]] = {}
    for row in results.rows:
        if row["monitor"] in shown and row["tokens"] not in (ALL, WITHIN):
            area = None if row["auroc"] is None else ranked(row)
            own = panels.setdefault(row["dataset"], {}).setdefault(row["monitor"], [])
            own.append(Bin(row["tokens"], area, row["n"]))
    controls = [name for name, kind in shown.items() if kind == CONTROL]
    draw_lengths(panels, out / "length.png", title="Short and long conversations", controls=controls)
    kept = [row for row in results.rows if row["monitor"] in shown]
    return [Picture("length.png", "AUROC by number of tokens.", kept)]


EXPERIMENT = Experiment(
    name="length",
    title="AUROC by length",
    asks="Does a monitor work on short and on long conversations, and how much of it is the length itself?",
    uses=("length_edges",),
    cells=_cells,
    table=_table,
    draw=_draw,
    on_scores=True,
    notes=lambda _: [
        "Within bins: only conversations of similar length are compared with each other; what the length "
        "alone "
        "tells is taken away."
    ],
)
