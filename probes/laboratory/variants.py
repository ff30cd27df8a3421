"""The forms of an evaluation set: as it is, balanced by class, and balanced among texts of one length."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from analysis.ranking import Ranked, auroc, share
from probes.evaluation.controls import length_scores
from probes.fitting.matching import matched
from probes.laboratory.rows import AMBIGUOUS, StakesRow

Form = Literal["raw", "balanced", "length_matched"]

LENGTH_STEP = math.log(1.15)
"""Texts whose lengths differ by less than 15 % count as equally long."""


class Variant(NamedTuple):
    """One form of one split."""

    split: str
    form: Form
    rows: list[StakesRow]
    """`raw` has unlabelled and ambiguous rows too, the others have not."""

    base_rate: Ranked | None
    """Share of high stakes among the labelled rows; clustered by pair. In `raw` the natural one."""

    length: Ranked | None
    """AUROC of length alone; None with one class."""

    @property
    def unlabelled(self) -> int:
        """Rows without a label that are not ambiguous."""
        return sum(r.label is None and r.facts.get("class") != AMBIGUOUS for r in self.rows)

    @property
    def ambiguous(self) -> int:
        """Rows that are told to be."""
        return sum(r.facts.get("class") == AMBIGUOUS for r in self.rows)


def variants_of(rows: Sequence[StakesRow], *, seed: int = 0) -> list[Variant]:
    """All forms of every split.

    Balanced are as many high as low rows, drawn by chance from the more frequent class; length-matched the
    same within each step of length, so that a classifier of length knows next to nothing.

    Args:
        rows: Of one data set; without a split they are a test.
        seed: Of the draws.
    """
    found: list[Variant] = []
    for split in dict.fromkeys(row.split or "test" for row in rows):
        own = [row for row in rows if (row.split or "test") == split]
        labelled = [row for row in own if row.label is not None]
        labels = np.array([row.label for row in labelled], dtype=np.float64)
        bins = [str(int(math.log(len(row.text) + 1) / LENGTH_STEP)) for row in labelled]
        for form, values in (("balanced", ["all"] * len(labelled)), ("length_matched", bins)):
            kept = matched(labels, values, seed)
            found.append(
                _variant(split, form, [row for row, k in zip(labelled, kept, strict=True) if k])  # pyright: ignore[reportArgumentType]
            )
        found.append(_variant(split, "raw", own))
    order = {"raw": 0, "balanced": 1, "length_matched": 2}
    return sorted(found, key=lambda v: (v.split, order[v.form]))


def _variant(split: str, form: Form, rows: list[StakesRow]) -> Variant:
    labelled = [row for row in rows if row.label is not None]
    labels = np.array([row.label for row in labelled], dtype=np.float64)
    pairs = [row.pair for row in labelled]
    rate = share(labels > 0.5, pairs) if len(labelled) else None
    both = len(set(labels.tolist())) == 2
    length = auroc(labels, length_scores([row.text for row in labelled]), pairs) if both else None
    return Variant(split, form, rows, rate, length)
