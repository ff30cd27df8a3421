"""Reading what judges write."""

import random

import pytest

from scorers.judging.answers import find_answer, parse_answer
from scorers.judging.scales import ANSWERS
from tests.support.fuzzed_answers import nonsense, valid

TEN, FIVE, ONE, WORDS = (ANSWERS[s] for s in ("1-10", "1-5", "0-1", "yes-no"))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("7", "7"),
        (" 10.\n", "10"),
        ("**8**", "8"),
        ("1.0", "1"),
        ("eight", "8"),
        ("\uff18", "8"),  # full-width
        ("\u0668", "8"),  # Arabic-Indic
        ("8\ufe0f\u20e3", "8"),  # a picture of a key
        ('"8', "8"),
        ("[[8]]", "8"),
        ("$8$", "8"),
        (r"\boxed{8}", "8"),
        ("<answer>8</answer>", "8"),
        ("8<|im_end|>", "8"),
        # out of the top of the scale
        ("8/10", "8"),
        ("1/10", "1"),
        ("10/10, would talk again", "10"),
        ("7 out of 10", "7"),
        ("8 (out of 10)", "8"),
        ("eight out of ten", "8"),
        ("**Rating: 8/10**", "8"),
        # with a label, in a statement
        ("Rating: 8", "8"),
        ("**Rating:** 8", "8"),
        ("Rating (1-10): 8", "8"),
        ("## Rating\n\n8", "8"),
        ("Score: 8\nConfidence: 9", "8"),
        ("Score: 8, Confidence: 9", "8"),
        ("Confidence: 9/10\nRating: 8/10", "8"),
        ("On a scale of 1 to 10, I would rate this an 8.", "8"),
        ("The person would likely give this conversation a 9.", "9"),
        ("Initial rating: 5\nFinal rating: 8", "8"),
        # JSON, whole and cut
        ('{"rating": 8}', "8"),
        ('{"rating": 8, "scale": "1-10"}', "8"),
        ('{"confidence": 9, "rating": "8"}', "8"),
        ('```json\n{\n  "reasoning": "He got 2 of 3.",\n  "rating": 8\n}\n```', "8"),
        ('{"rating": 8', "8"),
        # with reasons
        ("8\n\nThe user wanted 1 thing and got it.", "8"),
        ("8. The user wanted 1 thing and got it.", "8"),
        ("8, because the user wanted 1 thing", "8"),
        ("The person is annoyed by 2 of the points.\nRating: 3", "3"),
        ("The reply is warm. 8/10", "8"),
        ("1. It is kind.\n2. It is honest.\n\nRating: 7", "7"),
        ("<think>3 or 4</think>8", "8"),
        ("3 or 4, I think.\n</think>\n\n8", "8"),
        (
            "<|channel|>analysis<|message|>3?<|end|><|start|>assistant<|channel|>final<|message|>8<|return|>",
            "8",
        ),
    ],
)
def test_a_rating(text, answer):
    assert parse_answer(text, TEN) == answer


@pytest.mark.parametrize(
    "text",
    [
        "", "?", "N/A", "pardon?", "no idea, maybe", "11", "0", "85", "20", "08", "-5", "\u22125", "8.5", "7.5/10", "0,77",
        "4%", "4 %", "8+", "~8", ">8", "8th", "8x", "$8", "#8", "8\u00b2", "8:30", "1e1", "7-8", "7 or 8", "8, maybe 9",
        "about 8", "at least 8", "not 8", "8?", "8/93", "8/5", "2024-08-08", "8\"", "1-10", "on a scale of 1 to 10",
        "I see 1 problem", "I cannot rate this. I have 2 concerns.", "8 concerns", "10 out of 10 times they lie",
        "I would not give it an 8", "The rating is not 8", "The highest possible rating is 10.", "Confidence: 9",
        "Number of problems:\n2", "The assistant gives 2.", "1. It is kind.\n2. It is not.", "1. It is kind.\n2.", "See p. 8", "No. 8",
        "Rating: 8.5", "Rating: 7-8", "Rating: 8.5\n8", "8.5\n8", "8\n\n5.5", "6 7/10", "Rating: 3\nRating: 8", "8\n9", '{"rating": 8.5}',
        '{"rating": null}', '{"rating": [7, 8]}', "<think>8", "<think>\nI would say 8", "Yes",
    ],
)  # fmt: skip
def test_no_rating(text):
    assert parse_answer(text, TEN) is None


def test_out_of_something_else_than_the_top_is_none():
    assert parse_answer("4/5", FIVE) == "4"
    assert parse_answer("8/10", FIVE) is None
    assert parse_answer("4/10", FIVE) is None
    for top in (
        "(of {})",
        "(max {})",
        "[out of {}]",
        "(maximum: {})",
        ", max {}",
        "(out of a possible {})",
        "(highest is {})",
    ):
        for label in ("", "Rating: "):
            assert parse_answer(f"{label}4 {top.format(7)}", FIVE) is None
            assert parse_answer(f"{label}4 {top.format(10)}", FIVE) is None
            assert parse_answer(f"{label}4 {top.format(5)}", FIVE) == "4"
    assert parse_answer("4 (out of seven)", FIVE) is None
    assert parse_answer("0/93", ONE) is None
    assert parse_answer("1/1", ONE) == "1"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Yes.", "yes"),
        ("**No**", "no"),
        ("Yes. There is no doubt.", "yes"),
        ("Yes.\n\nThe reply leaves no room for doubt.", "yes"),
        ("No, there is no reason to say yes to that.", "no"),
        ("Yes/No: Yes", "yes"),
        ("Answer (yes or no): no", "no"),
        ("Will the person leave? No.", "no"),
        ("The answer is yes.", "yes"),
        ("They say no to the plan.\n\nYes.", "yes"),
        ("<think>No, or yes?</think>\n\nYes", "yes"),
        ('{"answer": "no"}', "no"),
        ("There is no doubt that they leave", None),
        ("There is no way to tell.", None),
        ("I have no idea.", None),
        ("No idea", None),
        ("No comment.", None),
        ("No one leaves.", None),
        ("No, I cannot tell.", None),
        ("No. I don't know.", None),
        ("yes and no", None),
        ("Yes, but no.", None),
        ("Yes or no?", None),
        ("Nothing of the kind; yes or no, I cannot say", None),
        ("The person says no.", None),
        ("Not yes", None),
        ("1", None),
    ],
)
def test_yes_and_no(text, answer):
    assert parse_answer(text, WORDS) == answer


def test_the_place_of_an_answer():
    text = "Perhaps 3.\n</think>\n**Rating:** \uff18/10"
    found = find_answer(text, TEN)
    assert found is not None
    assert (found.answer, text[found.start : found.end]) == ("8", "\uff18")


def test_no_nonsense_of_five_thousand_becomes_an_answer_and_none_of_as_many_answers_is_lost():
    rng = random.Random(1)
    scales = list(ANSWERS.values())
    for _ in range(5000):
        support = rng.choice(scales)
        for made in (valid(rng, support, rng.choice(list(support))), nonsense(rng, support)):
            assert parse_answer(made.text, support) == made.answer, (made, list(support))
