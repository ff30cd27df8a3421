"""AUROC and recall at a rate of false alarms, by hand and by what must not change them."""

import math

import numpy as np
import pytest

from analysis import ranking


def test_auroc_and_its_interval_by_hand():
    labels, logits = np.array([1, 1, 0, 0, 0.5]), np.array([3.0, 1.0, 2.0, 0.0, 99.0])
    found = ranking.auroc(labels, logits, "abcde")
    # pairs won: 3 > 2, 3 > 0, 1 > 0. Components 1, 1/2 and 1/2, 1: variance 2/1 * (1/8) / 4 for each class
    assert found.value == 0.75
    assert ranking.area(labels, logits, "abcde").variance == pytest.approx(0.125)
    # two groups of each class, and a quarter of one more at either end: mean (1.5 + .25) / 2.5, square
    # (2 * (.125 + .5625) + .25) / 2.5; of its 3.5 times smaller variance the number, less these and one
    mean, square = 0.7, 0.65
    n = mean * (1 - mean) * 3.5 / (square - mean**2) - 1 - 0.5
    z, t = 1.959964, 12.706205
    n = 2 + (n - 2) * (z / t) ** 2 / 2
    centre = (0.75 + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(0.75 * 0.25 / n + z * z / (4 * n * n))
    assert (found.low, found.high) == pytest.approx((centre - half, centre + half), abs=1e-5)


def test_auroc_counts_ties_half():
    assert ranking.auroc(np.array([1, 0]), np.array([2.0, 2.0]), "ab").value == 0.5


def test_repeating_rows_in_their_groups_changes_no_interval():
    rng = np.random.default_rng(0)
    labels, groups = np.arange(40) % 2, [str(i) for i in range(40)]
    logits = rng.normal(size=40) + labels
    once = ranking.auroc(labels, logits, groups)
    thrice = ranking.auroc(np.tile(labels, 3), np.tile(logits, 3), groups * 3)
    apart = ranking.auroc(np.tile(labels, 3), np.tile(logits, 3), [str(i) for i in range(120)])
    assert thrice == pytest.approx(once)
    assert apart.high - apart.low < 0.7 * (once.high - once.low)


def test_a_perfect_ranking_of_few_rows_is_not_certain():
    found = ranking.auroc(np.array([0, 0, 0, 1, 1, 1]), np.arange(6.0), "abcdef")
    assert found.value == found.high == 1
    # Wilson with n = 3
    assert found.low == pytest.approx(0.4385, abs=1e-3)


def test_perfect_scores_have_all_the_recall():
    found = ranking.largest_recall(np.repeat([0, 1], 50), np.arange(100.0), range(100), 0.01)
    assert (found.recall.value, found.fpr.value, found.logit) == (1.0, 0.0, 50.0)


def test_the_largest_recall_is_found_though_no_rate_lies_near_the_one_asked_for():
    # 43 of each class: one negative is 2.3 %. 38 positives lie above all negatives
    logits = np.concatenate([np.arange(43.0), np.arange(5.0) - 0.5, np.arange(38.0) + 100])
    found = ranking.largest_recall(np.repeat([0, 1], 43), logits, range(86), 0.01)
    assert found.recall.value == pytest.approx(0.884, abs=1e-3)
    assert (found.fpr.value, found.logit, found.n_negative, found.n_positive) == (0.0, 100.0, 43, 43)


def test_the_row_that_sets_the_threshold_lowers_the_end_of_the_recall():
    # 3 of 3 are found, but the last of them set the threshold: what lies beyond it is Beta(3, 1)
    logits = np.concatenate([np.arange(20.0), [30.0, 40.0, 50.0]])
    found = ranking.largest_recall(np.repeat([0, 1], [20, 3]), logits, range(23), 0.01)
    assert found.recall == pytest.approx((1.0, 0.025 ** (1 / 3), 1.0))
    assert found.optimism == pytest.approx(1 / 4)
    mean = ranking.mean_recall([found] * 4)
    # less a quarter, and half of what is left below it
    assert mean.low == pytest.approx(0.75 - (0.75 - 0.025 ** (1 / 3)) / 2)
    alone = ranking.largest_recall(np.array([0, 0, 1]), np.array([0.0, 1.0, 2.0]), "abc", 0.01)
    assert math.isnan(alone.recall.low)
    assert math.isnan(ranking.mean_recall([found, alone]).low)


def test_a_rate_of_whole_rows_is_used_up():
    # one of 100 negatives above all positives: exactly 1 %
    logits = np.concatenate([np.arange(99.0) - 200, [50.0], np.arange(10.0)])
    found = ranking.largest_recall(np.repeat([0, 1], [100, 10]), logits, range(110), 0.01)
    assert (found.recall.value, found.fpr.value) == (1.0, 0.01)
    assert found.fpr.low < 0.01 < found.fpr.high


def test_where_nothing_can_be_flagged_nothing_is():
    found = ranking.largest_recall(np.array([1, 1, 0]), np.array([0.0, 1.0, 1.0]), "abc", 0.01)
    assert (found.recall.value, found.fpr.value) == (0.0, 0.0)
    assert found.logit > 1.0


def test_a_share_and_its_interval_by_hand():
    # Wilson, 2 of 8 independent rows
    z = 1.959964
    found = ranking.share(np.array([True, True] + [False] * 6), range(8))
    n = 0.25 * 0.75 / (8 / 7 * (2 * 0.75**2 + 6 * 0.25**2) / 64)
    centre = (0.25 + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(0.25 * 0.75 / n + z * z / (4 * n * n))
    assert found == pytest.approx((0.25, centre - half, centre + half), abs=1e-5)
    nothing = ranking.share(np.zeros(30, dtype=bool), [i // 3 for i in range(30)])
    assert nothing == pytest.approx((0.0, 0.0, z * z / (10 + z * z)), abs=1e-5)
    with pytest.raises(ValueError, match="no rows"):
        ranking.share(np.zeros(0, dtype=bool), [])
