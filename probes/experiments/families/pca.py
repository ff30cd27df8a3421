"""Two directions in which mean activations vary most: by label and by data set."""

from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA

from analysis.ranking import auroc
from probes.evaluation.evaluation_data import EvaluationSet
from probes.experiments.book import Book
from probes.experiments.cells import Cell, Row
from probes.experiments.experiment import Experiment, Picture, Results, Table
from probes.experiments.numbers import grouped
from probes.experiments.pictures import draw_clouds
from probes.experiments.study import Study, rows_of
from probes.fitting.fit_data import LabelledRows

COMPONENTS = 2
HIGH, LOW = "label 1", "label 0"
TRAIN = "training rows"


def _cells(study: Study, book: Book | None) -> list[Cell]:
    del book
    return [Cell("components", {"points": study.settings.points}, lambda: _rows(study))]


def _rows(study: Study) -> list[Row]:
    """The same number of conversations of each set, so that the directions are not the largest set's."""
    sets = {TRAIN: study.train} | {data.name: rows_of(data) for data in _distinct(study)}
    rng = np.random.default_rng(study.settings.seed)
    parts = {name: _sample(rows, study.settings.points, rng) for name, rows in sets.items()}
    features = {name: rows.pooled([study.layer])("mean").double().numpy() for name, rows in parts.items()}
    model = PCA(COMPONENTS, random_state=study.settings.seed).fit(np.concatenate(list(features.values())))
    shares = model.explained_variance_ratio_.tolist()
    found: list[Row] = []
    for name, rows in parts.items():
        places = model.transform(features[name])
        for place, label, row_id in zip(places, rows.labels.tolist(), rows.ids, strict=True):
            found.append(
                {
                    "dataset": name,
                    "id": row_id,
                    "label": label,
                    "x": float(place[0]),
                    "y": float(place[1]),
                    "share_x": shares[0],
                    "share_y": shares[1],
                }
            )
    return found


def _distinct(study: Study) -> list[EvaluationSet]:
    return study.tests[:5]


def _sample(rows: LabelledRows, count: int, rng: np.random.Generator) -> LabelledRows:
    kept = np.zeros(len(rows.keys), dtype=bool)
    kept[rng.permutation(len(rows.keys))[:count]] = True
    return rows.take(kept)


def _table(results: Results) -> Table:
    body = []
    for (name,), own in grouped(results.rows, "dataset").items():
        labels = np.array([row["label"] for row in own])
        cells = []
        for axis in ("x", "y"):
            values = np.array([row[axis] for row in own])
            if len(set((labels > 0.5).tolist())) < 2:
                cells.append("-")
                continue
            area = auroc(labels, values, range(len(labels))).value
            cells.append(f"{max(area, 1 - area):.3f}")
        body.append([name, str(len(own)), *cells])
    return Table(["data set", "conversations", "AUROC along the first", "AUROC along the second"], body)


def _draw(results: Results, out: Path) -> list[Picture]:
    by_set = {
        name: np.array([[row["x"], row["y"]] for row in own])
        for (name,), own in grouped(results.rows, "dataset").items()
    }
    panels: dict[str, dict[str, np.ndarray]] = {"all sets": by_set}
    for (name,), own in grouped(results.rows, "dataset").items():
        panels[name] = {
            called: np.array([[row["x"], row["y"]] for row in own if (row["label"] > 0.5) is positive])
            for called, positive in ((LOW, False), (HIGH, True))
            if any((row["label"] > 0.5) is positive for row in own)
        }
    first = results.rows[0]
    draw_clouds(
        panels,
        out / "pca.png",
        title="Mean activations in two directions",
        subtitle=f"principal components of {results.settings['points']} conversations of each set at "
        "most, layer "
        f"{results.settings['layer']}; they hold {100 * (first['share_x'] + first['share_y']):.0f} % of "
        "the variance",
        x=f"first component, {100 * first['share_x']:.0f} %",
        y=f"second component, {100 * first['share_y']:.0f} %",
    )
    return [
        Picture("pca.png", "Conversations in the plane of the two largest components.", list(results.rows))
    ]


EXPERIMENT = Experiment(
    name="pca",
    title="Principal components of activations",
    asks="Do labels or data sets lie apart in the directions in which activations vary most?",
    uses=("points", "seed"),
    cells=_cells,
    table=_table,
    draw=_draw,
    notes=lambda _: [
        "AUROC along a component, whichever way round is higher: what a direction tells that was chosen "
        "without "
        "labels. It describes these conversations and has no interval."
    ],
)
