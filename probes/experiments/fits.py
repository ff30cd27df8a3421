"""Fits of experiments: as `probes/fit.py` makes them, and on so few rows that none can be held out."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from analysis import ranking
from probes.evaluation.evaluation_data import EvaluationSet
from probes.experiments.study import Study, once
from probes.fitting.calibration import platt
from probes.fitting.final_fit import FittedHead, fit_on_all, fit_on_part, named_rows
from probes.fitting.fit_data import LabelledRows
from probes.fitting.fit_settings import FitSettings
from probes.fitting.splits import hold_out
from probes.heads.base import Head, score_together
from probes.heads.table import HEADS
from probes.heads.together import fit_together

_FIT = FitSettings.model_validate({"data": ["-"], "layers": ["0"]})
SHARE, ASKED_FPR = _FIT.validation_share, _FIT.fpr
"""As `probes/fit.py` has them where nothing is said."""


class Fitted(NamedTuple):
    """A head that was fitted on all training rows."""

    head: Head
    threshold: float
    """Logit from which on conversations are flagged, at 1 % false positives of rows that it did not see."""

    slope: float | None
    """Of the line that calibrates logits, on the same rows; None if there is none."""

    offset: float | None


def fitted(study: Study, name: str, seed: int) -> Fitted:
    """A head of the study, fitted on its training rows; once in a process.

    Raises:
        ValueError: Too few groups to hold any out; activations that are not finite.
    """

    def fit() -> Fitted:
        head = study.make(name, **({"seed": seed} if HEADS[name].SEEDED else {}))
        found = _as_fit_does(head, [study.layer], study.train, study.settings.seed, study.settings.device)
        flagged = ranking.largest_recall(
            found.validation.labels, found.logits, found.validation.groups, ASKED_FPR
        )
        line = platt(found.validation.labels, found.logits)
        return Fitted(
            head,
            flagged.logit,
            None if line is None else line.slope,
            None if line is None else line.offset,
        )

    return once(study, f"{name} {seed}", fit)


def _as_fit_does(head: Head, layers: Sequence[int], rows: LabelledRows, seed: int, device: str) -> FittedHead:
    if HEADS[head.NAME].SEEDED:
        part = hold_out(rows.labels, rows.groups, SHARE, seed)
        return fit_on_part(
            [head], layers, rows.take(part.train), rows.take(part.test), device=device, progress=_unseen
        )[0]
    return fit_on_all(
        [head], layers, rows, share=SHARE, match=None, seed=seed, device=device, progress=_unseen
    )[0]


def _unseen(step: int, of: int) -> None:
    """No bar: a cell is told of as a whole."""


def fit_on_few(study: Study, head: Head, rows: LabelledRows) -> Head:
    """A head on all of some rows; nothing stops its training."""
    with named_rows(rows):
        fit_together(
            [head],
            rows.layers([study.layer]),
            rows.labels,
            pooled=rows.pooled([study.layer]),
            device=study.settings.device,
        )
    return head


def scores(study: Study, heads: Sequence[Head], data: EvaluationSet) -> list[np.ndarray]:
    """Logits [rows] of each head, on the study's layer, in one read."""
    found = score_together(heads, data.layers([study.layer]), device=study.settings.device)
    return [column.copy() for column in found.T]


def drawn(rows: LabelledRows, count: int, seed: int) -> LabelledRows:
    """About so many rows, as many of either class as groups allow; groups whole, drawn by the seed.

    Groups come in random order, and one is taken if there is room for its rows of both classes. The draw of
    fewer rows lies within that of more, as long as groups fit.

    Raises:
        ValueError: Not one row of each class can be drawn.
    """
    if count >= len(rows.keys):
        return rows
    positive = rows.labels > 0.5
    members: dict[str, list[int]] = {}
    for place, group in enumerate(rows.groups):
        members.setdefault(group, []).append(place)
    order = list(members.values())
    np.random.default_rng(seed).shuffle(order)  # pyright: ignore[reportArgumentType]
    room = {True: (count + 1) // 2, False: (count + 1) // 2}
    kept = np.zeros(len(rows.keys), dtype=bool)
    for group in order:
        need = {label: sum(bool(positive[i]) is label for i in group) for label in room}
        if all(need[label] <= room[label] for label in room):
            kept[group] = True
            room = {label: room[label] - need[label] for label in room}
    if len(set(positive[kept].tolist())) < 2:
        raise ValueError(f"{count} rows of both classes cannot be drawn: groups have more rows than that")
    return rows.take(kept)
