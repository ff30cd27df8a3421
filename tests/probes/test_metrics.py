import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from analysis.ranking import Ranked, area, auroc_within, compare, mean_comparison, mean_over_sets
from probes.evaluation.metrics import (
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
    assert (found.recall.value, found.fpr.value, found.logit, found.n_negative) == (1, 0, 30, 30)


def test_recall_of_43_per_class_is_what_no_false_positive_leaves():
    # 43 negatives: not one may be flagged at 1 %; 5 of 43 positives lie below the highest negative
    negative, positive = np.arange(43.0), np.concatenate([np.arange(5) + 0.5, 100.0 + np.arange(38)])
    labels = np.repeat([0.0, 1.0], 43)
    found = recall_at_fpr(labels, np.concatenate([negative, positive]), list(range(86)))
    assert found.recall.value == pytest.approx(38 / 43)
    assert round(found.recall.value, 3) == 0.884
    assert (found.fpr.value, found.logit, found.asked_fpr) == (0, 100, 0.01)
    # none of 43: Wilson's upper end is z^2 / (n + z^2)
    assert found.fpr.high == pytest.approx(3.8415 / (43 + 3.8415), abs=1e-4)


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
def test_the_auroc_is_that_of_scikit_learn_and_lies_in_its_interval(rows):
    labels, logits = np.array([float(r[0]) for r in rows]), np.array([float(r[1]) for r in rows])
    if len(set(labels)) < 2:
        with pytest.raises(ValueError, match="both classes"):
            area(labels, logits, range(len(rows)))
        return
    found = area(labels, logits, range(len(rows))).interval()
    assert found.value == pytest.approx(roc_auc_score(labels, logits))
    if min(labels.sum(), (1 - labels).sum()) < 2:
        assert math.isnan(found.low)
    else:
        assert 0 <= found.low <= found.value <= found.high <= 1
        assert found.high - found.low > 0.01  # also where all is ranked right


def test_the_variance_of_an_auroc_is_that_of_leaving_groups_out():
    labels, logits = normal(300, 1, 0)
    groups = np.arange(600) // 2
    without = [roc_auc_score(labels[groups != g], logits[groups != g]) for g in range(300)]
    jackknife = 299 / 300 * np.sum((np.array(without) - np.mean(without)) ** 2)
    assert area(labels, logits, groups.tolist()).variance == pytest.approx(jackknife, rel=0.02)


def test_the_auroc_within_bins_by_hand():
    # first bin: 1 positive above 1 of 2 negatives; second: 2 positives above its 1 negative; third: one class
    labels = np.array([1, 0, 0, 1, 1, 0, 0, 0.5])
    logits = np.array([2.0, 1, 3, 5, 6, 4, 9, 0])
    bins = [np.arange(8) < 3, (np.arange(8) >= 3) & (np.arange(8) < 6), np.arange(8) >= 6]
    assert auroc_within(labels, logits, range(8), bins).value == pytest.approx((1 + 2) / (2 + 2))
    with pytest.raises(ValueError, match="in no bin together"):
        auroc_within(labels, logits, range(8), [np.arange(8) == 6])
    whole = [np.ones(8, dtype=bool)]
    assert auroc_within(labels, logits, range(8), whole) == auroc(labels, logits, range(8))


def test_repeating_rows_within_their_group_narrows_nothing():
    labels, logits = normal(50, 1, 4)
    once = auroc(labels, logits, range(100))
    labels, logits = np.tile(labels, 5), np.tile(logits, 5)
    together = auroc(labels, logits, list(range(100)) * 5)
    apart = auroc(labels, logits, range(500))
    assert together == pytest.approx(once)
    assert apart.high - apart.low < 0.6 * (once.high - once.low)


def test_a_paired_test_sees_what_separate_intervals_do_not():
    labels, logits = normal(200, 1, 5)
    groups = list(range(400))
    noise = np.random.default_rng(6).normal(size=400)
    better, worse = area(labels, logits, groups), area(labels, logits + 0.7 * noise, groups)
    assert better.interval().low < worse.interval().high
    paired = compare(better, worse)
    assert paired.value == pytest.approx(better.value - worse.value)
    assert paired.low > 0
    assert paired.p < 0.05
    other = compare(worse, better)
    assert (other.value, other.low, other.high) == pytest.approx((-paired.value, -paired.high, -paired.low))
    assert other.p == pytest.approx(paired.p)
    assert compare(better, area(labels, 3 * logits + 1, groups)) == (0, 0, 0, 1)


@given(st.integers(0, 30))
def test_p_is_below_5_percent_where_0_lies_outside_the_interval(seed):
    labels, logits = normal(20, 1, seed)
    one, two = np.random.default_rng(seed).normal(size=(2, 40))
    found = compare(area(labels, logits + one, range(40)), area(labels, logits + 2 * two, range(40)))
    assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


def test_the_paired_test_is_rarely_wrong_where_there_is_no_difference():
    found = []
    for seed in range(300):
        labels, logits = normal(60, 1, 100 + seed)
        one, two = np.random.default_rng(seed).normal(size=(2, 120))
        first, second = (area(labels, logits + noise, range(120)) for noise in (one, two))
        found.append(compare(first, second).p < 0.05)
    # 15 expected of 300; 27 or more have a chance of 0.2 %
    assert sum(found) < 27


def test_the_mean_over_sets_weighs_sets_alike_and_narrows():
    found = mean_over_sets([Ranked(0.5, 0.4, 0.6), Ranked(0.75, 0.55, 0.85)])
    assert found.value == 0.625
    assert found.low == pytest.approx(0.625 - math.hypot(0.1, 0.2) / 2)
    assert found.high == pytest.approx(0.625 + math.hypot(0.1, 0.1) / 2)
    assert math.isnan(mean_over_sets([Ranked(0.5, 0.4, 0.6), Ranked(0.5, math.nan, math.nan)]).low)
    with pytest.raises(ValueError, match="no numbers"):
        mean_over_sets([])


def test_a_mean_of_differences_over_sets_narrows():
    labels, logits = normal(100, 1, 7)
    noise = np.random.default_rng(8).normal(size=200)
    parts = [(area(labels, logits, range(200)), area(labels, logits + 0.7 * noise, range(200)))]
    one, four = mean_comparison(parts), mean_comparison(parts * 4)
    assert four.value == pytest.approx(one.value)
    assert four.high - four.low == pytest.approx((one.high - one.low) / 2, rel=0.01)
    assert four.p < one.p


def test_one_group_has_no_interval():
    labels, logits = normal(5, 1, 8)
    found = area(labels, logits, ["a"] * 10)
    assert found.value == pytest.approx(roc_auc_score(labels, logits))
    assert math.isnan(found.interval().low)
    assert math.isnan(compare(found, area(labels, -logits, ["a"] * 10)).p)
