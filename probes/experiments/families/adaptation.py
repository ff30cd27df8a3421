"""A few rows of the target set: learnt from alone, after the training set, or together with it."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from probes.evaluation.evaluation_data import EvaluationSet
from probes.experiments.book import Book
from probes.experiments.cells import Cell, Row
from probes.experiments.experiment import Experiment, Picture, Results, Table
from probes.experiments.fits import drawn, fit_on_few, scores
from probes.experiments.numbers import auroc_of, grouped, seed_mean, seed_point, told, with_ends
from probes.experiments.pictures import Curve, draw_curves
from probes.experiments.study import Study, StudyError, once, rows_of, set_digest
from probes.fitting.fit_data import LabelledRows
from probes.fitting.splits import hold_out
from probes.heads.base import Head
from probes.heads.table import HEADS
from probes.heads.trained import TrainedHead

EPOCHS = 20
"""Passes over the rows of the target with which training goes on, as in McKenzie et al. 2025, 2506.10805."""

NONE = "training set alone"


def _lacks(study: Study) -> str | None:
    settings = study.settings
    if "fine-tune" in settings.ways and not issubclass(HEADS[settings.head], TrainedHead):
        trained = ", ".join(name for name, head in HEADS.items() if issubclass(head, TrainedHead))
        raise StudyError(
            f"--head {settings.head} is solved in closed form, its training cannot go on (way fine-tune); "
            f"there are {trained}"
        )
    stores = {str(data.entry.folder.resolve()) for data in [*_targets(study), *study.same_domain.values()]}
    if stores - {str(study.train.entry.folder.resolve())}:
        raise StudyError(
            "adaptation fits on training rows and target rows together: they must lie in one store; "
            "`python probes/store.py pull` brings them into one"
        )
    return None


def _targets(study: Study) -> list[EvaluationSet]:
    wanted = study.settings.targets
    return [data for data in study.tests if not wanted or data.name in wanted]


def _origins(study: Study, target: EvaluationSet) -> dict[str, EvaluationSet | None]:
    """Where rows are drawn from -> the set; None: the target's own half."""
    found: dict[str, EvaluationSet | None] = {"target": None}
    if (other := study.same_domain.get(target.name)) is not None:
        found[f"same domain: {other.name}"] = other
    return found


def _cells(study: Study, book: Book | None) -> list[Cell]:
    del book
    settings = study.settings
    seeds = range(settings.seed, settings.seed + settings.seeds)
    cells = []
    for target in _targets(study):
        for seed in seeds:
            cells.append(
                Cell(
                    f"{target.name}-alone-seed{seed}",
                    {"target": target.name, "seed": seed},
                    lambda target=target, seed=seed: _alone(study, target, seed),
                )
            )
        for origin, other in _origins(study, target).items():
            own = {} if other is None else {"other": set_digest(other)}
            for count in settings.samples:
                for seed in seeds:
                    cells.append(
                        Cell(
                            f"{target.name}-{origin}-{count}-seed{seed}",
                            {
                                "target": target.name,
                                "origin": origin,
                                "samples": count,
                                "seed": seed,
                                "ways": list(settings.ways),
                                **own,
                            },
                            lambda t=target, o=origin, x=other, k=count, s=seed: _adapted(
                                study, t, o, x, k, s
                            ),
                        )
                    )
    return cells


def _halves(study: Study, target: EvaluationSet) -> tuple[LabelledRows, EvaluationSet]:
    """Rows to learn from, and those that are always tested on; no group is in both."""

    def halve() -> tuple[LabelledRows, EvaluationSet]:
        part = hold_out(target.labels, target.groups, 0.5, study.settings.seed)
        held = [row for row, inside in zip(target.rows, part.test, strict=True) if inside]
        return rows_of(target).take(part.train), target._replace(rows=held)

    return once(study, f"halves of {target.name}", halve)


def _head(study: Study, seed: int, **parameters: object) -> Head:
    name = study.settings.head
    return study.make(name, **({"seed": seed} if HEADS[name].SEEDED else {}), **parameters)


def _source(study: Study, seed: int) -> Head:
    return once(
        study,
        f"whole training set, {study.settings.head} {seed}",
        lambda: fit_on_few(study, _head(study, seed), study.train),
    )


def _alone(study: Study, target: EvaluationSet, seed: int) -> list[Row]:
    _, held = _halves(study, target)
    return [_row(study, target, held, _source(study, seed), NONE, "-", 0, 0, seed)]


