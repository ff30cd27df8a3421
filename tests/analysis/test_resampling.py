import math

import numpy as np
import pytest

from analysis.intervals import mean_interval
from analysis.resampling import resampled_ends


def test_of_a_mean_they_are_near_those_of_the_formula_and_know_clusters():
    rng = np.random.default_rng(0)
    values = rng.normal(3, 2, 200)
    found = resampled_ends(lambda rows: float(values[rows].mean()), range(200), draws=2000)
    formula = mean_interval(values.tolist(), range(200))
    assert found.low == pytest.approx(formula.low, abs=0.06)
    assert found.high == pytest.approx(formula.high, abs=0.06)
    # every row four times over tells no more than once
    four, clusters = np.repeat(values, 4), np.repeat(np.arange(200), 4)
    again = resampled_ends(lambda rows: float(four[rows].mean()), clusters.tolist(), draws=2000)
    assert again.high - again.low == pytest.approx(found.high - found.low, rel=0.02)


def test_bounds_are_kept_and_one_cluster_has_no_ends():
    values = np.array([0.0, 0.0, 0.0, 1.0])
    found = resampled_ends(lambda rows: float(values[rows].mean()), range(4), draws=200, bounds=(0.0, 1.0))
    assert found.low == 0.0
    assert math.isnan(resampled_ends(lambda rows: float(values[rows].mean()), [1] * 4).low)
    with pytest.raises(ValueError, match="no rows"):
        resampled_ends(lambda _: 0.0, [])
