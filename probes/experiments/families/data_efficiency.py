"""How much data probes and fine-tuned models need: fits on samples of growing size."""

import shutil
from pathlib import Path

from probes.experiments.book import Book
from probes.experiments.cells import Cell, Row
from probes.experiments.experiment import Experiment, Picture, Results, Table
from probes.experiments.fits import drawn, fit_on_few, scores
from probes.experiments.numbers import auroc_of, grouped, seed_mean, seed_point, told, with_ends
from probes.experiments.pictures import MOST_LINES, Curve, draw_curves
from probes.experiments.study import Study, file_digest
from probes.finetuned.settings import FitSettings
from probes.heads.table import HEADS

MOST_HEADS = 4


def _cells(study: Study, book: Book | None) -> list[Cell]:
    del book
    settings = study.settings
    cells = [
        Cell(
            f"{head}-{size}-seed{seed}",
            {"head": head, "size": size, "seed": seed},
            lambda head=head, size=size, seed=seed: _probe(study, head, size, seed),
        )
        for head in settings.heads[:MOST_HEADS]
        for size in _sizes(study)
        for seed in range(settings.seed, settings.seed + settings.seeds)
    ]
    return cells + _finetuned_cells(study)


def _sizes(study: Study) -> list[int]:
    """Those below what there is, and all there is."""
    there = len(study.train.keys)
    return sorted({min(size, there) for size in study.settings.sizes})


def _probe(study: Study, name: str, size: int, seed: int) -> list[Row]:
    rows = drawn(study.train, size, seed)
    head = study.make(name, **({"seed": seed} if HEADS[name].SEEDED else {}))
    fit_on_few(study, head, rows)
    found: list[Row] = []
    for data in study.tests:
        (logits,) = scores(study, [head], data)
        area = auroc_of(data.labels, logits, data.groups)
        found.append(
            {
                "monitor": name,
                "kind": "probe",
                "size": size,
                "rows": len(rows.keys),
                "seed": seed,
                "dataset": data.name,
                **with_ends("auroc", area),
            }
        )
    return found


def _finetuned_cells(study: Study) -> list[Cell]:
    settings = study.settings
    if not settings.finetuned:
        return []
    files = [one.partition(":split=")[0] for one in [*settings.train_rows, *settings.test_rows]]
    common = {
        "model": settings.model,
        "epochs": settings.epochs,
        "learning_rate": settings.learning_rate,
        "rows": [file_digest(path) for path in files],
        "parts": [one.partition(":split=")[2] for one in [*settings.train_rows, *settings.test_rows]],
    }
    return [
        Cell(
            f"finetuned-{kind}-{size}",
            common | {"kind": kind, "size": size},
            lambda kind=kind, size=size: _finetuned(study, kind, size),
        )
        for kind in settings.finetuned
        for size in settings.finetuned_sizes or settings.sizes
    ]


def _finetuned(study: Study, kind: str, size: int) -> list[Row]:
    """One fit of a fine-tuned model; its weights are not kept."""
    from probes.finetuned.baseline import fit_baseline, score_part

    settings = study.settings
    folder = settings.out / "data_efficiency" / "fitting"
    fit = FitSettings.model_validate(
        {
            "data": settings.train_rows,
            "model": settings.model,
            "kind": kind,
            "epochs": settings.epochs,
            "learning_rate": settings.learning_rate,
            "most_rows": size,
            "seed": settings.seed,
            "device": "auto" if settings.device == "cpu" else settings.device,
            "out": folder,
        }
    )
    try:
        baseline = fit_baseline(fit)
        found: list[Row] = []
        for place, given in enumerate(settings.test_rows):
            one = score_part(baseline, given, None, fit.batch_tokens)
            area = auroc_of(one.data.labels, one.logits, one.data.pairs)
            found.append(
                {
                    "monitor": f"fine-tuned, {kind}",
                    "kind": "fine-tuned",
                    "size": size,
                    "rows": int(baseline.card.training["rows"]),
                    "seed": settings.seed,
                    "dataset": _captured_as(study, one.data.name, place),
                    **with_ends("auroc", area),
                }
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return found


def _captured_as(study: Study, name: str, place: int) -> str:
    """The test set that a file of rows was captured as: the one of its name, or at its place."""
    names = [data.name for data in study.tests]
    if name in names:
        return name
    return names[place] if place < len(names) else name


def _lacks(study: Study) -> str | None:
    settings = study.settings
    if settings.finetuned and len(settings.test_rows) != len(study.tests):
        raise ValueError(
            f"test_rows: {len(settings.test_rows)} files for {len(study.tests)} tests; name the rows of each "
            "test set, in its order"
        )
    return None


def _table(results: Results) -> Table:
    columns = list(dict.fromkeys(row["dataset"] for row in results.rows))
    body = []
    for (monitor, size), own in grouped(results.rows, "monitor", "size").items():
        by_set = grouped(own, "dataset")
        cells = [told(seed_mean(by_set.get((column,), []))) for column in columns]
        body.append([monitor, str(size), str(len({row["seed"] for row in own})), *cells])
    return Table(["monitor", "training rows", "seeds", *columns], body)


def _draw(results: Results, out: Path) -> list[Picture]:
    panels: dict[str, dict[str, Curve]] = {}
    names = list(dict.fromkeys(row["monitor"] for row in results.rows))[:MOST_LINES]
    for (dataset,), of_set in grouped(results.rows, "dataset").items():
        for (monitor,), own in grouped(of_set, "monitor").items():
            if monitor not in names:
                continue
            points = [seed_point(size, at) for (size,), at in sorted(grouped(own, "size").items())]
            panels.setdefault(dataset, {})[monitor] = Curve(points)
    draw_curves(
        panels,
        out / "data_efficiency.png",
        title="Data efficiency",
        subtitle="AUROC by number of training rows; mean over draws of the rows, bands: lowest to highest",
        x="training rows",
        log_x=True,
        at=sorted({row["size"] for row in results.rows}),
    )
    return [Picture("data_efficiency.png", "AUROC by number of training rows.", list(results.rows))]


EXPERIMENT = Experiment(
    name="data_efficiency",
    title="Data efficiency",
    asks="How many labelled conversations does a probe need, and how many does a fine-tuned model?",
    uses=("parameters",),
    cells=_cells,
    table=_table,
    draw=_draw,
    lacks=_lacks,
    notes=lambda results: [
        "Each draw of rows is balanced, in whole groups, and smaller draws lie within larger ones of the "
        "same "
        "seed. Probes are trained to their last step: so few rows leave none to stop them.",
        *(
            []
            if any(row["kind"] == "fine-tuned" for row in results.rows)
            else ["No fine-tuned model: name finetuned, model, train_rows and test_rows."]
        ),
    ],
)
