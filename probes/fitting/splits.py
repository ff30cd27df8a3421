"""Divides conversations into parts so that no group lies in two of them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from probes.heads.base import checked_labels


class Fold(NamedTuple):
    """One way to divide the rows."""

    train: np.ndarray
    """[rows], bool."""

    test: np.ndarray
    """[rows], bool: all others."""


def folds(labels: np.ndarray, groups: Sequence[str], count: int, seed: int) -> list[Fold]:
    """Every row is tested once, in a fold that trained on no row of its group.

    The share of positives (labels of 0.5 and more) is kept as even as groups allow.

    Raises:
        ValueError: Too few groups of a class, or a fold without both classes on both sides.
    """
    positive = checked_labels(labels) >= 0.5
    if len(groups) != len(positive):
        raise ValueError(f"{len(positive)} labels but {len(groups)} groups")
    if count < 2:
        raise ValueError(f"at least 2 folds are needed, got {count}")
    names = np.asarray(groups, dtype=object)
    for label, what in ((positive, "positive"), (~positive, "negative")):
        found = len(set(names[label]))
        if found < count:
            raise ValueError(
                f"{count} folds need {count} groups with {what} rows, there are {found}; ask for fewer folds"
            )
    splitter = StratifiedGroupKFold(n_splits=count, shuffle=True, random_state=seed)
    parts: list[Fold] = []
    for train, test in splitter.split(positive, positive, names):
        inside = np.zeros(len(positive), dtype=bool)
        inside[train] = True
        for rows in (train, test):
            if len(np.unique(positive[rows])) < 2:
                raise ValueError(
                    f"{count} folds by group leave a part with one class only: some groups are too large; "
                    "ask for fewer folds, or another seed"
                )
        parts.append(Fold(inside, ~inside))
    return parts


def hold_out(labels: np.ndarray, groups: Sequence[str], share: float, seed: int) -> Fold:
    """One division; about this share of the rows is tested.

    Args:
        labels: [rows], in 0..1.
        groups: Of each row.
        share: In (0, 0.5]; one over a whole number is met most closely.
        seed: Of the division.

    Raises:
        ValueError: As `folds`, with 1 / share folds.
    """
    if not 0 < share <= 0.5:
        raise ValueError(f"the share that is held out must lie in (0, 0.5], got {share}")
    return folds(labels, groups, max(2, round(1 / share)), seed)[0]
