"""What is learnt: after exactly the prompt that the model had, exactly what it writes."""

from collections.abc import Iterator, Sequence
from datetime import date
from itertools import product

from benchmarks.providers.real_templates.checks.round_trip import THOUGHT, generated
from benchmarks.providers.real_templates.checks.spelling import same_tokens, tokens_with
from benchmarks.providers.real_templates.checks.tools import IDS
from benchmarks.providers.real_templates.checks.trainer_rows import check_rows
from benchmarks.providers.real_templates.families import Writing
from benchmarks.providers.real_templates.oracle import BOOK, SEEN, Oracle, call, reply, result, system, user
from benchmarks.providers.real_templates.oracle_rendering import DAY, Refused, Row, Tools
from benchmarks.providers.real_templates.outcomes import LeftOut, Outcome, Wrong, one_of, same, tried
from benchmarks.providers.real_templates.suite import Suite

ODD_WORDS = "שלום 你好 é 👩‍👩‍👧 x"
DIALOGUES: dict[str, tuple[list[Row], str]] = {
    "one turn": ([user("alpha")], "bravo"),
    "third turn": ([user("alpha"), reply("bravo"), user("charlie"), reply("delta"), user("echo")], "foxtrot"),
    "a system message": ([system("sierra"), user("alpha")], "bravo"),
    "an empty system message": ([system(""), user("alpha")], "bravo"),
    "two system messages": ([system("sierra"), system("tango"), user("alpha")], "bravo"),
    "a late system message": ([user("alpha"), reply("bravo"), system("sierra"), user("charlie")], "delta"),
    "the same words twice": ([user("alpha"), reply("bravo"), user("alpha")], "bravo"),
    "white space": ([user(" alpha\n"), reply(" bravo \n"), user("\ncharlie ")], "  delta \n\n echo \n"),
    "all scripts": ([user(ODD_WORDS), reply(ODD_WORDS), user(ODD_WORDS)], ODD_WORDS),
    "an assistant that opens": ([reply("alpha"), user("bravo")], "charlie"),
}


def training(oracle: Oracle, suite: Suite, writing: Writing) -> Iterator[Outcome]:
    """All cases of one way of writing."""
    for name, (rows, words) in DIALOGUES.items():
        yield tried(name, lambda r=rows, w=words: _words(oracle, suite, writing, r, w))
    yield tried("control strings in words", lambda: _control_strings(oracle, suite, writing))
    yield tried("as a server renders it", lambda: _served(oracle, suite, writing))
    yield tried("the trainer's rows", lambda: check_rows(oracle, suite, oracle.written(writing, "delta")))
    yield tried("the day", lambda: _day(oracle, suite, writing))
    if writing.thought is not None:
        yield tried("a thought", lambda: _thought(oracle, suite, writing), plain=False)
    if oracle.cannot_call is None:
        for words, seats in (("", ["lisbon"]), ("One moment.", ["lisbon"]), ("", ["lisbon", "quebec"])):
            name = "words and a call" if words else "two calls" if len(seats) > 1 else "a call"
            yield tried(name, lambda w=words, s=seats: _calls(oracle, suite, writing, w, s), plain=False)
        yield tried("after a result", lambda: _after_result(oracle, suite, writing), plain=False)


def _words(oracle: Oracle, suite: Suite, writing: Writing, rows: Sequence[Row], words: str) -> None:
    heads = {writing.head} | ({""} if words.startswith(writing.head) else set())
    right = [n + h + words + e for n, h, e in product(writing.nothing, sorted(heads), _ends(oracle, writing))]
    one_of(_learnt(oracle, suite, writing, rows, reply(words)), right, "what is learnt")


def _learnt(
    oracle: Oracle, suite: Suite, writing: Writing, rows: Sequence[Row], said: Row, tools: Tools = None
) -> str:
    """What is learnt, after a prompt that is the one in generation and the template's, token by token.

    Raises:
        LeftOut: The reply is left out.
    """
    prompt, written = suite.learnt(rows, said, tools)
    same(suite.text(prompt), _prompt(oracle, suite, rows, writing, tools), "the prompt that is learnt after")
    if prompt != suite.prompt_tokens(rows, tools):
        raise Wrong("tokens of the prompt are not those in generation")
    if written is None:
        if not said.get("tool_calls") and not said.get("reasoning_content"):
            raise Wrong("plain words are left out")
        raise LeftOut("the template does not write it")
    if suite.tokenizer.convert_ids_to_tokens(written[-1]) not in oracle.ends:
        raise Wrong(f"what is learnt ends with {suite.text(written)[-20:]!r}, which ends no generation")
    return suite.text(written)


def _prompt(oracle: Oracle, suite: Suite, rows: Sequence[Row], writing: Writing, tools: Tools = None) -> str:
    placed = oracle.placed(rows, suite.opening)
    return oracle.rendered(placed, tools, prompt=True, variables=writing.variables)


