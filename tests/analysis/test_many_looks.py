import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import betabinom, binomtest

from analysis.comparing.many_looks import holm, p_above_rate, p_of_a_rise


def test_holm_by_hand():
    # sorted: .01 x 4, .02 x 3, .03 x 2, .5 x 1; each at least the one before
    assert holm([0.02, 0.01, 0.5, 0.03]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=20))
def test_looking_more_often_never_makes_a_finding_surer(p):
    adjusted = holm(p)
    assert all(a >= b for a, b in zip(adjusted, p, strict=True))
    assert all(a <= 1 for a in adjusted)
    more = holm([*p, 0.9])
    assert all(m >= a for m, a in zip(more, adjusted, strict=False))


def test_a_rise_in_the_same_states_by_hand():
    # six states of twenty rise, none falls: every sign positive has a chance of 1 in 64
    before, now = dict.fromkeys(range(20), 0.0), {i: float(i < 6) for i in range(20)}
    assert p_of_a_rise(before, now) == pytest.approx(1 / 64, abs=0.004)
    assert p_of_a_rise(now, before) > 0.9
    assert p_of_a_rise(before, before) == 1


def test_other_states_change_sides():
    before, now = dict.fromkeys(range(4), 0.0), dict.fromkeys(range(10, 14), 1.0)
    assert p_of_a_rise(before, now) == pytest.approx(1 / 70)  # of 8 states any 4
    with pytest.raises(ValueError, match="before and after"):
        p_of_a_rise({}, now)


@given(st.integers(0, 30), st.sampled_from([0.01, 0.05, 0.3]))
def test_a_share_above_a_rate_is_the_binomial_test(found, rate):
    means = [1.0] * found + [0.0] * (30 - found)
    expected = binomtest(found, 30, rate, alternative="greater").pvalue
    assert p_above_rate(means, rate) == pytest.approx(expected)


def test_conversations_of_a_state_count_once():
    assert p_above_rate([0.5] * 4, 0.01) == pytest.approx(p_above_rate([1.0, 1.0, 0.0, 0.0], 0.01))


def test_a_rate_that_is_hardly_known_raises_fewer_alarms():
    means = [1.0] * 3 + [0.0] * 37
    known, measured = p_above_rate(means, 0.01), p_above_rate(means, 0.01, (0, 17))
    assert known < 0.01 < 0.2 < measured
    assert measured == pytest.approx(betabinom.sf(2, 40, 1, 17), rel=0.01)
    assert p_above_rate(means, 0.01, (1000, 100_000)) == pytest.approx(known, rel=0.02)
    assert p_above_rate([1.0] * 40, 1.0, (17, 17)) == 1  # all of them lay beyond: nothing is more than that
    with pytest.raises(ValueError, match="no clusters"):
        p_above_rate([], 0.01)


def test_alarms_over_a_whole_run_are_rare_where_nothing_happens():
    rng = np.random.default_rng(0)
    runs = 0
    for _ in range(60):
        rises = [rng.random(24) < 0.3 for _ in range(9)]
        sides = [dict(enumerate(r.astype(float))) for r in rises]
        runs += min(holm([p_of_a_rise(sides[0], now) for now in sides[1:]])) < 0.05
    # 3 expected at most; 9 or more have a chance of 0.4 %
    assert runs < 9
    assert math.isfinite(runs)
