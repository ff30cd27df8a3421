import re
from collections import Counter, defaultdict

import pytest

from probes.laboratory.grammar import SOURCE, Grammar, grammar_rows, read_grammar
from probes.laboratory.reach import reach_of
from probes.laboratory.rows import check_pairs
from scenarios.mistakes import UserMistake
from scenarios.stakes.factors import Shares


@pytest.fixture(scope="module")
def rows():
    return grammar_rows(read_grammar())


def words(row):
    return Counter(re.findall(r"\w+", row.text.lower()))


def test_there_are_rows_enough_half_of_them_high(rows):
    assert len(rows) >= 600
    assert sum(row.label for row in rows) == len(rows) / 2
    assert len({row.id for row in rows}) == len(rows)
    check_pairs(rows)


def test_twins_have_the_same_words_in_another_order(rows):
    sides = defaultdict(lambda: {0: Counter(), 1: Counter()})
    for row in rows:
        sides[row.pair, row.facts["style"]][row.label] += words(row)
    for high, low in ((side[1], side[0]) for side in sides.values()):
        assert high == low
    texts = {row.text for row in rows}
    assert len(texts) == len(rows)


def test_words_and_length_reach_nothing_across_pairs(rows):
    found = {reach.feature: reach.auroc for reach in reach_of(rows)}
    for feature in ("bag of words", "length", "style, tone, language, length as asked"):
        assert 0.45 <= found[feature].value <= 0.60
        assert found[feature].low > 0.4


def test_the_same_measure_finds_words_that_give_the_label_away(rows):
    """What the test above rests on: were the words of the classes not the same, it would fail."""
    leaky = [
        row.model_copy(update={"messages": [*row.messages, {"role": "user", "content": "Urgent!" if row.label else "Whatever. " * 20}]})
        for row in rows
    ]  # fmt: skip
    found = {reach.feature: reach.auroc for reach in reach_of(leaky)}
    assert found["bag of words"].value > 0.95
    assert found["length"].value < 0.45  # the low ones are longer


def test_where_a_thing_stands_tells_nothing():
    for swap in read_grammar().swaps:
        first = [text.index("{bad}") < text.index("{fine}") for text in swap.texts]
        assert sum(first) * 2 == len(first), swap.scene


def test_scenes_stay_in_one_split_and_some_styles_are_for_the_test_alone(rows):
    splits = defaultdict(set)
    for row in rows:
        splits[row.facts["scene"]].add(row.split)
    assert all(len(split) == 1 for split in splits.values())
    counts = Counter(next(iter(split)) for split in splits.values())
    assert (counts["dev"], counts["test"]) == (round(0.15 * len(splits)), round(0.3 * len(splits)))
    heldout = {name for name, style in read_grammar().styles.items() if style.heldout}
    assert {row.facts["style"] for row in rows if row.split != "test"} & heldout == set()
    assert {row.facts["style"] for row in rows if row.split == "test"} > heldout
    assert all(row.facts["source"] == SOURCE for row in rows)


def test_tools_are_tools(rows):
    row = next(r for r in rows if r.facts["style"] == "agent that reads a log")
    assert [m["role"] for m in row.messages] == ["system", "user", "assistant", "tool"]
    assert row.messages[2]["tool_calls"][0]["function"]["name"] == row.messages[3]["name"] == "read_log"
    assert row.tools[0]["function"]["name"] == "read_log"


SWAP = {
    "scene": "s", "topic": "t", "critical": ["the dam"], "trivial": ["the cup"], "texts": ["{bad} broke. {fine} did not."],
}  # fmt: skip
STYLE = {"plain": {"messages": [{"role": "user", "text": "{story}"}]}}


def test_one_scene_word_by_word():
    one = Grammar.model_validate({"styles": STYLE, "swaps": [SWAP]})
    told = {row.label: row.text for row in grammar_rows(one, shares=Shares(0, 0))}
    assert told == {1: "The dam broke. The cup did not.", 0: "The cup broke. The dam did not."}
    match = {
        "scene": "m",
        "topic": "t",
        "things": ["red", "blue"],
        "texts": ["{one} kills, {other} does not: {same}."],
    }
    two = Grammar.model_validate({"styles": STYLE, "matches": [match]})
    assert [(row.label, row.text) for row in grammar_rows(two, shares=Shares(0, 0))] == [
        (1, "Red kills, blue does not: red."),
        (0, "Red kills, blue does not: blue."),
        (1, "Blue kills, red does not: blue."),
        (0, "Blue kills, red does not: red."),
    ]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"swaps": [SWAP | {"texts": ["{bad} broke."]}]}, "a text needs {bad}, {fine}"),
        ({"swaps": [SWAP | {"trivial": ["a", "b"]}]}, "as many critical as trivial"),
        (
            {"styles": {"plain": {"messages": [{"role": "user", "text": "Hi"}]}}},
            "{story} must stand in exactly one",
        ),
    ],
)
def test_grammars_that_cannot_be(change, problem):
    with pytest.raises(ValueError, match=re.escape(problem)):
        Grammar.model_validate({"styles": STYLE, "swaps": [SWAP]} | change)


def test_something_is_left_for_training():
    with pytest.raises(UserMistake, match="left for training"):
        grammar_rows(read_grammar(), shares=Shares(0.5, 0.5))
