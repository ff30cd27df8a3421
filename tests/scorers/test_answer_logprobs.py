"""Reading the distribution over answers from the tokens of one."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inspect_ai.model import Logprob, TopLogprob

from scorers.judging.answer_logprobs import read_answer
from scorers.judging.judgement import MIN_MASS
from scorers.judging.scales import ANSWERS
from tests.support.told import token

TEN, FIVE, ONE, WORDS = (ANSWERS[s] for s in ("1-10", "1-5", "0-1", "yes-no"))


def path(*tokens):
    """Tokens that are certain as text, others as a mapping whose first key is the chosen one."""
    return [token(t, {t: 1.0}) if isinstance(t, str) else token(next(iter(t)), t) for t in tokens]


def valid_mass(tokens, support):
    reading = read_answer(path(*tokens), support)
    return sum(reading.probabilities.values()) + reading.unsplit_one


class TestTheWholeAnswer:
    @pytest.mark.parametrize(
        ("tokens", "scale"),
        [
            (({"0": 0.9, "1": 0.1}, ".", "7"), ONE),
            (("0.", "95"), ONE),
            (({"8": 0.9, "7": 0.1}, "5"), TEN),
            (("85",), TEN),
            (("2", "0"), TEN),
            (("7", "0", "%"), TEN),
            (({"70": 0.8, "8": 0.2}, "%"), TEN),
            (({"4": 0.9, "3": 0.1}, ".", "5"), FIVE),
            (("4", ",", "5"), FIVE),
            (("-", "5"), TEN),
            (("7", "-", "8"), TEN),
            (("8", "+"), TEN),
            (("8", "/", "5"), FIVE),
            (("1", "0", "0"), TEN),
            (("No", " idea"), WORDS),
            (("No", " doubt", " they", " leave"), WORDS),
            (("I", " have", " ", "2", " concerns"), TEN),
        ],
    )
    def test_a_beginning_of_one_is_none(self, tokens, scale):
        assert valid_mass(tokens, scale) < MIN_MASS

    @pytest.mark.parametrize(
        "tokens",
        [
            ("8",),
            (" 8",),
            (" ", "8"),
            ("\u01208",),
            ("\u25818", "</s>"),
            ("8", "."),
            ("8", ".", "0"),
            ("8", "<|im_end|>"),
            ("8", ""),
            ("**", "8", "**"),
            ("**8**",),
            ('"8"',),
            ("8", "/", "10"),
            ("8", "/", "1", "0"),
            ("8", " out", " of", " ten"),
            ("Rating", ":", " ", "8"),
            ("**", "Rating", ":**", " 8", "\n\n", "The", " 1", " thing"),
            ('{"', "rating", '":', " ", "8", "}"),
            ("\uff18",),
            ("e", "ight"),
            ("8", "\n\n", "The", " user", " got", " 1", " thing"),
        ],
    )
    def test_it_is_read_however_it_is_cut(self, tokens):
        assert read_answer(path(*tokens), TEN).probabilities == pytest.approx({"8": 1.0})

    def test_zero_with_a_full_stop_is_zero(self):
        assert read_answer(path("0."), ONE).probabilities == {"0": 1.0}

    def test_characters_in_several_tokens(self):
        def of(data, probability):
            return TopLogprob(token="?", logprob=math.log(probability), bytes=list(data))

        first, last = "\uff18".encode()[:2], "\uff18".encode()[2:]
        tokens = [
            Logprob(token="?", logprob=0.0, bytes=list(first), top_logprobs=[of(first, 1.0)]),
            Logprob(
                token="?",
                logprob=math.log(0.6),
                bytes=list(last),
                top_logprobs=[of(last, 0.6), of("\uff17".encode()[2:], 0.4)],
            ),
        ]
        assert read_answer(tokens, TEN).probabilities == pytest.approx({"8": 0.6, "7": 0.4})


class TestAlternatives:
    def test_spellings_of_one_answer_are_added_up(self):
        reading = read_answer([token("9", {"9": 0.5, " 9": 0.25, "**9": 0.1, "8": 0.15})], TEN)
        assert reading.probabilities == pytest.approx({"9": 0.85, "8": 0.15})

    def test_what_is_off_the_scale_does_not_count(self):
        reading = read_answer([token("0", {"0": 0.7, "3": 0.2, "eleven": 0.1})], TEN)
        assert reading.probabilities == pytest.approx({"3": 0.2})

    def test_yes_in_any_case(self):
        reading = read_answer([token("Yes", {"Yes": 0.5, " yes": 0.2, "NO": 0.3})], WORDS)
        assert reading.probabilities == pytest.approx({"yes": 0.7, "no": 0.3})

    def test_beside_a_decimal_they_are_answers_as_far_as_it_could_have_ended(self):
        reading = read_answer(path({"0": 0.9, "1": 0.1}, {".": 0.6, "<|im_end|>": 0.4}, "7"), ONE)
        assert reading.probabilities == pytest.approx({"0": 0.36, "1": 0.04})

    def test_of_words_only_the_one_that_went_on_is_none(self):
        reading = read_answer(path({"No": 0.8, "Yes": 0.2}, {" idea": 0.5, ".": 0.5}), WORDS)
        assert reading.probabilities == pytest.approx({"no": 0.4, "yes": 0.2})

    def test_white_space_and_marks_before_the_answer_are_passed_over(self):
        for before in ("\n", "**", "Answer:"):
            reading = read_answer(path(before, {"4": 0.6, "5": 0.4}), TEN)
            assert reading.probabilities == pytest.approx({"4": 0.6, "5": 0.4})

    def test_answers_beside_a_mark_count_as_well(self):
        reading = read_answer(path({"**": 0.6, "7": 0.4}, {"8": 0.5, "9": 0.5}, "**"), TEN)
        assert reading.probabilities == pytest.approx({"7": 0.4, "8": 0.3, "9": 0.3})

    def test_where_the_tokens_name_the_likeliest_the_chosen_one_is_found(self):
        reading = read_answer(path({"9": 0.6, "1": 0.4}, {"<eos>": 0.6, "0": 0.4}), TEN, "10")
        assert reading.probabilities == pytest.approx({"9": 0.6, "10": 0.16, "1": 0.24})

    def test_a_token_without_any_is_told(self):
        assert read_answer([Logprob(token="7", logprob=math.log(0.6))], TEN).alone == pytest.approx(0.6)
        assert read_answer(path({"7": 0.6, "2": 0.4}), TEN).alone is None
        assert read_answer(path("7"), TEN).alone is None

    def test_what_was_not_listed_is_told(self):
        reading = read_answer([token("7", {"7": 0.6, "6": 0.3})], TEN)
        assert (reading.unlisted, reading.least_listed) == pytest.approx((0.1, 0.3))

    @given(st.dictionaries(st.sampled_from([*TEN, "x", "0", " 7"]), st.floats(0.001, 1), min_size=1))
    def test_masses_are_never_invented(self, weights):
        total = sum(weights.values())
        distribution = {k: w / total for k, w in weights.items()}
        reading = read_answer([token(max(distribution, key=distribution.__getitem__), distribution)], TEN)
        read = sum(reading.probabilities.values()) + reading.unsplit_one
        valid = sum(p for k, p in distribution.items() if k.strip() in TEN)
        assert read == pytest.approx(valid, abs=1e-4)


class TestOneAndTen:
    def test_a_tokenizer_with_a_token_for_ten_is_believed(self):
        reading = read_answer([token("10", {"10": 0.6, "1": 0.1, "9": 0.3})], TEN)
        assert reading.probabilities == pytest.approx({"10": 0.6, "1": 0.1, "9": 0.3})
        assert reading.unsplit_one == 0

    def test_so_is_one_that_writes_other_digits_together(self):
        reading = read_answer([token("9", {"9": 0.6, "1": 0.35, "85": 0.05})], TEN)
        assert (reading.probabilities["1"], reading.unsplit_one) == pytest.approx((0.35, 0))

    def test_ten_in_two_tokens_is_ten(self):
        reading = read_answer(path({"1": 0.5, "9": 0.3, "8": 0.2}, {"0": 0.9, "<end>": 0.1}), TEN)
        assert reading.probabilities == pytest.approx({"1": 0.05, "10": 0.45, "9": 0.3, "8": 0.2})
        assert reading.after_one == pytest.approx({"1": 0.1, "10": 0.9})

    def test_fifteen_is_no_answer(self):
        reading = read_answer(path("1", {"5": 0.8, "0": 0.2}), TEN)
        assert reading.probabilities == pytest.approx({"10": 0.2, "1": 0.0})

    def test_a_one_that_was_not_chosen_stays_open(self):
        reading = read_answer([token("9", {"9": 0.6, "1": 0.4})], TEN)
        assert reading.probabilities == pytest.approx({"9": 0.6})
        assert reading.unsplit_one == pytest.approx(0.4)

    def test_a_one_that_was_chosen_and_ended_is_a_one(self):
        ended = read_answer(path({"1": 0.99, "2": 0.01}, {"<end>": 0.98, "0": 0.02}), TEN)
        assert ended.probabilities == pytest.approx({"1": 0.9702, "10": 0.0198, "2": 0.01})
        assert not ended.end_hidden
        hidden = read_answer(path({"1": 0.99, "2": 0.01}), TEN)
        assert hidden.probabilities == pytest.approx({"1": 0.99, "2": 0.01})
        assert hidden.end_hidden

    def test_in_full_width_digits_too(self):
        reading = read_answer([token("\uff19", {"\uff19": 0.6, "\uff11": 0.4})], TEN)
        assert (reading.probabilities, reading.unsplit_one) == (pytest.approx({"9": 0.6}), pytest.approx(0.4))

    def test_on_a_scale_without_ten_a_one_is_a_one(self):
        reading = read_answer([token("0", {"1": 0.4, "0": 0.6})], ONE)
        assert reading.probabilities == pytest.approx({"1": 0.4, "0": 0.6})
        assert not reading.end_hidden


class TestThoughtsAndGaps:
    def test_the_answer_is_read_behind_the_thought(self):
        tokens = path("<think>", "3 or ", "4", "</think>", "\n\n", {"8": 0.5, "9": 0.5}, "<|im_end|>")
        for text in ("8", "<think>3 or 4</think>\n\n8", None):
            reading = read_answer(tokens, TEN, text)
            assert reading.probabilities == pytest.approx({"8": 0.5, "9": 0.5})
            assert reading.thought

    def test_a_thought_without_an_end_has_no_answer(self):
        assert read_answer(path("<think>", "\n", "8"), TEN).probabilities == {}

    def test_certain_tokens_that_a_provider_drops_are_put_back(self):
        assert read_answer([], TEN, "8").probabilities == {"8": 1.0}
        reading = read_answer(path({"7": 0.9, "8": 0.1}), TEN, "Rating: 7")
        assert reading.probabilities == pytest.approx({"7": 0.9, "8": 0.1})
        assert read_answer(path({"1": 0.6, "8": 0.4}), TEN, "10").probabilities == pytest.approx(
            {"1": 0.0, "10": 0.6, "8": 0.4}
        )
