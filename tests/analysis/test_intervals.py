import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.intervals import mean_difference, mean_interval, share_difference, share_interval


def test_mean_interval_by_hand():
    # 1, 2, 3, 4: mean 2.5, sd 1.29099, SE 0.645497, t(3) 3.182446
    found = mean_interval([1, 2, 3, 4], "abcd")
    assert found.mean == 2.5
    assert found.high - found.mean == pytest.approx(3.182446 * 0.645497, rel=1e-5)
    assert (found.n, found.clusters) == (4, 4)


def test_repeating_every_value_in_its_cluster_changes_nothing():
    once = mean_interval([1, 2, 3, 4], "abcd")
    thrice = mean_interval([1, 2, 3, 4] * 3, "abcd" * 3)
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))


def test_clusters_widen_the_interval():
    values = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    together = mean_interval(values, "aaabbb")
    apart = mean_interval(values, "abcdef")
    assert together.high - together.low > apart.high - apart.low


def test_one_cluster_has_no_interval():
    found = mean_interval([1, 2, 3], "aaa")
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.mean == 2


def test_no_values_is_an_error():
    with pytest.raises(ValueError, match="at least one value"):
        mean_interval([], [])


def test_none_of_sixteen_is_not_certainly_none():
    found = share_interval([0.0] * 16, range(16))
    assert found.low == 0
    assert found.high == pytest.approx(0.1936, abs=1e-4)  # Wilson: z^2 / (n + z^2)


def test_wilson_by_hand():
    # 5 of 20 independent: the standard Wilson interval is [0.1119, 0.4687]; the effective number is 19 here,
    # (1 - p) p / SE^2 with the sample variance, which gives [0.1096, 0.4763]
    found = share_interval([1.0] * 5 + [0.0] * 15, range(20))
    assert (found.low, found.high) == pytest.approx((0.1096, 0.4763), abs=2e-3)


def test_shares_outside_zero_and_one_are_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        share_interval([0.5, 1.2], "ab")


def test_difference_of_disjoint_groups_is_welchs():
    first, second = [1.0, 2.0, 3.0, 6.0], [2.0, 2.5, 3.5]
    found = mean_difference(first, "abcd", second, "xyz")
    v1, v2 = statistics.variance(first) / 4, statistics.variance(second) / 3
    df = (v1 + v2) ** 2 / (v1**2 / 3 + v2**2 / 2)
    assert found.mean == pytest.approx(3.0 - 8 / 3)
    assert 3 < df < 5
    # t(4.09) is about 2.75
    assert found.high - found.mean == pytest.approx(2.75 * math.sqrt(v1 + v2), rel=0.02)


def test_pairs_that_share_their_cluster_are_compared_as_pairs():
    second = [1.0, 5.0, 9.0, 13.0]
    first = [v + 1 + 0.1 * i for i, v in enumerate(second)]
    paired = mean_difference(first, "abcd", second, "abcd")
    apart = mean_difference(first, "abcd", second, "wxyz")
    assert paired.high - paired.low < 0.2 * (apart.high - apart.low)


def test_difference_of_two_certain_shares_is_not_certain():
    found = share_difference([1.0] * 10, range(10), [0.0] * 10, range(10, 20))
    assert found.mean == 1
    assert 0.5 < found.low < 1
    assert found.high == 1


@given(st.lists(st.floats(0, 1), min_size=2, max_size=40))
def test_a_share_lies_in_its_interval_and_the_interval_in_zero_to_one(values):
    found = share_interval(values, range(len(values)))
    assert 0 <= found.low <= found.mean + 1e-9
    assert found.mean - 1e-9 <= found.high <= 1


def test_the_intervals_cover_what_they_promise():
    rng = random.Random(0)
    hits = 0
    for _ in range(400):
        levels = [rng.gauss(0, 1) for _ in range(12)]
        values = [level + rng.gauss(0, 1) for level in levels for _ in range(4)]
        found = mean_interval(values, [i for i in range(12) for _ in range(4)])
        hits += found.low <= 0 <= found.high
    assert 0.92 <= hits / 400 <= 0.98


@given(st.integers(2, 200), st.sampled_from([0.0, 1.0]))
def test_the_interval_of_none_and_of_all_holds_the_share_itself(n, value):
    found = share_interval([value] * n, range(n))
    assert found.low <= found.mean == value <= found.high
    assert found.high - found.low < 1
