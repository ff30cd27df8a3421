"""Chooses layers and parameters of heads by cross-validation in which no group is on both sides."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.special import stdtrit

from analysis import ranking
from analysis.effective_number import LEVEL
from probes.fit_data import LabelledRows
from probes.heads.base import score_together
from probes.heads.table import make_head
from probes.heads.training import Progress, fit_together
from probes.splits import Fold

Criterion = Literal["auroc", "recall"]
Layers = tuple[int, ...]


class Candidate(NamedTuple):
    """One thing to try."""

    head: str
    layers: Layers
    """Side by side."""

    parameters: Mapping[str, Any]


class Tried(NamedTuple):
    """How a candidate did on the rows that each fold held out."""

    candidate: Candidate
    auroc: ranking.Ranked
    """Mean over folds, with a t interval that makes up for the rows that training sets share."""

    recall: ranking.Ranked
    """At the asked false-positive rate of each fold."""


def cross_validate(
    rows: LabelledRows,
    candidates: Sequence[Candidate],
    parts: Sequence[Fold],
    *,
    asked_fpr: float,
    device: str = "cpu",
    progress: Callable[[Layers], Progress] | None = None,
) -> list[Tried]:
    """Fit every candidate on every fold; all those of the same layers in the same reads.

    Training is not stopped early: the rows that are held out say nothing about it.

    Raises:
        NotFiniteError: Names the row.
        ValueError: Parameters out of range.
    """
    tried: dict[int, Tried] = {}
    for layers in dict.fromkeys(candidate.layers for candidate in candidates):
        mine = [i for i, candidate in enumerate(candidates) if candidate.layers == layers]
        heads = [make_head(candidates[i].head, **candidates[i].parameters) for i in mine for _ in parts]
        x = rows.layers(layers)
        fit_together(
            heads,
            x,
            rows.labels,
            rows=[part.train for _ in mine for part in parts],
            pooled=rows.pooled(layers),
            device=device,
            progress=None if progress is None else progress(layers),
        )
        logits = score_together(heads, x, device=device)
        for place, number in enumerate(mine):
            own = logits[:, place * len(parts) : (place + 1) * len(parts)].T
            tried[number] = _summary(candidates[number], rows, parts, own, asked_fpr)
    return [tried[number] for number in range(len(candidates))]


def best_of(tried: Sequence[Tried], criterion: Criterion) -> dict[str, Tried]:
    """For each head the candidate with the highest mean; of equal ones the first.

    Recall is coarse where there are few negatives; AUROC decides where it is the same.
    """
    best: dict[str, Tried] = {}
    for one in tried:
        known = best.get(one.candidate.head)
        if known is None or _order(one, criterion) > _order(known, criterion):
            best[one.candidate.head] = one
    return best


def _order(tried: Tried, criterion: Criterion) -> tuple[float, ...]:
    by_auroc = (tried.auroc.value,)
    return by_auroc if criterion == "auroc" else (tried.recall.value, *by_auroc)


def _summary(
    candidate: Candidate, rows: LabelledRows, parts: Sequence[Fold], logits: np.ndarray, asked_fpr: float
) -> Tried:
    aurocs, recalls = [], []
    for part, found in zip(parts, logits, strict=True):
        groups = [group for group, inside in zip(rows.groups, part.test, strict=True) if inside]
        labels, held_out = rows.labels[part.test], found[part.test]
        aurocs.append(ranking.auroc(labels, held_out, groups).value)
        recalls.append(ranking.largest_recall(labels, held_out, groups, asked_fpr).recall.value)
    return Tried(candidate, over_folds(aurocs), over_folds(recalls))


def over_folds(values: Sequence[float]) -> ranking.Ranked:
    """Mean over k folds; each trained on the rows that the others tested, which the variance allows for.

    Source: the corrected t test of Nadeau and Bengio 2003 (Machine Learning 52(3)): 1 / k + 1 / (k - 1),
    tested over trained rows, in the place of 1 / k. No unbiased variance exists (Bengio and Grandvalet 2004).
    """
    mean, count = float(np.mean(values)), len(values)
    error = float(np.std(values, ddof=1)) * math.sqrt(1 / count + 1 / (count - 1))
    half = float(stdtrit(count - 1, (1 + LEVEL) / 2)) * error
    return ranking.Ranked(mean, max(0.0, mean - half), min(1.0, mean + half))
