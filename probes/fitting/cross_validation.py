"""Chooses layers and parameters of heads by cross-validation in which no group is on both sides."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from analysis import ranking
from probes.fitting.fit_data import LabelledRows
from probes.fitting.splits import Fold
from probes.heads.base import score_together
from probes.heads.table import make_head
from probes.heads.together import fit_together
from probes.heads.trained import Progress

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
    """Mean over folds, with an interval for the heads that they trained, on other rows; without ends if a
    fold has fewer than two groups of a class. Within a fact: of all pairs of one fold and value, each pair
    weighing the same; NaN if there are none."""

    recall: ranking.Ranked
    """At the asked false-positive rate of each fold."""


def cross_validate(
    rows: LabelledRows,
    candidates: Sequence[Candidate],
    parts: Sequence[Fold],
    *,
    asked_fpr: float,
    within: str | None = None,
    device: str = "cpu",
    progress: Callable[[Layers], Progress] | None = None,
) -> list[Tried]:
    """Fit every candidate on every fold; all those of the same layers in the same reads.

    Training is not stopped early: the rows that are held out say nothing about it.

    Args:
        rows: All of them.
        candidates: What is tried.
        parts: The folds.
        asked_fpr: False-positive rate of the recall.
        within: Fact; AUROC compares rows with the same value alone. None: all rows of a fold.
        device: Where heads are trained.
        progress: Told (steps done, of how many) for each set of layers.

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
            tried[number] = _summary(candidates[number], rows, parts, own, asked_fpr, within)
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
    candidate: Candidate,
    rows: LabelledRows,
    parts: Sequence[Fold],
    logits: np.ndarray,
    asked_fpr: float,
    within: str | None,
) -> Tried:
    aurocs, recalls = [], []
    for part, found in zip(parts, logits, strict=True):
        groups = [group for group, inside in zip(rows.groups, part.test, strict=True) if inside]
        labels, held_out = rows.labels[part.test], found[part.test]
        aurocs.append(ranking.auroc(labels, held_out, groups))
        recalls.append(ranking.largest_recall(labels, held_out, groups, asked_fpr))
    recall = ranking.mean_recall(recalls)
    if within is None:
        return Tried(candidate, ranking.mean_over_sets(aurocs), recall)
    unseen = np.sum([own * part.test for part, own in zip(parts, logits, strict=True)], axis=0)
    strata = rows.strata(within, [part.test for part in parts])
    return Tried(candidate, auroc_in(strata, rows, unseen), recall)


def auroc_in(strata: Sequence[np.ndarray], rows: LabelledRows, logits: np.ndarray) -> ranking.Ranked:
    """AUROC of pairs in the same stratum; NaN if none has both classes."""
    try:
        return ranking.auroc_within(rows.labels, logits, rows.groups, strata)
    except ValueError:
        return ranking.Ranked(np.nan, np.nan, np.nan)
