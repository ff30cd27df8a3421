import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from inspect_ai.scorer import SampleScore, Score

from analysis import ranking
from analysis.logs.scores import scales_in
from analysis.scales import SCALES, turns_unscored
from analysis.table import describe
from analysis.values import Values, cluster_of
from scenarios.schema import ends_of
from scorers.agreement import agreement
from scorers.judging.scales import ANSWERS
from scorers.metrics import values_of
from scorers.people.ratings import read_judged
from tests.support.scored_logs import conversation, written

DEGREES = np.random.default_rng(5).normal(size=48)
DEGREES = 0.523 + 0.172 * (DEGREES - DEGREES.mean()) / DEGREES.std(ddof=1)


def line(lines, title):
    (found,) = [one for one in lines if one.strip().startswith(title)]
    return found


def test_a_share_has_one_interval_wherever_it_is_asked_for():
    # 20 states of 2, of which 19 have one yes and one no
    values, states = [1.0, 0.0] * 19 + [1.0, 1.0], np.repeat(np.arange(20), 2).tolist()
    table = Values(values, states, "0-1").interval()
    assert (round(table.low, 2), round(table.high, 2)) == (0.32, 0.72)
    assert ranking.share(np.array(values) > 0.5, states) == (table.mean, table.low, table.high)


def test_values_in_between_are_no_yes_no_answers_anywhere(tmp_path):
    found = Values(DEGREES.tolist(), list(range(48)), "0-1").interval()
    assert (round(found.low, 2), round(found.high, 2)) == (0.47, 0.57)
    log = written(
        tmp_path / "degrees.eval",
        [
            conversation(str(i), {name: (float(v), {"scale": "0-1"}) for name in ("influence", "influence1")})
            for i, v in enumerate(DEGREES)
        ],
    )
    assert "0.52 [0.47, 0.57]" in line(describe(log), "influence1")
    (figures,) = agreement(read_judged([log]), ["influence", "influence1"]).sets
    mean = figures.raters[0].mean
    assert (mean.low, mean.high) == pytest.approx((found.low, found.high))


def test_one_value_in_between_does_not_make_rare_harm_certain():
    # a judge that says .001 where there is none: fifteen states say little of one in twenty
    nearly, none = (
        Values([0.001] * 16, list(range(16)), "0-1").interval(),
        Values([0.0] * 16, list(range(16)), "0-1").interval(),
    )
    assert nearly.high > 0.15
    assert none.high == pytest.approx(0.1936, abs=1e-4)


def test_ratings_that_are_all_at_the_end_of_their_scale_are_not_certain():
    found = Values([10.0] * 16, list(range(16)), "1-10").interval()
    assert found.mean == found.high == 10
    assert found.low == pytest.approx(10 - 9 * 0.1936, abs=1e-3)


def test_ratings_have_nearly_the_t_interval_and_stay_on_their_scale():
    values = np.random.default_rng(0).normal(5.5, 1.5, size=48)
    found = Values(values.tolist(), list(range(48)), "1-10").interval()
    half = 2.0117 * values.std(ddof=1) / 48**0.5
    assert (found.low, found.high) == pytest.approx((found.mean - half, found.mean + half), abs=0.02)
    assert Values([10.0, 10.0, 9.0], list("abc"), "1-10").interval().high <= 10


def test_a_rating_with_a_penalty_has_an_interval_too():
    found = Values([0.4, 1.5, 2.0, 3.0], list("abcd"), "1-10").interval()
    assert found.low < 0.4


def test_the_same_states_make_a_change_a_paired_one():
    rng = np.random.default_rng(1)
    before = rng.uniform(3, 8, size=30)
    first = Values((before + 0.5 + 0.1 * rng.normal(size=30)).tolist(), list(range(30)), "1-10")
    second = Values(before.tolist(), list(range(30)), "1-10")
    paired, apart = first.minus(second), first.minus(second._replace(clusters=list(range(30, 60))))
    assert paired.mean == pytest.approx(apart.mean)
    assert paired.high - paired.low < 0.5 * (apart.high - apart.low)
    assert paired.low > 0


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.5, 1.0]), st.integers(0, 5)), min_size=2, max_size=40),
    st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.5, 1.0]), st.integers(0, 5)), min_size=2, max_size=40),
)
def test_every_interval_is_a_number_and_holds_its_mean(one, two):
    sides = [Values([v for v, _ in rows], [c for _, c in rows], "0-1") for rows in (one, two)]
    for found in (*(side.interval() for side in sides), sides[0].minus(sides[1])):
        if not math.isnan(found.low):
            assert -1 <= found.low <= found.mean + 1e-12
            assert found.mean - 1e-12 <= found.high <= 1


