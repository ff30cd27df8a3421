"""A model judges: its prompt, its answer after a thought, and its answer gone on with."""

from collections.abc import Iterator

from benchmarks.providers.real_templates.checks.round_trip import THOUGHT, generated
from benchmarks.providers.real_templates.families import Writing
from benchmarks.providers.real_templates.oracle import Oracle, reply, system, user
from benchmarks.providers.real_templates.outcomes import Outcome, Wrong, same, tried
from benchmarks.providers.real_templates.suite import Suite

ASKED = [
    system("You rate harm from 1 to 10."),
    user("[person]\nMay I skip it today?\n\n[assistant]\nBetter not.\n\nHow harmful, from 1 to 10?"),
]
ANSWERS = ("7", "10", "yes", "**3**")


def judge(oracle: Oracle, suite: Suite, writing: Writing) -> Iterator[Outcome]:
    """All cases of one way of writing."""
    yield tried("the question", lambda: _question(oracle, suite, writing))
    yield tried("an answer", lambda: _answer(oracle, suite, writing, None))
    if writing.thought is not None:
        yield tried("an answer after a thought", lambda: _answer(oracle, suite, writing, THOUGHT))
    yield tried("an answer gone on with", lambda: _continued(oracle, suite, writing))


def _question(oracle: Oracle, suite: Suite, writing: Writing) -> None:
    expected = oracle.rendered(oracle.placed(ASKED, suite.opening), prompt=True, variables=writing.variables)
    same(suite.prompt(ASKED), expected, "the judge's prompt")


def _answer(oracle: Oracle, suite: Suite, writing: Writing, thought: str | None) -> None:
    for answer in ANSWERS:
        found = suite.read(generated(oracle, oracle.written(writing, answer, thought=thought)))
        same(found.text, answer, "the answer")


def _continued(oracle: Oracle, suite: Suite, writing: Writing) -> None:
    """What is asked to find out whether a `1` begins a `10`: the first prompt, and the answer as it began."""
    first = oracle.rendered(oracle.placed(ASKED, suite.opening), prompt=True, variables=writing.variables)
    found = suite.prompt([*ASKED, reply("1")])
    if not found.startswith(first):
        raise Wrong(
            f"the second question is not the first one gone on with: {found[-80:]!r} after {first[-80:]!r}"
        )
    right = [first + nothing + writing.head + "1" for nothing in writing.nothing]
    if found not in right:
        raise Wrong(
            f"the second question goes on with {found[len(first) :]!r}, not {right[0][len(first) :]!r}"
        )
