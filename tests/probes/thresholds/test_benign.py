"""Thresholds from benign rows: bounds against scipy, and how often they hold."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from analysis.ranking import Ranked
from probes.thresholds.benign import at_base_rate, benign_threshold, least_rows, looks, rate_of


def own_groups(count):
    return [str(n) for n in range(count)]


def test_bounds_are_clopper_and_pearsons():
    logits = np.arange(200.0)
    found = rate_of(logits, own_groups(200), 196.0)
    assert (found.flagged, found.effective, found.groups) == (4, 200, 200)
    exact = binomtest(4, 200).proportion_ci(0.95, method="exact")
    assert found.interval == pytest.approx((exact.low, exact.high))
    one_sided = binomtest(4, 200, alternative="less").proportion_ci(0.95, method="exact")
    assert found.upper == pytest.approx(one_sided.high)
    nothing = rate_of(logits, own_groups(200), 300.0, 0.9)
    assert (nothing.flagged, nothing.interval.low) == (0, 0.0)
    assert nothing.upper == pytest.approx(1 - 0.1 ** (1 / 200))


def test_the_lowest_threshold_that_the_bound_allows():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=2000)
    found = benign_threshold(logits, own_groups(2000), 0.01)
    assert found.upper <= 0.01
    assert found.flagged == 12  # of 2,000 more than 12 could be a rate above 1 %: binomial
    assert binomtest(13, 2000, alternative="less").proportion_ci(0.95, method="exact").high > 0.01
    assert (logits >= found.logit).sum() == 12
    tied = benign_threshold(np.repeat([0.0, 5.0], [990, 10]), own_groups(1000), 0.01)
    assert (tied.flagged, tied.logit > 5) == (0, True)


def test_the_bound_holds_in_nineteen_of_twenty_streams():
    rng, held = np.random.default_rng(1), 0
    for _ in range(400):
        found = benign_threshold(rng.normal(size=400), own_groups(400), 0.02)
        held += norm.sf(found.logit) <= 0.02
    assert 0.92 <= held / 400 <= 0.98


def test_rows_of_one_state_are_no_more_than_one():
    logits = np.repeat(np.random.default_rng(2).normal(size=400), 5)
    states = [str(n // 5) for n in range(2000)]
    together = benign_threshold(logits, states, 0.01)
    assert together.effective <= 400
    assert together.logit > benign_threshold(logits, own_groups(2000), 0.01).logit
    with pytest.raises(ValueError, match=r"100 benign rows in 100 groups .* It takes 299 groups"):
        benign_threshold(np.arange(100.0), own_groups(100), 0.01)
    assert least_rows(0.01) == 299
    one_state = rate_of(np.arange(50.0), ["a"] * 50, 40.0)
    assert (one_state.effective, one_state.upper > 0.9) == (1, True)


def test_looks_allow_for_how_many_there_are():
    rng = np.random.default_rng(3)
    threshold = benign_threshold(rng.normal(size=3000), own_groups(3000), 0.02)
    states = own_groups(150)

    def run(shift):
        return looks([(str(n), rng.normal(size=150) + shift * (n == 3), states) for n in range(6)], threshold)

    alarmed = sum(any(look.p_of_all < 0.05 for look in run(0)) for _ in range(40))
    assert alarmed <= 5  # 5 % of runs, not of looks
    found = run(1.5)
    assert [look.p_of_all < 0.05 for look in found] == [False] * 3 + [True] + [False] * 2
    assert all(look.p_of_all >= look.p for look in found)


def test_where_harm_is_rare_most_flags_are_false():
    threshold = rate_of(np.arange(1000.0), own_groups(1000), 990.0)
    found = at_base_rate(threshold, Ranked(0.5, 0.4, 0.6), 0.001)
    assert found.false_alarms == pytest.approx((99.9, 9990 * threshold.upper))
    assert found.precision.value == pytest.approx(0.0005 / (0.0005 + 0.999 * 0.01))
    assert found.precision.low < found.precision.value < found.precision.high
    assert at_base_rate(threshold, None, 0.1).precision is None
    assert not math.isnan(found.precision.low)
