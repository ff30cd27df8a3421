"""Made-up conversations whose true values are known, and the intervals that the suite gives for them."""

import math
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv, ndtr, ndtri

from analysis.agreement import Estimate, alpha, estimate, pearson, spearman
from analysis.intervals import mean_difference, mean_interval, over_seeds, share_interval
from analysis.ranking import area, auroc, auroc_within, compare, largest_recall, mean_over_sets, mean_recall
from analysis.values import Values
from probes.evaluation.pages.results_sections import FEW_POSITIVES
from scenarios.schema import Scale

SHARES = (0.05, 0.2, 0.5)
"""Of conversations that are harmful, positive, flagged, ..."""

FOLDS, FEATURES = 5, 8

RELIABILITY = 0.7
"""Correlation of two made-up raters before their ratings become answers."""

SHIFT = {0.8: math.sqrt(2) * float(ndtri(0.8)), 0.95: math.sqrt(2) * float(ndtri(0.95))}
"""AUROC -> how far positives' logits lie above negatives', in standard deviations."""


class Setting(NamedTuple):
    """One cell."""

    clusters: int
    size: int
    """Conversations in each."""

    alike: float
    share: float

    @property
    def names(self) -> list[Hashable]:
        """Cluster of each conversation."""
        return [cluster for cluster in range(self.clusters) for _ in range(self.size)]


class Case(NamedTuple):
    """An interval and what it ought to hold; NaN ends if there is none."""

    low: float
    high: float
    true: float
    doubted: bool = False
    """The report says beside it that it is too narrow."""


Simulation = Callable[[Setting, np.random.Generator], Case]


def latent(at: Setting, rng: np.random.Generator) -> np.ndarray:
    """[conversations], normal, those of a cluster correlated."""
    between = np.repeat(rng.normal(size=at.clusters), at.size)
    return math.sqrt(at.alike) * between + math.sqrt(1 - at.alike) * rng.normal(size=at.clusters * at.size)


# -- means and shares -----------------------------------------------------------------------------


def yes_no(z: np.ndarray, share: float) -> np.ndarray:
    """Yes for the share with the highest."""
    return (ndtr(z) > 1 - share).astype(np.float64)


def degrees(concentration: float) -> Callable[[np.ndarray, float], np.ndarray]:
    """Between 0 and 1, around the share; near the ends if concentration is low, as a judge's mostly are."""
    return lambda z, share: betaincinv(concentration * share, concentration * (1 - share), ndtr(z))


def ratings(z: np.ndarray, share: float) -> np.ndarray:
    """Whole numbers from 1 to 10, around the point that far up."""
    return np.clip(np.round(1 + 9 * share + 1.5 * z), 1, 10)


def five_point(z: np.ndarray, share: float) -> np.ndarray:
    """Whole numbers from 1 to 5: 1 unless something is there, and then anything above."""
    return 1 + np.ceil(4 * np.clip((ndtr(z) - 1 + share) / share, 0, 1))


Made = Callable[[np.ndarray, float], np.ndarray]

GRID = ndtri((np.arange(20_000) + 0.5) / 20_000)
"""Equally likely values of a normal."""

KINDS: dict[str, tuple[Made, Scale]] = {
    "yes/no": (yes_no, "yes-no"),
    "degrees near the ends": (degrees(0.3), "0-1"),
    "degrees in between": (degrees(6.0), "0-1"),
    "degrees 1-5": (five_point, "1-5"),
    "rating 1-10": (ratings, "1-10"),
}


_KNOWN: dict[tuple[Made, float], float] = {}


def true_mean(made: Made, share: float) -> float:
    """Of the values, worked out once."""
    if (made, share) not in _KNOWN:
        _KNOWN[made, share] = float(made(GRID, share).mean())
    return _KNOWN[made, share]


def mean_of(made: Made, scale: Scale) -> Simulation:
    """Of one group."""

    def case(at: Setting, rng: np.random.Generator) -> Case:
        found = Values(made(latent(at, rng), at.share).tolist(), at.names, scale).interval()
        return Case(found.low, found.high, true_mean(made, at.share))

    return case


def difference_of(made: Made, scale: Scale, *, paired: bool) -> Simulation:
    """From a group with a share of .05: of other initial states, or of the same."""

    def case(at: Setting, rng: np.random.Generator) -> Case:
        one, two = latent(at, rng), latent(at, rng)
        if paired:
            shared = np.repeat(rng.normal(size=at.clusters), at.size)
            within = math.sqrt(1 - at.alike)
            one, two = (
                math.sqrt(at.alike) * shared + within * rng.normal(size=len(shared)) for _ in range(2)
            )
        others: list[Hashable] = list(at.names) if paired else [("other", name) for name in at.names]
        first = Values(made(one, at.share).tolist(), at.names, scale)
        second = Values(made(two, SHARES[0]).tolist(), others, scale)
        found = first.minus(second)
        return Case(found.low, found.high, true_mean(made, at.share) - true_mean(made, SHARES[0]))

    return case