def _adapted(
    study: Study, target: EvaluationSet, origin: str, other: EvaluationSet | None, count: int, seed: int
) -> list[Row]:
    pool, held = _halves(study, target)
    if other is not None:
        pool = rows_of(other).without(rows_of(target))
    rows = drawn(pool, count, seed)
    return [
        _row(study, target, held, head, way, origin, count, len(rows.keys), seed)
        for way, head in _ways(study, rows, seed)
    ]


def _ways(study: Study, rows: LabelledRows, seed: int) -> Iterator[tuple[str, Head]]:
    ways = study.settings.ways
    if "only" in ways:
        yield "only", fit_on_few(study, _head(study, seed), rows)
    if "fine-tune" in ways:
        source = _source(study, seed)
        batch = source.get_params()["batch_size"]
        head = _head(study, seed, steps=EPOCHS * math.ceil(len(rows.keys) / batch))
        assert isinstance(head, TrainedHead)
        head.start_from(**source.state())
        yield "fine-tune", fit_on_few(study, head, rows)
    if "combine" in ways:
        train = study.train
        both = train._replace(
            keys=[*train.keys, *rows.keys],
            labels=np.concatenate([train.labels, rows.labels]),
            ties=[*train.ties, *rows.ties],
            facts=[*train.facts, *rows.facts],
            ids=[*train.ids, *rows.ids],
            names=[*train.names, *rows.names],
        )
        yield "combine", fit_on_few(study, _head(study, seed), both)


def _row(
    study: Study,
    target: EvaluationSet,
    held: EvaluationSet,
    head: Head,
    way: str,
    origin: str,
    count: int,
    rows: int,
    seed: int,
) -> Row:
    (logits,) = scores(study, [head], held)
    area = auroc_of(held.labels, logits, held.groups)
    return {
        "target": target.name,
        "way": way,
        "origin": origin,
        "samples": count,
        "rows": rows,
        "seed": seed,
        "n": len(held.rows),
        **with_ends("auroc", area),
    }


def _called(way: str, origin: str) -> str:
    return way if origin in ("target", "-") else f"{way}, same domain"


def _table(results: Results) -> Table:
    targets = list(dict.fromkeys(row["target"] for row in results.rows))
    body = []
    named = [{**row, "name": _called(row["way"], row["origin"])} for row in results.rows]
    for (name, count), own in sorted(grouped(named, "name", "samples").items(), key=lambda one: one[0][1]):
        by_target = grouped(own, "target")
        cells = [told(seed_mean(by_target.get((target,), []))) for target in targets]
        body.append([name, str(count), *cells])
    return Table(["way", "rows of the target", *targets], body)


def _draw(results: Results, out: Path) -> list[Picture]:
    panels: dict[str, dict[str, Curve]] = {}
    for (target,), of_target in grouped(results.rows, "target").items():
        curves: dict[str, Curve] = {}
        for (way, origin), own in grouped(of_target, "way", "origin").items():
            points = []
            for (count,), at in sorted(grouped(own, "samples").items()):
                points.append(seed_point(max(1, count), at))
            curves[_called(way, origin)] = Curve(points, level=way == NONE)
        panels[target] = {name: curves[name] for name in [n for n in curves if n != NONE] + [NONE]}
    draw_curves(
        panels,
        out / "adaptation.png",
        title="A few rows of the target set",
        subtitle="AUROC on the other half of the target; mean over draws, bands: lowest to highest",
        x="rows that are learnt from",
        log_x=True,
        at=sorted({row["samples"] for row in results.rows if row["samples"]}),
    )
    return [Picture("adaptation.png", "AUROC by number of target rows and way.", list(results.rows))]


EXPERIMENT = Experiment(
    name="adaptation",
    title="Adaptation to a target set",
    asks="What are a few labelled rows of the place of use worth, and do rows of the same domain from "
    "elsewhere do?",
    uses=("head", "seed", "parameters"),
    cells=_cells,
    table=_table,
    draw=_draw,
    lacks=_lacks,
    notes=lambda _: [
        "Half of each target, by group, is held out and always tested on; rows are drawn from the other "
        "half, or "
        "from another set of the same domain. `fine-tune` goes on from the weights of the training set for "
        f"{EPOCHS} passes."
    ],
)
