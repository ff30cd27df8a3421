"""Which conversations are trained on: ranks, numbers, ties, gaps, what is refused, and the table."""

import math
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.rated import NAN, chosen, conversation, group, ratings, reasons, with_vetoes
from training.selection.picking import VETO_LEVELS
from training.selection.selecting import REASONS, SelectionError, choose, read_table
from training.settings import Choosing

# -- how many -------------------------------------------------------------------------------------


def test_by_default_the_best_and_the_worst_of_each_initial_state():
    selection = chosen([*group(1, 5, 9, 3), *group(2, 8, 4, state="s2")])
    assert ratings(selection, True) == [9, 8]
    assert ratings(selection, False) == [2, 1]
    assert selection.counts == {"best": 2, "worst": 2, "middle": 3}
    assert {c.group for c in selection.choices} == {"s1", "s2"}
    ranks = {c.trajectory.rating: c.rank for c in selection.choices if c.group == "s1"}
    assert ranks == {9: 1, 5: 2, 3: 3, 1: 4}


@pytest.mark.parametrize(
    ("size", "fraction", "expected"),
    [
        (32, "1/16", 2),
        (33, "1/16", 3),
        (1, "1/16", 1),
        (30, 0.1, 3),
        (3, "1/3", 1),
        (7, "1/3", 3),
        (100, 0.07, 7),
    ],
)
def test_the_fraction_is_computed_exactly(size, fraction, expected):
    selection = chosen(group(*range(size)), "ei", select_per="topic", fraction=fraction)
    assert selection.counts["best"] == expected
    assert ratings(selection, True) == list(range(size))[::-1][:expected]


@pytest.mark.parametrize(("level", "groups"), [("topic", {"a", "b"}), ("family", {"tiny"}), ("all", {"all"})])
def test_larger_groups_give_a_sixteenth(level, groups):
    states = [(topic, f"{topic}{n}") for topic in "ab" for n in range(16)]
    every = [conversation(n, topic=t, state=s) for n, (t, s) in enumerate(states)]
    selection = chosen(every, "ei", select_per=level)
    assert {c.group for c in selection.choices} == groups
    assert selection.counts["best"] == 2
    assert ratings(selection, True) == ([31, 15] if level == "topic" else [31, 30])


def test_the_same_state_name_in_two_topics_is_two_groups():
    selection = chosen([*group(1, 9, sample="x"), *group(3, 7, topic="bread", sample="y")])
    assert (ratings(selection, True), ratings(selection, False)) == ([9, 7], [3, 1])


def test_a_count_takes_no_more_than_half_as_worst_but_all_as_best_of_ei():
    assert ratings(chosen(group(1, 2, 3, 4, 5), count=4), False) == [2, 1]
    assert ratings(chosen(group(1, 2, 3, 4, 5), count=4), True) == [5, 4]
    assert ratings(chosen(group(1, 2, 3), "ei", count=4), True) == [3, 2, 1]


def test_a_threshold_parts_best_from_worst():
    every = group(7, 6.9, 9, 1)
    selection = chosen(every, threshold=7)
    assert (ratings(selection, True), ratings(selection, False)) == ([9, 7], [6.9, 1])
    selection = chosen(every, "ei", threshold=7)
    assert reasons(selection) == {7: None, 9: None, 6.9: "below_threshold", 1: "below_threshold"}


def test_a_group_at_one_side_of_the_threshold_serves_kto_but_not_dpo():
    every = [*group(8, 9), *group(2, 8, state="s2")]
    assert chosen(every, "kto", threshold=7).counts == {"best": 3, "worst": 1}
    selection = chosen(every, "dpo", threshold=7)
    assert selection.counts == {"best": 1, "worst": 1, "no_partner": 2}


# -- ties and gaps --------------------------------------------------------------------------------


def test_a_tied_group_has_no_worst_and_is_left_out():
    selection = chosen([*group(5, 5, 5), *group(1, 9, state="s2")])
    assert selection.counts == {"best": 1, "worst": 1, "tied": 3}
    assert {c.dropped for c in selection.choices if c.group == "s1"} == {"tied"}


def test_a_tie_in_the_middle_drops_the_inner_pair_only():
    selection = chosen(group(9, 5, 5, 1), count=2)
    assert (ratings(selection, True), ratings(selection, False)) == ([9], [1])
    assert selection.counts == {"best": 1, "worst": 1, "tied": 2}


