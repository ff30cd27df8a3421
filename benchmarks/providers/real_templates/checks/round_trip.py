"""A generation becomes a message, and the message stands in the next prompt as the template would have it."""

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.providers.real_templates.families import Writing
from benchmarks.providers.real_templates.oracle import BOOK, Oracle, reply, user
from benchmarks.providers.real_templates.outcomes import Outcome, Wrong, one_of, same, tried
from benchmarks.providers.real_templates.suite import Suite

WORDS = (
    "bravo",
    "שלום 你好 é 👩‍👩‍👧 x",
    "One.\n\n* two\n* three\n\nFour: 5 < 6 and [7].",
    '{"mood": "low"}',
    "7",
)
THOUGHT = "I flatter him.\n\nThen I stop: 5 < 6."


def round_trip(oracle: Oracle, suite: Suite, writing: Writing) -> Iterator[Outcome]:
    """All cases of one way of writing."""
    yield tried("words", lambda: _words(oracle, suite, writing))
    yield tried("white space", lambda: _white_space(oracle, suite, writing))
    yield tried("every end", lambda: _every_end(oracle, suite, writing))
    if oracle.cannot_call is None:
        yield tried("words beside tools", lambda: _beside_tools(oracle, suite, writing))
    if writing.thought is not None:
        yield tried("a thought", lambda: _thought(oracle, suite, writing))
        yield tried("a thought that was cut", lambda: _cut_thought(suite, writing))
        yield tried("history", lambda: _history(oracle, suite, writing, THOUGHT))
    for told in writing.also:
        yield tried("as it also writes", lambda t=told: _also(suite, t), plain=False)
    yield tried("plain history", lambda: _history(oracle, suite, writing, None))


def generated(oracle: Oracle, text: str) -> str:
    """A generation as it is read: the token that ended it is known apart."""
    last = max((e for e in oracle.ends if text.endswith(e)), key=len, default="")
    return text.removesuffix(last)


def _words(oracle: Oracle, suite: Suite, writing: Writing) -> None:
    for number, _ in enumerate(writing.nothing):
        for words in WORDS:
            text = oracle.written(writing, words, nothing=number)
            found = suite.read(generated(oracle, text))
            same((found.text, found.reasoning, found.calls), (words, None, []), f"{text!r} is read")


def _white_space(oracle: Oracle, suite: Suite, writing: Writing) -> None:
    words = "  bravo \n"
    found = suite.read(generated(oracle, oracle.written(writing, words)))
    one_of(
        found.text, [words, words.strip(), words.rstrip(), words.lstrip()], "words with white space are read"
    )


def _every_end(oracle: Oracle, suite: Suite, writing: Writing) -> None:
    plain = oracle.written(writing, "bravo")
    body = plain.removesuffix(writing.end)
    ends = [plain.removeprefix(body), *oracle.ends, ""]
    for end in ends:
        found = suite.read(generated(oracle, body + end))
        same(found.text, "bravo", f"ended with {end!r}, it is read")
        _no_marks(oracle, found.text)


def _beside_tools(oracle: Oracle, suite: Suite, writing: Writing) -> None:
    for words in ("bravo", '{"mood": "low"}', "I can call book(seat) for you."):
        found = suite.read(generated(oracle, oracle.written(writing, words)), tools=[BOOK])
        same((found.text, found.calls), (words, []), "with tools offered, words are read")


def _thought(oracle: Oracle, suite: Suite, writing: Writing) -> None:
    for words in WORDS:
        text = oracle.written(writing, words, thought=THOUGHT)
        found = suite.read(generated(oracle, text))
        same((found.text, found.reasoning), (words, THOUGHT), f"{text!r} is read")
        _no_marks(oracle, found.text)


def _cut_thought(suite: Suite, writing: Writing) -> None:
    begun = str(writing.thought).partition("{}")[0] + "I flatter hi"
    found = suite.read(begun)
    same((found.text, found.reasoning, found.cut_thought), ("", "I flatter hi", True), f"{begun!r} is read")


def _also(suite: Suite, told: dict[str, Any]) -> None:
    """A generation in a form that the template does not tell of."""
    calls = [("book", given, None) for given in told.get("calls", [])]
    found = suite.read(told["written"], tools=[BOOK] if calls else None)
    read = (found.text.strip(), found.reasoning, [(c.name, c.arguments, c.problem) for c in found.calls])
    same(read, (told.get("words", ""), told.get("thought"), calls), f"{told['written']!r} is read")


def _history(oracle: Oracle, suite: Suite, writing: Writing, thought: str | None) -> None:
    """The reply as it was read, followed by a user."""
    text = oracle.written(writing, "bravo", thought=thought)
    found = suite.read(generated(oracle, text))
    said = reply(found.text, thought=found.reasoning)
    rows = [user("alpha"), said, user("charlie")]
    expected = oracle.rendered(
        [user("alpha"), reply("bravo", thought=thought), user("charlie")],
        prompt=True,
        variables=writing.variables,
    )
    same(suite.prompt(rows), expected, "the next prompt")


def _no_marks(oracle: Oracle, text: str) -> None:
    if found := [m for m in marks(oracle) if m in text]:
        raise Wrong(f"{found[0]} is said aloud")


def marks(oracle: Oracle) -> Sequence[str]:
    """Control strings and tags of thoughts, which nobody should hear."""
    return [
        *oracle.ends,
        *oracle.tokens.values(),
        "<think>",
        "</think>",
        "<|channel|>",
        "<|message|>",
        "<channel|>",
    ]
