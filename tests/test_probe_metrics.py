import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from probes.bootstrap import (
    Part,
    auroc_statistic,
    auroc_within_statistic,
    difference,
    mean_statistic,
    recall_statistic,
    resampled,
)
from probes.metrics import (
    OneClassWarning,
    accuracy,
    auprc,
    auroc,
    brier,
    calibration_error,
    log_loss,
    measure,
    partial_auroc,
    recall_at_fpr,
    reliability,
    usable_rows,
)


def separate(count: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
    labels = np.repeat([0.0, 1.0], count)
    return labels, np.concatenate([np.arange(count), count + np.arange(count)]), list(range(2 * count))


def normal(count: int, shift: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = np.repeat([0.0, 1.0], count)
    return labels, random.normal(size=2 * count) + shift * labels


def test_a_perfect_monitor_is_perfect_in_every_ranking_metric():
    labels, logits, groups = separate(30)
    assert auroc(labels, logits, groups).value == 1
    assert auprc(labels, logits) == 1
    assert partial_auroc(labels, logits) == pytest.approx(1)
    found = recall_at_fpr(labels, logits, groups)
    assert (found.recall.value, found.fpr, found.logit, found.n_negative) == (1, 0, 30, 30)


def test_recall_of_43_per_class_is_what_no_false_positive_leaves():
    # 43 negatives: not one may be flagged at 1 %; 5 of 43 positives lie below the highest negative
    negative, positive = np.arange(43.0), np.concatenate([np.arange(5) + 0.5, 100.0 + np.arange(38)])
    labels = np.repeat([0.0, 1.0], 43)
    found = recall_at_fpr(labels, np.concatenate([negative, positive]), list(range(86)))
    assert found.recall.value == pytest.approx(38 / 43)
    assert round(found.recall.value, 3) == 0.884
    assert (found.fpr, found.logit, found.asked_fpr) == (0, 100, 0.01)


def test_the_partial_auroc_of_chance_is_that_of_the_diagonal():
    # all tied: the curve is the diagonal
    labels = np.array([0.0, 1.0, 0.0, 1.0])
    assert partial_auroc(labels, np.zeros(4)) == pytest.approx((0.1 - 0.001) / math.log(100))


def test_the_partial_auroc_by_hand():
    # ten negatives, one of them above half of the positives: (0, 0) (0, .5) (.1, .5) (.1, 1) (1, 1)
    labels = np.array([1.0, 0.0, 1.0] + [0.0] * 9)
    logits = np.array([9.0, 8.0, 7.0] + [0.0] * 9)
    assert partial_auroc(labels, logits) == pytest.approx(0.5)
    # up to .2: one half over log(.1 / .001), all over log(.2 / .1)
    expected = (0.5 * math.log(100) + math.log(2)) / math.log(200)
    assert partial_auroc(labels, logits, 1e-3, 0.2) == pytest.approx(expected)
    with pytest.raises(ValueError, match="low < high"):
        partial_auroc(labels, logits, 0, 0.1)


def test_average_precision_by_hand():
    # positives at ranks 1 and 3: (1 / 1 + 2 / 3) / 2
    assert auprc(np.array([1.0, 0.0, 1.0, 0.0]), np.array([4.0, 3.0, 2.0, 1.0])) == pytest.approx(5 / 6)


def test_one_class_is_missing_and_not_an_error():
    labels, logits = np.zeros(3), np.arange(3.0)
    with pytest.warns(OneClassWarning, match="0 positive and 3 negative"):
        assert math.isnan(auroc(labels, logits, "abc").value)
    with pytest.warns(OneClassWarning):
        row = measure(labels, logits, "abc", threshold=1.0).row()
    assert (row["auroc"], row["auprc"], row["recall_at_1pct_fpr"], row["partial_auroc"]) == (None,) * 4
    assert row["accuracy"] == pytest.approx(1 / 3)
    assert row["n_negative"] == 3


def test_ambiguous_and_unlabelled_rows_are_left_out_and_counted():
    labels, logits = np.array([1.0, 0.0, 0.5, math.nan, 0.9, 0.2]), np.array([3.0, 1.0, 9.0, -9.0, 2.0, 0.0])
    found = measure(labels, logits, "abcdef", threshold=1.5)
    row = found.row()
    assert (row["n"], row["n_ambiguous"], row["n_unlabelled"], row["n_excluded"]) == (4, 1, 1, 2)
    assert (row["auroc"], row["accuracy"]) == (1, 1)
    # soft labels count as they are where probabilities are judged
    soft = ~np.isnan(labels)
    assert row["brier"] == pytest.approx(brier(labels[soft], 1 / (1 + np.exp(-logits[soft]))))
    assert list(usable_rows(labels).rows) == [True, True, False, False, True, True]


def test_scores_that_are_no_logits_have_no_probabilities():
    found = measure(np.array([0.0, 1.0]), np.array([100.0, 700.0]), "ab", calibrated=False).row()
    assert found["auroc"] == 1
    assert (found["brier"], found["log_loss"], found["ece"], found["accuracy"], found["threshold"]) == (
        None,
    ) * 5


def test_brier_and_log_loss_by_hand():
    labels, probabilities = np.array([1.0, 0.0, 0.5]), np.array([0.8, 0.4, 0.5])
    assert brier(labels, probabilities) == pytest.approx((0.04 + 0.16) / 3)
    expected = -(math.log(0.8) + math.log(0.6) + math.log(0.5)) / 3
    assert log_loss(labels, probabilities) == pytest.approx(expected)
    # clipped at 1e-12
    assert log_loss(np.array([1.0]), np.array([0.0])) == pytest.approx(12 * math.log(10))
    assert log_loss(np.array([1.0]), np.array([1.0])) == pytest.approx(0, abs=1e-9)


def test_a_probability_of_one_falls_in_the_last_bin():
    labels, probabilities = np.array([0.0, 1.0, 1.0]), np.array([0.05, 0.95, 1.0])
    found = reliability(labels, probabilities, equal="width")
    assert list(found.rows) == [1, 2]
    assert list(found.probability) == pytest.approx([0.05, 0.975])
    assert calibration_error(labels, probabilities, equal="width") == pytest.approx((0.05 + 2 * 0.025) / 3)


def test_bins_of_equal_mass_never_part_equal_probabilities():
    labels = np.array([0.0, 1.0, 0.0, 1.0, 1.0, 1.0])
    found = reliability(labels, np.array([0.1, 0.1, 0.1, 0.1, 0.1, 0.9]), bins=3)
    assert list(found.rows) == [5, 1]
    assert list(found.share) == pytest.approx([0.6, 1])
    even = reliability(np.zeros(100), np.linspace(0, 1, 100), bins=4)
    assert list(even.rows) == [25] * 4


def test_accuracy_counts_the_threshold_itself_as_flagged():
    assert accuracy(np.array([1.0, 0.0]), np.array([2.0, 1.0]), 2.0) == 1
    assert accuracy(np.array([1.0, 0.0]), np.array([2.0, 1.0]), 1.0) == 0.5


@pytest.mark.parametrize(
    ("labels", "logits", "told"),
    [
        ([0.0, 1.0], [0.0, math.inf], "row 1 has a score that is not finite"),
        ([0.0, 2.0], [0.0, 1.0], "row 1 has 2"),
        ([0.0, 1.0, 1.0], [0.0, 1.0], "do not fit"),
    ],
)
def test_rows_that_cannot_be_right_are_named(labels, logits, told):
    with pytest.raises(ValueError, match=told):
        measure(np.array(labels), np.array(logits), list(range(len(labels))))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=40))
