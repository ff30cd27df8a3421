"""A conversation as the text that a model sees, and which characters of it belong to which message.

The last reply is what its model wrote after its prompt. Where an earlier message stands is not searched for:
that would be a guess where two messages are equal, or a template trims or escapes. The conversation is
rendered a second time with marks around its words; the marks are taken out again, and what is left must be
the text itself.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count, groupby
from typing import Any, NamedTuple

from providers.chat.completion import complete
from providers.chat.errors import ChatTemplateError
from providers.chat.reading import ReplyReader
from providers.chat.template import ChatTemplate, Tools
from providers.chat.words import STEM

MARK = re.compile(STEM + r"(\d{5})(\d{4})")
CALL = 5000
"""Marks from this number on stand at the names of called tools; smaller ones in what was said."""

THINKING = re.compile(r"(<think>|</think>)")
THOUGHT = re.compile(r"^.*</think>", re.DOTALL)

Message = Mapping[str, Any]


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
    prompt: int = 0
    """Length of the prompt of the last reply, which was tokenized before the reply was there; 0 if there is
    none.
    """


class _Place(NamedTuple):
    """Where a mark stood."""

    position: int
    """In the text without marks."""

    message: int
    serial: int


class _Marked(NamedTuple):
    """A conversation that was rendered with marks, which were taken out again."""

    messages: Sequence[Message]
    tools: Tools
    text: str
    prompted: bool
    outer: Mapping[int, bool]
    """Message -> whether its outer white space is inside the marks."""

    places: list[_Place]

    def runs(self) -> list[list[_Place]]:
        """The marks of each message, in the order of the text."""
        return [list(run) for _, run in groupby(self.places, key=lambda p: p.message)]

    def up_to(self, message: int) -> list[dict[str, Any]]:
        """The messages up to one, with marks."""
        return _with_marks(self.messages[: message + 1], self.outer)


class ConversationSpans:
    """Tells whose the characters of rendered conversations are.

    Args:
        reader: For the model's template.
    """

    def __init__(self, reader: ReplyReader) -> None:
        self.reader = reader
        self.template: ChatTemplate = reader.template
        self._closings: dict[tuple[str, bool, bool, str], tuple[int, int]] = {}
        self._headers: dict[tuple[str, bool, str], int] = {}

    def render(self, messages: Sequence[Message], tools: Tools = None) -> SpannedText:
        """The text of a conversation, without a prompt for a reply that is not there.

        To a message belong its words, its tool calls, its reasoning where the template shows it, and what
        ends its turn up to white space. A message without words has no characters of its own, and the tag
        with which a template opens a thought is the template's.

        Raises:
            ChatTemplateError: The template refuses the messages, leaves one out, shows one twice, or changes
                them in a way that depends on their words.
        """
        messages = [self.template.parted(message) for message in messages]
        roles = [message["role"] for message in messages if message["role"] != "system"]
        if len(roles) < 2 or roles[-1] != "assistant":
            text = self._render(messages, tools, prompted=False)
            return SpannedText(text, self._spans_of(messages, tools, text, prompted=False))
        before, last = messages[:-1], len(messages) - 1
        done = complete(self.reader, before, messages[-1], tools)
        if done.written is None or done.words is None:
            raise ChatTemplateError(
                f"the chat template of {self.template.source} cannot write what message {last} "
                f"(assistant) says"
            )
        spans = self._spans_of(before, tools, done.prompt, prompted=True) if before else []
        thought = bool(messages[-1].get("reasoning_content"))
        spans += self._last(done.written, done.words, len(done.prompt), last, thought=thought)
        return SpannedText(done.prompt + done.written, spans, len(done.prompt))

    def _last(
        self, written: str, words: tuple[int, int], offset: int, message: int, *, thought: bool
    ) -> list[Span]:
        """Of the reply that ends the conversation."""
        start, end = words
        opening = self.reader.replies.thoughts.before
        if thought and start == 0 and opening and written.startswith(opening):
            start = len(opening)
        closed = end + len(written[end:].rstrip())
        spans = [Span(offset + start, offset + end, message, closing=False)] if end > start else []
        if closed > end and (end > start or written[:end].strip()):
            spans.append(Span(offset + end, offset + closed, message, closing=True))
        return spans

    # -- the messages before it -------------------------------------------------------------------

    def _spans_of(
        self, messages: Sequence[Message], tools: Tools, text: str, *, prompted: bool
    ) -> list[Span]:
        if STEM in text:
            raise ChatTemplateError(f"the conversation contains {STEM!r}, by which messages are marked")
        marked = self._marked(messages, tools, text, prompted)
        self._check_all_there(marked)
        return list(self._spans(marked))

    def _marked(self, messages: Sequence[Message], tools: Tools, text: str, prompted: bool) -> _Marked:
        """With white space inside the marks wherever the template keeps it."""
        outer = dict.fromkeys(range(len(messages)), True)
        for tried in (outer, dict.fromkeys(outer, False)):
            places = self._places(messages, tools, text, prompted, tried)
            if places is not None:
                break
        else:
            raise ChatTemplateError(
                f"the chat template of {self.template.source} changes messages depending on their words, "
                f"so it "
                "cannot be told which tokens are whose; give a simpler one with --template FILE, or "
                "--template plain"
            )
        chosen = _Marked(messages, tools, text, prompted, tried, places)
        return chosen if tried is outer else self._widened(chosen)

    def _widened(self, marked: _Marked) -> _Marked:
        """The template trims some messages; the white space of the others is theirs."""
        for number, message in enumerate(marked.messages):
            tried = {**marked.outer, number: True}
            if _with_marks([message], {0: True}) == _with_marks([message], {0: False}):
                continue
            places = self._places(marked.messages, marked.tools, marked.text, marked.prompted, tried)
            if places is not None:
                marked = marked._replace(outer=tried, places=places)
        return marked

    def _places(
        self,
        messages: Sequence[Message],
        tools: Tools,
        text: str,
        prompted: bool,
        outer: Mapping[int, bool],
    ) -> list[_Place] | None:
        """The marks in the order of the text; None if they change more than themselves."""
        try:
            bare, places = _unmarked(self._render(_with_marks(messages, outer), tools, prompted=prompted))
        except ChatTemplateError:
            return None
        return _first_of_calls(places) if bare == text else None

    def _check_all_there(self, marked: _Marked) -> None:
        source = self.template.source
        seen: set[tuple[int, int]] = set()
        for place in marked.places:
            if place[1:] in seen:
                raise ChatTemplateError(f"the chat template of {source} shows message {place.message} twice")
            seen.add(place[1:])
        runs = [run[0].message for run in marked.runs()]
        if len(set(runs)) < len(runs):
            raise ChatTemplateError(f"the chat template of {source} mixes the words of several messages")
        for number, message in enumerate(marked.messages):
            said = THOUGHT.sub("", str(message["content"])).strip()
            if (said or message.get("tool_calls")) and number not in runs:
                raise ChatTemplateError(
                    f"the chat template of {source} leaves out message {number} ({message['role']})"
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
        role = marked.messages[first.message]["role"]
        key = (role, previous is None, shown)
        if key not in self._headers:
            spoken = {"role": role, "content": _marked_text("words", first.message, count(), outer=True)}
            bare, places = _unmarked(
                self._render([*marked.up_to(first.message - 1), spoken], marked.tools, prompted=False)
            )
            at = {place[1:]: place.position for place in _first_of_calls(places)}
            anchor = 0 if previous is None else at.get(previous[1:])
            if anchor is None or (first.message, 0) not in at:
                raise ChatTemplateError(
                    f"the chat template of {self.template.source} does not show where the tool call of "
                    f"message "
                    f"{first.message} begins"
                )
            self._headers[key] = _shared(shown, bare[anchor : at[first.message, 0]])
        return before + self._headers[key]

    def _closing(self, marked: _Marked, last: _Place, gap: str) -> tuple[int, int]:
        """Where, after the last mark of a message, what ends its turn begins and ends.

        It is what stands there as well when the conversation ends with this message, without the tools that
        some templates write into the turn of the system message. Where the last turn of a conversation has an
        end of its own, the first control token after the words ends the others.
        """
        role = marked.messages[last.message]["role"]
        if role == "system" and not self.template.takes_system:
            return 0, 0
        key = (role, last.serial >= CALL, last.message + 1 == len(marked.messages), gap)
        if key not in self._closings:
            self._closings[key] = self._closing_in(marked, last, gap, role)
        return self._closings[key]

    def _closing_in(self, marked: _Marked, last: _Place, gap: str, role: str) -> tuple[int, int]:
        tail = self._tail(marked, last, marked.tools)
        if marked.tools and role == "system":
            bare = self._tail(marked, last, None)
            if bare is not None and not bare.strip():
                return 0, 0  # its turn has no end, and what follows is of the tools
            if bare is not None and (tail is None or tail.startswith(bare) or not tail.endswith(bare)):
                return 0, self._whole(gap, _shared(gap, bare))
            if bare is not None and tail is not None:
                return len(tail) - len(bare), self._whole(gap, _shared(gap, tail))
        length = self._whole(gap, _shared(gap, tail or ""))
        return 0, length if gap[:length].strip() else self._other_end(gap, tail, role) or length

    def _whole(self, gap: str, length: int) -> int:
        """A length at which no control token is cut."""
        for token in self.template.special:
            at = gap.find(token, max(0, length - len(token) + 1))
            if 0 <= at < length < at + len(token):
                return at
        return length

    def _other_end(self, gap: str, tail: str | None, role: str) -> int:
        """Length of the end of an earlier turn, where the last one has another, or no conversation ends so.

        It is the gap's first control token, unless that is the only one: it then begins the next turn.
        """
        blank = len(gap) - len(gap.lstrip())
        token = self._token_at(gap[blank:])
        if token is None or not any(s in gap[blank + len(token) :] for s in self.template.special):
            return 0
        other = None if tail is None else self._token_at(tail.lstrip())
        ends_none = tail is not None and not tail.strip()
        if ends_none and not (role == "assistant" and token in self.template.ends):
            return 0
        return blank + len(token) if other is not None or tail is None or ends_none else 0

    def _token_at(self, text: str) -> str | None:
        """The control token with which a text begins."""
        return max((t for t in self.template.special if text.startswith(t)), key=len, default=None)

    def _tail(self, marked: _Marked, last: _Place, tools: Tools) -> str | None:
        """What stands after a mark if the conversation ends with its message; None if it may not."""
        try:
            bare, places = _unmarked(self._render(marked.up_to(last.message), tools, prompted=False))
        except ChatTemplateError:
            return None
        return next((bare[p.position :] for p in places if p[1:] == last[1:]), None)

    def _render(self, messages: Sequence[Message], tools: Tools, *, prompted: bool) -> str:
        return self.template.render(self.template.placed(messages), tools, prompted=prompted)


def _with_marks(messages: Sequence[Message], outer: Mapping[int, bool]) -> list[dict[str, Any]]:
    return [_with_mark(message, number, outer[number]) for number, message in enumerate(messages)]


def _with_mark(message: Message, number: int, outer: bool) -> dict[str, Any]:
    marked = {**message, "content": _marked_text(str(message["content"]), number, count(), outer=outer)}
    if reasoning := message.get("reasoning_content"):
        marked["reasoning_content"] = _marked_text(reasoning, number, count(2000), outer=outer)
    if calls := message.get("tool_calls"):
        marked["tool_calls"] = [_marked_call(c, number, CALL + 2 * i) for i, c in enumerate(calls)]
    return marked


def _marked_text(text: str, message: int, serials: Iterable[int], *, outer: bool) -> str:
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


def _first_of_calls(places: Sequence[_Place]) -> list[_Place]:
    """Without the names of called tools where a template writes them again, at the results."""
    seen: set[tuple[int, int]] = set()
    kept = []
    for place in places:
        again = place.serial >= CALL and place[1:] in seen
        seen.add(place[1:])
        if not again:
            kept.append(place)
    return kept


def _shared(one: str, other: str) -> int:
    """Characters with which both begin."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))
