"""What simple features of a data set reach alone: its words, its length, its form, the facts of its making.

A monitor that is fitted on the set may have learnt no more than these. All are measured across pairs: what is
scored was not fitted on, nor was its pair, and rows are ranked within the fold that scored them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline

from analysis.ranking import Ranked, auroc, auroc_within
from probes.evaluation.controls import Words, fit_lexical, length_scores
from probes.laboratory.rows import StakesRow

FOLDS = 5
STRENGTH = 1.0
"""C of every classifier: it is a yardstick and not tuned."""

MAKING = ("style", "tone", "language", "length")
"""Facts of how a row was written."""

Scores = Callable[[list[StakesRow], np.ndarray, list[StakesRow]], np.ndarray]
"""(rows to fit on, their labels, rows to score) -> [rows], higher for high stakes."""


class Reach(NamedTuple):
    """How far one feature gets."""

    feature: str
    auroc: Ranked | None
    """0.5: it knows nothing. With a 95 % interval clustered by pair. None if it cannot be had."""

    rows: int
    pairs: int
    problem: str | None = None
    """Why there is no number."""


def reach_of(rows: Sequence[StakesRow], *, seed: int = 0, folds: int = FOLDS) -> list[Reach]:
    """The reach of words, length, form and making; rows without a label are left out.

    Args:
        rows: Of one data set.
        seed: Of the folds.
        folds: By pair; fewer where there are fewer pairs of a class.
    """
    kept = [row for row in rows if row.label is not None]
    labels = np.array([row.label for row in kept], dtype=np.float64)
    pairs = [row.pair for row in kept]
    count = min(folds, *(len({p for p, y in zip(pairs, labels, strict=True) if y == c}) for c in (0, 1)))
    if count < 2:
        told = (
            f"{int(labels.sum())} high and {int((labels == 0).sum())} low rows: two pairs of each are needed"
        )
        return [Reach(name, None, len(kept), len(set(pairs)), told) for name in (*_FITTED, "length")]
    found = [_fitted(name, scores, kept, labels, pairs, count, seed) for name, scores in _FITTED.items()]
    length = auroc(labels, length_scores([row.text for row in kept]), pairs)
    return [*found, Reach("length", length, len(kept), len(set(pairs)))]


def _fitted(
    name: str,
    scores: Scores,
    rows: list[StakesRow],
    labels: np.ndarray,
    pairs: Sequence[str],
    folds: int,
    seed: int,
) -> Reach:
    """The AUROC within folds, of scores by what was fitted on the other folds."""
    logits = np.zeros(len(rows))
    bins: list[np.ndarray] = []
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for train, test in splitter.split(labels, labels, pairs):
        inside = np.zeros(len(rows), dtype=bool)
        inside[test] = True
        bins.append(inside)
        try:
            logits[test] = scores([rows[i] for i in train], labels[train], [rows[i] for i in test])
        except ValueError as error:  # no words in any text, or one class in a fold
            told = " ".join(str(error).split())
            return Reach(name, None, len(rows), len(set(pairs)), told)
    return Reach(name, auroc_within(labels, logits, pairs, bins), len(rows), len(set(pairs)))


def _words(words: Words) -> Scores:
    def scores(train: list[StakesRow], labels: np.ndarray, test: list[StakesRow]) -> np.ndarray:
        texts, groups = [row.text for row in train], [row.pair for row in train]
        fitted = fit_lexical(texts, labels, groups, words=words, strengths=[STRENGTH])
        return fitted.logits([row.text for row in test])

    return scores


def _features(features: Callable[[StakesRow], Mapping[str, str | float]]) -> Scores:
    def scores(train: list[StakesRow], labels: np.ndarray, test: list[StakesRow]) -> np.ndarray:
        model = make_pipeline(
            DictVectorizer(sparse=False), LogisticRegression(C=STRENGTH, solver="liblinear")
        )
        model.fit([features(row) for row in train], labels)
        return model.decision_function([features(row) for row in test])

    return scores


def _form(row: StakesRow) -> dict[str, str | float]:
    """What a conversation looks like from afar."""
    roles = [message["role"] for message in row.messages]
    return {
        "messages": min(len(roles), 20) / 10,
        "system": float("system" in roles),
        "tools": float("tool" in roles or bool(row.tools)),
        "last": roles[-1],
    }


def _making(row: StakesRow) -> dict[str, str | float]:
    return {name: row.facts.get(name, "") for name in MAKING}


_FITTED: Mapping[str, Scores] = {
    "bag of words": _words("bag_of_words"),
    "TF-IDF, words and pairs of words": _words("tfidf"),
    "style, tone, language, length as asked": _features(_making),
    "form: turns, system prompt, tools": _features(_form),
}
