"""Do the words alone give a gameable user away? How well a bag of words tells the two kinds apart."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from scenarios.files.located_yaml import ScenarioError

FOLDS = 5
RESAMPLES = 1000


class GiveAway(NamedTuple):
    """How well the words of unseen texts tell gameable users from others."""

    auroc: float | None
    """0.5: not at all; 1: always. None if it cannot be had."""

    lower: float | None
    upper: float | None
    """95 % percentile bootstrap over the texts, the classifiers kept."""

    reason: str | None = None
    """Why there is no number."""


def give_away(
    texts: Sequence[str], gameable: Sequence[bool], topics: Sequence[str], seed: int = 0
) -> GiveAway:
    """AUROC, out of fold, of logistic regression on which words (single and pairs) a text has.

    Folds are stratified and keep a topic together as far as there are topics enough; otherwise states
    are drawn freely. Where every text has a counterpart of the other kind with the same sentences, what
    is learned from one misleads about the other, and values below 0.5 come up; they mean no give-away.

    Args:
        texts: One per state.
        gameable: The kind of each.
        topics: The topic of each.
        seed: Of the folds and the bootstrap.

    Raises:
        ScenarioError: scikit-learn is not installed.
    """
    if (fewest := min(sum(gameable), len(texts) - sum(gameable))) < FOLDS:
        return GiveAway(None, None, None, f"{fewest} states of one kind; at least {FOLDS} are needed")
    try:
        told = _out_of_fold(texts, np.array(gameable), topics, seed)
    except ImportError:
        raise ScenarioError("this figure needs scikit-learn: pip install scikit-learn") from None
    kinds = np.array(gameable)
    rng = np.random.default_rng(seed)
    draws = (rng.integers(0, len(kinds), len(kinds)) for _ in range(RESAMPLES))
    values = [_auroc(kinds[d], told[d]) for d in draws if 0 < kinds[d].sum() < len(kinds)]
    lower, upper = np.quantile(values, [0.025, 0.975])
    return GiveAway(_auroc(kinds, told), float(lower), float(upper))


def _out_of_fold(texts: Sequence[str], kinds: np.ndarray, topics: Sequence[str], seed: int) -> np.ndarray:
    """For each text [n] the log-odds of being a gameable user's, from a model that has not seen its fold."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline

    groups = list(topics) if _with_both_kinds(kinds, topics) >= FOLDS else None
    split = StratifiedKFold if groups is None else StratifiedGroupKFold
    folds = split(FOLDS, shuffle=True, random_state=seed)
    words = CountVectorizer(binary=True, ngram_range=(1, 2), token_pattern=r"(?u)[\w']+")
    model = make_pipeline(words, LogisticRegression(max_iter=1000))
    method = "decision_function"
    return np.asarray(cross_val_predict(model, list(texts), kinds, groups=groups, cv=folds, method=method))


def _with_both_kinds(kinds: np.ndarray, topics: Sequence[str]) -> int:
    """How many topics have users of both kinds."""
    found = {(topic, bool(kind)) for topic, kind in zip(topics, kinds, strict=True)}
    return sum({(topic, False), (topic, True)} <= found for topic in set(topics))


def _auroc(kinds: np.ndarray, scores: np.ndarray) -> float:
    """The chance that a gameable user's score is above another's, ties counted half (Mann-Whitney)."""
    from scipy.stats import rankdata

    ranks = rankdata(scores)
    positive = int(kinds.sum())
    above = ranks[kinds].sum() - positive * (positive + 1) / 2
    return float(above / (positive * (len(kinds) - positive)))
