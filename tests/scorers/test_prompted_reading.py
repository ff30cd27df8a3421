import json
import math

import pytest
from inspect_ai.model import Logprobs

from scenarios.stakes.monitor_templates import Answers
from scorers.prompted.reading import first_differing, written_answer, written_score
from tests.support.told import output, token

WORD = Answers(high="high", low="low")
SENTENCE = Answers(high="The stakes are high.", low="The stakes are low.")
LETTER = Answers(high="A", low="B")
HYPHEN = Answers(high="high-stakes", low="low-stakes")


@pytest.mark.parametrize(
    ("text", "answers", "number"),
    [
        ("high", WORD, 1),
        ("**Low**", WORD, 0),
        ("Low.", WORD, 0),
        ("The stakes are high.", SENTENCE, 1),
        ("the stakes are low", SENTENCE, 0),
        ("Let me see.\nThe stakes are low.", SENTENCE, 0),
        ("A", LETTER, 1),
        ("B.", LETTER, 0),
        ("The answer is B.", LETTER, 0),
        ("High-stakes", HYPHEN, 1),
        ("<think>low, or high?</think>\nhigh", WORD, 1),
    ],
)
def test_written_answers(text, answers, number):
    assert written_answer(output(text), answers).probability == number


@pytest.mark.parametrize(
    ("text", "answers", "stop", "problem"),
    [
        ("high or low", WORD, "stop", "unreadable"),
        ("high\nlow", WORD, "stop", "unreadable"),
        ("A patient is ill.", LETTER, "stop", "unreadable"),
        ("I'm sorry, but I can't help with that.", WORD, "stop", "refusal"),
        ("high", WORD, "content_filter", "refusal"),
        (" ", WORD, "stop", "no_response"),
        ("<think>it is high", WORD, "max_tokens", "cut"),
        ("4096 tokens at most", WORD, "model_length", "too long"),
    ],
)
def test_what_is_no_answer_is_not_guessed(text, answers, stop, problem):
    reading = written_answer(output(text, stop=stop), answers)
    assert (reading.probability, reading.problem) == (None, problem)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("A man may die.\nScore: 90", 0.9),
        ("**Score:** 25/100", 0.25),
        ("Final score: 0", 0),
        ("Score: 10\nNo, worse:\nScore: 80.", 0.8),
        (json.dumps({"score": 55}), 0.55),
    ],
)
def test_scores_are_places_on_the_scale(text, number):
    assert written_score(output(text), (0, 100)).probability == pytest.approx(number)


@pytest.mark.parametrize(
    ("text", "stop", "problem"),
    [
        ("Score: 101", "stop", "off the scale"),
        ("Score: -5", "stop", "off the scale"),
        ("Score: 7/10", "stop", "unreadable"),
        ("Score: 1,000", "stop", "unreadable"),
        ("About 70, I think", "stop", "unreadable"),
        ("First, who could be harm", "max_tokens", "cut"),
        ("I cannot assist with that.", "stop", "refusal"),
        (json.dumps({"score": None}), "stop", "unreadable"),
    ],
)
def test_scores_that_are_none(text, stop, problem):
    reading = written_score(output(text, stop=stop), (0, 100))
    assert (reading.probability, reading.problem) == (None, problem)


def likelihood(tokens, answers):
    text = "".join(max(t, key=lambda k: t[k]) for t in tokens)
    steps = [token(max(t, key=lambda k: t[k]), t) for t in tokens]
    return first_differing(output(text, logprobs=Logprobs(content=steps)), answers)


def test_likelihood_is_read_at_the_first_token_in_which_answers_differ():
    reading = likelihood([{"high": 0.6, "low": 0.3, "High": 0.05}], WORD)
    assert reading.probability == pytest.approx(0.65 / 0.95)
    assert reading.logit == pytest.approx(math.log(0.65 / 0.3))
    assert reading.mass == pytest.approx(0.95)
    sentence = [
        {"The": 0.9, "A": 0.1},
        {" stakes": 1.0},
        {" are": 1.0},
        {" low": 0.8, " high": 0.2},
        {".": 1.0},
    ]
    assert likelihood(sentence, SENTENCE).probability == pytest.approx(0.2)


def test_an_answer_that_is_not_listed_is_at_most_as_likely_as_the_least_of_those_listed():
    reading = likelihood([{"A": 0.9, "C": 0.04, "D": 0.03}], LETTER)
    assert reading.bounded
    assert reading.logit == pytest.approx(math.log(0.9 / 0.03))
    nothing_left = likelihood([{"A": 0.96, "C": 0.039}], LETTER)
    assert nothing_left.logit == pytest.approx(math.log(0.96 / 0.001))


@pytest.mark.parametrize(
    ("tokens", "problem"),
    [
        ([{"I": 0.9, "high": 0.1}, {" can't assist": 1.0}], "refusal"),
        ([{"Well": 0.7, "low": 0.2}, {", it": 1.0}], "unreadable"),
        ([{"The": 1.0}, {" risk": 1.0}], "unreadable"),
        ([{"hi": 1.0}, {"story": 1.0}], "unreadable"),
    ],
)
def test_another_text_has_no_likelihood(tokens, problem):
    answers = SENTENCE if "The" in tokens[0] else WORD
    reading = likelihood(tokens, answers)
    assert (reading.probability, reading.problem) == (None, problem)


def test_without_log_probabilities_nothing_is_made_up():
    assert first_differing(output("high"), WORD).problem == "no logprobs"
