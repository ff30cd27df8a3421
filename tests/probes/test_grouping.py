from hypothesis import given
from hypothesis import strategies as st

from probes.activations.grouping import (
    SHARED_GROUP,
    SHARED_WORDS,
    Tie,
    apart,
    digests_of,
    joined,
    known_by,
    ties_of,
)
from probes.activations.stored_sets import DatasetRow

OF_A_LOG = {"task": "t", "model": "m", "epoch": "1"}


def row(name, group, key="k", **facts):
    return DatasetRow(id=name, key=key, group=group, facts=facts, n_tokens=3)


def test_equal_words_are_one_group():
    rows = [row(str(i), str(i), key=f"k{i % 3}") for i in range(7)]
    assert joined(ties_of(rows, "a.jsonl")) == ["a.jsonl\n0", "a.jsonl\n1", "a.jsonl\n2"] * 2 + ["a.jsonl\n0"]


def test_what_hangs_together_by_words_and_by_groups_is_one_group():
    ties = [Tie("a", "1"), Tie("b", "1"), Tie("b", "2"), Tie("c", "2"), Tie("d", "3")]
    assert joined(ties) == ["a", "a", "a", "a", "d"]


def test_initial_states_of_two_families_are_two_groups():
    rows = [row(f, "smoking-3", key=f, family=f, **OF_A_LOG) for f in ("therapy", "subtle")]
    assert joined(ties_of(rows, "logs")) == ["therapy/smoking-3", "subtle/smoking-3"]


def test_ids_that_stand_in_for_groups_mean_rows_of_their_own_file():
    one, two = (ties_of([row("7", "7", key=file)], file) for file in ("one.jsonl", "two.jsonl"))
    assert apart(one, two) == [None]
    assert apart(one, ties_of([row("7", "7", key="other words")], "one.jsonl")) == [SHARED_GROUP]
    # an id that came twice
    assert apart(ties_of([row("7#2", "7", key="x")], "one.jsonl"), two) == [None]


def test_groups_that_were_named_are_the_same_everywhere():
    one, two = (
        ties_of([row("1", "pair", key="x")], "train.csv"),
        ties_of([row("2", "pair", key="y")], "test.csv"),
    )
    assert apart(one, two) == [SHARED_GROUP]


def test_why_a_row_is_on_the_wrong_side():
    train = [Tie("a", "1"), Tie("b", "2")]
    rows = [Tie("a", "3"), Tie("c", "2"), Tie("c", "4"), Tie("d", "5")]
    # the third is of the group of the second, whose words are trained on
    assert apart(rows, train) == [SHARED_GROUP, SHARED_WORDS, SHARED_GROUP, None]


rows_of = st.lists(st.builds(Tie, st.sampled_from("abcde"), st.sampled_from("12345")), max_size=12)


@given(rows_of, rows_of)
def test_nothing_is_left_on_both_sides(ties, others):
    kept = [tie for tie, reason in zip(ties, apart(ties, others), strict=True) if reason is None]
    assert not {t.group for t in kept} & {t.group for t in others}
    assert not {t.key for t in kept} & {t.key for t in others}
    assert len(joined(ties)) == len(ties)
    # a card tells the same rows apart
    assert known_by(ties, digests_of(others)) == [reason is not None for reason in apart(ties, others)]
