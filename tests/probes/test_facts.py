"""Choosing conversations by their facts."""

import pytest

from probes.conversations.facts import (
    Condition,
    FactError,
    check_conditions,
    fitting,
    read_conditions,
    read_part,
)

ROWS = [
    {"iteration": "0", "topic": "smoking", "turns": "1"},
    {"iteration": "1", "topic": "gambling", "turns": "3"},
    {"iteration": "2", "topic": "smoking", "turns": "5"},
    {"iteration": "10", "turns": "2.5"},
]


def kept(*conditions):
    return [i for i, fits in enumerate(fitting(ROWS, read_conditions(conditions))) if fits]


@pytest.mark.parametrize(
    ("conditions", "rows"),
    [
        ([], [0, 1, 2, 3]),
        (["iteration=1"], [1]),
        (["iteration=0,1"], [0, 1]),
        (["iteration=0", "iteration=1"], [0, 1]),  # they add up: neither replaces the other
        (["topic!=smoking"], [1, 3]),  # a row without a topic is not about smoking
        (["topic!=smoking", "topic!=gambling"], [3]),
        (["iteration=0..2"], [0, 1, 2]),
        (["iteration=2.."], [2, 3]),
        (["iteration=..1", "iteration=10"], [0, 1, 3]),
        (["turns=2..3"], [1, 3]),
        (["turns!=2..3", "topic=smoking"], [0, 2]),
        (["iteration=01.0"], [1]),
        (["topic=smoking", "iteration=0"], [0]),
    ],
)
def test_rows_are_chosen(conditions, rows):
    assert kept(*conditions) == rows


def test_a_part_of_a_data_set_is_read_with_its_several_values():
    found = read_part("iteration=0,3,topic!=a,b,turns=2..5", "data set x")
    assert list(map(str, found)) == ["iteration=0,3", "topic!=a,b", "turns=2..5"]


def test_a_condition_can_be_of_one_data_set():
    (found,) = read_conditions(["booking:iteration!=4"])
    assert found == Condition("booking", "iteration", True, ("4",))
    assert (found.concerns("booking"), found.concerns("therapy")) == (True, False)


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("topic=smokin", "topic=smokin: no row has topic=smokin; there are topic=gambling|smoking"),
        ("topic!=smokin", "no row has topic=smokin"),  # else what was to be left out stays in
        ("tpic=smoking", "no row has a fact 'tpic'; did you mean 'topic'?"),
        ("iteration=4..9", "no row has iteration=4..9; there are iteration=0|1|2|10"),
        ("theraphy:iteration=1", "no data set 'theraphy'; there are therapy"),
    ],
)
def test_what_fits_nothing_is_told(condition, told):
    with pytest.raises(FactError) as error:
        check_conditions(read_conditions([condition]), {"therapy": ROWS})
    assert told in str(error.value)


@pytest.mark.parametrize("text", ["topic", "=x", "!=x", "turns=5..2"])
def test_what_is_no_condition_is_told(text):
    with pytest.raises(FactError, match=r"expected FACT=VALUE|ends before it begins"):
        read_conditions([text])
