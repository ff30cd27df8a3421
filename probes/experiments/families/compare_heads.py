"""Heads side by side: every head, several seeds, on every test set."""

from pathlib import Path

from probes.evaluation.comparisons import MEAN
from probes.evaluation.pages.figures import Dot, draw_dots
from probes.experiments.book import CONTROL, PROBE, Book
from probes.experiments.cells import Cell
from probes.experiments.experiment import Experiment, Picture, Results, Table
from probes.experiments.numbers import (
    each_monitor,
    grouped,
    ranked,
    ranked_rows,
    scores_digest,
    seed_mean,
    told,
)
from probes.experiments.study import Study


def _cells(study: Study, book: Book | None) -> list[Cell]:
    del study
    assert book is not None
    tests = book.of("tests")
    return [
        Cell(one.name, {"scores": scores_digest(one, book)}, compute)
        for one, compute in each_monitor(book, lambda one: ranked_rows(one, tests))
        if one.kind in (PROBE, CONTROL)
    ]


def _name(row: dict) -> str:
    return row["head"] if row["seed"] is not None else row["monitor"]


def _table(results: Results) -> Table:
    columns = list(dict.fromkeys(row["dataset"] for row in results.rows))
    named = [{**row, "name": _name(row)} for row in results.rows]
    body = []
    for (name,), own in grouped(named, "name").items():
        by_set = grouped(own, "dataset")
        seeds = len({row["seed"] for row in own})
        cells = [told(seed_mean(by_set.get((column,), []))) for column in columns]
        recall = told(seed_mean(by_set.get((MEAN,), own), "recall_at_1pct_fpr"))
        body.append([name, str(seeds), *cells, recall])
    where = "mean" if MEAN in columns else columns[0]
    return Table(["head", "seeds", *columns, f"recall at 1 % FPR, {where}"], body)


def _draw(results: Results, out: Path) -> list[Picture]:
    dots: dict[str, dict[str, list[Dot]]] = {}
    for row in results.rows:
        if row["auroc"] is not None:
            own = dots.setdefault(_name(row), {}).setdefault(row["dataset"], [])
            own.append(Dot(ranked(row), row["kind"] == CONTROL))
    file = "heads.png"
    draw_dots(dots, out / file, title="Heads on all data sets")
    keep = ("head", "seed", "monitor", "dataset", "n", "auroc", "auroc_low", "auroc_high")
    return [
        Picture(
            file,
            "AUROC of each head on each data set, seeds one above the other, with 95 % intervals by group.",
            [{name: row.get(name) for name in keep} for row in results.rows],
        )
    ]


EXPERIMENT = Experiment(
    name="compare_heads",
    title="Heads side by side",
    asks="Which head ranks best where it was not fitted, and does it depend on the seed?",
    uses=("seed", "parameters"),
    cells=_cells,
    table=_table,
    draw=_draw,
    on_scores=True,
    notes=lambda _: [
        "Several seeds: mean with a t interval over seeds, which tells what another seed would give on these "
        "conversations; one fit: 95 % interval by group."
    ],
)
