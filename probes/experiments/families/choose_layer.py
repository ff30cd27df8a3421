"""Which layer to read: cross-validation on the training rows chooses, test sets show what that was worth."""

from pathlib import Path

from probes.experiments.book import Book
from probes.experiments.cells import Cell, Row
from probes.experiments.experiment import Experiment, Picture, Results, Table
from probes.experiments.numbers import auroc_of, grouped, ranked, told, with_ends
from probes.experiments.pictures import Curve, Point, draw_curves
from probes.experiments.study import Study
from probes.fitting.cross_validation import Candidate, cross_validate
from probes.fitting.splits import folds
from probes.heads.base import score_together
from probes.heads.table import HEADS
from probes.heads.together import fit_together

CHOICE = "cross-validation"


def _cells(study: Study, book: Book | None) -> list[Cell]:
    del book
    settings = study.settings
    return [
        Cell(
            f"{settings.head}-layer{layer}",
            {"layer": layer},
            lambda layer=layer: _layer(study, layer),
        )
        for layer in study.layers
    ]


def _lacks(study: Study) -> str | None:
    for data in study.tests:
        there = data.entry.layers_of(data.keys)
        if lacking := sorted(set(study.layers) - set(there)):
            numbers = ", ".join(map(str, lacking))
            return (
                f"of data set {data.name} layers {numbers} are not stored for all rows; there are "
                f"{list(there)}. Name some of these with --layers, or capture the set again"
            )
    return None


def _layer(study: Study, layer: int) -> list[Row]:
    settings, rows = study.settings, study.train
    head = study.make(settings.head, **({"seed": settings.seed} if HEADS[settings.head].SEEDED else {}))
    parts = folds(rows.labels, rows.groups, settings.folds, settings.seed)
    candidate = Candidate(settings.head, (layer,), head.get_params())
    (tried,) = cross_validate(rows, [candidate], parts, asked_fpr=0.01, device=settings.device)
    found = [{"layer": layer, "dataset": CHOICE, "n": len(rows.keys), **with_ends("auroc", tried.auroc)}]
    fit_together(
        [head], rows.layers([layer]), rows.labels, pooled=rows.pooled([layer]), device=settings.device
    )
    for data in study.tests:
        logits = score_together([head], data.layers([layer]), device=settings.device)[:, 0]
        area = auroc_of(data.labels, logits, data.groups)
        found.append({"layer": layer, "dataset": data.name, "n": len(data.rows), **with_ends("auroc", area)})
    return found


def chosen(rows: list[Row]) -> int:
    """The layer with the highest AUROC in cross-validation; of equal ones the lower."""
    own = [row for row in rows if row["dataset"] == CHOICE]
    return max(own, key=lambda row: (row["auroc"], -row["layer"]))["layer"]


def _table(results: Results) -> Table:
    columns = list(dict.fromkeys(row["dataset"] for row in results.rows))
    best = chosen(results.rows)
    body = [
        [f"{layer} (chosen)" if layer == best else str(layer)]
        + [told(ranked(grouped(own, "dataset")[column,][0])) for column in columns]
        for (layer,), own in grouped(results.rows, "layer").items()
    ]
    return Table(["layer", *columns], body)


def _draw(results: Results, out: Path) -> list[Picture]:
    panels: dict[str, dict[str, Curve]] = {}
    best = float(chosen(results.rows))
    for (dataset,), own in grouped(results.rows, "dataset").items():
        points = [Point(row["layer"], *ranked(row)) for row in own]
        panels[dataset] = {str(results.settings["head"]): Curve(points)}
    layers = sorted({row["layer"] for row in results.rows})
    draw_curves(
        panels,
        out / "layers.png",
        title="Choice of layer",
        subtitle="AUROC by layer, bands: 95 % intervals by group; the upright line is the layer that "
        "cross-validation on the training rows chose",
        x="layer",
        at=layers,
        mark=dict.fromkeys(panels, best),
    )
    return [
        Picture("layers.png", "AUROC by layer; test sets have no part in the choice.", list(results.rows))
    ]


EXPERIMENT = Experiment(
    name="choose_layer",
    title="Choice of layer",
    asks="Which layer does cross-validation by group choose on the training rows, and is it a good one "
    "elsewhere?",
    uses=("head", "seed", "folds", "parameters"),
    cells=_cells,
    table=_table,
    draw=_draw,
    lacks=_lacks,
)
