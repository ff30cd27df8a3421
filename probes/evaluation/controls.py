"""What a monitor must beat: the length of a conversation, its words, and the same head on shuffled labels."""

import json
from collections.abc import Hashable, Sequence
from typing import Any, Literal, NamedTuple, Protocol, cast

import numpy as np
from sklearn.base import clone
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import Pipeline

from probes.conversations.conversation import Conversation
from probes.evaluation.metrics import auroc, usable_rows

FOLDS = 5
STRENGTHS = (0.01, 0.1, 1.0, 10.0)
"""Values of C that cross-validation chooses from."""

PERMUTATIONS = 5

Words = Literal["bag_of_words", "tfidf"]


class HeadLike(Protocol):
    """What is needed of a head; a scikit-learn estimator, so that it can be cloned."""

    def fit(self, X: Any, y: Any, *, groups: Sequence[str] | None = None) -> Any:  # noqa: N803
        """Fit on rows and their labels."""
        ...

    def decision_function(self, X: Any) -> np.ndarray:  # noqa: N803
        """[rows], logits."""
        ...


class Lexical(NamedTuple):
    """A classifier of words, and how its strength of regularisation was chosen."""

    pipeline: Pipeline
    strength: float
    """C, the inverse of the regularisation."""

    auroc: float
    """Of the chosen C: mean over folds of the training rows. NaN if nothing was chosen."""

    n_rows: int
    n_left_out: int
    """Ambiguous or unlabelled training rows."""

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """[texts], above 0 for positive."""
        return self.pipeline.decision_function(list(texts))


class Shuffled(NamedTuple):
    """AUROC of a head that was fitted on shuffled labels, over permutations."""

    mean: float
    lowest: float
    highest: float
    permutations: int


def plain_text(conversation: Conversation) -> str:
    """Everything that is said in a conversation, calls of tools as JSON, one message below the other.

    Roles and the template are left out: a control sees words, not the form.
    """
    said: list[str] = []
    for message in conversation.messages:
        if message.get("content"):
            said.append(str(message["content"]))
        if message.get("tool_calls"):
            said.append(json.dumps(message["tool_calls"], ensure_ascii=False))
    return "\n".join(said)


def length_scores(texts: Sequence[str]) -> np.ndarray:
    """[texts], float64: characters of each. Nothing is fitted, longer counts as positive.

    An AUROC below 0.5 therefore means that shorter conversations are positive. These are scores for ranking,
    not logits; a count of tokens serves as well.
    """
    return np.array([len(text) for text in texts], dtype=np.float64)


def fit_lexical(
    texts: Sequence[str],
    labels: np.ndarray,
    groups: Sequence[Hashable],
    *,
    words: Words = "bag_of_words",
    strengths: Sequence[float] = STRENGTHS,
    seed: int = 0,
) -> Lexical:
    """Logistic regression on words, with the C of the best mean AUROC in cross-validation by group.

    "bag_of_words" counts single words; "tfidf" weighs words and pairs of neighbours. Vocabularies are
    those of the rows that are fitted, also in each fold.

    Args:
        texts: Of each row.
        labels: [rows], in 0..1 or NaN; above 0.5 positive. Exactly 0.5 and NaN are left out.
        groups: Of each row; no group is on both sides of a fold.
        words: What is counted.
        strengths: To choose from; one is taken as it is.
        seed: Of the folds.

    Raises:
        ValueError: One class only, no strengths, lengths that differ, fewer than two groups of a class where
            there is a choice, or no words in any text.
    """
    if len({len(texts), len(labels), len(groups)}) > 1:
        raise ValueError(f"{len(texts)} texts, {len(labels)} labels, {len(groups)} groups; they must agree")
    if not strengths:
        raise ValueError("at least one value of C is needed")
    usable = usable_rows(labels)
    if not usable.both_classes:
        raise ValueError(
            f"{usable.n_positive} positive and {usable.n_negative} negative rows: both classes are needed"
        )
    rows = np.flatnonzero(usable.rows).tolist()
    kept = [texts[i] for i in rows]
    positive = np.asarray(labels, dtype=np.float64)[rows] > 0.5
    names = _numbered([groups[i] for i in rows])
    pipeline = _pipeline(words, strengths[0])
    left_out = len(texts) - len(rows)
    if len(strengths) == 1:
        return Lexical(pipeline.fit(kept, positive), strengths[0], np.nan, len(rows), left_out)
    folds = min(FOLDS, len(set(names[positive])), len(set(names[~positive])))
    if folds < 2:
        raise ValueError("C is chosen by groups: at least two groups of each class are needed; or give one C")
    search = GridSearchCV(
        pipeline,
        {"regression__C": list(strengths)},
        scoring="roc_auc",
        cv=StratifiedGroupKFold(folds, shuffle=True, random_state=seed),
        error_score=cast(Any, "raise"),  # the stubs know numbers only
    )
    search.fit(kept, positive, groups=names)
    return Lexical(
        search.best_estimator_,
        float(search.best_params_["regression__C"]),
        float(search.best_score_),
        len(rows),
        left_out,
    )


