"""Hand-computed cases: what each head makes of tokens whose logits are given."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from probes.activations.ragged import Ragged
from probes.heads.table import HEADS, make_head


def with_logits(name, *rows, **parameters):
    """Logits of rows whose tokens have these logits: a head on one direction with weight 1."""
    head = make_head(name, **parameters)
    head.set_weights(torch.ones(1, head.channels), torch.zeros(head.channels))
    return head.decision_function(Ragged.from_rows([torch.tensor(r)[:, None] for r in rows]))


def with_channels(name, *rows, **parameters):
    """Logits of rows whose tokens have these channels."""
    head = make_head(name, **parameters)
    head.set_weights(torch.eye(head.channels), torch.zeros(head.channels))
    return head.decision_function(Ragged.from_rows([torch.tensor(r) for r in rows]))


def test_no_longer_row_lifts_the_maximum_of_a_shorter_one():
    # in the earlier system a padded row was floored at 0
    assert with_logits("max", [-1.0, -2.0], [-5.0, -4.0, -3.0]) == pytest.approx([-1, -3])


def test_rolling_mean_of_a_constant_is_the_constant():
    rows = with_logits("max_of_rolling_means", [-2.0] * 50, [-3.0] * 100, window=40)
    assert rows == pytest.approx([-2, -3])


def test_rolling_mean_of_a_row_shorter_than_the_window_is_its_mean():
    rows = with_logits("max_of_rolling_means", [1.0, 2.0, 6.0], [1.0] * 60, window=40)
    assert rows == pytest.approx([3, 1])


def test_rolling_mean_takes_only_whole_windows():
    # 9 alone would be a mean of 9; whole windows of two have means 4.5, 0 and 2
    assert with_logits("max_of_rolling_means", [9.0, 0.0, 0.0, 4.0], window=2) == pytest.approx([4.5])


def test_mean_and_per_entry_agree_for_the_same_weights():
    rows = [1.0, -2.0, 4.0], [5.0]
    assert with_logits("mean", *rows) == pytest.approx([1, 5])
    assert with_logits("per_entry", *rows) == pytest.approx([1, 5])


def test_last_is_the_last_token():
    assert with_logits("last", [7.0, -1.0], [2.0]) == pytest.approx([-1, 2])


def test_softmax_by_hand():
    # weights 1/4 and 3/4 of logits 0 and T log 3
    logit = 5 * math.log(3)
    assert with_logits("softmax", [0.0, logit], temperature=5.0) == pytest.approx([0.75 * logit])


def test_softmax_lies_between_mean_and_maximum():
    row = [0.0, 1.0, 5.0]
    assert with_logits("softmax", row, temperature=1e6) == pytest.approx([2], abs=1e-4)
    assert with_logits("softmax", row, temperature=1e-3) == pytest.approx([5])


def test_attention_by_hand():
    # queries 0 and log 3 weigh the values 4 and 8 by 1/4 and 3/4
    assert with_channels("attention", [[0.0, 4.0], [math.log(3), 8.0]]) == pytest.approx([7])


def test_two_attention_heads_add_up():
    row = [[0.0, 0.0, 4.0, 1.0], [math.log(3), 0.0, 8.0, 3.0]]
    assert with_channels("multi_head_attention", row, heads=2) == pytest.approx([7 + 2])


def test_attention_is_not_changed_by_what_is_added_to_all_queries():
    row = torch.tensor([[0.3, 4.0], [1.0, 8.0], [-2.0, 1.0]])
    moved = row + torch.tensor([500.0, 0.0])
    assert with_channels("attention", moved.tolist()) == pytest.approx(
        with_channels("attention", row.tolist()), rel=1e-4
    )


def test_rolling_attention_by_hand():
    # windows of two: (4, 8) weighted 1/4, 3/4 is 7; (8, 0) weighted 3/4, 1/4 is 6
    row = [[0.0, 4.0], [math.log(3), 8.0], [0.0, 0.0]]
    assert with_channels("rolling_attention", row, heads=1, window=2) == pytest.approx([7])


def test_rolling_attention_of_one_token_windows_is_multimax_and_of_wide_ones_attention():
    row = [[0.0, 4.0], [math.log(3), 8.0], [2.0, -1.0]]
    assert with_channels("rolling_attention", row, heads=1, window=1) == pytest.approx([8])
    wide = with_channels("rolling_attention", row, heads=1, window=30)
    assert wide == pytest.approx(with_channels("attention", row))


def test_multimax_adds_the_maximum_of_each_head():
    assert with_channels("multimax", [[1.0, -5.0], [-2.0, -3.0]], heads=2) == pytest.approx([-2])


def test_exponential_maximum_by_hand():
    # means with weights 1, (1/3, 2/3), (1/7, 2/7, 4/7): 0, 4, 12/7
    assert with_logits("ema_max", [0.0, 6.0, 0.0], decay=0.5) == pytest.approx([4])


def test_exponential_maximum_without_memory_is_the_maximum():
    assert with_logits("ema_max", [3.0, 6.0, 0.0], decay=1.0) == pytest.approx([6])


def test_sliding_mean_reads_out_where_the_window_is_full():
    # window 3: decay 1/2; only the third and fourth token end a whole window
    found = with_logits("sliding_mean", [7.0, 0.0, 0.0, 0.0], window=3)
    assert found == pytest.approx([7 / 7])


def test_top_k_by_hand():
    rows = with_logits("top_k", [1.0, 9.0, 4.0], [2.0], [5.0, 5.0, 5.0], count=2)
    assert rows == pytest.approx([6.5, 2, 5])


def naive(name, row, **parameters):
    """The definitions, written with loops over one row."""
    z = np.array(row, dtype=np.float64)
    window = min(parameters.get("window", 1), len(z))
    ends = range(window, len(z) + 1)
    if name == "max_of_rolling_means":
        return max(z[end - window : end].mean() for end in ends)
    if name == "ema_max":
        keep = 1 - parameters["decay"]
        means = []
        for end in range(1, len(z) + 1):
            weights = keep ** np.arange(end)[::-1]
            means.append(weights @ z[:end] / weights.sum())
        return max(means)
    assert name == "top_k"
    return np.sort(z)[::-1][: parameters["count"]].mean()


@settings(deadline=None, max_examples=40)
@given(
    rows=st.lists(st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=40), min_size=1, max_size=5),
    window=st.integers(1, 45),
    decay=st.floats(0.05, 1),
)
def test_aggregations_are_what_loops_over_single_rows_give(rows, window, decay):
    for name, parameters in (
        ("max_of_rolling_means", {"window": window}),
        ("ema_max", {"decay": decay}),
        ("top_k", {"count": window}),
    ):
        expected = [naive(name, row, **parameters) for row in rows]
        assert with_logits(name, *rows, **parameters) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("name", HEADS)
def test_a_conversation_of_one_token_has_that_tokens_logit(name):
    head = make_head(name)
    generator = torch.Generator().manual_seed(3)
    head.set_weights(
        torch.randn(6, head.channels, generator=generator), torch.randn(head.channels, generator=generator)
    )
    tokens = torch.randn(9, 6, generator=generator)
    alone = head.decision_function(Ragged.from_rows([t[None] for t in tokens]))
    (together,) = head.token_scores(Ragged.from_rows([tokens]))
    assert together == pytest.approx(alone, abs=1e-5)


def two_classes(rows=120, hidden=6, seed=0):
    """Pooled activations [rows, hidden] with an uneven covariance, and labels."""
    rng = np.random.default_rng(seed)
    y = (rng.random(rows) < 0.4).astype(float)
    x = rng.normal(size=(rows, hidden)) @ rng.normal(size=(hidden, hidden)) + y[:, None] * rng.normal(
        size=hidden
    )
    return x.astype(np.float32), y


def as_rows(x):
    return Ragged.from_rows([torch.from_numpy(r)[None] for r in x])


def test_difference_of_means_by_hand():
    x = as_rows(np.array([[0.0, 0.0], [2.0, 0.0], [4.0, 2.0], [6.0, 2.0]], dtype=np.float32))
    head = make_head("difference_of_means", calibrate=False).fit(x, [0, 0, 1, 1])
    # means (1, 0) and (5, 2): direction (4, 2), half way (3, 1)
    assert head.weight_[:, 0].tolist() == [4, 2]
    assert head.bias_.item() == -(4 * 3 + 2 * 1)


def test_calibrated_difference_keeps_its_direction_and_is_no_longer_certain():
    x, y = two_classes()
    plain = make_head("difference_of_means", calibrate=False).fit(as_rows(x), y)
    calibrated = make_head("difference_of_means").fit(as_rows(x), y)
    ratio = calibrated.weight_ / plain.weight_
    assert ratio.std() / ratio.mean() < 1e-4
    assert calibrated.predict_proba(as_rows(x))[:, 1].mean() == pytest.approx(y.mean(), abs=0.02)


@pytest.mark.parametrize("shrinkage", ["auto", 0.0, 0.3])
def test_lda_is_that_of_scikit_learn(shrinkage):
    x, y = two_classes()
    ours = make_head("lda", shrinkage=shrinkage).fit(as_rows(x), y).decision_function(as_rows(x))
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage or None).fit(x, y)
    assert ours == pytest.approx(theirs.decision_function(x), rel=1e-3, abs=1e-3)


def test_lda_is_not_the_difference_of_means():
    x, y = two_classes()
    lda = make_head("lda").fit(as_rows(x), y).weight_[:, 0]
    difference = make_head("difference_of_means").fit(as_rows(x), y).weight_[:, 0]
    assert torch.cosine_similarity(lda, difference, dim=0) < 0.95


def test_logistic_is_that_of_scikit_learn():
    x, y = two_classes()
    ours = make_head("logistic", C=0.01).fit(as_rows(x), y).decision_function(as_rows(x))
    scaler = StandardScaler().fit(x)
    theirs = LogisticRegression(C=0.01).fit(scaler.transform(x), y)
    assert ours == pytest.approx(theirs.decision_function(scaler.transform(x)), abs=1e-3)


def test_a_soft_label_is_two_rows_with_its_weights():
    x, y = two_classes(rows=40)
    soft = np.where(y > 0, 0.8, 0.1)
    twice = np.concatenate([x, x])
    hard, weights = np.repeat([1.0, 0.0], 40), np.concatenate([soft, 1 - soft])
    for name in ("mean", "logistic", "difference_of_means"):
        one = make_head(name).fit(as_rows(x), soft)
        two = make_head(name).fit(as_rows(twice), hard, sample_weight=2 * weights)
        # masses add up to the number of rows, of which there are twice as many
        if name == "difference_of_means":
            assert torch.cosine_similarity(one.weight_, two.weight_, dim=0).item() == pytest.approx(
                1, abs=1e-5
            )
        else:
            half = make_head(name, C=one.C / 2).fit(as_rows(twice), hard, sample_weight=2 * weights)
            assert half.decision_function(as_rows(x)) == pytest.approx(
                one.decision_function(as_rows(x)), abs=5e-3
            )