def test_a_single_survivor_is_a_best_of_ei_and_nothing_of_the_others():
    every = [*group(5, NAN), *group(1, 9, state="s2")]
    assert chosen(every, "ei").counts == {"best": 2, "worst": 0, "unscored": 1, "middle": 1}
    for algorithm in ("kto", "dpo"):
        assert chosen(every, algorithm).counts == {"best": 1, "worst": 1, "unscored": 1, "single": 1}


def test_a_tied_group_gives_ei_one_drawn_with_the_seed_whatever_the_order():
    every = group(*[5] * 8)
    picks = Counter()
    for seed in range(200):
        selection = chosen(every, "ei", seed=seed)
        assert selection == chosen(every[::-1], "ei", seed=seed)
        picks.update(c.trajectory.epoch for c in selection.taken)
    assert sum(picks.values()) == 200
    # 25 expected for each; 8 is 3.6 standard deviations below
    assert len(picks) == 8
    assert min(picks.values()) > 8


def test_the_minimum_gap_of_kto_and_dpo_lies_between_best_and_worst():
    every = [*group(9, 3.2, 4.3, 1), *group(5, 4.5, state="s2")]
    for algorithm in ("kto", "dpo"):
        # 4.3 - 3.2 is a little below 1.1 in binary
        assert chosen(every, algorithm, count=2, min_gap=1.1).counts == {
            "best": 2,
            "worst": 2,
            "small_gap": 2,
        }
        selection = chosen(every, algorithm, count=2, min_gap=1.2)
        assert (ratings(selection, True), ratings(selection, False)) == ([9], [1])


def test_the_minimum_gap_of_ei_lies_between_best_and_the_groups_mean():
    every = [*group(8, 4), *group(6, 5, state="s2"), *group(5, state="s3")]
    selection = chosen(every, "ei", min_gap=2)
    assert selection.counts == {"best": 1, "worst": 0, "small_gap": 3, "middle": 1}
    assert ratings(selection, True) == [8]


# -- what cannot be used --------------------------------------------------------------------------


def test_what_ended_badly_is_counted_and_never_ranked():
    every = [
        *group(1, 9),
        conversation(10, 3, problem="error"),
        conversation(0, 4, problem="limit"),
        conversation(NAN, 5, problem="unfinished"),
        conversation(NAN, 6),
    ]
    selection = chosen(every)
    bad = {"error": 1, "limit": 1, "unfinished": 1, "unscored": 1}
    assert selection.counts == {"best": 1, "worst": 1, **bad}
    assert [c.rank for c in selection.choices] == [2, 1, None, None, None, None]


# -- what is refused ------------------------------------------------------------------------------


def test_a_topic_that_vanishes_is_an_error_unless_allowed():
    every = [
        *group(1, 9),
        *group(5, 5, 5, topic="bread", state="b1"),
        conversation(NAN, topic="bread", state="b2"),
    ]
    for level in ("state", "topic"):
        with pytest.raises(SelectionError) as error:
            chosen(every, select_per=level)
        told = str(error.value)
        assert "nothing is left of these topics: bread (tied 3, unscored 1); raise --epochs" in told
        assert "--allow-vanished true" in told
    selection = chosen(every, allow_vanished=True)
    assert selection.vanished == {"bread": {"tied": 3, "unscored": 1}}


def test_topics_compete_where_they_are_ranked_together():
    every = [*group(*range(8, 16)), *group(*range(8), topic="bread", state="b1")]
    selection = chosen(every, "ei", select_per="all")
    assert selection.vanished == {"bread": {"middle": 8}}


@pytest.mark.parametrize(
    ("every", "rules", "message"),
    [
        ([], {}, "nothing is left to train on: no conversations"),
        (group(NAN, NAN), {}, "unscored 2; the log has no such score, or its judge gave no numbers"),
        (group(1, 9), {"veto_mode": "binary"}, "veto_unscored 2; the log has no veto scores"),
        (with_vetoes((1, 1), (9, 1)), {"veto_mode": "binary"}, "vetoed 2; raise --veto-level"),
        (group(5, 5), {}, "tied 2; raise --epochs"),
        (group(5), {}, "single 1; raise --epochs"),
        (group(5, 6), {"min_gap": 2}, "small_gap 2; lower --min-gap"),
        (group(8, 9), {"threshold": 5}, "kto needs best and worst conversations: best 2"),
    ],
)
def test_nothing_left_is_an_error_that_says_why_even_where_vanishing_is_allowed(every, rules, message):
    with pytest.raises(SelectionError) as error:
        chosen(every, allow_vanished=True, **rules)
    assert message in str(error.value)


