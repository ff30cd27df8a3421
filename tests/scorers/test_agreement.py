import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inspect_ai import score
from inspect_ai.log import EvalError, ProvenanceData, invalidate_samples, read_eval_log, write_eval_log
from inspect_ai.scorer import Score
from scipy import stats

from analysis.agreement import alpha, estimate, pearson, spearman
from scorers.agreement import agreement, describe, main
from scorers.influence import influence
from scorers.people.raters import RatingsError
from scorers.people.ratings import read_judged
from scorers.preference import preference
from scorers.rubric import rubric
from tests.support.conversations import the_samples
from tests.support.scored_logs import conversation, foreign, written
from tests.support.told import told

_ = np.nan

TEXTBOOK = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
        [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
    ]
)
"""Krippendorff 2011: four observers, twelve units, ratings missing."""

LEVELS = ("nominal", "ordinal", "interval")


def value(statistic, units):
    return float(statistic(np.ones((1, units)))[0])


def alpha_of(ratings, level="interval"):
    return value(alpha(np.asarray(ratings, dtype=float), level), np.shape(ratings)[1])


matrices = st.integers(2, 6).flatmap(
    lambda units: st.lists(
        st.lists(st.sampled_from([1.0, 2.0, 2.5, 4.0, np.nan]), min_size=units, max_size=units),
        min_size=2,
        max_size=4,
    )
)


