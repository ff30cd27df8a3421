"""Answers as judges write them, with what they mean: forms of an answer, and nonsense that means none.

Written from what models are seen to say, not from what the reader looks for: forms are put together here from
spellings, marks, labels and reasons, and know nothing of its patterns.
"""

import random
from collections.abc import Callable, Mapping
from typing import NamedTuple

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

REASONS = (
    "The user wanted 1 thing and got it.",
    "There are 2 reasons for this: the tone and the advice.",
    "The reply leaves no room for doubt.",
    "It took 3 turns until they were told.",
    "They say no to the plan at first, then yes.",
    "The person is 10 years older than the assistant thinks, and 8 friends agree.",
    "No one is harmed, but the assistant is not honest about the 5 steps.",
    "The assistant agrees with everything.",
    "In 2023, 40% of such users left after 7 days.",
    "The person asked for honesty, and 4 of the 6 sentences flatter them.",
)

QUESTIONS = (
    "Does the person leave?",
    "Is this reply harmful to the 2 of them?",
    "Will the person come back?",
)


class Fuzzed(NamedTuple):
    """A text, and what it means."""

    form: str
    text: str
    answer: str | None


def spelled_number(rng: random.Random, answer: str) -> str:
    """A number alone, in one of its spellings."""
    digits = [answer] * 6 + [f"{answer}.0", "".join(chr(0xFF10 + int(d)) for d in answer)]
    word = WORDS[int(answer)]
    return rng.choice([*digits, word, word.capitalize()])


def out_of(rng: random.Random, answer: str, top: str) -> str:
    """A number out of the top of its scale."""
    forms = ("{a}/{t}", "{a} / {t}", "{a} out of {t}", "{a} (out of {t})", "{a}.0/{t}", "**{a}**/{t}")
    return rng.choice(forms).format(a=answer, t=top)


MARKED = (
    "{}",
    "{}",
    "{}",
    "**{}**",
    "*{}*",
    "`{}`",
    '"{}"',
    "'{}'",
    "({})",
    "[{}]",
    "[[{}]]",
    "$\\boxed{{{}}}$",
)
ENDED = ("", "", "", ".", "!", "\n", " \n\n", "<|im_end|>", "</s>")
LABELLED = (
    "Rating: {}", "Score: {}", "**Rating:** {}", "**Rating**: {}", "Final answer: {}", "Answer: {}", "rating = {}",
    "Predicted rating: {}", "My rating: {}", "Rating - {}", "Overall rating: {}", "The user's rating: {}",
    "## Rating\n\n{}", "Rating:\n{}", "<answer>{}</answer>", "\\boxed{{{}}}", "Here is my rating:\n\n{}",
)  # fmt: skip
STATED_NUMBER = (
    "My rating is {}.", "The rating is {}.", "I would rate this {}.", "I'd give it a {}.", "So my answer is {}.",
    "I would give this conversation a rating of {}.", "The user would rate this conversation {}.",
    "The person would give it {}, because they got what they came for.", "Overall, {}.", "The answer is {}.",
)  # fmt: skip
STATED_WORD = (
    "The answer is {}.",
    "My answer is {}.",
    "I would say {}.",
    "So the answer is {}.",
    "Overall, {}.",
)
JSON = (
    '{{"rating": {}}}', '{{"score": {}, "confidence": 9}}', '{{"rating": "{}"}}', '```json\n{{"rating": {}}}\n```',
    '{{\n  "reasoning": "He got 2 of the 3 things, and no more.",\n  "rating": {}\n}}', "{{'answer': {}}}",
    '{{"rating": {}, "scale": "1-10"}}', '{{"answer": "{}"}}',
)  # fmt: skip


def reasoned(rng: random.Random, text: str, *, alone: bool) -> str:
    """The text with reasons before or after it, where it leaves room for them.

    Args:
        rng: Chooses.
        text: An answer.
        alone: Whether it is a value without a label, which can have a reason in its own sentence.
    """
    reason = rng.choice(REASONS)
    ways: list[Callable[[], str]] = [
        lambda: text,
        lambda: text,
        lambda: f"{text}\n\n{reason}",
        lambda: f"{reason}\n\n{text}",
        lambda: f"{reason} {rng.choice(REASONS)}\n{text}",
        lambda: f"<think>\nPerhaps 3, or 4? {reason}\n</think>\n\n{text}",
        lambda: f"Perhaps 3. Or no.\n</think>\n{text}",
    ]
    if alone:
        because = f"{reason[0].lower()}{reason[1:]}"
        ways += [
            lambda: f"{text}, because {because}",
            lambda: f"{text} - as {because}",
            lambda: f"{text}. {reason}",
        ]
    return rng.choice(ways)()


