"""Scores of all monitors on all sets, kept in files: what most experiments are computed and drawn from."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from probes.evaluation.beside.foreign_scores import ForeignScores
from probes.evaluation.evaluation_data import EvaluationSet
from probes.evaluation.pages.figures import Line
from probes.evaluation.scored import Named, length_control
from probes.experiments.cells import Cell, Done, digest_of, read_cells, run_cells
from probes.experiments.fits import fitted, scores
from probes.experiments.study import Study, rows_digest, set_digest

NAME = "scores"
ROWS = "rows"
LENGTH = "length"

PROBE, PROMPTED, FINE_TUNED, CONTROL = "probe", "prompted", "fine-tuned", "control"
ASKED = ("likelihood", "answer", "reasoned")
"""First words of the names of monitors that are asked: methods of `tasks/stakes.py`."""


class ScoredSet(NamedTuple):
    """The rows of a test set, without their activations."""

    name: str
    part: str
    """tests, probing or deployment."""

    ids: list[str]
    labels: np.ndarray
    """[rows], in 0..1."""

    groups: list[str]
    pairs: list[str]
    """As the rows were captured: the two sides of a twin have the same."""

    lengths: np.ndarray
    """[rows], tokens."""

    facts: list[dict[str, str]]


class MonitorScores(NamedTuple):
    """What a monitor says of all rows."""

    name: str
    kind: str
    """PROBE, PROMPTED, FINE_TUNED or CONTROL."""

    head: str | None
    seed: int | None
    logits: list[np.ndarray]
    """For each set [rows]; NaN where it gave no score."""

    threshold: float | None
    slope: float | None
    offset: float | None
    calibrated: bool
    """Its scores are logits."""


class Book(NamedTuple):
    """All of them."""

    sets: list[ScoredSet]
    monitors: list[MonitorScores]

    def of(self, part: str) -> list[tuple[int, ScoredSet]]:
        """Number and set of each that is of this part."""
        return [(number, data) for number, data in enumerate(self.sets) if data.part == part]

    def shown(self, most: int = 4) -> list[MonitorScores]:
        """Of figures of curves: at most so many first fits of heads and saved monitors, and all others."""
        probes = [one for one in self.monitors if one.kind == PROBE]
        first = list(
            {one.head if one.seed is not None else one.name: one for one in reversed(probes)}.values()
        )
        return [*first[::-1][:most], *(one for one in self.monitors if one.kind != PROBE)]


def line_of(one: MonitorScores, data: ScoredSet, number: int) -> Line | None:
    """Of the rows that it scored; None if it scored none."""
    logits = one.logits[number]
    rows = ~np.isnan(logits)
    if not rows.any():
        return None
    groups = [group for group, taken in zip(data.groups, rows, strict=True) if taken]
    beside = one.kind in (PROMPTED, FINE_TUNED)
    return Line(data.labels[rows], logits[rows], groups, one.kind == CONTROL, beside)


def score_cells(study: Study) -> tuple[str, list[Cell]]:
    """Digest of what all scores depend on, and the cells: rows of the sets, and a file for each monitor."""
    settings = study.settings
    common = digest_of(
        {
            "train": rows_digest(study.train),
            "layer": study.layer,
            "parameters": settings.parameters,
            "seed": settings.seed,
            "version": 1,
        }
    )
    sets = {part: [set_digest(data) for data in own] for part, own in _parts(study).items()}
    cells = [Cell(ROWS, {"sets": sets}, lambda: _rows(study))]
    for head in settings.heads:
        for seed in study.seeds_of(head):
            cells.append(
                Cell(
                    f"{head}-seed{seed}",
                    {"head": head, "seed": seed, "sets": sets},
                    lambda head=head, seed=seed: _of_head(study, head, seed),
                )
            )
    for named in study.saved:
        weights = digest_of([named.monitor.card.model_dump(mode="json"), _weights(named)])
        cells.append(
            Cell(
                f"saved-{named.name}",
                {"weights": weights, "sets": sets},
                lambda named=named: _of_saved(study, named),
            )
        )
    for one in study.beside:
        said = digest_of([[_json(own) for own in one.logits], one.name])
        cells.append(
            Cell(f"beside-{one.name}", {"scores": said, "sets": sets}, lambda one=one: _of_foreign(one))
        )
    cells.append(Cell(LENGTH, {"sets": sets}, lambda: _of_length(study)))
    return common, cells


def compute_book(folder: Path, study: Study, told: Any = lambda _: None) -> tuple[Book, Done]:
    """Scores out of their files, computed where they are not there."""
    common, cells = score_cells(study)
    done = run_cells(folder / NAME, common, cells, told)
    return book_of(done.contents), done


def read_book(folder: Path, common: str, digests: Mapping[str, str]) -> Book:
    """Scores out of the files of a finished experiment. Raises as `read_cells`."""
    return book_of(read_cells(folder / NAME, common, digests))


def book_of(contents: Mapping[str, Any]) -> Book:
    """From the contents of the cells."""
    sets = [
        ScoredSet(
            own["name"],
            own["part"],
            own["ids"],
            np.array(own["labels"], dtype=np.float64),
            own["groups"],
            own["pairs"],
            np.array(own["lengths"], dtype=np.int64),
            own["facts"],
        )
        for own in contents[ROWS]
    ]
    monitors = [
        MonitorScores(
            told["name"],
            told["kind"],
            told["head"],
            told["seed"],
            [np.array([math.nan if v is None else v for v in own]) for own in told["logits"]],
            told["threshold"],
            told["slope"],
            told["offset"],
            told["calibrated"],
        )
        for name, told in contents.items()
        if name != ROWS
    ]
    return Book(sets, monitors)


def _parts(study: Study) -> dict[str, list[EvaluationSet]]:
    return {"tests": study.tests, "probing": study.probing, "deployment": study.deployment}


def _rows(study: Study) -> list[dict[str, Any]]:
    return [
        {
            "name": data.name,
            "part": part,
            "ids": [row.id for row in data.rows],
            "labels": data.labels.tolist(),
            "groups": data.groups,
            "pairs": [row.group or row.id for row in data.rows],
            "lengths": data.lengths.tolist(),
            "facts": [row.facts for row in data.rows],
        }
        for part, own in _parts(study).items()
        for data in own
    ]


def _of_head(study: Study, head: str, seed: int) -> dict[str, Any]:
    found = fitted(study, head, seed)
    many = len(study.seeds_of(head)) > 1
    return {
        "name": f"{head}, seed {seed}" if many else head,
        "kind": PROBE,
        "head": head,
        "seed": seed,
        "logits": [scores(study, [found.head], data)[0].tolist() for data in study.sets],
        "threshold": found.threshold,
        "slope": found.slope,
        "offset": found.offset,
        "calibrated": True,
    }


def _of_saved(study: Study, named: Named) -> dict[str, Any]:
    card = named.monitor.card
    line = card.calibration
    return {
        "name": named.name,
        "kind": PROBE,
        "head": card.head,
        "seed": None,
        "logits": [named.monitor.score(data.activations(card.layers)).logits.tolist() for data in study.sets],
        "threshold": None if card.threshold is None else card.threshold.logit,
        "slope": None if line is None else line.slope,
        "offset": None if line is None else line.offset,
        "calibrated": True,
    }


def _of_foreign(one: ForeignScores) -> dict[str, Any]:
    asked = one.name.split(" ")[0] in ASKED
    return _plain(one.name, PROMPTED if asked else FINE_TUNED, [_json(own) for own in one.logits], True)


def _of_length(study: Study) -> dict[str, Any]:
    logits = length_control(study.sets).logits
    return _plain(LENGTH, CONTROL, [own.tolist() for own in logits], False)


def _plain(name: str, kind: str, logits: Sequence[Any], calibrated: bool) -> dict[str, Any]:
    return {
        "name": name,
        "kind": kind,
        "head": None,
        "seed": None,
        "logits": list(logits),
        "threshold": None,
        "slope": None,
        "offset": None,
        "calibrated": calibrated,
    }


def _json(logits: np.ndarray) -> list[float | None]:
    return [None if math.isnan(value) else float(value) for value in logits]


def _weights(named: Named) -> list[str]:
    return [digest_of(tensor.tolist()) for tensor in named.monitor.head.state().values()]
