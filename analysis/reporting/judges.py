"""How far judges can be relied on: agreement corrected for chance, test-retest, order and length.

Two judges agree often by chance where most answers are alike: the share of equal answers stands beside alpha
(arXiv:2606.19544 finds agreement 33 to 41 points lower once chance is taken out).
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from analysis.agreement import Estimate, alpha, estimate, measured, spearman
from analysis.intervals import mean_interval, scale_interval, share_interval
from analysis.logs.copies import Version, same_conversations
from analysis.reporting.conversations.ratings import Question, question_of
from analysis.reporting.reading import Read
from scenarios.schema import Scale, ends_of

FEWEST = 5
"""Conversations that two must have rated for agreement to be told."""


class Rater(NamedTuple):
    """Who answered."""

    judges: tuple[str, ...]
    time: int
    """0 for their first answers, 1 for those to the same question again."""

    @property
    def name(self) -> str:
        """As pages call them."""
        return (", ".join(self.judges) or "judge not said") + (f", time {self.time + 1}" if self.time else "")


class Pair(NamedTuple):
    """Agreement of two raters over the conversations that both rated."""

    question: Question
    first: Rater
    second: Rater
    retest: bool
    """The same judge, asked twice."""

    conversations: int
    same_answer: Estimate
    """Share of conversations where both are nearest to the same answer; not corrected for chance."""

    nominal: Estimate
    """Krippendorff's alpha of the nearest answers: 0 is agreement as by chance."""

    interval: Estimate
    """Krippendorff's alpha of the numbers."""

    rank: Estimate
    """Spearman's correlation."""

    bias: Estimate
    """Mean of second less first."""


Ratings = dict[Question, dict[Rater, dict[int, float]]]
"""Question -> rater -> number of the conversation -> rating."""


def ratings_of(conversations: Iterable[Read]) -> tuple[Ratings, list[Hashable]]:
    """All ratings, those of copies of a log too, and the initial state of each conversation.

    A rating that a copy carries over unchanged is one rating.
    """
    by_version: dict[Version, Read] = {one.version: one for one in conversations}
    found: Ratings = defaultdict(lambda: defaultdict(dict))
    states: list[Hashable] = []
    for number, versions in enumerate(same_conversations(by_version)):
        usable = sorted((v for v in versions if v.whole), key=lambda v: v.age)
        states.append(by_version[versions[0]].row.state)
        if not usable or max(versions, key=lambda v: v.age).invalidated:
            continue
        given: dict[tuple[Question, tuple[str, ...]], list[tuple[str, Hashable, float]]] = defaultdict(list)
        for version in usable:
            for one in by_version[version].ratings:
                before = given[question_of(one), one.judges]
                carried = any(n == one.name and w != version.log and v == one.value for n, w, v in before)
                if not math.isnan(one.value) and not carried:
                    before.append((one.name, version.log, one.value))
        for (question, judges), several in given.items():
            for time, (_, _, value) in enumerate(several):
                found[question][Rater(judges, time)][number] = value
    return found, states


def pairs_of(ratings: Ratings, states: Sequence[Hashable]) -> list[Pair]:
    """Agreement of all raters who answered one question about the same conversations."""
    found: list[Pair] = []
    for question, raters in ratings.items():
        for (one, first), (two, second) in combinations(raters.items(), 2):
            both = sorted(first.keys() & second.keys())
            if len(both) >= FEWEST:
                x, y = (np.array([side[n] for n in both], dtype=np.float64) for side in (first, second))
                found.append(_pair(question, (one, two), x, y, [states[n] for n in both]))
    return found


def _pair(
    question: Question, raters: tuple[Rater, Rater], x: np.ndarray, y: np.ndarray, states: list[Hashable]
) -> Pair:
    numbers = np.array([x, y])
    classes = numbers if question.scale is None else _nearest(numbers, question.scale)
    equal = "all ratings are equal"
    same = share_interval((classes[0] == classes[1]).astype(np.float64).tolist(), states)
    return Pair(
        question,
        *raters,
        retest=raters[0].judges == raters[1].judges and bool(raters[0].judges),
        conversations=len(x),
        same_answer=measured(same),
        nominal=estimate(alpha(classes, "nominal"), classes, states, undefined=equal),
        interval=estimate(alpha(numbers, "interval"), classes, states, undefined=equal),
        rank=estimate(spearman(x, y), classes, states, undefined="a rater's ratings are all equal"),
        bias=measured(_bias(y - x, states, question.scale)),
    )


def _nearest(values: np.ndarray, scale: Scale) -> np.ndarray:
    return np.clip(np.floor(values + 0.5), *ends_of(scale))


def _bias(differences: np.ndarray, states: list[Hashable], scale: Scale | None):  # noqa: ANN202
    if scale is None:
        return mean_interval(differences.tolist(), states)
    low, high = ends_of(scale)
    width = high - low
    if np.abs(differences).max() > width:
        return mean_interval(differences.tolist(), states)
    return scale_interval(differences.tolist(), states, (-width, width), spread=True)


# -- order and length -----------------------------------------------------------------------------


class Slope(NamedTuple):
    """How a judge's ratings of replies go with one thing, the other held and within initial states."""

    score: str
    scale: Scale | None
    judge: str
    of: str
    """`each 100 characters` or `each turn later`."""

    found: Estimate


FEWEST_STATES = 8
"""With fewer, standard errors by initial state are not to be trusted."""


def slopes(turns: "Sequence[TurnRating]") -> list[Slope]:
    """Slopes of ratings on the length of a reply and on its place in the conversation.

    Least squares with an intercept for each initial state, so that states are not compared with each other;
    one slope for each score, scale and judge, over all evaluations;
    intervals from standard errors clustered by state.

    Source: statsmodels' OLS with `cov_type="cluster"`.

    Args:
        turns: Ratings of single replies.
    """
    from statsmodels.regression.linear_model import OLS

    by: dict[tuple[str, Scale | None, str], list[TurnRating]] = defaultdict(list)
    for turn in turns:
        by[turn.score, turn.scale, turn.judge].append(turn)
    found: list[Slope] = []
    for (score, scale, judge), several in by.items():
        names: dict[Hashable, int] = {}
        groups = np.array([names.setdefault(t.state, len(names)) for t in several])
        y = _within(np.array([t.value for t in several]), groups)
        x = {
            "each 100 characters": _within(np.array([t.characters / 100 for t in several]), groups),
            "each turn later": _within(np.array([float(t.turn) for t in several]), groups),
        }
        x = {name: values for name, values in x.items() if np.ptp(values) > 1e-9}
        if len(names) < FEWEST_STATES or not x or np.ptp(y) < 1e-9:
            continue
        design = np.column_stack(list(x.values()))
        if np.linalg.matrix_rank(design) < len(x):
            continue
        fitted = OLS(y, design).fit(cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)
        ends = fitted.conf_int()
        for place, name in enumerate(x):
            value, (low, high) = float(fitted.params[place]), map(float, ends[place])
            told = Estimate(value=value, low=low, high=high, n=len(several), clusters=len(names))
            found.append(Slope(score, scale, judge, name, told))
    return found


class TurnRating(NamedTuple):
    """What a judge said of one reply."""

    score: str
    scale: Scale | None
    judge: str
    value: float
    turn: int
    characters: int
    state: Hashable


def _within(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Less the mean of the group."""
    return values - (np.bincount(groups, values) / np.bincount(groups))[groups]
