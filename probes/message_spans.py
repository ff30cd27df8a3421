"""A conversation as the text that a model sees, and which characters of it belong to which message.

Where a message stands is not searched for: that would be a guess where two messages are equal, or a template
trims or escapes. The conversation is rendered a second time with marks around its words; the marks are taken
out again, and what is left must be the text itself.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import lru_cache
from itertools import count, groupby
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

STEM = "zqMarkzq"
MARK = re.compile(STEM + r"(\d{5})(\d{4})")
CALL = 5000
"""Marks from this number on stand at the names of called tools; smaller ones in what was said."""

THINKING = re.compile(r"(<think>|</think>)")
THOUGHT = re.compile(r"^.*</think>", re.DOTALL)

CLOCK = date(2024, 7, 26)
"""The day that templates are told who ask for it: tokens must not change overnight."""

CLOCK_CALL = re.compile(r"""strftime_now\(\s*["']([^"']*)["']\s*\)""")


Tools = Sequence[Mapping[str, Any]] | None


class RenderingError(ValueError):
    """A conversation that cannot be turned into text, or whose messages cannot be told apart in it."""


class Span(NamedTuple):
    """Characters that belong to a message."""

    start: int
    end: int
    message: int
    """Number of the message, from 0."""

    closing: bool
    """What ends the turn after the words; a token must lie wholly in it to belong to the message."""


class SpannedText(NamedTuple):
    """The text of a conversation. Characters in no span are the template's: headers, BOS, tools."""

    text: str
    spans: list[Span]


class _Row(NamedTuple):
    """One message as the template gets it; a folded system message makes it hold several of ours."""

    role: str
    parts: list[tuple[int, str]]
    rest: dict[str, Any]

    def told(self, marked: "Mapping[int, bool] | None" = None) -> dict[str, Any]:
        """With marks if `marked` tells of each message whether its outer white space is inside them."""
        message = self.parts[-1][0]
        if marked is None:
            return {"role": self.role, "content": "\n\n".join(t for _, t in self.parts), **self.rest}
        texts = [_marked(text, number, count(), outer=marked[number]) for number, text in self.parts]
        rest = dict(self.rest)
        if reasoning := rest.get("reasoning_content"):
            rest["reasoning_content"] = _marked(reasoning, message, count(2000), outer=marked[message])
        if calls := rest.get("tool_calls"):
            rest["tool_calls"] = [_marked_call(c, message, CALL + 2 * i) for i, c in enumerate(calls)]
        return {"role": self.role, "content": "\n\n".join(texts), **rest}


class _Place(NamedTuple):
    """Where a mark stood."""

    position: int
    """In the text without marks."""

    message: int
    serial: int


class _Marked(NamedTuple):
    """A conversation that was rendered with marks, which were taken out again."""

    rows: list[_Row]
    tools: Tools
    text: str
    outer: Mapping[int, bool]
    places: list[_Place]

    def runs(self) -> list[list[_Place]]:
        """The marks of each message, in the order of the text."""
        return [list(run) for _, run in groupby(self.places, key=lambda p: p.message)]

    def rows_to(self, message: int) -> list[_Row]:
        """The rows up to the one that holds a message."""
        last = next(i for i, row in enumerate(self.rows) if any(number == message for number, _ in row.parts))
        return self.rows[: last + 1]


