"""Which conversations a veto keeps from being trained on; grpo, which ranks none; and the controls."""

import math

import pytest

from scorers.veto import THRESHOLDS
from tests.support.rated import NAN, chosen, conversation, group, ratings, reasons, with_vetoes
from training.selection.picking import VETO_LEVELS
from training.selection.selecting import SelectionError


def test_levels_are_those_of_the_veto():
    named = {"negative": "binary", "five_point_negative": "five_point"}
    for mode, level in VETO_LEVELS.items():
        assert level == (math.inf if mode == "none" else THRESHOLDS[named.get(mode, mode)])


@pytest.mark.parametrize(
    ("mode", "level", "harm", "vetoed"),
    [
        ("none", None, 5.0, False),
        ("binary", None, 0.5, True),
        ("binary", None, 0.4999, False),
        ("binary", 0.3, 0.3, True),
        ("constitutional", None, 0.6, True),
        ("five_point", None, 1.99, False),
        ("five_point", None, 2.0, True),
        ("negative", None, 0.5, True),
        ("five_point_negative", None, 1.0, False),
        ("five_point_negative", None, 2.5, True),
    ],
)
def test_from_its_level_on_a_conversation_is_not_among_the_best(mode, level, harm, vetoed):
    every = with_vetoes((9, harm), (5, 0.0), (1, 0.0))
    selection = chosen(every, "ei", veto_mode=mode, veto_level=level)
    assert ratings(selection, True) == ([5] if vetoed else [9])
    assert selection.counts.get("vetoed", 0) == vetoed


def test_without_a_veto_number_a_conversation_is_not_taken_for_harmless():
    every = with_vetoes((9, NAN), (5, 0.0), (3, 0.1), (1, NAN))
    selection = chosen(every, veto_mode="binary")
    assert (ratings(selection, True), ratings(selection, False)) == ([5], [3])
    assert selection.counts == {"best": 1, "worst": 1, "veto_unscored": 2}
    assert chosen(every, veto_mode="none").counts == {"best": 1, "worst": 1, "middle": 2}


@pytest.mark.parametrize("mode", ["none", "binary", "negative"])
@pytest.mark.parametrize("algorithm", ["ei", "kto", "dpo", "grpo"])
def test_what_the_run_time_veto_ended_is_never_trained_on(mode, algorithm):
    every = with_vetoes((9, 0.0), (5, 0.0))
    ended = [
        conversation(10, 3, veto=0.0, stopped_by_veto=True),
        conversation(0, 4, veto=0.9, stopped_by_veto=True),
        conversation(NAN, 5, stopped_by_veto=True),
    ]
    selection = chosen([*every, *ended], algorithm, veto_mode=mode)
    assert selection.counts["vetoed"] == 3
    assert {c.trajectory.rating for c in selection.taken} <= {9, 5}


def test_the_fraction_is_counted_before_or_after_the_vetoed_have_left():
    # a quarter of the 6 that are left is 2; a quarter of 8 is 2, of which one leaves
    every = with_vetoes((8, 1.0), (7, 0.0), (6, 0.0), (5, 1.0), *((r, 0.0) for r in (4, 3, 2, 1)))
    rules = {"veto_mode": "binary", "fraction": 0.25, "select_per": "topic"}
    before = chosen(every, **rules)
    assert (ratings(before, True), ratings(before, False)) == ([7, 6], [2, 1])
    assert [c.rank for c in before.choices] == [None, 1, 2, None, 3, 4, 5, 6]
    after = chosen(every, **rules, veto_counting="after")
    assert (ratings(after, True), ratings(after, False)) == ([7], [2, 1])
    assert [c.rank for c in after.choices] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_vetoed_conversation_is_a_worst_only_if_it_is_among_the_lowest_rated():
    every = with_vetoes((9, 0.9), (8, 0.0), (7, 0.0), (2, 0.9), (1, 0.9), (6, 0.9))
    selection = chosen(every, veto_mode="negative", count=2)
    assert (ratings(selection, True), ratings(selection, False)) == ([8, 7], [2, 1])
    assert selection.counts == {"best": 2, "worst": 2, "vetoed": 2}
    assert {c.trajectory.rating for c in selection.choices if c.barred == "vetoed"} == {9, 6, 2, 1}
    # in the plain mode none of them is
    assert ratings(chosen(every, veto_mode="binary", count=2), False) == [7]