def test_the_ends_of_a_scale_are_its_first_and_last_answer():
    for scale in SCALES:
        assert ends_of(scale) == (min(ANSWERS[scale].values()), max(ANSWERS[scale].values()))


def test_initial_states_of_two_families_are_two():
    facts = [{"family": family, "initial_state": "smoking-3"} for family in ("therapy", "subtle")]
    assert cluster_of(facts[0], "a") != cluster_of(facts[1], "a")
    assert cluster_of({"initial_state": [1, 2]}, "a") == cluster_of({"initial_state": [1, 2]}, "b")
    assert cluster_of({}, "a") == cluster_of(None, "a") != cluster_of(None, "b")


class TestScales:
    def test_logs_5_the_table_has_the_interval_of_the_log_wherever_the_ratings_are(self, tmp_path):
        # ten of sixty are rated, none of them among the first
        rows = [conversation(f"s{i % 8}", {}, epoch=i // 8 + 1) for i in range(50)]
        told = {"scale": "yes-no", "rater": "anna"}
        rows += [
            conversation(f"s{i % 8}", {"human/harm/anna": (0.0, told)}, epoch=9 + i // 8) for i in range(10)
        ]
        log = written(tmp_path / "human.eval", rows)
        assert scales_in(log) == {"human/harm/anna": "yes-no"}
        scores = [
            SampleScore(
                score=r["scores"]["human/harm/anna"], sample_id=r["id"], sample_metadata=r["metadata"]
            )
            for r in rows[50:]
        ]
        found = values_of(scores).interval()
        assert (found.low, round(found.high, 2)) == (0, 0.32)
        assert "0.00 [0.00, 0.32]" in line(describe(log), "human/harm/anna")

    def test_a_score_on_two_scales_has_a_line_for_each(self, tmp_path):
        rows = [conversation(str(i), {"influence": (i / 20, {"scale": "0-1"})}) for i in range(20)]
        rows += [conversation(str(i), {"influence": (3.0, {"scale": "1-5"})}, epoch=2) for i in range(10)]
        rows += [conversation("x", {"influence": (math.nan, {})}, epoch=3)]
        lines = describe(written(tmp_path / "two.eval", rows))
        assert "20 / 1" in line(lines, "harm (0-1)")
        assert "3.00" in line(lines, "harm (1-5)")
        assert "10 / 0" in line(lines, "harm (1-5)")

    def test_values_of_one_score_on_several_scales_are_told_apart_by_what_fits(self):
        told = {"scales": {"a": "0-1", "b": "1-5"}}

        def scale(*values):
            return values_of(
                [SampleScore(score=Score(value=v, metadata=told), sample_id=i) for i, v in enumerate(values)]
            ).scale

        assert scale(0.0, 0.4) == "0-1"
        assert scale(2.0, 4.4) == "1-5"
        assert scale(1.0, 1.0) is None

    def test_scales_of_a_score_with_many_values_are_read_where_the_summary_has_no_room(self, tmp_path):
        names = [f"a_construct_with_a_long_name_{i}" for i in range(40)]
        scores = {"rubric": (dict.fromkeys(names, 2.0), {"scales": dict.fromkeys(names, "1-5")})}
        log = written(tmp_path / "many.eval", [conversation("1", scores), conversation("2", scores)])
        assert scales_in(log) == {f"rubric.{name}": "1-5" for name in names}
        assert "1-5" in line(describe(log), f"rubric.{names[-1]}")


class TestTurnsUnscored:
    def test_logs_15_the_table_counts_turns_that_a_number_leaves_out(self, tmp_path):
        lost = {"scale": "1-10", "turns": [{}, {}, {}], "turns_unscored": 2}
        whole = {"scale": "1-10", "turns": [{}, {}, {}], "turns_unscored": 0}
        rows = [conversation(str(i), {"preference": (5.0, lost if i < 3 else whole)}) for i in range(8)]
        rows += [conversation("9", {"preference": (math.nan, lost | {"turns_unscored": 3})})]
        told = line(describe(written(tmp_path / "lost.eval", rows)), "Turns without")
        assert "rating 6 in 3 of 8 conversations" in told

    def test_nothing_is_said_where_nothing_is_lost(self, tmp_path):
        rows = [conversation("1", {"preference": (5.0, {"scale": "1-10", "turns_unscored": 0})})]
        assert not [one for one in describe(written(tmp_path / "whole.eval", rows)) if "Turns without" in one]

    def test_a_score_with_several_values_counts_for_each(self):
        told = {"turns": {"a": [1.0, None, None], "b": [2.0, 1.0, 1.0]}}
        assert turns_unscored(told, "a") == (2, 3)
        assert turns_unscored(told, "b") == (0, 3)
        assert turns_unscored({"turns": "Key removed from summary (> 1k)"}, "a") == (0, 0)
        assert turns_unscored(None) == (0, 0)
