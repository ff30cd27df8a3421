"""Every character goes to the message and the role that it is of."""

from collections.abc import Iterator, Sequence

from benchmarks.providers.real_templates.checks.ownership import Owned, closing, owned
from benchmarks.providers.real_templates.checks.tools import IDS
from benchmarks.providers.real_templates.checks.training import ODD_WORDS
from benchmarks.providers.real_templates.families import Writing
from benchmarks.providers.real_templates.oracle import BOOK, Oracle, call, reply, result, system, user
from benchmarks.providers.real_templates.oracle_rendering import Refused, Row, Tools
from benchmarks.providers.real_templates.outcomes import Outcome, Wrong, same, tried
from benchmarks.providers.real_templates.suite import Suite

CALLED = reply("", call(IDS[0], seat="lisbon"))
CALLED_TWICE = reply("", call(IDS[0], seat="lisbon"), call(IDS[1], seat="quebec"))
BOOKED = result(IDS[0], "booked it")
DIALOGUES: dict[str, list[Row]] = {
    "a dialogue": [system("sierra one"), user("alpha"), reply("bravo"), user("charlie"), reply("delta")],
    "ends with a user": [user("alpha"), reply("bravo"), user("charlie")],
    "the same words": [
        user("alpha"),
        reply("alpha"),
        user("alpha"),
        reply("alpha"),
        user("alpha"),
        reply("alpha"),
    ],
    "white space": [
        system(" sierra\n"),
        user("\n alpha \n"),
        reply("  bravo\n\n"),
        user(" charlie"),
        reply(" delta "),
    ],
    "all scripts": [
        user(f"a {ODD_WORDS}"),
        reply(f"b {ODD_WORDS} z"),
        user(f"c {ODD_WORDS}"),
        reply(f"d {ODD_WORDS} y"),
    ],
    "a late system message": [
        user("alpha"),
        reply("bravo"),
        system("sierra"),
        user("charlie"),
        reply("delta"),
    ],
    "an assistant that opens": [reply("alpha"), user("bravo"), reply("charlie")],
}
TALK = [reply("bravo"), user("charlie"), reply("delta")]
WITH_TOOLS: dict[str, list[Row]] = {
    "a call and a result": [system("sierra"), user("alpha"), CALLED, BOOKED, *TALK],
    "ends with a call": [user("alpha"), reply("bravo"), user("charlie"), CALLED],
    "ends with a result": [user("alpha"), CALLED, BOOKED],
    "two calls": [user("alpha"), CALLED_TWICE, BOOKED, result(IDS[1], "booked again"), *TALK],
    "words and a call": [user("alpha"), reply("golf", call(IDS[0], seat="lisbon")), BOOKED, reply("bravo")],
}


def spans(oracle: Oracle, suite: Suite, writing: Writing) -> Iterator[Outcome]:
    """All cases of one way of writing."""
    for name, rows in DIALOGUES.items():
        yield tried(
            name, lambda r=rows: _owners(oracle, suite, writing, r, None), excused=_why(oracle, rows, None)
        )
    if writing.thought is not None:
        rows = [
            user("alpha"),
            reply("bravo", thought="tango one"),
            user("charlie"),
            reply("delta", thought="tango two"),
        ]
        yield tried(
            "thoughts",
            lambda: _owners(oracle, suite, writing, rows, None),
            plain=False,
            excused=_why(oracle, rows, None),
        )
    if oracle.cannot_call is None:
        for name, rows in WITH_TOOLS.items():
            yield tried(
                name,
                lambda r=rows: _owners(oracle, suite, writing, r, [BOOK]),
                plain=False,
                excused=_why(oracle, rows, [BOOK]),
            )


def _why(oracle: Oracle, rows: Sequence[Row], tools: Tools) -> str | None:
    """Why the template cannot show the conversation; None if it can."""
    try:
        text = oracle.rendered(oracle.placed(rows, "x"), tools)
    except Refused as reason:
        return str(reason)
    said = [str(r["content"]).strip() for r in rows if r["content"]]
    seats = [c["function"]["arguments"]["seat"] for r in rows for c in r.get("tool_calls") or []]
    lost = [w for w in [*said, *seats] if w not in text]
    if lost:
        return f"the template leaves out words: {lost[0]}"
    places = [text.find(w) for w in [*said, *seats]]
    return "the template changes the order" if places != sorted(places) and seats else None


def _owners(oracle: Oracle, suite: Suite, writing: Writing, rows: Sequence[Row], tools: Tools) -> None:
    last = rows[-1] if rows[-1]["role"] == "assistant" else None
    before = rows[:-1] if last else rows
    found, owners = suite.owners(rows, tools)
    try:
        text, certain = owned(oracle, before, tools, writing, prompt=last is not None, opening=suite.opening)
    except Refused as reason:
        raise Wrong(f"rendered, though {reason}") from None
    if last is None:
        same(found, text, "the text")
        limit = len(text)
    else:
        same(found[: len(text)], text, "the prompt of the last reply")
        certain = [*certain, *_of_reply(found, len(text), last, len(rows) - 1)]
        limit = len(found)
    _check(found, owners, certain, limit)


def _of_reply(text: str, start: int, row: Row, number: int) -> list[Owned]:
    """Stretches of the last reply: its thought, its words, arguments of its calls."""
    parts = [row.get("reasoning_content"), row["content"].strip()]
    parts += [c["function"]["arguments"]["seat"] for c in row.get("tool_calls") or []]
    found, at = [], start
    for part in parts:
        if part:
            place = text.find(part, at)
            if place < 0:
                raise Wrong(f"{part!r} of the last reply is not in {text[start:]!r}")
            at = place + len(part)
            found.append(Owned(place, at, number))
    return found


def _check(text: str, owners: Sequence[int], certain: Sequence[Owned], limit: int) -> None:
    """Raises `Wrong` at the first character that is not whose it must be."""
    for stretch in certain:
        _all(text, owners, stretch.start, stretch.end, {stretch.message})
    for here, following in zip(certain, [*certain[1:], None], strict=True):
        end = following.start if following else limit
        gap = text[here.end : end]
        closed = here.end + closing(gap)
        after = {following.message} if following else set()
        _all(text, owners, here.end, end, {here.message, -1} | after)
        if following is None or following.message != here.message:
            for at in range(here.end, closed):
                if not text[at].isspace() and owners[at] != here.message:
                    turn = f"the turn of message {here.message}"
                    raise Wrong(f"what ends {turn} belongs to {owners[at]}: {_near(text, at)}")
    start = certain[0].start if certain else 0
    _all(text, owners, 0, start, {-1, certain[0].message if certain else -1})
    for at in range(len(text)):
        if text.startswith("Books a seat.", at):
            _all(text, owners, at, at + 13, {-1})


def _all(text: str, owners: Sequence[int], start: int, end: int, right: set[int]) -> None:
    for at in range(start, end):
        if owners[at] not in right:
            raise Wrong(f"a character of {sorted(right)} belongs to {owners[at]}: {_near(text, at)}")


def _near(text: str, at: int) -> str:
    return f"{text[max(0, at - 25) : at]!r} >{text[at : at + 25]!r}"