def test_a_conversation_that_is_there_twice_is_refused():
    with pytest.raises(SelectionError, match="sample 's1', epoch 1 is there twice"):
        chosen([*group(1, 9), conversation(4, state="s2", sample="s1")])


# -- the table ------------------------------------------------------------------------------------


def test_the_table_holds_everything_and_has_the_same_bytes_for_the_same_seed(tmp_path):
    every = [*with_vetoes((9, 0.1), (5, 0.7), (5, 0.2), (NAN, NAN)), *group(2, 3, state="s2", veto=0.0)]
    paths = [tmp_path / name for name in ("one.jsonl", "two.jsonl")]
    for path, order in zip(paths, (every, random.Random(0).sample(every, len(every))), strict=True):
        chosen(order, veto_mode="binary", seed=3).write_table(path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    selection = chosen(every, veto_mode="binary", seed=3)
    read = read_table(paths[0])
    assert read.counts == selection.counts
    assert repr(read.choices) == repr(selection.choices)


def test_a_broken_table_is_named_with_its_line(tmp_path):
    path = tmp_path / "selection.jsonl"
    chosen(group(1, 9)).write_table(path)
    path.write_text(path.read_text() + '{"sample": "s1"}\n')
    with pytest.raises(ValueError, match=r"selection\.jsonl:3: expected a conversation with"):
        read_table(path)


# -- properties -----------------------------------------------------------------------------------

conversations = st.lists(
    st.builds(
        conversation,
        st.one_of(st.sampled_from([1.0, 4.0, 5.0, 9.0, NAN]), st.floats(1, 10)),
        topic=st.sampled_from(["chess", "bread"]),
        state=st.sampled_from(["s1", "s2"]),
        veto=st.sampled_from([0.0, 0.4, 0.5, 1.0, 3.0, NAN]),
        stopped_by_veto=st.sampled_from([False, False, False, True]),
        problem=st.sampled_from([None, None, None, "error"]),
    ),
    min_size=1,
    max_size=24,
).map(
    lambda every: [t._replace(sample=f"{t.topic}-{t.state}", epoch=n) for n, t in enumerate(every, start=1)]
)

rules = st.builds(
    lambda number, **others: Choosing(allow_vanished=True, **number, **others),
    number=st.sampled_from(
        [{}, {"count": 1}, {"count": 3}, {"fraction": 0.5}, {"fraction": "1/8"}, {"threshold": 5}]
    ),
    select_per=st.sampled_from(["state", "topic", "family", "all"]),
    min_gap=st.sampled_from([0.0, 0.5, 3.0]),
    veto_mode=st.sampled_from(list(VETO_LEVELS)),
    veto_counting=st.sampled_from(["before", "after"]),
    control=st.sampled_from(["none", "none", "reversed", "random"]),
)


@settings(max_examples=400, deadline=None)
@given(conversations, rules, st.sampled_from(["ei", "kto", "dpo", "grpo"]), st.integers(0, 5), st.randoms())
def test_what_holds_of_every_selection(every, choosing, algorithm, seed, rng):
    try:
        selection = choose(every, choosing, algorithm=algorithm, seed=seed)
    except SelectionError:
        return
    shuffled = choose(rng.sample(every, len(every)), choosing, algorithm=algorithm, seed=seed)
    assert repr(shuffled) == repr(selection)
    assert sum(selection.counts.values()) == len(every) == len(selection.choices)
    assert set(selection.counts) <= {"best", "worst", "unlabelled", *REASONS}
    for choice in selection.choices:
        assert choice.dropped is None or choice.label is None
        if choice.dropped is None:
            assert choice.trajectory.problem is None
            assert not math.isnan(choice.trajectory.rating)
            assert not choice.trajectory.stopped_by_veto
            assert choice.label is False or choice.barred is None
            assert choice.rank is not None
    if choosing.control != "random" and algorithm in ("kto", "dpo"):
        sign = -1 if choosing.control == "reversed" else 1
        keys = {(c.trajectory.topic, c.trajectory.state) for c in selection.choices}
        for key in keys if choosing.select_per == "state" else ():
            own = [c for c in selection.taken if (c.trajectory.topic, c.trajectory.state) == key]
            best = [sign * c.trajectory.rating for c in own if c.label]
            worst = [sign * c.trajectory.rating for c in own if c.label is False]
            if best and worst:
                gap = min(best) - max(worst)
                assert gap > 0
                assert gap >= choosing.min_gap - 1e-9
            if algorithm == "dpo":
                assert bool(best) == bool(worst)


# -- weight ---------------------------------------------------------------------------------------