def valid(rng: random.Random, answers: Mapping[str, float], answer: str) -> Fuzzed:
    """One way to give an answer of a scale."""
    number = answer.isdigit()
    top = max(answers, key=lambda a: answers[a])
    kind = rng.choice(
        ("bare", "bare", "marked", "labelled", "stated", "json", "out of") if number else WORD_KINDS
    )
    if kind == "bare":
        core = (
            spelled_number(rng, answer)
            if number
            else rng.choice((answer, answer.capitalize(), answer.upper()))
        )
        if rng.random() < 0.5:
            return Fuzzed(kind, reasoned(rng, core, alone=True), answer)
        return Fuzzed(kind, reasoned(rng, core + rng.choice(ENDED), alone=False), answer)
    core = rng.choice((answer, answer, spelled_number(rng, answer))) if number else answer.capitalize()
    if kind == "out of":
        core = out_of(rng, answer, top)
        shown = rng.choice(("{}", "**{}**", "Rating: {}", "**Rating: {}**", "I'd give it {}."))
        return Fuzzed(kind, reasoned(rng, shown.format(core), alone=False), answer)
    if kind == "question":
        return Fuzzed(kind, f"{rng.choice(QUESTIONS)} {core}{rng.choice(('', '.'))}", answer)
    if kind == "echo":
        return Fuzzed(
            kind, rng.choice(("Yes/No: {}", "Answer (yes or no): {}", "**Answer:** {}")).format(core), answer
        )
    if kind == "json":
        core = rng.choice((answer, f"{answer}.0")) if number else f'"{answer}"'
        shown = rng.choice(JSON[:2] + JSON[4:7] if not number else JSON)
        return Fuzzed(kind, shown.format(core), answer)
    forms = {"marked": MARKED, "labelled": LABELLED, "stated": STATED_NUMBER if number else STATED_WORD}[kind]
    return Fuzzed(kind, reasoned(rng, rng.choice(forms).format(core), alone=False), answer)


WORD_KINDS = ("bare", "bare", "marked", "labelled", "stated", "json", "question", "echo")


NO_ANSWERS = (
    "I have no idea.", "No idea", "No comment.", "There is no way to tell.", "I cannot rate this. I have 2 concerns.",
    "I see 1 problem", "There are 3 concerns here.", "N/A", "?", "...", "", "unknown", "I'm sorry, but I can't help.",
    "As an AI, I do not rate people. 1 in 10 would.", "No doubt they leave.", "There is no doubt that they leave",
    "yes and no", "Yes or no?", "Maybe.", "The user says 3 things.", "The assistant gives 2.", "None of the 4 fits.",
    "<think>8, I would say", "<think>\nNo. Yes. Rating: 7", "1. The tone.\n2. The advice.\n3. The 2 lies.",
    "Confidence: 9", "Number of problems:\n2", "The highest possible rating is 10.", "I wanted 1, not 2.", "No, yes.",
    "Between 1 and 10.", "On a scale of 1 to 10?", "Yes, but no.", "Question 3", "See p. 8", "Nobody knows.",
    "The 5 of them", "It depends on 1 or 2 things.", "3 turns, 2 lies, 1 user.", "Turn 4", "Version 2.",
)  # fmt: skip

ODD_NUMBERS = (
    "{n}.5", "{n},5", "0.{n}7", "0,{n}7", "-{n}", "\u2212{n}", "{n}%", "{n} %", "{n}+", "~{n}", ">{n}", "\u2265{n}",
    "about {n}", "at least {n}", "less than {n}", "{n}th", "{n}x", "v{n}", "${n}", "#{n}", "{n}\u00b0", "{n}:30",
    "{n}e1", "0x{n}", "{n}-{m}", "{n}\u2013{m}", "{n} to {m}", "{n} or {m}", "between {n} and {m}", "{n}, {m}", "{n}?",
    "{n}/93", "{n} out of 7", "-{n}/10", "{n}.5/10", "20{n}{m}-0{n}-1{m}", "8{n}", "{n}00", "0{n}", "{n}\u00b2", "not {n}",
    "{n} concerns", "{n} of them lie", "{n}/{n}/20{n}{m}", "{n}kg", "{n}\u00bd", "{n} and {m}", "{n}/0",
)  # fmt: skip

FRAMES = (
    "{}",
    "{}",
    "{}",
    "Rating: {}",
    "**{}**",
    '{{"rating": {}}}',
    "I'd give it {}.",
    "My rating is {}",
    "\\boxed{{{}}}",
)


def nonsense(rng: random.Random, answers: Mapping[str, float]) -> Fuzzed:
    """Something that gives no answer of a scale."""
    kind = rng.choice(("said", "odd", "odd", "odd", "off", "letters", "two"))
    if kind == "said":
        text = rng.choice(NO_ANSWERS)
    elif kind == "odd":
        one, other = rng.sample(range(1, 10), 2)
        text = rng.choice(FRAMES).format(rng.choice(ODD_NUMBERS).format(n=one, m=other))
    elif kind == "off":
        wrong = [str(n) for n in range(120) if str(n) not in answers]
        text = rng.choice(FRAMES).format(rng.choice(wrong))
        if "yes" not in answers and rng.random() < 0.2:
            text = rng.choice(("Yes.", "No", "yes", "Answer: no"))
    elif kind == "letters":
        text = "".join(
            rng.choice("abcdefghijklmnop éßλж語٪%&/()=?!.,;:-_#+*~'\" \n")
            for _ in range(rng.randrange(1, 30))
        )
    else:
        one, other = rng.sample(sorted(answers), 2)
        text = rng.choice(("Rating: {}\nRating: {}", "{}\n{}", "{} or {}", '{{"rating": [{}, {}]}}')).format(
            one, other
        )
    if kind not in ("letters", "said") and rng.random() < 0.25 and not text.startswith("<think>"):
        text = f"{text}\n\n{rng.choice(REASONS)}"
    return Fuzzed(kind, text, None)
