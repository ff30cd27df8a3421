"""The cascade of the earlier project, for comparison: it looks at a whole batch, and calibrates nothing.

Source: McKenzie et al. 2025 (arXiv:2506.10805) and its code. Differs: selecting the top of no rows selects
none, where there it selected all.
"""

from typing import Literal, NamedTuple

import numpy as np

Selection = Literal["top", "bottom", "mid"]
EarlierMerge = Literal["baseline", "mean", "max"]


class EarlierCascade(NamedTuple):
    """Values of a batch, and which rows the judge was asked about."""

    values: np.ndarray
    asked: np.ndarray
    """[rows], bool."""


def earlier_cascade(
    probe: np.ndarray,
    judge: np.ndarray,
    fraction: float,
    *,
    selection: Selection = "mid",
    merge: EarlierMerge = "mean",
    remaining: float | None = None,
) -> EarlierCascade:
    """Ask about a fraction of a batch, by rank of the probe's score; the defaults are those it shipped.

    mid: the ranks about the batch's median. No stream can do that: a row's rank depends on rows to come.

    Args:
        probe: [rows], probabilities as the head gives them.
        judge: [rows], of the judge.
        fraction: Of the rows, from 0 to 1; rounded down to whole ones.
        selection: Which ranks.
        merge: Of the selected: the judge's score, the mean, or the larger.
        remaining: Score of the others; None: the probe's.

    Raises:
        ValueError: A fraction outside 0 to 1.
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"a fraction of the batch lies between 0 and 1, got {fraction:g}")
    n = len(probe)
    count = int(np.floor(n * fraction + 1e-9))
    begins = {"top": n - count, "bottom": 0, "mid": n // 2 - count // 2}
    ranks = np.argsort(probe, kind="stable")[begins[selection] :][:count]
    asked = np.zeros(n, dtype=bool)
    asked[ranks] = True
    merged = {"baseline": judge, "mean": (probe + judge) / 2, "max": np.maximum(probe, judge)}[merge]
    rest = probe if remaining is None else np.full(n, remaining)
    return EarlierCascade(np.where(asked, merged, rest), asked)