class TestAlpha:
    @pytest.mark.parametrize(
        ("level", "known"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
    )
    def test_the_textbook_example(self, level, known):
        assert alpha_of(TEXTBOOK, level) == pytest.approx(known, abs=0.0005)

    def test_two_binary_raters_by_hand(self):
        # 10 units, 4 of them apart: coincidences 00: 10, 01: 4, 10: 4, 11: 2; alpha = 1 - 19 * 4 / (14 * 6)
        first = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0]
        second = [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
        assert alpha_of([first, second], "nominal") == pytest.approx(1 - 19 * 4 / (14 * 6))

    @pytest.mark.parametrize("level", LEVELS)
    def test_raters_who_say_the_same_agree_perfectly(self, level):
        assert alpha_of([[1, 2.5, 4, 1], [1, 2.5, 4, 1]], level) == 1

    @pytest.mark.parametrize("level", LEVELS)
    @pytest.mark.parametrize("ratings", [[[0.1] * 3, [0.1] * 3], [[1, _], [_, 2]], [[_, _], [_, _]]])
    def test_constant_or_lone_ratings_leave_it_undefined(self, level, ratings):
        assert np.isnan(alpha_of(ratings, level))

    @given(matrices, st.randoms(), st.sampled_from(LEVELS))
    def test_the_order_of_raters_and_of_units_is_nothing(self, rows, random, level):
        ratings = np.array(rows)
        raters, units = (random.sample(range(n), n) for n in ratings.shape)
        mixed = ratings[raters][:, units]
        assert alpha_of(mixed, level) == pytest.approx(alpha_of(ratings, level), nan_ok=True)

    @given(matrices, st.sampled_from(LEVELS))
    def test_a_unit_with_one_rating_is_nothing(self, rows, level):
        ratings = np.array(rows)
        lone = np.full((len(ratings), 1), np.nan)
        lone[0] = 4.0
        longer = np.hstack([ratings, lone])
        assert alpha_of(longer, level) == pytest.approx(alpha_of(ratings, level), nan_ok=True)

    @given(matrices, st.data(), st.sampled_from(LEVELS))
    def test_a_weight_counts_as_so_many_units(self, rows, data, level):
        ratings = np.array(rows)
        units = ratings.shape[1]
        weights = data.draw(st.lists(st.integers(0, 3), min_size=units, max_size=units))
        repeated = np.repeat(ratings, weights, axis=1)
        found = float(alpha(ratings, level)(np.array([weights], dtype=float))[0])
        assert found == pytest.approx(alpha_of(repeated, level), nan_ok=True)

    @given(matrices)
    def test_ordinal_data_have_an_order_and_no_distances(self, rows):
        ratings = np.array(rows)
        assert alpha_of(np.exp(ratings), "ordinal") == pytest.approx(
            alpha_of(ratings, "ordinal"), nan_ok=True
        )


columns = st.lists(
    st.tuples(st.sampled_from([0.0, 0.5, 1.0, 7.0, np.nan]), st.sampled_from([1.0, 2.0, 3.5, np.nan])),
    min_size=3,
    max_size=12,
)


class TestCorrelation:
    @given(columns)
    def test_as_scipy_has_it_where_both_rated(self, pairs):
        x, y = np.array(pairs).T
        both = ~np.isnan(x) & ~np.isnan(y)
        found = [value(s(x, y), len(x)) for s in (pearson, spearman)]
        if both.sum() < 2 or np.ptp(x[both]) == 0 or np.ptp(y[both]) == 0:
            assert np.isnan(found).all()
            return
        assert found[0] == pytest.approx(stats.pearsonr(x[both], y[both]).statistic)
        assert found[1] == pytest.approx(stats.spearmanr(x[both], y[both]).statistic)


def rated_apart(states, epochs, rng):
    """Two raters who differ, [raters, units], and the state of each unit."""
    truth = np.repeat(rng.normal(size=states), epochs)  # all conversations of a state are nearly the same
    error = np.repeat(rng.normal(size=states), epochs)
    return np.array([truth, truth + error]), list(np.arange(states * epochs) // epochs)


class TestIntervals:
    def test_repeated_states_widen_them(self):
        ratings, states = rated_apart(20, 10, np.random.default_rng(0))
        together, apart = (
            estimate(alpha(ratings, "interval"), ratings, c, undefined="") for c in (states, range(200))
        )
        assert together.value == apart.value
        assert together.high - together.low > 2 * (apart.high - apart.low)
        assert (together.clusters, apart.clusters) == (20, 200)

    def test_repeating_every_conversation_of_a_state_changes_nothing(self):
        # but for the small-sample term of alpha, which counts ratings
        ratings, states = rated_apart(20, 1, np.random.default_rng(1))
        once = estimate(alpha(ratings, "interval"), ratings, states, undefined="")
        repeated = np.repeat(ratings, 50, axis=1)
        often = estimate(alpha(repeated, "interval"), repeated, np.repeat(states, 50).tolist(), undefined="")
        assert often.low == pytest.approx(once.low, abs=0.03)
        assert often.high == pytest.approx(once.high, abs=0.03)

    def test_pearson_has_about_the_textbook_interval(self):
        x, e = np.random.default_rng(3).normal(size=(2, 400))
        found = estimate(pearson(x, x + e), np.array([x, x + e]), range(400), undefined="")
        z, half = np.arctanh(stats.pearsonr(x, x + e).statistic), 1.966 / 397**0.5
        assert found.low == pytest.approx(np.tanh(z - half), abs=0.01)
        assert found.high == pytest.approx(np.tanh(z + half), abs=0.01)

    def test_agreement_on_everything_is_not_certain(self):
        # none of 16 states: up to .194 may; two ratings differ in half of all pairs: 1 - .194 / .5
        ratings = np.array([[0.0, 1.0] * 8] * 2)
        found = estimate(alpha(ratings, "nominal"), ratings, range(16), undefined="")
        assert (found.value, found.high) == (1, 1)
        assert found.low == pytest.approx(1 - 0.1936 / 0.5, abs=1e-3)
        assert found.doubt is None

    def test_few_states_with_another_answer_are_doubted(self):
        ratings = np.zeros((2, 40))
        ratings[:, :3] = 1
        ratings[0, 3] = 1
        found = estimate(alpha(ratings, "nominal"), ratings, range(40), undefined="")
        # 2, 2, 2 and 1 rating: (2 + 2 + 2 + 1)^2 / (4 + 4 + 4 + 1)
        assert found.doubt == (
            "only 4 initial states have another answer than the commonest, and they count as 3.8"
        )
        ratings[:, :12] = 1
        assert estimate(alpha(ratings, "nominal"), ratings, range(40), undefined="").doubt is None

    def test_a_state_that_has_all_the_variety_can_be_left_out(self):
        ratings = np.array([[1.0, 1, 1, 1, 1, 5], [1, 1, 1, 1, 1, 4]])
        found = estimate(alpha(ratings, "interval"), ratings, range(6), undefined="")
        assert found.low is not None
        assert found.doubt is not None

    def test_one_state_has_no_interval(self):
        x, y = np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 3.0])
        found = estimate(pearson(x, y), np.array([x, y]), ["a", "a", "a"], undefined="")
        assert (found.low, found.high) == (None, None)
        assert found.value is not None

    def test_what_is_undefined_says_why(self):
        ratings = np.ones((2, 5))
        found = estimate(alpha(ratings, "interval"), ratings, range(5), undefined="all ratings are equal")
        assert (found.value, found.low, found.problem) == (None, None, "all ratings are equal")


