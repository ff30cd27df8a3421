"""How far probabilities can be believed, raw and calibrated: reliability, calibration error, Brier score."""

from pathlib import Path

import numpy as np
from scipy.special import expit

from analysis.intervals import share_interval
from analysis.resampling import resampled_ends
from probes.evaluation.metrics import calibration_error, reliability
from probes.evaluation.pages.figures import Line, draw_reliability
from probes.experiments.book import Book, MonitorScores, line_of
from probes.experiments.cells import Cell, Row
from probes.experiments.experiment import Experiment, Picture, Results, Table
from probes.experiments.numbers import about, each_monitor, grouped, ranked, scores_digest, told, with_ends
from probes.experiments.study import Study

RAW, CALIBRATED = "raw", "calibrated"


def _cells(study: Study, book: Book | None) -> list[Cell]:
    assert book is not None
    settings = study.settings
    return [
        Cell(one.name, {"scores": scores_digest(one, book)}, compute)
        for one, compute in each_monitor(book, lambda one: _rows(one, book, settings.draws, settings.seed))
        if one.calibrated
    ]


def _forms(one: MonitorScores) -> dict[str, tuple[float, float]]:
    """Form -> slope and offset of what is made of a logit."""
    forms = {RAW: (1.0, 0.0)}
    if one.slope is not None and one.offset is not None:
        forms[CALIBRATED] = (one.slope, one.offset)
    return forms


def _rows(one: MonitorScores, book: Book, draws: int, seed: int) -> list[Row]:
    found: list[Row] = []
    for number, data in book.of("tests"):
        line = line_of(one, data, number)
        if line is None:
            continue
        for form, (slope, offset) in _forms(one).items():
            p = expit(slope * line.logits + offset)
            squares = (p - line.labels) ** 2

            def error(rows: np.ndarray, p: np.ndarray = p, labels: np.ndarray = line.labels) -> float:
                return calibration_error(labels[rows], p[rows])

            every = np.arange(len(p))
            ends = resampled_ends(error, line.groups, draws=draws, seed=seed, bounds=(0.0, 1.0))
            found.append(
                about(one, data.name)
                | {"form": form, "n": len(p), "n_unscored": len(data.labels) - len(p)}
                | with_ends("ece", (error(every), *ends))
                | with_ends("brier", share_interval(squares.tolist(), line.groups)[:3])
                | {"mean_probability": float(p.mean()), "share_positive": float((line.labels > 0.5).mean())}
            )
    return found


def _table(results: Results) -> Table:
    body = [
        [
            row["monitor"],
            row["form"],
            row["dataset"],
            told(ranked(row, "ece")),
            told(ranked(row, "brier")),
            f"{row['mean_probability']:.2f}",
            f"{row['share_positive']:.2f}",
        ]
        for (_, _, _), own in grouped(_first_fits(results), "dataset", "monitor", "form").items()
        for row in own
    ]
    head = ["monitor", "form", "data set", "ECE", "Brier", "mean probability", "share of positives"]
    return Table(head, body)


def _first_fits(results: Results) -> list[Row]:
    assert results.book is not None
    shown = {one.name for one in results.book.shown()}
    return [row for row in results.rows if row["monitor"] in shown]


def _draw(results: Results, out: Path) -> list[Picture]:
    assert results.book is not None
    book = results.book
    pictures = []
    for form in (RAW, CALIBRATED):
        panels: dict[str, dict[str, Line]] = {}
        bins: list[Row] = []
        for number, data in book.of("tests"):
            for one in book.shown():
                line = line_of(one, data, number)
                if line is None or not one.calibrated or form not in _forms(one):
                    continue
                slope, offset = _forms(one)[form]
                logits = slope * line.logits + offset
                panels.setdefault(data.name, {})[one.name] = line._replace(logits=logits)
                told_bins = reliability(line.labels, expit(logits))
                bins += [
                    {
                        "dataset": data.name,
                        "monitor": one.name,
                        "probability": p,
                        "share": share,
                        "rows": int(n),
                    }
                    for p, share, n in zip(*told_bins, strict=True)
                ]
        if not panels:
            continue
        file = f"reliability_{form}.png"
        said = "as heads give them" if form == RAW else "after Platt scaling on rows that were not fitted on"
        draw_reliability(panels, out / file, title=f"Reliability, {form}")
        pictures.append(Picture(file, f"Probabilities {said}, against the share of positives.", bins))
    return pictures


EXPERIMENT = Experiment(
    name="calibration",
    title="Calibration",
    asks="Are conversations that a monitor gives 80 % positive in 80 % of cases, also on sets it was not "
    "made for?",
    uses=("draws", "seed"),
    cells=_cells,
    table=_table,
    draw=_draw,
    on_scores=True,
    notes=lambda _: [
        "ECE in ten bins of equal mass with a bootstrap interval by group; it is above 0 for a perfect "
        "monitor too. "
        "Brier with a 95 % interval by group; 0.25 is a monitor that always says one half. Calibrated: "
        "Platt's "
        "line from held-out training rows, not from the test sets."
    ],
)
