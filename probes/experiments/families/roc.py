"""ROC of every monitor: probes, prompted, fine-tuned, and the length as control."""

from pathlib import Path

import numpy as np
from sklearn.metrics import roc_curve

from probes.evaluation.pages.figures import Line, draw_roc
from probes.experiments.book import Book, line_of
from probes.experiments.cells import Cell, Row
from probes.experiments.experiment import Experiment, Picture, Results, Table
from probes.experiments.numbers import each_monitor, ranked, ranked_rows, scores_digest, told
from probes.experiments.study import Study

MOST_POINTS = 200
"""Of a curve in the CSV."""


def _cells(study: Study, book: Book | None) -> list[Cell]:
    del study
    assert book is not None
    tests = book.of("tests")
    shown = {one.name for one in book.shown()}
    return [
        Cell(one.name, {"scores": scores_digest(one, book)}, compute)
        for one, compute in each_monitor(book, lambda one: ranked_rows(one, tests))
        if one.name in shown
    ]


def _recall(row: Row) -> str:
    ends = (row["recall_at_1pct_fpr"], row["recall_low"], row["recall_high"])
    return told([np.nan if end is None else end for end in ends])


def _table(results: Results) -> Table:
    body = [
        [
            row["monitor"],
            row["kind"],
            row["dataset"],
            str(row["n"]),
            str(row.get("n_unscored", "-")),
            told(ranked(row)),
            _recall(row),
        ]
        for row in results.rows
    ]
    return Table(["monitor", "kind", "data set", "rows", "unscored", "AUROC", "recall at 1 % FPR"], body)


def _draw(results: Results, out: Path) -> list[Picture]:
    assert results.book is not None
    panels: dict[str, dict[str, Line]] = {}
    points: list[Row] = []
    for number, data in results.book.of("tests"):
        for one in results.book.shown():
            if (line := line_of(one, data, number)) is not None:
                panels.setdefault(data.name, {})[one.name] = line
                points += _points(data.name, one.name, line)
    draw_roc(panels, out / "roc.png", title="ROC of every monitor")
    draw_roc(panels, out / "roc_linear.png", title="ROC of every monitor", log_x=False)
    return [
        Picture("roc.png", "ROC with the false-positive rate on a logarithmic axis.", points),
        Picture("roc_linear.png", "The same on a linear axis.", points),
    ]


def _points(dataset: str, monitor: str, line: Line) -> list[Row]:
    positive = line.labels[line.labels != 0.5] > 0.5
    if len(set(positive.tolist())) < 2:
        return []
    fpr, recall, logits = roc_curve(positive, line.logits[line.labels != 0.5])
    step = max(1, len(fpr) // MOST_POINTS)
    kept = sorted({*range(0, len(fpr), step), len(fpr) - 1})
    return [
        {
            "dataset": dataset,
            "monitor": monitor,
            "fpr": float(fpr[i]),
            "recall": float(recall[i]),
            "score": float(logits[i]) if np.isfinite(logits[i]) else None,
        }
        for i in kept
    ]


EXPERIMENT = Experiment(
    name="roc",
    title="ROC of every monitor",
    asks="What recall does each monitor have at the false-positive rate that one can live with?",
    uses=(),
    cells=_cells,
    table=_table,
    draw=_draw,
    on_scores=True,
)