def mean_without_ends(at: Setting, rng: np.random.Generator) -> Case:
    """Numbers on no scale."""
    found = mean_interval(latent(at, rng).tolist(), at.names)
    return Case(found.low, found.high, 0.0)


def paired_without_ends(at: Setting, rng: np.random.Generator) -> Case:
    """Their change on the same initial states."""
    shared = np.repeat(rng.normal(size=at.clusters), at.size)
    one, two = (math.sqrt(at.alike) * shared + math.sqrt(1 - at.alike) * latent(at, rng) for _ in range(2))
    found = mean_difference(one.tolist(), at.names, two.tolist(), at.names)
    return Case(found.low, found.high, 0.0)


def seeds(at: Setting, rng: np.random.Generator) -> Case:
    """Of as many runs as there are in a cluster, and two more."""
    found = over_seeds(rng.normal(size=at.size + 2).tolist())
    return Case(found.low, found.high, 0.0)


# -- ranking --------------------------------------------------------------------------------------


class Scored(NamedTuple):
    """Conversations of two classes with a logit."""

    labels: np.ndarray
    logits: np.ndarray


def scored(at: Setting, rng: np.random.Generator, true: float) -> Scored:
    """A monitor with this AUROC; labels and logits of a cluster are alike."""
    labels = yes_no(latent(at, rng), at.share)
    return Scored(labels, SHIFT[true] * labels + latent(at, rng))


def _both(labels: np.ndarray) -> bool:
    return 0 < labels.sum() < len(labels)


NONE = Case(math.nan, math.nan, 0.0)


def area_of(true: float) -> Simulation:
    """One AUROC."""

    def case(at: Setting, rng: np.random.Generator) -> Case:
        made = scored(at, rng, true)
        if not _both(made.labels):
            return NONE
        found = auroc(made.labels, made.logits, at.names)
        return Case(found.low, found.high, true)

    return case


def area_within(at: Setting, rng: np.random.Generator) -> Case:
    """AUROC within three lengths."""
    made = scored(at, rng, 0.8)
    of = rng.integers(3, size=len(made.labels))
    bins = [of == number for number in range(3)]
    if not any(_both(made.labels[inside]) for inside in bins):
        return NONE
    found = auroc_within(made.labels, made.logits, at.names, bins)
    return Case(found.low, found.high, 0.8)


def areas_apart(better: float, worse: float) -> Simulation:
    """Two monitors on the same conversations, whose errors are half the same."""

    def case(at: Setting, rng: np.random.Generator) -> Case:
        labels = yes_no(latent(at, rng), at.share)
        if not _both(labels):
            return NONE
        shared = latent(at, rng)
        one, two = (
            SHIFT[true] * labels + math.sqrt(0.5) * (shared + latent(at, rng)) for true in (better, worse)
        )
        found = compare(area(labels, one, at.names), area(labels, two, at.names))
        return Case(found.low, found.high, better - worse)

    return case


def area_over_sets(at: Setting, rng: np.random.Generator) -> Case:
    """Mean of three data sets."""
    found = []
    for _ in range(3):
        made = scored(at, rng, 0.8)
        if not _both(made.labels):
            return NONE
        found.append(auroc(made.labels, made.logits, at.names))
    mean = mean_over_sets(found)
    return Case(mean.low, mean.high, 0.8)


def flagged(what: str) -> Simulation:
    """At the threshold for 1 % FPR: recall and rate there, and the recall at exactly 1 %."""

    def case(at: Setting, rng: np.random.Generator) -> Case:
        made = scored(at, rng, 0.95)
        if not _both(made.labels):
            return NONE
        found = largest_recall(made.labels, made.logits, at.names, 0.01)
        if what == "fpr":
            return Case(found.fpr.low, found.fpr.high, float(ndtr(-found.logit)))
        logit = found.logit if what == "recall" else float(-ndtri(0.01))
        return Case(found.recall.low, found.recall.high, float(ndtr(SHIFT[0.95] - logit)))

    return case


def recall_over_sets(at: Setting, rng: np.random.Generator) -> Case:
    """Mean of three data sets, each at its own threshold."""
    found, true, few = [], [], False
    for _ in range(3):
        made = scored(at, rng, 0.95)
        if not _both(made.labels):
            return NONE
        one = largest_recall(made.labels, made.logits, at.names, 0.01)
        few = few or len(set(np.array(at.names)[made.labels > 0.5])) < FEW_POSITIVES
        found.append(one)
        true.append(float(ndtr(SHIFT[0.95] - one.logit)))
    mean = mean_recall(found)
    return Case(mean.low, mean.high, float(np.mean(true)), doubted=few)


