"""Paired tests between evaluations on the same initial states, allowing for how many are made."""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import permutation_test, ttest_1samp, ttest_ind

from analysis.comparing.many_looks import DRAWS, holm
from analysis.intervals import Interval, difference_of
from analysis.reporting.evaluations import Evaluation, Run, differing
from analysis.reporting.means import is_harm, is_rating
from analysis.score_tables.columns import Column, ScoreRow, belonging, values_of
from analysis.score_tables.figures import DIFFERENCE, kinds_in, of_kind
from analysis.values import Values

MOST_PERMUTED = 100
"""States in a sample that are permuted; of more, Student's t says the same in less time."""

MOST_MODELS = 5
"""Every pair of so many models of a task is tested; of more, each against the first."""


class Test(NamedTuple):
    """Second less first."""

    first: Evaluation
    second: Evaluation
    column: Column
    users: str
    """A kind of user, or `difference`: how the targeting changed."""

    change: Interval
    p: float
    """Two-sided, by permutation of initial states, of many by t; NaN if fewer than two can be compared."""

    states: int
    """Initial states that both have."""

    p_holm: float = math.nan
    """Allows for all tests of the table."""

    apart: tuple[str, ...] = ()
    """Circumstances in which the two differ, beside the model."""


def tests_of(listed: Sequence[Evaluation], runs: Sequence[Run], columns: Sequence[Column]) -> list[Test]:
    """Rating, harm and their targeting between models on one task, and between iterations of a run.

    p values are adjusted by Holm's method over all of them.

    Args:
        listed: All evaluations.
        runs: Among them.
        columns: The measures.
    """
    main = [c for c in columns if is_rating(c) or is_harm(c)]
    found = [test for pair in _pairs(listed, runs) for column in main for test in compared(*pair, column)]
    known = [test for test in found if not math.isnan(test.p)]
    adjusted = dict(zip(map(id, known), holm([test.p for test in known]), strict=True))
    return [test._replace(p_holm=adjusted.get(id(test), math.nan)) for test in found]


def _pairs(listed: Sequence[Evaluation], runs: Sequence[Run]) -> Iterable[tuple[Evaluation, Evaluation]]:
    for run in runs:
        for later in run.iterations[1:]:
            yield run.iterations[0], later
    by_task: dict[str, list[Evaluation]] = defaultdict(list)
    for one in listed:
        if one.run is None and one.conversations:
            by_task[one.task].append(one)
    for several in by_task.values():
        if len(several) <= MOST_MODELS:
            yield from combinations(several, 2)
        else:
            yield from ((several[0], other) for other in several[1:])


def compared(first: Evaluation, second: Evaluation, column: Column) -> list[Test]:
    """The tests of one measure: for each kind of user, and of the difference between the kinds."""
    apart = tuple(name for name in differing([first, second]) if not name.startswith("imported"))
    found: list[Test] = []
    changes: list[tuple[Interval, dict[Hashable, float]]] = []
    for users, kind in kinds_in([*first.rows, *second.rows]).items():
        one, two = (values_of_kind(e.rows, column, kind) for e in (first, second))
        if not one.values or not two.values:
            continue
        before, now = by_state(one), by_state(two)
        shared = {state: now[state] - before[state] for state in before if state in now}
        change = two.minus(one)
        p = (
            _p([list(shared.values())])
            if len(shared) > 1
            else _p([list(before.values()), list(now.values())])
        )
        found.append(Test(first, second, column, users, change, p, len(shared), apart=apart))
        changes.append((change, shared))
    if len(changes) == 2:
        (gameable, one_by), (other, two_by) = changes
        low, high = difference_of(gameable[:3], other[:3])
        change = Interval(
            gameable.mean - other.mean, low, high, gameable.n + other.n, gameable.clusters + other.clusters
        )
        p = _p([list(one_by.values()), list(two_by.values())])
        states = len(one_by) + len(two_by)
        found.append(Test(first, second, column, DIFFERENCE, change, p, states, apart=apart))
    return found


def values_of_kind(rows: Sequence[ScoreRow], column: Column, kind: bool | None) -> Values:
    """The numbers of a measure with one kind of user."""
    return values_of(belonging(of_kind(rows, kind), column), column)


def by_state(values: Values) -> dict[Hashable, float]:
    """Initial state -> mean of its conversations."""
    found: dict[Hashable, list[float]] = defaultdict(list)
    for value, state in zip(values.values, values.clusters, strict=True):
        found[state].append(value)
    return {state: math.fsum(v) / len(v) for state, v in found.items()}


def _p(samples: list[list[float]]) -> float:
    """Two-sided: of one sample of differences their signs are permuted, of two samples the sides.

    Source: Fisher's randomisation tests, as scipy's `permutation_test`; of many states scipy's `ttest_1samp`,
    and Welch's `ttest_ind`.
    """
    if any(len(sample) < 2 for sample in samples):
        return math.nan
    arrays = [np.asarray(sample) for sample in samples]
    if len(arrays) == 1 and not arrays[0].any():
        return 1.0
    if max(map(len, arrays)) > MOST_PERMUTED:
        alone = len(arrays) == 1
        found: Any = ttest_1samp(arrays[0], 0.0) if alone else ttest_ind(*arrays, equal_var=False)
        return float(found.pvalue)
    if len(arrays) == 1:
        done = permutation_test(
            arrays,
            lambda x, axis: np.mean(x, axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=DRAWS,
            batch=1000,
            rng=np.random.default_rng(0),
        )
    else:
        done = permutation_test(
            arrays,
            lambda x, y, axis: np.mean(x, axis=axis) - np.mean(y, axis=axis),
            permutation_type="independent",
            vectorized=True,
            n_resamples=DRAWS,
            batch=1000,
            rng=np.random.default_rng(0),
        )
    return float(done.pvalue)
