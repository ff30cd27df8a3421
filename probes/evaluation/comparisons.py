"""Whether one monitor ranks conversations better than another: both on the same rows, a paired comparison."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import false_discovery_control

from analysis.ranking import Area, area, mean_comparison
from analysis.ranking import Compared as Difference
from probes.evaluation.evaluation_data import EvaluationSet
from probes.evaluation.metrics import usable_rows
from probes.evaluation.scored import Scored

MEAN = "mean"
"""Stands for the mean over data sets where others have the name of one."""


class Compared(NamedTuple):
    """AUROC of a monitor or control, less that of the reference."""

    monitor: str
    reference: str
    dataset: str
    """Or `MEAN`."""

    found: Difference
    q: float
    """The share of false findings expected among comparisons on this data set with a p no larger."""

    def row(self) -> dict[str, Any]:
        """As in `evaluation.json`."""
        numbers = {
            "auroc_difference": self.found.value,
            "low": self.found.low,
            "high": self.found.high,
            "p": self.found.p,
            "q": self.q,
        }
        return {
            "monitor": self.monitor,
            "reference": self.reference,
            "dataset": self.dataset,
            **{name: value if math.isfinite(value) else None for name, value in numbers.items()},
        }


def compare(scored: Sequence[Scored], reference: Scored, sets: Sequence[EvaluationSet]) -> list[Compared]:
    """All others against the reference, on each data set and in the mean over them.

    Data sets of one class only take no part.

    Source: q values of Benjamini and Hochberg 1995 (J. R. Statist. Soc. B 57(1)).
    """
    others = [one for one in scored if one.name != reference.name]
    labels = [data.labels for data in sets]
    ranked = [i for i, own in enumerate(labels) if usable_rows(own).both_classes]
    places = [(sets[i].name, [i]) for i in ranked] + ([(MEAN, ranked)] if len(ranked) > 1 else [])
    areas: dict[str, dict[int, Area]] = {
        one.name: {i: area(labels[i], one.logits[i], sets[i].groups) for i in ranked} for one in scored
    }
    found: list[Compared] = []
    for name, members in places:
        here = [
            mean_comparison([(areas[one.name][i], areas[reference.name][i]) for i in members])
            for one in others
        ]
        for one, result, q in zip(others, here, false_discoveries(here), strict=True):
            found.append(Compared(one.name, reference.name, name, result, q))
    return found


def false_discoveries(found: Sequence[Difference]) -> list[float]:
    """The q value of each; NaN where there is no p.

    Source: Benjamini and Hochberg 1995 (J. R. Statist. Soc. B 57(1)).
    """
    p = np.array([one.p for one in found])
    known = ~np.isnan(p)
    q = np.full(len(p), np.nan)
    if known.any():
        q[known] = false_discovery_control(p[known])
    return q.tolist()