def cross_validated(at: Setting, rng: np.random.Generator) -> Case:
    """AUROC over five folds by cluster of a direction fitted on eight features; true: of these directions."""
    labels = yes_no(latent(at, rng), at.share)
    features = np.stack([latent(at, rng) for _ in range(FEATURES)], axis=1)
    features[:, 0] += SHIFT[0.8] * labels
    fold = np.repeat(rng.permutation(np.arange(at.clusters) % FOLDS), at.size)
    found, true = [], []
    for number in range(FOLDS):
        test = fold == number
        if not (_both(labels[test]) and _both(labels[~test])):
            return NONE
        up, down = (features[~test & (labels == value)].mean(axis=0) for value in (1, 0))
        way = (up - down) / np.linalg.norm(up - down)
        found.append(auroc(labels[test], features[test] @ way, np.array(at.names)[test].tolist()))
        true.append(float(ndtr(SHIFT[0.8] * way[0] / math.sqrt(2))))
    told = mean_over_sets(found)
    return Case(told.low, told.high, float(np.mean(true)))


# -- agreement ------------------------------------------------------------------------------------


def rated(made: Made, at: Setting, rng: np.random.Generator) -> np.ndarray:
    """[2, conversations], ratings of two raters."""
    truth, share = latent(at, rng), math.sqrt(1 - RELIABILITY)
    return np.stack(
        [made(math.sqrt(RELIABILITY) * truth + share * latent(at, rng), at.share) for _ in range(2)]
    )


def _case(found: Estimate, true: float) -> Case:
    if found.low is None or found.high is None:
        return NONE
    return Case(found.low, found.high, true, doubted=found.doubt is not None)


def agreement_of(made: Made, what: str) -> Simulation:
    """Alpha, a correlation, or the share of equal answers."""
    known: dict[float, float] = {}

    def statistic(ratings: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        if what == "pearson":
            return pearson(ratings[0], ratings[1])
        return spearman(*ratings) if what == "spearman" else alpha(ratings, "interval")

    def case(at: Setting, rng: np.random.Generator) -> Case:
        if at.share not in known:
            many = rated(made, Setting(400_000, 1, 0.0, at.share), np.random.default_rng(1))
            known[at.share] = (
                float((many[0] == many[1]).mean())
                if what == "same"
                else float(statistic(many)(np.ones((1, many.shape[1])))[0])
            )
        found = rated(made, at, rng)
        if what == "same":
            share = share_interval((found[0] == found[1]).astype(np.float64).tolist(), at.names)
            return Case(share.low, share.high, known[at.share])
        classes = np.floor(found + 0.5)
        return _case(estimate(statistic(found), classes, at.names, undefined=""), known[at.share])

    return case


# -- the table ------------------------------------------------------------------------------------

INTERVALS: dict[str, tuple[Simulation, Sequence[float]]] = {
    "mean, no scale": (mean_without_ends, (0.5,)),
    "difference, no scale, paired": (paired_without_ends, (0.5,)),
    **{f"mean, {name}": (mean_of(*kind), SHARES) for name, kind in KINDS.items()},
    **{f"difference, {n}": (difference_of(*kind, paired=False), SHARES) for n, kind in KINDS.items()},
    **{f"difference, {n}, paired": (difference_of(*kind, paired=True), SHARES) for n, kind in KINDS.items()},
    "mean over seeds": (seeds, (0.5,)),
    "AUROC .8": (area_of(0.8), SHARES),
    "AUROC .95": (area_of(0.95), SHARES),
    "AUROC within length": (area_within, SHARES),
    "AUROC difference .95 - .8": (areas_apart(0.95, 0.8), SHARES),
    "AUROC difference .8 - .8": (areas_apart(0.8, 0.8), SHARES),
    "AUROC, mean over sets": (area_over_sets, SHARES),
    "recall at the threshold": (flagged("recall"), SHARES),
    "recall, mean over sets": (recall_over_sets, SHARES),
    "FPR at the threshold": (flagged("fpr"), SHARES),
    "recall as if at just 1 % FPR": (flagged("exactly"), SHARES),
    "AUROC, mean over five folds": (cross_validated, SHARES),
    "alpha, yes/no": (agreement_of(yes_no, "alpha"), SHARES),
    "alpha, ratings": (agreement_of(ratings, "alpha"), SHARES),
    "Pearson, ratings": (agreement_of(ratings, "pearson"), SHARES),
    "Spearman, ratings": (agreement_of(ratings, "spearman"), SHARES),
    "share of equal answers": (agreement_of(yes_no, "same"), SHARES),
}
