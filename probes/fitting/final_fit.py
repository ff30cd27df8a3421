"""The fit of the heads that were chosen, and the logits that their thresholds are set on.

Heads whose training is stopped by a validation set are fitted on the rest. All others need no row held out
for their fit: they are fitted on all rows, and what they do on rows that they have not seen is measured by
fitting them again without each part of the rows (cross-fitting). A threshold is then set on all negatives
instead of a fifth of them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from probes.fitting.fit_data import LabelledRows
from probes.fitting.matching import matched
from probes.fitting.splits import folds
from probes.heads.base import Head, NotFiniteError, score_together
from probes.heads.table import make_head
from probes.heads.together import fit_together
from probes.heads.trained import Progress


@contextmanager
def named_rows(rows: LabelledRows, validation: LabelledRows | None = None) -> Iterator[None]:
    """Raises ValueError with the conversation's id instead of NotFiniteError with its number."""
    try:
        yield
    except NotFiniteError as error:
        of = validation if error.of_validation and validation is not None else rows
        raise ValueError(f"{of.ids[error.row]}: {error}") from error


class FittedHead(NamedTuple):
    """A head with what it says of rows that it was not fitted on."""

    head: Head
    training: LabelledRows
    validation: LabelledRows
    logits: np.ndarray
    """[validation rows], of the head; cross-fitted, of its like that was fitted without the row's part."""

    parts: list[np.ndarray]
    """[validation rows] each, bool: rows whose logits are of one fit, and can be ranked among each other."""

    @property
    def is_cross_fitted(self) -> bool:
        """Whether the validation rows are those that the head was fitted on."""
        return len(self.parts) > 1


def fit_on_part(
    heads: Sequence[Head],
    layers: Sequence[int],
    training: LabelledRows,
    validation: LabelledRows,
    *,
    device: str,
    progress: Progress,
) -> list[FittedHead]:
    """Heads of the same layers in the same reads; the validation rows stop those that are trained in steps.

    Raises:
        ValueError: Activations that are not finite; names the conversation.
    """
    x = validation.layers(layers)
    with named_rows(training, validation):
        fit_together(
            heads,
            training.layers(layers),
            training.labels,
            validation=(x, validation.labels),
            pooled=training.pooled(layers),
            device=device,
            progress=progress,
        )
    with named_rows(validation):
        logits = score_together(heads, x, device=device)
    every = [np.ones(len(validation.labels), dtype=bool)]
    return [
        FittedHead(head, training, validation, column, every)
        for head, column in zip(heads, logits.T, strict=True)
    ]


def fit_on_all(
    heads: Sequence[Head],
    layers: Sequence[int],
    rows: LabelledRows,
    *,
    share: float,
    match: str | None,
    seed: int,
    device: str,
    progress: Progress,
) -> list[FittedHead]:
    """Heads of the same layers on all rows, with logits of their likes that were fitted without each part.

    Args:
        heads: Fitted in place, nothing stops their training.
        layers: Side by side.
        rows: With labels and groups; no group is in two parts.
        share: Of the rows in a part, at most 0.5.
        match: Fact by which negatives are matched in every fit; None: not at all.
        seed: Of the parts and of the matching.
        device: Where heads are trained.
        progress: Told (steps done, of how many).

    Raises:
        ValueError: Too few groups of a class for the parts; activations that are not finite, with their
            conversation.
    """
    parts = folds(rows.labels, rows.groups, max(2, round(1 / share)), seed)
    taken = [_matched(rows, part.train, match, seed) for part in parts]
    whole = np.ones(len(rows.labels), dtype=bool)
    of_all = _matched(rows, whole, match, seed)
    likes = [make_head(head.NAME, **head.get_params()) for head in heads for _ in parts]
    x = rows.layers(layers)
    with named_rows(rows):
        fit_together(
            [*heads, *likes],
            x,
            rows.labels,
            rows=[*(of_all for _ in heads), *(train for _ in heads for train in taken)],
            pooled=rows.pooled(layers),
            device=device,
            progress=progress,
        )
        scored = score_together(likes, x, device=device)
    training = rows.matched(match, seed) if match is not None else rows
    found: list[FittedHead] = []
    for place, head in enumerate(heads):
        own = scored[:, place * len(parts) : (place + 1) * len(parts)]
        logits = np.sum([own[:, i] * part.test for i, part in enumerate(parts)], axis=0)
        found.append(FittedHead(head, training, rows, logits, [part.test for part in parts]))
    return found


def _matched(rows: LabelledRows, inside: np.ndarray, match: str | None, seed: int) -> np.ndarray:
    """[rows], bool: those inside that are fitted on."""
    if match is None:
        return inside
    places = np.flatnonzero(inside)
    kept = matched(rows.labels[places], [rows.facts[i].get(match) for i in places], seed)
    found = np.zeros(len(inside), dtype=bool)
    found[places[kept]] = True
    return found