def test_bootstrap_statistics_agree_with_the_metrics(rows):
    labels, logits = np.array([float(r[0]) for r in rows]), np.array([float(r[1]) for r in rows])
    groups = list(range(len(rows)))
    once = np.ones((1, len(rows)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OneClassWarning)
        expected = auroc(labels, logits, groups).value
        wanted = recall_at_fpr(labels, logits, groups, 0.2).recall.value
    assert auroc_statistic(labels, logits)(once)[0] == pytest.approx(expected, nan_ok=True)
    assert recall_statistic(labels, logits, 0.2)(once)[0] == pytest.approx(wanted, nan_ok=True)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 3), min_size=12, max_size=12))
def test_a_row_that_counts_twice_is_the_row_written_twice(times):
    labels, logits = normal(6, 1, 3)
    counts = np.array(times)
    repeated, scores = np.repeat(labels, counts), np.repeat(np.round(logits), counts)
    found = auroc_statistic(labels, np.round(logits))(counts[None].astype(float))[0]
    if len(np.unique(repeated)) < 2:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(roc_auc_score(repeated, scores))


def test_the_auroc_within_bins_by_hand():
    # first bin: 1 positive above 1 of 2 negatives; second: 2 positives above its 1 negative; third: one class
    labels = np.array([1, 0, 0, 1, 1, 0, 0, 0.5])
    logits = np.array([2.0, 1, 3, 5, 6, 4, 9, 0])
    bins = [np.arange(8) < 3, (np.arange(8) >= 3) & (np.arange(8) < 6), np.arange(8) >= 6]
    within = auroc_within_statistic(labels, logits, bins)
    once = np.ones(8)
    twice = np.where(np.arange(8) == 2, 2.0, 1.0)  # the negative that lies above its positive
    without = np.where(np.arange(8) >= 3, 0.0, 1.0) * [0, 1, 1, 1, 1, 1, 1, 1]
    found = within(np.array([once, twice, without]))
    assert found[:2] == pytest.approx([(1 + 2) / (2 + 2), (1 + 2) / (3 + 2)])
    assert math.isnan(found[2])


