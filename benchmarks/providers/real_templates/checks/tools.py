"""A call is generated, read, answered, and its result stands in the next prompt."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.providers.real_templates.checks.round_trip import THOUGHT, generated
from benchmarks.providers.real_templates.checks.spelling import same_tokens, tokens_with
from benchmarks.providers.real_templates.families import Writing
from benchmarks.providers.real_templates.oracle import BOOK, SEEN, Oracle, call, reply, result, user
from benchmarks.providers.real_templates.oracle_rendering import Refused, Row
from benchmarks.providers.real_templates.outcomes import LeftOut, Outcome, Wrong, same, tried
from benchmarks.providers.real_templates.suite import Suite

IDS = ("abcdefgh1", "abcdefgh2")
LONG_IDS = ("call_0123456789abcdef-1", "call_0123456789abcdef-2")
ODD: dict[str, Any] = {"seat": 'lisbon 7ä, "left" <b> {x}', "nights": 3, "extras": ["tea", "it's"]}
SEATS = ("lisbon", "quebec")
NINE = re.compile(r"\b[0-9a-f]{9}\b")


def tools(oracle: Oracle, suite: Suite, writing: Writing) -> Iterator[Outcome]:
    """All cases of one way of writing."""
    why = oracle.cannot_call

    def case(name: str, check: Any, excused: str | None = None) -> Outcome:
        return tried(name, check, excused=why or excused, plain=False)

    if why is not None:
        yield case("offered", lambda: _refused(suite, why))
        return
    yield case("offered", lambda: _offered(oracle, suite, writing))
    for name, words, given in (
        ("a call", "", [{"seat": "lisbon"}]),
        ("odd arguments", "", [ODD]),
        ("words and a call", "One moment.", [{"seat": "lisbon"}]),
        ("two calls", "", [{"seat": "lisbon"}, {"seat": "quebec"}]),
    ):
        yield case(name, lambda w=words, g=given: _check_calls(oracle, suite, writing, w, g))
    if writing.thought is not None:
        yield case(
            "a thought and a call",
            lambda: _check_calls(oracle, suite, writing, "", [{"seat": "lisbon"}], THOUGHT),
        )
    yield case("a result", lambda: _result(oracle, suite, writing, 1), _no_history(oracle, 1))
    yield case("results of two calls", lambda: _result(oracle, suite, writing, 2), _no_history(oracle, 2))
    yield case(
        "control strings in arguments and results",
        lambda: _control_strings(oracle, suite, writing),
        _no_history(oracle, 1),
    )
    yield case("words after a result", lambda: _after_result(oracle, suite, writing), _no_history(oracle, 1))


def _refused(suite: Suite, why: str) -> None:
    """What cannot be done has to be refused, when tools are offered."""
    suite.prompt([user("alpha")], [BOOK])
    if suite.reader.calls_problem is None:
        raise Wrong(f"tools are taken, though {why}")
    raise ValueError(suite.reader.calls_problem)


def _offered(oracle: Oracle, suite: Suite, writing: Writing) -> None:
    expected = oracle.rendered([user("alpha")], [BOOK], prompt=True, variables=writing.variables)
    same(suite.prompt([user("alpha")], [BOOK]), expected, "the prompt with tools")
    if suite.reader.calls_problem is not None:
        raise ValueError(suite.reader.calls_problem)


def _check_calls(
    oracle: Oracle,
    suite: Suite,
    writing: Writing,
    words: str,
    given: Sequence[dict[str, Any]],
    thought: str | None = None,
) -> None:
    if words and not oracle.family.words_with_calls:
        raise LeftOut("the form has no place for words beside a call")
    calls = [call(identity, **arguments) for identity, arguments in zip(IDS, given, strict=False)]
    try:
        text = oracle.written(writing, words, calls, thought=thought)
    except Refused as reason:
        raise LeftOut(f"{reason}") from None
    found = suite.read(generated(oracle, text), tools=[BOOK])
    named = [(c.name, c.arguments, c.problem) for c in found.calls]
    same(named, [("book", g, None) for g in given], f"of {text!r}, calls")
    same((found.text, found.reasoning), (words, thought), f"of {text!r}, words and thought")


def _no_history(oracle: Oracle, number: int) -> str | None:
    """Why the template cannot write results of so many calls."""
    try:
        text = oracle.rendered(_answered(number, IDS), [BOOK], prompt=True)
    except Refused as reason:
        return str(reason)
    lost = [w for w in SEATS[:number] if w not in text]
    return f"the template leaves out the call with {lost[0]}" if lost else None


def _answered(number: int, ids: Sequence[str]) -> list[Row]:
    seats = SEATS[:number]
    calls = [call(i, seat=s) for i, s in zip(ids, seats, strict=False)]
    results = [result(i, f"Booked {s}.") for i, s in zip(ids, seats, strict=False)]
    return [user("alpha"), reply("", *calls), *results]


def _result(oracle: Oracle, suite: Suite, writing: Writing, number: int) -> None:
    """What was read of a generation, and its results, stand in the next prompt, whatever the ids are."""
    if reason := _no_history(oracle, number):
        suite.prompt(_answered(number, IDS), [BOOK])
        raise LeftOut(reason)
    calls = [call(i, seat=s) for i, s in zip(IDS, SEATS[:number], strict=False)]
    try:
        text = oracle.written(writing, "", calls)
    except Refused as reason:
        raise LeftOut(f"{reason}") from None
    found = suite.read(generated(oracle, text), tools=[BOOK]).calls
    ids = [c.id or identity for c, identity in zip(found, IDS, strict=False)]
    read = [call(i, **c.arguments) for i, c in zip(ids, found, strict=True)]
    answers = [result(i, f"Booked {s}.") for i, s in zip(ids, SEATS, strict=False)]
    expected = oracle.rendered(_answered(number, ids), [BOOK], prompt=True, variables=writing.variables)
    same(
        suite.prompt([user("alpha"), reply("", *read), *answers], [BOOK]),
        expected,
        "the prompt after a result",
    )
    told = suite.prompt(_answered(number, LONG_IDS), [BOOK])
    for identity, short in zip(LONG_IDS, IDS, strict=True):
        told = told.replace(identity, short)
    for made, short in zip(dict.fromkeys(NINE.findall(told)), IDS, strict=False):
        told = told.replace(made, short)
    expected = oracle.rendered(_answered(number, IDS), [BOOK], prompt=True, variables=writing.variables)
    same(told, expected, "the prompt after a result of a call with a long id")


def _control_strings(oracle: Oracle, suite: Suite, writing: Writing) -> None:
    """Of a person who had a model write or read them."""
    spelt = f"{oracle.ends[0]} and </think>"

    def rows(words: str) -> list[Row]:
        return [user("alpha"), reply("", call(IDS[0], seat=words)), result(IDS[0], words)]

    text = oracle.rendered(rows(SEEN + "<"), [BOOK], prompt=True, variables=writing.variables)
    expected = tokens_with(suite, text.replace(SEEN + "<", SEEN), spelt)
    same_tokens(suite, suite.prompt_tokens(rows(spelt), [BOOK]), [expected], "the prompt")


def _after_result(oracle: Oracle, suite: Suite, writing: Writing) -> None:
    prompt = oracle.rendered(_answered(1, IDS), [BOOK], prompt=True, variables=writing.variables)
    text, thought = oracle.written(writing, "bravo").removesuffix(writing.end), None
    for known in (writing, *oracle.family.thinking):
        begin, _, close = (known.thought or "").partition("{}")
        if begin and prompt.endswith(begin):  # some prompts open a thought after results alone
            text, thought = f"{THOUGHT}{close}bravo", THOUGHT
    found = suite.read(text, last="tool", tools=[BOOK])
    same(
        (found.text, found.reasoning, found.calls),
        ("bravo", thought, []),
        f"after a result, {text!r} is read",
    )