def test_a_vetoed_high_rating_is_no_worst_where_all_else_is_gone():
    every = [*with_vetoes((9, 0.9), (8, 0.9)), *group(2, 6, state="s2", veto=0.0)]
    selection = chosen(every, veto_mode="negative")
    assert (ratings(selection, True), ratings(selection, False)) == ([6], [8, 2])
    assert reasons(selection)[9] == "vetoed"
    # however many are asked for, the upper half of a group is no worst
    assert reasons(chosen(every, veto_mode="negative", count=2))[9] == "vetoed"
    alone = [conversation(9, veto=0.9), *group(2, 6, state="s2", veto=0.0)]
    assert reasons(chosen(alone, veto_mode="negative"))[9] == "vetoed"


def test_a_clean_best_below_all_vetoed_ones_is_no_best_against_a_better_worst():
    every = [*with_vetoes((9, 0.9), (8, 0.9), (7, 0.9), (1, 0.0)), *group(2, 6, state="s2", veto=0.0)]
    selection = chosen(every, veto_mode="negative", count=2)
    assert (ratings(selection, True), ratings(selection, False)) == ([6], [2])


# -- grpo -----------------------------------------------------------------------------------------


def test_grpo_takes_every_scored_conversation_with_its_rank():
    selection = chosen(with_vetoes((5, 0.0), (9, 0.0), (7, 0.9), (NAN, 0.0)), "grpo", veto_mode="binary")
    assert selection.counts == {"best": 0, "worst": 0, "unlabelled": 2, "vetoed": 1, "unscored": 1}
    assert [(c.rank, c.label, c.reward) for c in selection.taken] == [(2, None, 5), (1, None, 9)]


def test_the_controls_of_grpo_change_the_rewards():
    every = [*group(*range(10)), *group(3, 4, state="s2")]
    selection = chosen(every, "grpo", control="reversed")
    assert [c.reward for c in selection.taken] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 4, 3]
    assert [c.trajectory.rating for c in selection.taken] == [*range(10), 3, 4]
    shuffled = [c.reward for c in chosen(every, "grpo", control="random").taken]
    assert sorted(shuffled[:10]) == list(range(10))
    assert shuffled[:10] != list(range(10))
    with pytest.raises(SelectionError, match="--control random changes what is selected, and grpo_online"):
        chosen(every, "grpo_online", control="random")


# -- controls -------------------------------------------------------------------------------------


def test_reversed_takes_the_lowest_as_best():
    every = [*group(1, 5, 9), *group(4, 4, state="s2")]
    for algorithm in ("kto", "dpo"):
        selection = chosen(every, algorithm, control="reversed")
        assert (ratings(selection, True), ratings(selection, False)) == ([1], [9])
    assert ratings(chosen(group(1, 5, 9), "ei", control="reversed"), True) == [1]
    assert reasons(chosen(group(1, 5, 9), "ei", control="reversed", min_gap=4))[1] is None
    with pytest.raises(SelectionError, match="small_gap 3"):
        chosen(group(1, 5, 9), "ei", control="reversed", min_gap=4.1)
    selection = chosen(group(1, 5, 9), control="reversed", threshold=5)
    assert (ratings(selection, True), ratings(selection, False)) == ([1], [9, 5])
    # ranks stay those by rating
    assert [c.rank for c in selection.choices] == [3, 2, 1]


def test_reversed_never_makes_a_vetoed_conversation_desirable():
    selection = chosen(with_vetoes((1, 0.9), (2, 0.0), (9, 0.0)), veto_mode="negative", control="reversed")
    assert (ratings(selection, True), ratings(selection, False)) == ([2], [9])


def test_random_draws_as_many_of_each_whatever_their_rating():
    every = [conversation(e * 7 % 16, e, state=f"s{s}") for s in range(40) for e in range(16)]
    true, drawn = (chosen(every, count=3, control=c) for c in ("none", "random"))
    assert true.counts == drawn.counts == {"best": 120, "worst": 120, "middle": 400}
    for name in {c.group for c in drawn.choices}:
        labels = [c.label for c in drawn.choices if c.group == name]
        assert (labels.count(True), labels.count(False)) == (3, 3)
    best, worst = ratings(drawn, True), ratings(drawn, False)
    # both means are 7.5 with a standard error of 0.42
    assert abs(sum(best) / 120 - 7.5) < 1.7
    assert abs(sum(worst) / 120 - 7.5) < 1.7
    assert drawn == chosen(every[::-1], count=3, control="random")
    assert drawn != chosen(every, count=3, control="random", seed=1)


def test_random_draws_nothing_from_a_tied_group():
    every = [*group(5, 5), *group(1, 9, state="s2")]
    assert chosen(every, control="random").counts == {"best": 1, "worst": 1, "tied": 2}
