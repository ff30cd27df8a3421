import json

import pytest
from inspect_ai import eval, eval_retry  # noqa: A004

from scenarios.mistakes import UserMistake
from scenarios.stakes.factors import Shares, draw_pairs, read_factors, stable_split
from scenarios.stakes.records import StakesPair
from tasks.stakes_generate import stakes_generate
from tests.support.stakes_writer import every_told_model_follows, written_pair
from tests.support.told import told


@pytest.fixture
def write(tmp_path):
    def run(script, **options):
        task = stakes_generate(**{"pairs": 6, "styles": 2, "cache": False} | options)
        (log,) = eval(task, model=told(script), log_dir=str(tmp_path / "logs"), display="none")
        return log

    return run


def test_a_pair_is_written_both_ways_in_several_styles(write):
    log = write(written_pair)
    assert log.status == "success"
    assert log.results.scores[0].metrics["mean"].value == 1
    for sample in log.samples:
        written = sample.store_as(StakesPair)
        assert "breathe" in written.situations.high
        assert "ducks" in written.situations.low
        styles = [p.variation.style for p in written.prompts]
        assert len(set(styles)) == 2
        for prompt in written.prompts:
            assert prompt.high == f"{prompt.variation.style}: {written.situations.high}"
        assert written.metadata["high"]["harm"] == "life or health"
        assert "reversible" not in written.metadata["low"]  # "sometimes" is none of the answers
        assert written.metadata_problems == 1


PROBLEMS = [
    ("I'm sorry, but I can't help with that.", "refusal"),
    ("", "no answer"),
    ("High: a fire. Low: a cake.", "unreadable"),
    ('{"high": "a fire", "low": "a', "unreadable"),
    (json.dumps({"high": "a fire"}), "one-sided"),
    (json.dumps({"high": "a fire", "low": " "}), "one-sided"),
    (json.dumps({"high": "a fire", "low": "a fire"}), "both sides are equal"),
    (json.dumps({"high": "a high-stakes fire", "low": "a cake"}), "gives the label away"),
]
"""What a model answers, and what that is counted as."""


def test_what_is_wrong_with_prompts_is_counted(write):
    answers = iter(PROBLEMS)

    def script(prompt):
        return next(answers)[0] if "You write texts" in prompt[0].text else written_pair(prompt)

    log = write(script, pairs=4)
    found = [p.problem for s in log.samples for p in s.store_as(StakesPair).prompts]
    assert sorted(found) == sorted(problem for _, problem in PROBLEMS)
    assert [s.scores["usable_prompts"].value for s in log.samples] == [0] * 4
    assert [p for s in log.samples for p in s.scores["usable_prompts"].metadata["problems"]] == found


def test_a_pair_without_situations_has_no_prompts(write):
    log = write("No.", pairs=2)
    assert [s.store_as(StakesPair).prompts for s in log.samples] == [[], []]
    assert [s.scores["usable_prompts"].value for s in log.samples] == [0, 0]


def test_a_stopped_eval_asks_for_no_finished_pair_again(tmp_path, monkeypatch):
    class Stopped(Exception):
        pass

    calls = []
    broken = [True]

    def script(name, prompt):
        if broken[0] and len(calls) == 13:  # 4 calls a pair: the fourth pair has begun
            raise Stopped
        calls.append(prompt[-1].text)
        return written_pair(prompt)

    every_told_model_follows(monkeypatch, script)
    options = {"log_dir": str(tmp_path), "display": "none", "max_samples": 1}
    arguments = {"pairs": 6, "styles": 2, "cache": False}
    (log,) = eval("tasks/stakes_generate.py", model="told/x", task_args=arguments, **options)
    assert log.status == "error"
    broken[0] = False
    (again,) = eval_retry(log, **options)
    assert again.status == "success"
    assert len(again.samples) == 6
    situations = [text for text in calls if text.startswith("Topic:")]
    assert len(situations) <= 7  # the pair that was broken off, once more


# -- the draw -------------------------------------------------------------------------------------


def test_the_draw_is_the_same_every_time_and_splits_do_not_move():
    factors, shares = read_factors(), Shares(0.1, 0.2)
    few = draw_pairs(factors, pairs=50, styles=2, shares=shares, seed=3)
    assert few == draw_pairs(factors, pairs=50, styles=2, shares=shares, seed=3)
    assert few != draw_pairs(factors, pairs=50, styles=2, shares=shares, seed=4)
    many = {p.pair: p for p in draw_pairs(factors, pairs=7000, styles=2, shares=shares, seed=3)}
    assert all(many[p.pair].split == p.split for p in few if p.pair in many)
    share = sum(p.split == "test" for p in many.values()) / len(many)
    assert 0.18 < share < 0.22


def test_a_split_is_the_same_in_every_process():
    # SHA-256, not `hash`: these are constants of the method
    assert [stable_split(i, Shares(0.25, 0.5), 0) for i in ("a", "b", "c", "d", "e", "f")] == [
        "dev", "train", "dev", "test", "train", "test",
    ]  # fmt: skip


def test_held_out_styles_are_for_the_test_alone():
    factors = read_factors()
    heldout = {name for name, style in factors.styles.items() if style.heldout}
    assert heldout
    for pair in draw_pairs(factors, pairs=400, styles=3, shares=Shares(0.2, 0.3)):
        styles = {v.style for v in pair.variations}
        assert len(styles) == 3
        assert bool(styles & heldout) == (pair.split == "test")
    for pair in draw_pairs(factors, pairs=400, styles=2, shares=Shares(0, 0.3), heldout_styles=["question"]):
        assert any(v.style == "question" for v in pair.variations) == (pair.split == "test")


@pytest.mark.parametrize(
    ("options", "told_what"),
    [
        ({"pairs": 0}, "pairs=0: there are 1 to"),
        ({"styles": 9}, "styles=9: a pair for training"),
        ({"dev": 0.5, "test": 0.5}, "leave some for training"),
        ({"heldout_styles": "poem"}, "no style 'poem'; there are"),
        ({"factors": "nowhere.yaml"}, "nowhere.yaml"),
    ],
)
def test_options_that_cannot_be(options, told_what):
    with pytest.raises(UserMistake, match=told_what):
        stakes_generate(**options)
