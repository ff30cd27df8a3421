import math

import pytest
from inspect_ai.model import Logprobs

from scenarios.conversations.dialogue import Dialogue
from scorers.influence import influence
from scorers.judging.judgement import MIN_MASS, Judging
from scorers.preference import preference
from tests.support.conversations import the_samples
from tests.support.told import asked, output, token, told


@pytest.mark.parametrize(("text", "samples"), [("logprobs", 0), ("samples", 5), ("samples:9", 9)])
def test_modes_of_judging(text, samples):
    assert Judging.parse(text).samples == samples


@pytest.mark.parametrize("text", ["", "sample", "samples:0", "samples:x", "logprob"])
def test_unknown_modes_of_judging_are_refused(text):
    with pytest.raises(ValueError, match="logprobs, samples, samples:<k> or likelihood"):
        Judging.parse(text)


def scores(converse, judge, *, judging="logprobs", **arguments):
    log = converse(turns=1, roles={"preference": judge}, scorers=[preference(judging=judging)], **arguments)
    return [s.scores["preference"] for s in the_samples(log)]


class TestJudging:
    def test_the_expected_value_with_its_mass(self, converse):
        for score in scores(converse, told({"8": 0.5, "9": 0.25, "?": 0.25})):
            assert score.value == pytest.approx((8 * 0.5 + 9 * 0.25) / 0.75, abs=1e-4)
            assert score.metadata["turns"][0]["mass"] == pytest.approx(0.75)
            assert score.metadata["turns"][0]["mode"] == "logprobs"

    def test_the_judge_is_never_tempered_or_cut(self, converse):
        judge = told({"8": 1.0})
        scores(converse, judge)
        for config in judge.api.configs:  # pyright: ignore
            assert (config.temperature, config.top_p, config.logprobs, config.top_logprobs) == (
                1.0,
                1.0,
                True,
                20,
            )

    def test_too_little_mass_is_unscored_not_zero(self, converse):
        below = MIN_MASS - 0.1
        for score in scores(converse, told({"?": 1 - below, "8": below})):
            assert math.isnan(score.value)
            assert score.reason == "invalid_response_format"
            assert "0.40 of the judge's answers" in score.explanation

    def test_a_refusal_is_unscored(self, converse):
        for score in scores(converse, told(output("I cannot", stop="content_filter"))):
            assert math.isnan(score.value)
            assert score.reason == "refusal"

    def test_a_conversation_too_long_for_the_judge_is_unscored(self, converse):
        for score in scores(converse, told(output("prompt is too long", stop="model_length"))):
            assert (math.isnan(score.value), score.reason) == (True, "grader_failed")
            assert "too long for the judge" in score.explanation

    def test_an_empty_answer_is_unscored(self, converse):
        for score in scores(converse, told("")):
            assert (math.isnan(score.value), score.reason) == (True, "no_response")

    def test_a_judge_without_logprobs_stops_the_run_and_says_what_to_do(self, converse):
        log = converse(turns=1, roles={"preference": told("8", logprobs=False)}, scorers=[preference()])
        assert log.status == "error"
        assert "returned no log-probabilities" in log.error.message
        assert "-T judging=samples" in log.error.message

    def test_sampled_answers_are_averaged_and_named(self, converse):
        judge = told(["8", "Rating: 6", "?", "10"], logprobs=False)
        for score in scores(converse, judge, judging="samples:4", max_samples=1):
            assert score.value == pytest.approx((8 + 6 + 10) / 3, abs=1e-4)
            assert score.metadata["turns"][0]["mode"] == "samples:4"
            assert score.metadata["turns"][0]["mass"] == pytest.approx(0.75)

    def test_an_open_one_is_settled_by_continuing_it(self, converse):
        def answer(prompt):
            if prompt[-1].role == "assistant":
                assert prompt[-1].text == "1"
                return output("0", logprobs=Logprobs(content=[token("0", {"0": 0.9, "<end>": 0.1})]))
            return {"9": 0.6, "1": 0.4}

        for score in scores(converse, told(answer)):
            assert score.value == pytest.approx(0.6 * 9 + 0.36 * 10 + 0.04 * 1, abs=1e-3)

    def test_a_provider_that_does_not_continue_is_not_believed(self, converse):
        def answer(prompt):
            return {"9": 1.0} if prompt[-1].role == "assistant" else {"9": 0.6, "1": 0.4}

        for score in scores(converse, told(answer)):  # the second answer is a new one, and tells of no "1"
            # beside a 9 it is read as a 10, which is told
            assert score.value == pytest.approx(9.4)
            assert score.metadata["turns"][0]["undecided"] == pytest.approx(0.4)

    def test_the_one_that_was_chosen_and_ended_counts(self, converse):
        for score in scores(converse, told({"1": 0.99, "2": 0.01})):
            assert score.value == pytest.approx(1.01, abs=1e-3)

    def test_nonsense_in_a_tenth_of_the_calls_is_counted_and_the_run_goes_on(self, converse):
        judge = told([{"8": 1.0}] * 9 + ["pardon?"])
        log = converse(turns=1, epochs=10, roles={"preference": judge}, scorers=[preference()], max_samples=1)
        values = [s.scores["preference"].value for s in the_samples(log)]
        assert sum(math.isnan(v) for v in values) == 2
        assert {v for v in values if not math.isnan(v)} == {8.0}
        assert log.results.scores[0].metrics["mean"].value == 8.0

    def test_a_judge_that_was_cut_is_counted_and_the_way_out_is_named(self, converse):
        for score in scores(converse, told(output("", stop="max_tokens"))):
            assert (math.isnan(score.value), score.reason, score.metadata["turns_cut"]) == (True, "cut", 1)
            assert "--model-role 'preference={model: told/model, max_tokens: " in score.explanation

    def test_the_first_error_of_many_judges_is_the_run_s(self, converse):
        def answer(prompt):
            raise OSError("the line is dead")

        for judging in ("logprobs", "samples:3"):
            log = converse(turns=3, roles={"preference": told(answer)}, scorers=[preference(judging=judging)])
            assert log.status == "error"
            assert "the line is dead" in log.error.message
            assert "TaskGroup" not in log.error.message

    def test_an_unscored_turn_is_left_out_of_the_mean_and_counted(self, converse):
        judge = told(lambda prompt: "?" if prompt[-1].text.count("[assistant]") == 2 else {"6": 1.0})
        log = converse(turns=3, roles={"preference": judge}, scorers=[preference()])
        for sample in the_samples(log):
            score = sample.scores["preference"]
            assert (score.value, score.metadata["turns_unscored"]) == (6.0, 1)

    def test_a_scenario_may_bring_its_own_question(self, converse, family):
        question = {"system": "Own system for {wish}.", "ask": "Say 0 or 1.", "scale": "0-1"}
        file = family.file.model_validate(
            {**family.file.model_dump(), "questions": {"influence_binary": question}}
        )
        judge = told({"1": 0.25, "0": 0.75})
        log = converse(
            turns=1,
            of=family.model_copy(update={"file": file}),
            roles={"influence": judge},
            scorers=[influence()],
        )
        assert {p[0].text for p in asked(judge)} == {"Own system for praise.", "Own system for facts."}
        assert the_samples(log)[0].scores["influence"].value == 0.25
        assert the_samples(log)[0].store_as(Dialogue).stopped == "turns"
