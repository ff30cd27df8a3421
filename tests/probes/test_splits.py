"""Folds and what is held out: whole groups, both classes."""

import numpy as np
import pytest

from probes.fitting.splits import folds, hold_out


def test_folds_test_every_row_once_and_divide_no_group():
    groups = [f"g{i // 3}" for i in range(60)]
    labels = np.array([(i // 3) % 2 for i in range(60)], dtype=float)
    parts = folds(labels, groups, 4, seed=1)
    assert (sum(part.test.astype(int) for part in parts) == 1).all()
    for part in parts:
        assert not {g for g, t in zip(groups, part.train, strict=True) if t} & {
            g for g, t in zip(groups, part.test, strict=True) if t
        }
        assert 0.3 < labels[part.test].mean() < 0.7
    again = folds(labels, groups, 4, seed=1)
    assert all(np.array_equal(a.test, b.test) for a, b in zip(parts, again, strict=True))
    assert any(
        not np.array_equal(a.test, b.test)
        for a, b in zip(parts, folds(labels, groups, 4, seed=2), strict=True)
    )


def test_what_is_held_out_is_about_the_share():
    labels, groups = np.arange(100) % 2.0, [str(i) for i in range(100)]
    assert hold_out(labels, groups, 0.2, seed=0).test.sum() == 20
    with pytest.raises(ValueError, match="share"):
        hold_out(labels, groups, 0.7, seed=0)


def test_one_group_for_everything_cannot_be_divided():
    with pytest.raises(ValueError, match="there are 1"):
        folds(np.arange(10) % 2.0, ["same"] * 10, 2, seed=0)