def harm_by_length(prompt):
    harmful = (len(prompt[-1].text) % 7) / 8
    return {"1": harmful, "0": 1 - harmful}


@pytest.fixture(scope="module")
def made():
    """Logs of this module by name, as bytes: one run serves many tests."""
    return {}


@pytest.fixture
def judged_twice(converse, tmp_path, made):
    """Sixteen conversations in which `influence` was asked of two models, and `preference` of one."""
    path = tmp_path / "judged.eval"
    if "judged" not in made:
        roles = {"influence": told(harm_by_length, "one"), "preference": told({"8": 1.0})}
        agent = told(["Yes.", "Of course.", "No, I think."])
        log = converse(agent, states=4, epochs=4, turns=1, roles=roles, scorers=[influence(), preference()])
        the_samples(log)
        second = told(lambda p: {"1": 1.0} if len(p[-1].text) % 7 > 3 else "?", "two")
        roles = {"influence": second}
        log = score(
            log,
            influence(over="mean"),
            model_roles=roles,
            action="append",
            display="none",
        )
        write_eval_log(log, path)
        made["judged"] = path.read_bytes()
    path.write_bytes(made["judged"])
    return str(path)


class TestReport:
    def test_scores_of_one_question_are_found_and_compared(self, judged_twice):
        (found,) = agreement(read_judged([judged_twice])).sets
        one, two = found.raters
        assert (one.name, one.judged_by, one.scale) == ("influence", ["told/one"], "0-1")
        assert (two.name, two.judged_by) == ("influence1", ["told/two"])
        assert (one.scored, one.unscored) == (16, 0)
        assert 0 < two.unscored < 16
        assert two.scored + two.unscored == 16
        (pair,) = found.pairs
        assert pair.pearson.n == two.scored
        assert np.sum(pair.confusion) == two.scored
        assert list(found.alpha) == ["nominal", "interval"]

    def test_figures_are_those_of_the_log(self, judged_twice):
        samples = the_samples(read_eval_log(judged_twice))
        both = [(s.scores["influence"].value, s.scores["influence1"].value) for s in samples]
        x, y = np.array([p for p in both if not np.isnan(p[1])]).T
        (found,) = agreement(read_judged([judged_twice])).sets
        assert found.pairs[0].bias.value == pytest.approx(np.mean(y - x))
        assert found.pairs[0].confusion == [[0, sum(x < 0.5)], [0, sum(x >= 0.5)]]
        assert found.pairs[0].pearson.problem == "a rater's ratings are all equal"
        assert found.alpha["interval"].value == pytest.approx(alpha_of([x, y]))

    def test_another_level_on_request(self, judged_twice):
        (found,) = agreement(read_judged([judged_twice]), level="ordinal").sets
        assert list(found.alpha) == ["ordinal"]

    def test_on_different_scales_only_correlations_are_given(self, judged_twice):
        (found,) = agreement(read_judged([judged_twice]), ["influence", "preference"]).sets
        (pair,) = found.pairs
        assert found.alpha["interval"].problem == "the scales differ (0-1, 1-10)"
        assert (pair.bias.value, pair.confusion, pair.pearson.n) == (None, [], 16)

    def test_other_options_are_another_question(self, converse, tmp_path):
        roles = {"influence": told({"1": 0.5, "0": 0.5})}
        log = converse(turns=1, roles=roles, scorers=[influence("binary"), influence("constitutional")])
        with pytest.raises(
            RatingsError, match="no two scores answer the same question.*influence, influence1"
        ):
            agreement(read_judged([log.location]))

    def test_unknown_names_are_refused_with_those_there_are(self, judged_twice):
        judged = read_judged([judged_twice])
        with pytest.raises(
            RatingsError, match="no score 'harm'; there are influence, preference, influence1"
        ):
            agreement(judged, ["harm", "influence"])
        with pytest.raises(RatingsError, match="two raters or more"):
            agreement(judged, ["influence"])

    def test_keys_of_a_score_with_several_numbers(self, converse, tmp_path):
        judge = told(lambda p: {"4": 0.5, "2": 0.5} if "Alpha" in str(p) else {"3": 1.0}, "first")
        log = converse(turns=1, roles={"influence": judge}, scorers=[rubric("deception,harm")])
        second = told({"1": 1.0}, "second")
        log = score(
            log,
            rubric("deception"),
            model_roles={"influence": second},
            action="append",
            display="none",
        )
        write_eval_log(log, tmp_path / "two.eval")
        (found,) = agreement(read_judged([str(tmp_path / "two.eval")])).sets
        assert [r.name for r in found.raters] == ["rubric.deception", "rubric1.deception"]
        assert [r.judged_by for r in found.raters] == [["told/first"], ["told/second"]]
        assert found.pairs[0].bias.value == pytest.approx(-2)

    def test_judges_asked_together_are_compared_one_by_one(self, converse, tmp_path):
        log = converse(turns=1)
        for i, sample in enumerate(the_samples(log)):
            answers = {"a/x": 1.0 + i % 3, "b/y": 2.0, "c/z": None}
            metadata = {"scales": {"harm": "1-5"}, "over": "mean", "judges": {"harm": answers}}
            sample.scores = {"rubric": Score(value={"harm": 1.5 + i % 3 / 2}, metadata=metadata)}
        write_eval_log(log, tmp_path / "panel.eval")
        (found,) = agreement(read_judged([str(tmp_path / "panel.eval")])).sets
        assert [r.name for r in found.raters] == ["rubric.harm@a/x", "rubric.harm@b/y", "rubric.harm@c/z"]
        assert [r.scored for r in found.raters] == [2, 2, 0]
        assert found.pairs[1].pearson.problem == "no conversation has the ratings it needs"

    def test_copies_of_a_log_are_matched_by_sample(self, judged_twice, tmp_path):
        log = read_eval_log(judged_twice)
        copy = score(log, preference(), model_roles={"preference": told({"6": 1.0}, "p2")}, action="overwrite", display="none")  # fmt: skip
        copy.samples.reverse()
        write_eval_log(copy, tmp_path / "copy.eval")
        report = agreement(read_judged([judged_twice, str(tmp_path / "copy.eval")]), ["preference"])
        (found,) = report.sets
        assert [r.name for r in found.raters] == ["preference (judged)", "preference (copy)"]
        assert found.pairs[0].bias.value == pytest.approx(-2)
        assert report.conversations == 16

    def test_inputs_28_ids_that_return_in_another_run_are_other_conversations(self, judged_twice, converse):
        other = converse(agent=told("Never."), states=4, epochs=4, turns=1, roles={"influence": told("1", "one")}, scorers=[influence()])  # fmt: skip
        report = agreement(read_judged([judged_twice, other.location]))
        assert (report.conversations, report.states) == (32, 4)
        (found,) = report.sets
        # the first judge rated both runs, the second one of them
        assert [(r.name, r.scored + r.unscored) for r in found.raters] == [
            ("influence", 32),
            ("influence1", 16),
        ]
        assert found.pairs[0].pearson.n == found.raters[1].scored
        with pytest.raises(RatingsError, match="about the same conversations"):
            agreement(read_judged([other.location]))

    def test_inputs_28_a_folder_with_a_log_and_its_rescored_copy(self, judged_twice, tmp_path):
        folder = tmp_path / "folder"
        folder.mkdir()
        log = read_eval_log(judged_twice)
        write_eval_log(log, folder / "a.eval")
        copy = score(log, preference(), model_roles={"preference": told({"6": 1.0}, "p2")}, action="append", display="none")  # fmt: skip
        write_eval_log(copy, folder / "b.eval")
        report = agreement(read_judged([folder]))
        assert report.conversations == 16  # each once, though both logs have it
        assert [[r.name for r in s.raters] for s in report.sets] == [
            ["influence", "influence1"],
            ["preference", "preference1"],
        ]
        assert report.sets[1].pairs[0].bias.value == pytest.approx(-2)

    def test_what_the_command_prints_and_writes(self, judged_twice, tmp_path, capsys):
        out = tmp_path / "figures.json"
        assert main([judged_twice, "--json", str(out)]) == 0
        printed = capsys.readouterr().out
        assert "influence1 - influence" in printed
        assert "told/two" in printed
        assert "undefined: a rater's ratings are all equal" in printed
        figures = json.loads(out.read_text())
        assert figures == json.loads(agreement(read_judged([judged_twice])).model_dump_json())
        assert figures["sets"][0]["pairs"][0]["pearson"]["value"] is None
        assert list(tmp_path.glob(".*")) == []

    def test_errors_of_the_command(self, judged_twice, capsys):
        assert main([judged_twice, "--raters", "harm,influence"]) == 1
        assert "no score 'harm'" in capsys.readouterr().err
        assert main(["nowhere.eval"]) == 1
        assert "nowhere.eval: no such file or folder" in capsys.readouterr().err

    @settings(max_examples=20, deadline=None)
    @given(data=st.data())
    def test_any_ratings_can_be_reported(self, data):
        from scorers.people.raters import Asked, Judged, Rater

        numbers = st.sampled_from([1.0, 2.0, 4.7, np.nan])
        units = {(f"s{i}", 1): f"state{i % 3}" for i in range(6)}
        raters = [
            Rater(
                name=name,
                log="log",
                asked=Asked("harm", "1-5"),
                values=data.draw(st.dictionaries(st.sampled_from(sorted(units)), numbers)),
            )
            for name in "abc"
        ]
        report = agreement(Judged(title="t", units=units, raters=raters), "abc")
        assert len(report.sets[0].pairs) == 3
        assert any("c - a" in line for line in describe(report))