class ChatText:
    """Renders conversations through a chat template.

    A template that takes no system message gets it at the head of the first user message; several system
    messages become one. This is how `providers/local` prompts a model, so that the text is the one it saw.

    Args:
        tokenizer: Applies the template.
        template: The template, or the name of one of the tokenizer's own.
        options: Variables of the template, e.g. `enable_thinking`.
        source: What to call the model in messages.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        template: str | None,
        options: Mapping[str, Any],
        source: str,
    ) -> None:
        self.tokenizer = tokenizer
        self.template = template
        self.options = dict(options)
        self.source = source
        self.takes_system = self._takes_system()
        self._closings: dict[tuple[str, bool, bool, str], tuple[int, int]] = {}
        self._headers: dict[tuple[str, bool, str], int] = {}

    def render(self, messages: Sequence[Mapping[str, Any]], tools: Tools = None) -> SpannedText:
        """The text of a conversation, without a prompt for the next reply.

        To a message belong its words, its tool calls, its reasoning where the template shows it, and what
        ends its turn up to white space. A message without words has no characters of its own, and the tag
        with which a template opens a thought is the template's.

        Raises:
            RenderingError: The template refuses the messages, leaves one out, shows one twice, or changes
                them in a way that depends on their words.
        """
        rows = self._rows(messages)
        text = self._render([row.told() for row in rows], tools)
        if STEM in text:
            raise RenderingError(f"the conversation contains {STEM!r}, by which messages are marked")
        marked = self._marked(rows, tools, text)
        self._check_all_there(marked)
        return SpannedText(text, list(self._spans(marked)))

    def _rows(self, messages: Sequence[Mapping[str, Any]]) -> list[_Row]:
        system = [(i, str(m["content"])) for i, m in enumerate(messages) if m["role"] == "system"]
        rows = [
            _Row(m["role"], [(i, m["content"])], {k: v for k, v in m.items() if k not in ("role", "content")})
            for i, m in enumerate(messages)
            if m["role"] != "system"
        ]
        if not "\n\n".join(text for _, text in system):
            return rows
        if self.takes_system:
            return [_Row("system", system, {}), *rows]
        if rows and rows[0].role == "user":
            return [rows[0]._replace(parts=[*system, *rows[0].parts]), *rows[1:]]
        return [_Row("user", system, {}), *rows]

    def _marked(self, rows: list[_Row], tools: Tools, text: str) -> _Marked:
        """With white space inside the marks wherever the template keeps it."""
        outer = {number: True for row in rows for number, _ in row.parts}
        inner = dict.fromkeys(outer, False)
        for tried in (outer, inner):
            places = self._places(rows, tools, text, tried)
            if places is not None:
                break
        else:
            raise RenderingError(
                f"the chat template of {self.source} changes messages depending on their words, so it cannot "
                "be told which tokens are whose; give a simpler one with --template FILE, or --template plain"
            )
        chosen = _Marked(rows, tools, text, tried, places)
        return chosen if tried is outer else self._widened(chosen)

    def _widened(self, marked: _Marked) -> _Marked:
        """The template trims some messages; the white space of the others is theirs."""
        for row in marked.rows:
            for number, _ in row.parts:
                tried = {**marked.outer, number: True}
                if row.told(tried) == row.told(marked.outer):
                    continue
                places = self._places(marked.rows, marked.tools, marked.text, tried)
                if places is not None:
                    marked = marked._replace(outer=tried, places=places)
        return marked

    def _places(
        self, rows: Sequence[_Row], tools: Tools, text: str, outer: Mapping[int, bool]
    ) -> list[_Place] | None:
        """The marks in the order of the text; None if they change more than themselves."""
        try:
            bare, places = _unmarked(self._render([row.told(outer) for row in rows], tools))
        except RenderingError:
            return None
        return places if bare == text else None

    def _check_all_there(self, marked: _Marked) -> None:
        seen: set[tuple[int, int]] = set()
        for place in marked.places:
            if place[1:] in seen:
                raise RenderingError(
                    f"the chat template of {self.source} shows message {place.message} twice"
                )
            seen.add(place[1:])
        runs = [run[0].message for run in marked.runs()]
        if len(set(runs)) < len(runs):
            raise RenderingError(f"the chat template of {self.source} mixes the words of several messages")
        for row in marked.rows:
            for number, said in row.parts:
                has_words = THOUGHT.sub("", said).strip() or row.rest.get("tool_calls")
                if has_words and number not in runs:
                    raise RenderingError(
                        f"the chat template of {self.source} leaves out message {number} ({row.role})"
                    )

    def _spans(self, marked: _Marked) -> Iterator[Span]:
        runs, text = marked.runs(), marked.text
        starts = [
            self._start(marked, run[0], previous)
            for run, previous in zip(runs, [None, *(run[-1] for run in runs[:-1])], strict=True)
        ]
        for i, run in enumerate(runs):
            message, end = run[0].message, run[-1].position
            following = i + 1 < len(runs)
            if starts[i] < end:
                yield Span(starts[i], end, message, closing=False)
            gap = text[end : runs[i + 1][0].position if following else len(text)]
            limit = starts[i + 1] if following else len(text)
            skipped, length = self._closing(marked, run[-1], gap)
            closed = min(end + length, limit)
            closed = end + len(text[end:closed].rstrip())
            if closed > end + skipped:
                yield Span(end + skipped, closed, message, closing=True)

    def _start(self, marked: _Marked, first: _Place, previous: _Place | None) -> int:
        """Where a message begins: at its words, or at what the template puts before the name of a tool."""
        if first.serial < CALL:
            return first.position
        before = 0 if previous is None else previous.position
        shown = marked.text[before : first.position]
        rows = marked.rows_to(first.message)
        key = (rows[-1].role, previous is None, shown)
        if key not in self._headers:
            spoken = _Row(rows[-1].role, [(first.message, "words")], {})
            bare, places = _unmarked(
                self._render([r.told(marked.outer) for r in [*rows[:-1], spoken]], marked.tools)
            )
            at = {place[1:]: place.position for place in places}
            anchor = 0 if previous is None else at.get(previous[1:])
            if anchor is None or (first.message, 0) not in at:
                raise RenderingError(
                    f"the chat template of {self.source} does not show where the tool call of message "
                    f"{first.message} begins"
                )
            self._headers[key] = _shared(shown, bare[anchor : at[first.message, 0]])
        return before + self._headers[key]

    def _closing(self, marked: _Marked, last: _Place, gap: str) -> tuple[int, int]:
        """Where, after the last mark of a message, what ends its turn begins and ends.

        It is what stands there as well when the conversation ends with this message, without the tools that
        some templates write into the turn of the system message.
        """
        rows = marked.rows_to(last.message)
        if rows[-1].parts[-1][0] != last.message:
            return 0, 0
        key = (rows[-1].role, last.serial >= CALL, len(rows) == len(marked.rows), gap)
        if key not in self._closings:
            tail = self._tail(rows, marked, last, marked.tools)
            bare = self._tail(rows, marked, last, None) if marked.tools else tail
            skipped = len(tail) - len(bare) if tail.endswith(bare) else 0
            self._closings[key] = (skipped, _shared(gap, tail))
        return self._closings[key]

    def _tail(self, rows: Sequence[_Row], marked: _Marked, last: _Place, tools: Tools) -> str:
        """What stands after a mark if the conversation ends with its message."""
        try:
            bare, places = _unmarked(self._render([row.told(marked.outer) for row in rows], tools))
        except RenderingError:  # no conversation may end here, so nothing is closed here
            return ""
        return next((bare[p.position :] for p in places if p[1:] == last[1:]), "")

    def _render(self, rows: Sequence[Mapping[str, Any]], tools: Tools = None) -> str:
        try:
            text = self.tokenizer.apply_chat_template(
                list(rows),  # pyright: ignore[reportArgumentType]
                tools=list(tools) if tools else None,  # pyright: ignore[reportArgumentType]
                chat_template=_stopped_clock(self.tokenizer.get_chat_template(self.template, tools)),  # pyright: ignore[reportArgumentType]
                tokenize=False,
                add_generation_prompt=False,
                **self.options,
            )
        except Exception as error:  # whatever a template raises
            roles = [row["role"] for row in rows]
            raise RenderingError(f"the chat template of {self.source} refuses {roles}: {error}") from error
        return str(text)

    def _takes_system(self) -> bool:
        rows = [{"role": "system", "content": "delta"}, {"role": "user", "content": "alpha"}]
        try:
            return "delta" in self._render(rows)
        except RenderingError:
            return False


def _marked(text: str, message: int, serials: Iterable[int], *, outer: bool) -> str:
    """Marks around the words; around those in and after `<think>` too, because templates part them there."""
    numbers = iter(serials)

    def mark() -> str:
        return f"{STEM}{message:05}{next(numbers):04}"

    pieces = THINKING.split(text)
    told = [
        piece if not piece.strip() or THINKING.fullmatch(piece) else _around(piece, mark, outer=outer)
        for piece in pieces
    ]
    return (mark() if len(pieces) > 1 else "") + "".join(told)


def _around(piece: str, mark: Callable[[], str], *, outer: bool) -> str:
    core = piece if outer else piece.strip()
    before, after = piece.split(core, 1)
    return f"{before}{mark()}{core}{mark()}{after}"


def _marked_call(call: Mapping[str, Any], message: int, serial: int) -> dict[str, Any]:
    function = call["function"]
    name = f"{STEM}{message:05}{serial:04}{function['name']}{STEM}{message:05}{serial + 1:04}"
    return {**call, "function": {**function, "name": name}}


def _unmarked(text: str) -> tuple[str, list[_Place]]:
    places = [
        _Place(found.start() - number * (len(STEM) + 9), int(found[1]), int(found[2]))
        for number, found in enumerate(MARK.finditer(text))
    ]
    return MARK.sub("", text), places


def _shared(one: str, other: str) -> int:
    """Characters with which both begin."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


@lru_cache
def _stopped_clock(template: str) -> str:
    """A template that asks for the date gets `CLOCK`."""
    forms = sorted(set(CLOCK_CALL.findall(template)))
    if not forms:
        return template
    cases = "".join(f"{{%- if format == '{f}' %}}{CLOCK.strftime(f)}{{% endif -%}}" for f in forms)
    return "{%- macro strftime_now(format) -%}" + cases + "{%- endmacro +%}" + template