def test_the_bootstrap_agrees_with_the_formula():
    labels, logits = normal(300, 1, 0)
    groups = [i // 2 for i in range(600)]
    formula = auroc(labels, logits, groups)
    found = resampled([Part(auroc_statistic(labels, logits), groups)], seed=1)
    assert found.value == pytest.approx(formula.value)
    assert found.low == pytest.approx(formula.low, abs=0.01)
    assert found.high == pytest.approx(formula.high, abs=0.01)
    assert found == resampled([Part(auroc_statistic(labels, logits), groups)], seed=1)
    assert found != resampled([Part(auroc_statistic(labels, logits), groups)], seed=2)


def test_repeating_rows_within_their_group_narrows_nothing():
    labels, logits = normal(50, 1, 4)
    once = resampled([Part(auroc_statistic(labels, logits), list(range(100)))])
    labels, logits = np.tile(labels, 5), np.tile(logits, 5)
    together = resampled([Part(auroc_statistic(labels, logits), list(range(100)) * 5)])
    apart = resampled([Part(auroc_statistic(labels, logits), list(range(500)))])
    assert (together.low, together.high) == pytest.approx((once.low, once.high))
    assert apart.high - apart.low < 0.6 * (once.high - once.low)


def test_a_paired_test_sees_what_separate_intervals_do_not():
    labels, logits = normal(200, 1, 5)
    groups = list(range(400))
    noise = np.random.default_rng(6).normal(size=400)
    better, worse = auroc_statistic(labels, logits), auroc_statistic(labels, logits + 0.7 * noise)
    first, second = resampled([Part(better, groups)]), resampled([Part(worse, groups)])
    paired = resampled([Part(difference(better, worse), groups)])
    assert first.low < second.high
    assert paired.value == pytest.approx(first.value - second.value)
    assert paired.low > 0
    assert paired.p < 0.05
    same = resampled([Part(difference(better, better), groups)])
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_the_paired_test_is_rarely_wrong_where_there_is_no_difference():
    found = []
    for seed in range(60):
        labels, logits = normal(60, 1, 100 + seed)
        one, two = np.random.default_rng(seed).normal(size=(2, 120))
        parts = difference(auroc_statistic(labels, logits + one), auroc_statistic(labels, logits + two))
        found.append(resampled([Part(parts, list(range(120)))], draws=300, seed=seed).p < 0.05)
    # 3 expected of 60; 9 or more have a chance of 0.4 %
    assert sum(found) < 9


def test_the_mean_over_sets_weighs_sets_alike_and_narrows():
    values = [np.array([0.0, 1.0] * 50), np.array([1.0, 1.0, 0.0, 1.0] * 5)]
    parts = [Part(mean_statistic(v), list(range(len(v)))) for v in values]
    found = resampled(parts)
    assert found.value == pytest.approx((0.5 + 0.75) / 2)
    # standard error: half the root of .25 / 100 + .1875 / 20
    half = 1.96 * 0.5 * math.sqrt(0.0025 + 0.009375)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.1)
    assert (found.sets, found.sets_left_out) == (2, 0)


def test_a_set_of_one_class_is_left_out_of_the_mean_and_counted():
    labels, logits = normal(50, 2, 7)
    groups = list(range(100))
    alone = auroc_statistic(np.ones(4), np.arange(4.0))
    found = resampled([Part(auroc_statistic(labels, logits), groups), Part(alone, "abcd")])
    assert found.value == pytest.approx(roc_auc_score(labels, logits))
    assert (found.sets, found.sets_left_out) == (1, 1)
    assert found.low < found.value < found.high
    nothing = resampled([Part(alone, "abcd")])
    assert math.isnan(nothing.value)
    assert (nothing.sets, nothing.sets_left_out) == (0, 1)


def test_draws_without_a_class_are_counted():
    labels, logits = np.array([1.0, 0.0, 0.0, 0.0]), np.array([1.0, 0.0, 2.0, -1.0])
    found = resampled([Part(auroc_statistic(labels, logits), "abcd")], draws=1000)
    # the one positive is missing from (3/4)^4 of the draws, all negatives from (1/4)^4
    assert found.draws_left_out / 1000 == pytest.approx((3 / 4) ** 4 + (1 / 4) ** 4, abs=0.05)
    assert found.value == pytest.approx(2 / 3)


def test_one_group_has_no_interval():
    labels, logits = normal(5, 1, 8)
    found = resampled([Part(auroc_statistic(labels, logits), ["a"] * 10)])
    assert found.value == pytest.approx(roc_auc_score(labels, logits))
    assert math.isnan(found.low)
    assert math.isnan(found.p)
    with pytest.raises(ValueError, match="data set 0 has no rows"):
        resampled([Part(mean_statistic(np.empty(0)), [])])