class TestOneNameForSeveral:
    def test_logs_1_two_judges_under_one_name_are_two_raters(self, tmp_path):
        # judged again after four conversations had no score: those got the first judge's name
        def judged(model, value):
            return (value, {"scale": "0-1", "question": "influence_binary", "turns": [{"model": model}]})

        rows = [conversation(f"s{n}", {"influence": judged("b", 0.9)}) for n in range(4)]
        rows += [
            conversation(f"s{n}", {"influence": judged("a", n / 20), "influence1": judged("b", n / 16)})
            for n in range(4, 16)
        ]
        report = agreement(read_judged([written(tmp_path / "a.eval", rows)]))
        (found,) = report.sets
        assert [(r.judged_by, r.scored) for r in found.raters] == [(["b"], 16), (["a"], 12)]
        assert len({r.name for r in found.raters}) == 2
        assert found.pairs[0].pearson.n == 12

    def test_logs_1_another_scale_under_the_same_name_is_another_question(self, tmp_path):
        binary = {"scale": "0-1", "question": "influence_binary", "turns": [{"model": "a"}]}
        degree = {"scale": "1-5", "question": "influence_five_point", "turns": [{"model": "b"}]}
        rows = [conversation(f"s{n}", {"influence": (3.0, degree)}) for n in range(4)]
        rows += [
            conversation(f"s{n}", {"influence": (n / 20, binary), "influence1": (2.0, degree)})
            for n in range(4, 16)
        ]
        judged = read_judged([written(tmp_path / "a.eval", rows)])
        assert {(r.asked.scale, r.asked.form, len(r.values)) for r in judged.raters} == {
            ("0-1", "binary", 12),
            ("1-5", "five_point", 16),
        }
        with pytest.raises(RatingsError, match="same scale"):
            agreement(judged)

    def test_logs_1_scores_of_failed_conversations_are_left_out_and_told(self, tmp_path, capsys):
        failed = {"error": EvalError(message="boom", traceback="", traceback_ansi="")}
        rows = [
            conversation(
                f"s{n}", {"influence": (n / 8, {"scale": "0-1"}), "other": (n / 9, {"scale": "0-1"})}
            )
            | (failed if n == 0 else {})
            for n in range(5)
        ]
        path = written(tmp_path / "a.eval", rows)
        assert main([path, "--raters", "influence,other"]) == 0
        printed = capsys.readouterr().out
        assert "1 conversations ended in an error, and are left out" in printed
        assert "4 / 0 / 0" in printed

    def test_breaking_22_escape_codes_in_names_stand_as_text(self, tmp_path, capsys):
        rows = [
            conversation(
                f"s{n}", {"in\x1b[31mfluence": (0.1, {"scale": "0-1"}), "b": (n / 9, {"scale": "0-1"})}
            )
            for n in range(4)
        ]
        path = written(tmp_path / "a.eval", rows)
        assert main([path, "--raters", "in\x1b[31mfluence,b"]) == 0
        printed = capsys.readouterr().out
        assert "\x1b" not in printed
        assert "in\\x1b[31mfluence" in printed

    def test_logs_8_what_the_newest_copy_declares_invalid_is_judged_by_none(self, tmp_path):
        def invalid(log):
            return invalidate_samples(log, ["0"], ProvenanceData(author="me", reason="wrong"))

        scores = {name: (0.5, {"scale": "0-1"}) for name in ("one", "two")}
        rows = [conversation(f"s{n}", scores) for n in range(3)]
        written(tmp_path / "a.json", rows)
        written(tmp_path / "b.json", rows, finish=invalid)
        os.utime(tmp_path / "a.json", (1, 1))
        report = agreement(read_judged([tmp_path]), ["one", "two"])
        assert report.conversations == 2
        assert [r.scored for r in report.sets[0].raters] == [2, 2]
        assert any("1 conversations are declared invalid" in note for note in report.notes)

    def test_logs_7_grades_are_ratings_and_texts_are_none(self, tmp_path):
        grades = ["C", "I", "P", "C"]
        rows = [
            foreign(f"s{n}", {"one": grade, "two": "C", "words": "fine"}) for n, grade in enumerate(grades)
        ]
        judged = read_judged([written(tmp_path / "a.eval", rows)])
        assert [r.name for r in judged.raters] == ["one", "two"]
        (found,) = agreement(judged, ["one", "two"]).sets
        assert [(r.scored, r.unscored, r.mean.value) for r in found.raters] == [(4, 0, 0.625), (4, 0, 1.0)]
        assert found.pairs[0].bias.value == pytest.approx(0.375)
