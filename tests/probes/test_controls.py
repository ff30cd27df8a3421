import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import BaseEstimator

from probes.conversations.conversation import Conversation
from probes.evaluation.controls import (
    fit_lexical,
    length_scores,
    plain_text,
    shuffled_auroc,
    shuffled_labels,
    shuffled_logits,
)
from probes.evaluation.metrics import auroc
from tests.support.places import DATA

STAKES = DATA / "stakes"


class LeastSquares(BaseEstimator):
    def fit(self, X, y, *, groups=None):  # noqa: N803
        self.weight_ = np.linalg.lstsq(X, y - 0.5, rcond=None)[0]
        return self

    def decision_function(self, X):  # noqa: N803
        return X @ self.weight_


def worded(count: int) -> tuple[list[str], np.ndarray, list[int]]:
    random = np.random.default_rng(0)
    labels = np.arange(count) % 2
    fillers = random.choice(["the", "a", "house", "tree", "river"], size=(count, 6))
    marks = np.where(labels == 1, "danger", "calm")
    texts = [" ".join([*f, m]) for f, m in zip(fillers, marks, strict=True)]
    return texts, labels.astype(float), [i // 2 for i in range(count)]


def test_the_text_of_a_conversation_is_what_was_said_and_called():
    messages = [
        {"role": "system", "content": ""},
        {"role": "user", "content": "Grüße"},
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "öffne"}}]},
    ]
    text = plain_text(Conversation("1", messages))
    assert text == 'Grüße\n[{"function": {"name": "öffne"}}]'
    assert list(length_scores([text, "abc", ""])) == [len(text), 3, 0]


@pytest.mark.parametrize("words", ["bag_of_words", "tfidf"])
def test_words_that_give_the_label_away_are_found(words):
    texts, labels, groups = worded(80)
    found = fit_lexical(texts, labels, groups, words=words)
    assert found.auroc == 1
    assert found.n_rows == 80
    logits = found.logits(["the house calm", "the house danger"])
    assert logits[0] < 0 < logits[1]


def test_ambiguous_rows_are_not_fitted():
    texts, labels, groups = worded(40)
    found = fit_lexical(
        [*texts, "danger", "secret"], [*labels, 0.5, math.nan], [*groups, 90, 91], strengths=[1.0]
    )
    assert (found.n_rows, found.n_left_out, found.strength) == (40, 2, 1.0)
    assert math.isnan(found.auroc)
    assert "secret" not in found.pipeline["words"].vocabulary_


def test_c_is_chosen_on_groups_that_were_not_fitted():
    # every group has a word of its own and one label: only a fold that leaks could learn anything
    groups = [i // 10 for i in range(200)]
    labels = np.random.default_rng(1).permutation(np.repeat([0.0, 1.0], 10))[groups]
    found = fit_lexical([f"word{g} same" for g in groups], labels, groups)
    assert found.auroc == pytest.approx(0.5, abs=0.1)


def test_what_cannot_be_fitted_is_told():
    with pytest.raises(ValueError, match="2 positive and 0 negative"):
        fit_lexical(["a b", "c d"], np.ones(2), "ab")
    with pytest.raises(ValueError, match="at least two groups of each class"):
        fit_lexical(["ab cd", "cd ef", "ef gh"], np.array([0.0, 1.0, 1.0]), "abb")
    with pytest.raises(ValueError, match="must agree"):
        fit_lexical(["ab"], np.ones(2), "ab")


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=30), st.integers(0, 99))
def test_shuffling_keeps_the_labels_themselves(rows, seed):
    labels, groups = np.array([float(r[1]) for r in rows]), [r[0] for r in rows]
    if len(set(labels)) < 2:
        with pytest.raises(ValueError, match="changes nothing"):
            shuffled_labels(labels, groups, seed)
        return
    found = shuffled_labels(labels, groups, seed)
    assert sorted(found) == sorted(labels)
    assert list(found) == list(shuffled_labels(labels, groups, seed))