def shuffled_labels(labels: np.ndarray, groups: Sequence[Hashable], seed: int) -> np.ndarray:
    """The same labels dealt out anew, in a way that keeps labels of a group together.

    Labels are shuffled within each group; then the groups' labels are laid end to end in random order and
    dealt to the groups in their own order. With pairs of one positive and one negative every pair keeps one
    of each. Where groups of one size have one label each, they still do, but perhaps another. With groups of
    one row it is a plain permutation. Groups of different sizes mix where their ends meet.

    Raises:
        ValueError: Labels that are all equal, or not one group for each label.
    """
    labels = np.asarray(labels, dtype=np.float64)
    if len(groups) != len(labels):
        raise ValueError(f"{len(labels)} labels but {len(groups)} groups")
    if len(np.unique(labels)) < 2:
        raise ValueError("all labels are equal: to shuffle them changes nothing")
    random = np.random.default_rng(seed)
    names = _numbered(groups)
    members = [np.flatnonzero(names == name) for name in range(int(names.max()) + 1)]
    dealt = [random.permutation(labels[members[int(g)]]) for g in random.permutation(len(members))]
    found = np.empty_like(labels)
    found[np.concatenate(members)] = np.concatenate(dealt)
    return found


def shuffled_logits(
    head: HeadLike,
    train: Any,
    labels: np.ndarray,
    groups: Sequence[str],
    tests: Sequence[Any],
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> list[np.ndarray]:
    """Logits of a head that was fitted anew, with the same parameters, on shuffled labels.

    Args:
        head: Left as it is.
        train: What it is fitted on.
        labels: [rows of train], in 0..1.
        groups: Of each row of `train`.
        tests: Data sets to score.
        permutations: Fits.
        seed: Of the permutations.

    Returns:
        For each test [permutations, rows].

    Raises:
        ValueError: As `shuffled_labels`, no permutations, or what the head raises.
    """
    if permutations < 1:
        raise ValueError(f"at least one permutation is needed, got {permutations}")
    seeds = np.random.SeedSequence(seed).generate_state(permutations)
    found: list[list[np.ndarray]] = [[] for _ in tests]
    for own in seeds:
        fitted: Any = clone(head)
        fitted.fit(train, shuffled_labels(labels, groups, int(own)), groups=groups)
        for logits, test in zip(found, tests, strict=True):
            logits.append(np.asarray(fitted.decision_function(test), dtype=np.float64))
    return [np.stack(logits) for logits in found]


def shuffled_auroc(labels: np.ndarray, logits: np.ndarray, groups: Sequence[Hashable]) -> Shuffled:
    """AUROC on true labels, over permutations; far from 0.5 where labels leak, or where rows are few.

    Args:
        labels: [rows] of the test set.
        logits: [permutations, rows], of `shuffled_logits`.
        groups: Of each row.
    """
    values = [auroc(labels, own, groups).value for own in logits]
    return Shuffled(float(np.mean(values)), min(values), max(values), len(values))


def _pipeline(words: Words, strength: float) -> Pipeline:
    vectorizer = (
        CountVectorizer()
        if words == "bag_of_words"
        else TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    )
    regression = LogisticRegression(C=strength, solver="liblinear", random_state=0)
    return Pipeline([("words", vectorizer), ("regression", regression)])


def _numbered(groups: Sequence[Hashable]) -> np.ndarray:
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups])
