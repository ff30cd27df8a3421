"""Where a judge is asked: a band of the probe's probability, fixed on calibration rows for a budget.

A budget is a share of the rows, on average over the stream that the calibration rows are a sample of. No band
takes more of the calibration rows than it allows; on other rows it is kept within sampling error.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import numpy as np

from probes.cascades.decision import Band
from probes.cascades.merging import Merge

Strategy = Literal["uncertainty", "top-risk", "value", "likelihood-ratio"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)

NOWHERE = Band(0.5, 0.5)
EDGES = 60
"""Of bands that `likelihood-ratio` tries, at most: all pairs of them."""

ROUNDING = 1e-9


class Calibrated(NamedTuple):
    """Rows to fix a band on. Probabilities are calibrated."""

    probe: np.ndarray
    """[rows], of the monitors so far."""

    judge: np.ndarray
    """[rows], of the next, which was asked about all of them."""

    labels: np.ndarray
    """[rows], 0 or 1."""


def allocate(
    strategy: Strategy, rows: Calibrated, most: int, merge: Merge, *, asked_fpr: float = 0.01
) -> Band:
    """The band of a strategy.

    uncertainty: about 0.5, as wide as the budget allows. top-risk: from some probability up. value: the band
    in which the merged probabilities have most less squared error than the probe's own, together over its
    rows; narrower than the budget where more judging does harm. likelihood-ratio: the band with the highest
    expected recall of the whole at a false-positive rate, see `expected_recall`.

    Source: value as in Calibrate-Then-Delegate (arXiv:2604.14251), which predicts it by a second probe; here
    it is a function of the first one's probability. likelihood-ratio: Hua et al. (arXiv:2507.15886), who
    search all ways of calling monitors under an average budget and intervene by likelihood ratio. Differs:
    what may be called is one band, and interventions are limited by the false-positive rate.

    Args:
        strategy: Which.
        rows: Calibration rows.
        most: That may be asked about.
        merge: Of both probabilities.
        asked_fpr: For likelihood-ratio.
    """
    if most >= len(rows.probe):
        whole = Band(0.0, 1.0)
        if strategy in ("uncertainty", "top-risk"):
            return whole
    if strategy == "uncertainty":
        return _about_a_half(rows.probe, most)
    windows = _Windows(rows.probe)
    if strategy == "top-risk":
        return windows.top(most)
    merged = merge(rows.probe, rows.judge)
    if strategy == "value":
        gain = (rows.probe - rows.labels) ** 2 - (merged - rows.labels) ** 2
        return windows.best_sum(gain, most)

    def recall(asked: np.ndarray) -> float:
        return expected_recall(np.where(asked, merged, rows.probe), asked_fpr)

    return windows.best(recall, most)


def expected_recall(probabilities: np.ndarray, asked_fpr: float) -> float:
    """Recall at a false-positive rate that rows of such probabilities have on average.

    Rows are flagged from the highest down, which is by likelihood ratio, until the expected number of
    negatives among them is used up; the last row counts in part. It needs no labels, and so does not hang on
    the one or two rows that set a threshold at a low rate; it is as good as the calibration.

    Source: Neyman and Pearson 1933: flagging by likelihood ratio has the highest recall of all rules.

    Args:
        probabilities: [rows], calibrated.
        asked_fpr: In (0, 1).

    Returns:
        In [0, 1]; 0 if no positive is expected.
    """
    p = np.sort(probabilities)[::-1]
    if not p.sum() > 0:
        return 0.0
    negatives = np.concatenate([[0.0], np.cumsum(1 - p)])
    positives = np.concatenate([[0.0], np.cumsum(p)])
    return float(np.interp(asked_fpr * negatives[-1], negatives, positives) / positives[-1])


def rows_of(budget: float, rows: int) -> int:
    """How many of so many rows a budget allows.

    Raises:
        ValueError: A budget that is not above 0 and at most 1.
    """
    if not 0 < budget <= 1:
        raise ValueError(
            f"a budget is a share of the rows, above 0 and at most 1, got {budget:g}; without any judge the "
            "probe alone is what there is"
        )
    return int(np.floor(budget * rows + ROUNDING))


def _about_a_half(probe: np.ndarray, most: int) -> Band:
    distances, counts = np.unique(np.abs(probe - 0.5), return_counts=True)
    within = int(np.searchsorted(np.cumsum(counts), most, side="right"))
    if within == 0:
        return NOWHERE
    if within == len(distances):
        return Band(0.0, 1.0)
    width = float(distances[within - 1] + distances[within]) / 2
    return Band(max(0.0, 0.5 - width), min(1.0, 0.5 + width))


class _Windows:
    """Bands whose ends lie between probabilities that occur: rows of one probability are asked alike."""

    def __init__(self, probe: np.ndarray) -> None:
        values, self.of, counts = np.unique(probe, return_inverse=True, return_counts=True)
        self.values = values
        self.ends = np.concatenate([[0.0], (values[:-1] + values[1:]) / 2, [1.0]])
        self.before = np.concatenate([[0], np.cumsum(counts)])
        """Rows below each end."""

    def band(self, first: int, last: int) -> Band:
        """Of the probabilities from one number to before another."""
        return Band(float(self.ends[first]), float(self.ends[last])) if first < last else NOWHERE

    def top(self, most: int) -> Band:
        """The highest, as many as may be."""
        first = int(np.searchsorted(self.before, self.before[-1] - most, side="left"))
        return self.band(first, len(self.values))

    def best_sum(self, gain: np.ndarray, most: int) -> Band:
        """The band with the largest sum of gains; nowhere if none is above 0."""
        sums = np.concatenate([[0.0], np.cumsum(np.bincount(self.of, gain))])
        best, found = ROUNDING, NOWHERE
        for first in range(len(self.values)):
            last = int(np.searchsorted(self.before, self.before[first] + most, side="right")) - 1
            if last <= first:
                continue
            end = first + 1 + int(np.argmax(sums[first + 1 : last + 1]))
            if sums[end] - sums[first] > best:
                best, found = float(sums[end] - sums[first]), self.band(first, end)
        return found

    def best(self, measure: Callable[[np.ndarray], float], most: int) -> Band:
        """The band with the highest measure of which rows are asked; the narrower of equal ones."""
        every = range(len(self.values) + 1)
        share = max(1, -(-len(every) // EDGES))
        starts = sorted({*every[::share], len(self.values)})
        found, best = NOWHERE, measure(np.zeros(len(self.of), dtype=bool))
        for first in starts[:-1]:
            widest = int(np.searchsorted(self.before, self.before[first] + most, side="right")) - 1
            for last in sorted({*(end for end in starts if first < end <= widest), widest}):
                if last <= first:
                    continue
                value = measure((first <= self.of) & (self.of < last))
                if value > best + ROUNDING:
                    best, found = value, self.band(first, last)
        return found