def test_pairs_keep_one_label_of_each():
    labels, pairs = np.tile([0.0, 1.0], 100), [i // 2 for i in range(200)]
    found = shuffled_labels(labels, pairs, 3)
    assert (found.reshape(-1, 2).sum(axis=1) == 1).all()
    assert 0.3 < (found == labels).mean() < 0.7


def test_groups_of_one_label_keep_one_and_change_it():
    groups = [i % 40 for i in range(200)]
    labels = np.array([float(g < 20) for g in groups])
    found = shuffled_labels(labels, groups, 4)
    for group in range(40):
        assert len({found[i] for i in range(200) if groups[i] == group}) == 1
    assert 0.2 < (found == labels).mean() < 0.8


def test_single_rows_are_shuffled_too():
    labels = np.repeat([0.0, 1.0], 100)
    found = shuffled_labels(labels, list(range(200)), 5)
    assert 0.3 < (found == labels).mean() < 0.7


def test_a_head_on_shuffled_labels_ranks_as_chance_does():
    random = np.random.default_rng(2)
    labels = np.tile([0.0, 1.0], 400)
    features = random.normal(size=(800, 20)) + labels[:, None]
    groups = [str(i // 2) for i in range(800)]
    head = LeastSquares()
    train, test = slice(0, 400), slice(400, 800)
    (logits,) = shuffled_logits(
        head, features[train], labels[train], groups[train], [features[test]], permutations=20, seed=1
    )
    assert logits.shape == (20, 400)
    assert not hasattr(head, "weight_")
    # one shuffled fit of a strong direction swings either way, their mean does not
    found = shuffled_auroc(labels[test], logits, groups[test])
    assert found.mean == pytest.approx(0.5, abs=0.25)
    assert found.lowest < 0.5 < found.highest
    true = head.fit(features[train], labels[train]).decision_function(features[test])
    assert auroc(labels[test], true, groups[test]).value > 0.99
    with pytest.raises(ValueError, match="at least one permutation"):
        shuffled_logits(head, features, labels, groups, [], permutations=0)


def stakes(name: str) -> tuple[list[dict], list[str], np.ndarray]:
    rows = [json.loads(line) for line in (STAKES / f"{name}.jsonl").read_text("utf-8").splitlines()]
    rows = [row for row in rows if row["labels"] != "ambiguous"]
    texts = []
    for row in rows:
        said = row["inputs"]
        messages = json.loads(said) if said.startswith('[{"') else [{"role": "user", "content": said}]
        texts.append(plain_text(Conversation("", messages)))
    return rows, texts, np.array([float(row["labels"] == "high-stakes") for row in rows])


@pytest.mark.skipif(not STAKES.is_dir(), reason="the stakes data are not here")
@pytest.mark.parametrize(
    ("name", "expected"), [("anthropic", 0.451), ("mt", 0.816), ("mts", 0.699), ("toolace", 0.629)]
)
def test_length_alone_on_real_conversations(name, expected):
    _, texts, labels = stakes(name)
    found = auroc(labels, length_scores(texts), list(range(len(texts))))
    assert found.value == pytest.approx(expected, abs=0.005)


@pytest.mark.skipif(not STAKES.is_dir(), reason="the stakes data are not here")
def test_words_alone_on_real_conversations():
    rows, texts, labels = stakes("synthetic")
    parts = {split: [i for i, row in enumerate(rows) if row["split"] == split] for split in ("train", "test")}
    pairs = [row["pair_id"] for row in rows]
    train, test = parts["train"], parts["test"]
    for words, expected in (("bag_of_words", 0.880), ("tfidf", 0.941)):
        fitted = fit_lexical(
            [texts[i] for i in train], labels[train], [pairs[i] for i in train], words=words, strengths=[1.0]
        )
        logits = fitted.logits([texts[i] for i in test])
        found = auroc(labels[test], logits, [pairs[i] for i in test]).value
        assert found == pytest.approx(expected, abs=0.01)