def _ends(oracle: Oracle, writing: Writing) -> list[str]:
    """What ends a reply: with and without white space before it; the tokenizer's own if it is no token."""
    token = writing.end.strip()
    return [writing.end, *([token] if token else [oracle.tokens["eos_token"]])]


def _control_strings(oracle: Oracle, suite: Suite, writing: Writing) -> None:
    """Words that spell the template's own marks are words to everybody."""
    spelt = f"He wrote {oracle.ends[0]} and {' and '.join(_spelt(oracle))}."
    rows = [system(spelt), user(spelt), reply(spelt), user(spelt)]
    plain = [system(SEEN), user(SEEN), reply(SEEN), user(SEEN)]
    text = _prompt(oracle, suite, plain, writing)
    expected = tokens_with(suite, text, spelt)
    same_tokens(suite, suite.prompt_tokens(rows), [expected], "the prompt")
    prompt, written = suite.learnt(rows, reply(spelt))
    right = [
        tokens_with(suite, text + before + writing.head + SEEN + end, spelt)
        for before, end in product(writing.nothing, _ends(oracle, writing))
    ]
    same_tokens(suite, [*prompt, *(written or [])], right, "what is learnt")


def _served(oracle: Oracle, suite: Suite, writing: Writing) -> None:
    """A server's tokenizer takes what spells a control string for the control token."""
    rows = [user(f"alpha {oracle.ends[0]} sierra"), reply("bravo"), user("charlie")]
    expected = suite.tokens(_prompt(oracle, suite, rows, writing))
    same_tokens(suite, suite.served_prompt(rows), [expected], "the prompt that a server renders")


def _spelt(oracle: Oracle) -> list[str]:
    own = list(oracle.tokens.values())[:2]
    # a template that looks for `/think` takes it for a switch wherever it stands
    return (
        own
        if "/think" in oracle.template.replace("</think", "")
        else ["<think>", "</think>", "<tool_call>", *own]
    )


def _day(oracle: Oracle, suite: Suite, writing: Writing) -> None:
    """The conversation's: without and with a system message, and with tools."""
    if "strftime_now" not in oracle.template:
        return
    asked: list[tuple[list[Row], Tools]] = [
        ([user("alpha")], None),
        ([system("sierra"), user("alpha")], None),
    ]
    if oracle.cannot_call is None:
        asked.append(([user("alpha")], [BOOK]))
    for rows, offered in asked:
        same(
            suite.prompt(rows, offered),
            _prompt(oracle, suite, rows, writing, offered),
            f"the prompt of {DAY}",
        )
    other = oracle.rendered([user("alpha")], prompt=True, variables=writing.variables, day=date.today())
    if other == oracle.rendered([user("alpha")], prompt=True, variables=writing.variables):
        return
    if other == suite.prompt([user("alpha")]):
        raise Wrong("the day is today's, not the conversation's")


def _thought(oracle: Oracle, suite: Suite, writing: Writing) -> None:
    written = _learnt(oracle, suite, writing, [user("alpha")], reply("bravo", thought=THOUGHT))
    right = oracle.written(writing, "bravo", thought=THOUGHT)
    one_of(
        written, [right.removesuffix(writing.end) + end for end in _ends(oracle, writing)], "what is learnt"
    )


def _calls(oracle: Oracle, suite: Suite, writing: Writing, words: str, seats: Sequence[str]) -> None:
    calls = [call(i, seat=s) for i, s in zip(IDS, seats, strict=False)]
    said = reply(words, *calls)
    try:
        written = _learnt(oracle, suite, writing, [user("alpha")], said, [BOOK])
    except LeftOut:
        if oracle.writes([user("alpha"), said], words, *seats):
            raise Wrong("left out, though the template writes it") from None
        what = "words before calls" if words else "two calls" if len(seats) > 1 else "such a call"
        raise LeftOut(f"the template does not write {what}") from None
    try:
        right = oracle.written_calls(writing, words, calls)
    except Refused:
        raise Wrong(f"{written!r} is learnt, which the template cannot write") from None
    one_of(written, right, "what is learnt")


def _after_result(oracle: Oracle, suite: Suite, writing: Writing) -> None:
    rows = [user("alpha"), reply("", call(IDS[0], seat="lisbon")), result(IDS[0], "Booked.")]
    written = _learnt(oracle, suite, writing, rows, reply("bravo"), [BOOK])
    if not written.removesuffix(writing.end).removesuffix(writing.end.strip()).endswith("bravo"):
        raise Wrong(f"{written!r} is learnt")
    found = suite.read(generated(oracle, written), last="tool", tools=[BOOK])
    same((found.text, found.reasoning), ("bravo", None), f"what is learnt, {written!r}, is read")
