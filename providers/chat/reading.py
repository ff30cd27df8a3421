"""What a model wrote, as a message: words, thoughts, calls of tools, and how it ended."""

import hashlib
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

from providers.chat.calls import Call, CallFormat, call_formats, unreadable
from providers.chat.errors import ChatTemplateError
from providers.chat.replies import Frame, Replies
from providers.chat.template import PROBE_TOOL, ChatRow, ChatTemplate, Tools
from providers.chat.thoughts import TAGS, Thoughts
from providers.chat.words import CUT, shown

PROBES: tuple[tuple[str, tuple[dict[str, Any], ...]], ...] = (
    ("", ({"seat": "7ä, left", "count": 3},)),
    ("One moment.", ({"seat": "7ä, left", "count": 3},)),
    ("", ({"seat": "7ä", "count": 1}, {"seat": "8", "count": 2})),
)
"""Replies that a call format must read back: words, and the arguments of each call."""


LISTED: tuple[dict[str, Any], ...] = ({"seat": "7", "extras": ["tea", "it's"]},)
"""The same with a list among the arguments."""


CALL_MARKS = re.compile(
    r"<\|?(?:[\w:]*tool|function)_?calls?(?:[_:](?:begin|start|section_begin))?\|?>|<｜tool▁calls?▁begin｜>|\[TOOL_CALLS\]|<TOOLCALL>"
)
"""Marks at which calls begin; one that is left after the calls were read begins one that cannot be read."""


AROUND_ANSWERS = (
    re.compile(r"\A\s*<response>(.*?)(?:</response>\s*)?\Z", re.DOTALL),
    re.compile(r"\A(.*?)\s*\[END FINAL RESPONSE\]\s*\Z", re.DOTALL),
)
"""What some models put around the answer after a thought, whatever their template says."""


QUOTES = ("`", '"', "'", "“", "‘", "«")
"""Whoever talks about a tag quotes it."""


class Reply(NamedTuple):
    """One generation as a message."""

    text: str
    """What is said: what people and judges get."""

    reasoning: str | None
    """What was thought before or between; None if nothing was."""

    calls: list[Call]
    cut_thought: bool = False
    """The generation ended before a thought did, so nothing was said."""


class ReplyReader:
    """Reads generations of models with one chat template.

    Args:
        replies: The form of the template's replies.
    """

    def __init__(self, replies: Replies) -> None:
        self.replies = replies
        self.template: ChatTemplate = replies.template

    def read(self, text: str, *, last: str = "user", tools: Tools = None) -> Reply:
        """A generation as a message.

        Args:
            text: What was generated, control tokens included, without the token that ended it.
            last: Role of the message that it answers, `user` or `tool`.
            tools: What was offered; calls are read only then.
        """
        frame = self.replies.frame(last, tools=bool(tools))
        thoughts, rest, cut = self._thoughts(text, frame)
        if cut:
            return Reply("", thoughts, [], cut_thought=True)
        calls = list[Call]()
        if tools and self.calls is not None:
            rest, calls = self.calls.read(rest, tools)
            rest, stray = self._without_stray_call(rest)
            calls = [*calls, *stray]
        # only now: an argument of a call may hold any mark
        amid, rest = self._amid(rest, frame)
        thoughts = "\n".join(filter(None, [thoughts, *amid])) or None
        words = self._words(rest, frame, trimmed=bool(calls) or thoughts is not None)
        return Reply(words, thoughts, calls)

    def unended(self, text: str) -> str:
        """A reply without the token that ends its turn, as a generation comes."""
        bare = text.rstrip()
        for end in (self.replies.frame().end.strip(), *self.template.ends):
            if end and bare.endswith(end):
                return bare[: -len(end)]
        return text

    @cached_property
    def calls(self) -> CallFormat | None:
        """The form in which calls are written, found by reading known ones back; None if none reads them."""
        return self._call_format()[0]

    @cached_property
    def calls_problem(self) -> str | None:
        """Why models with this template cannot be offered tools; None if they can."""
        return self._call_format()[1]

    # -- thoughts ---------------------------------------------------------------------------------

    def _thoughts(self, text: str, frame: Frame) -> tuple[str | None, str, bool]:
        """What was thought, what follows, and whether a thought was cut."""
        form = self.replies.thoughts
        found, rest, opened = list[str](), text, frame.opened is not None
        while True:
            begin = None if opened else self._opening(rest, form)
            if not opened and begin is None:
                break
            marks, body = (form, rest) if begin is None else (begin[0], rest[begin[1] :])
            if opened and marks.opening and body.lstrip().startswith(marks.opening):
                # the prompt has opened the thought, and the model opens it again
                body = body.lstrip()[len(marks.opening) :]
            thought, closed, after = body.partition(marks.closing)
            found.append(thought.strip())
            if not closed:
                return "\n".join(filter(None, found)) or None, "", True
            rest, opened = self._after_thought(after, marks), False
        while (end := self._unopened(rest)) is not None:
            # some models leave the opening mark out, or close a thought twice
            found.append(rest[: end.start()].strip())
            rest = rest[end.end() :].lstrip("\n")
        return "\n".join(filter(None, found)) or None, rest, False

    def _opening(self, text: str, form: Thoughts) -> tuple[Thoughts, int] | None:
        """The mark with which the text begins, and where it ends."""
        blank = len(text) - len(text.lstrip())
        others = [Thoughts(o, c, o, c, False) for o, c in TAGS]
        for marks in [form, *others]:
            if not text.startswith(marks.opening or CUT, blank):
                continue
            # words that only some models begin a thought with begin one where it ends
            if marks is form or not marks.opening[0].isalpha() or marks.closing in text:
                return marks, blank + len(marks.opening)
        return None

    def _after_thought(self, text: str, marks: Thoughts) -> str:
        """The text without what stands between a thought and the words."""
        follows = marks.between.partition(marks.closing)[2]
        if text.startswith(follows):
            return text[len(follows) :].lstrip("\n")
        start = follows.removesuffix(self.replies.frame().lead)
        return text.removeprefix(start).lstrip("\n")

    def _unopened(self, text: str) -> re.Match[str] | None:
        """The mark that ends a thought which no mark in the text has begun."""
        closings = {c for _, c in TAGS if c in text}
        ends = [m for c in closings for m in re.finditer(re.escape(c), text) if self._is_mark(text, m)]
        end = min(ends, key=lambda m: m.start(), default=None)
        return None if end is None or any(o in text[: end.start()] for o, _ in TAGS) else end

    def _is_mark(self, text: str, found: re.Match[str]) -> bool:
        """Whether a tag is one, and not a word of somebody who talks about tags."""
        before = text[: found.start()]
        if not before.strip() or any(token in found[0] for token in self.template.special):
            return True
        sentence = before.endswith(" ") and re.match(r"[ \t]+[a-z]", text[found.end() :])
        return not before.endswith(QUOTES) and not sentence

    def _amid(self, text: str, frame: Frame) -> tuple[list[str], str]:
        """Thoughts after the first words, and the words without them.

        A mark that is no control token counts if it is closed, or has a line of its own.
        """
        form, found = self.replies.thoughts, list[str]()
        turn = form.between.partition(form.closing)[2].removesuffix(frame.lead)
        while (begin := self._begun_amid(text)) is not None:
            marks, mark = begin
            thought, _, after = text[mark.end() :].partition(marks.closing)
            before = text[: mark.start()]
            if turn.strip():
                before = before.removesuffix(turn)
                before = before.removesuffix(form.closing)
            found.append(thought.strip())
            text = _joined(before, after)
        return found, text

    def _begun_amid(self, text: str) -> tuple[Thoughts, re.Match[str]] | None:
        form, begun = self.replies.thoughts, list[tuple[int, Thoughts, re.Match[str]]]()
        for marks in [form, *(Thoughts(o, c, o, c, False) for o, c in TAGS)]:
            opening = marks.opening.strip()
            if not opening or opening[0].isalpha():
                continue
            for mark in re.finditer(re.escape(opening), text):
                special = any(token in opening for token in self.template.special)
                closed = marks.closing in text[mark.end() :] and not text[: mark.start()].endswith(QUOTES)
                alone = re.search(r"(?:\A|\n)[ \t]*\Z", text[: mark.start()]) and re.match(
                    r"[ \t]*(?:\n|\Z)", text[mark.end() :]
                )
                if special or closed or alone:
                    begun.append((mark.start(), marks, mark))
                    break
        first = min(begun, key=lambda b: b[0], default=None)
        return None if first is None else first[1:]

    # -- words ------------------------------------------------------------------------------------

    def _words(self, text: str, frame: Frame, *, trimmed: bool) -> str:
        """The words, without what the template puts around them and without control tokens."""
        first, again = self._leads(frame)
        text = first.sub("", text, count=1)
        if again is not None:
            text = again.sub("\n", text)
        text = self.replies.next_turn.sub("\n", text)
        text = self._up_to_end(text, frame)
        text = _without_end(text, frame, self.template.special)
        for token in sorted(self.template.special, key=len, reverse=True):
            text = text.replace(token, "")
        if not trimmed:
            return text
        for form in AROUND_ANSWERS:
            text = form.sub(r"\1", text)
        return text.strip()

    def _up_to_end(self, text: str, frame: Frame) -> str:
        """The text up to the end of its turn: a model that does not stop there goes on as somebody else."""
        form = self.replies.thoughts
        turns = form.between.partition(form.closing)[2].removesuffix(frame.lead).strip()
        ends = [frame.end.strip(), *([form.closing] if turns else [])]
        places = [text.find(end) for end in ends if end in self.template.special and end in text]
        return text[: min(places)] if places else text

    def _leads(self, frame: Frame) -> tuple[re.Pattern[str], re.Pattern[str] | None]:
        """What a model writes before its words, whatever channel it names; and before more words of one
        reply.
        """
        lead, special = (frame.lead if frame.opened is None else ""), self.template.special
        if not any(token in lead for token in special):
            return re.compile(rf"\A{re.escape(lead)}"), None
        tokens = "|".join(re.escape(s) for s in sorted(special, key=len, reverse=True))
        told = "".join(
            re.escape(part)
            if part in special or not part.strip()
            else rf"[^<>\n]{{0,40}}?(?:(?:{tokens})\w{{0,20}})??"
            for part in re.split(f"({tokens})", lead)
        )
        form = self.replies.thoughts
        start = form.between.partition(form.closing)[2].removesuffix(frame.lead)
        again = rf"(?:{re.escape(form.closing)})?\s*{re.escape(start)}{told}" if start else told
        return re.compile(rf"\A\s*{told}"), re.compile(again)

    # -- calls ------------------------------------------------------------------------------------

    def _call_format(self) -> tuple[CallFormat | None, str | None]:
        if not hasattr(self, "_chosen"):
            self._chosen = self._choose()
        return self._chosen

    def _choose(self) -> tuple[CallFormat | None, str | None]:
        source = self.template.source
        written = [(words, given, self._written(words, given)) for words, given in PROBES]
        if written[0][2] is None:
            return None, f"the chat template of {source} {self._why_no_calls()}"
        for form in call_formats():
            if self._reads(form, *written[0][1:]):
                listed = self._written("", LISTED)
                if listed is None or self._reads(form, LISTED, listed):
                    return form, None
        return None, (
            f"calls as the chat template of {source} writes them cannot be read back: "
            f"{shown(written[0][2] or '')[:80]!r}"
        )

    def _why_no_calls(self) -> str:
        row: ChatRow = {"role": "assistant", "content": ""}
        call = {"name": "reserve", "arguments": {"seat": "north"}}
        row["tool_calls"] = [{"type": "function", "id": "callnr123", "function": call}]
        try:
            asked = {"role": "user", "content": "alpha"}
            text = self.template.render(self.template.placed([asked, row]), [PROBE_TOOL])
        except ChatTemplateError as error:
            return str(error).partition(" refuses ")[2].join(["refuses calls of tools: ", ""])
        after = text.rpartition("alpha")[2]
        return "writes calls in another turn" if "north" in after else "does not write calls of tools"

    def _without_stray_call(self, text: str) -> tuple[str, list[Call]]:
        """The words before a mark of calls that no call follows in the template's form, and why not."""
        begin = CALL_MARKS.search(text)
        if begin is None or begin[0] not in (self._written(*PROBES[0]) or ""):
            return text, []
        return text[: begin.start()], [
            unreadable(text[begin.start() :], "it is not in the form of the model's calls")
        ]

    def _written(self, words: str, given: Sequence[dict[str, Any]]) -> str | None:
        """A reply with calls as the template has the model write it; None if it leaves some out."""
        calls = [
            {
                "type": "function",
                "id": f"callnr12{i}",
                "function": {"name": "reserve", "arguments": arguments},
            }
            for i, arguments in enumerate(given)
        ]
        row: ChatRow = self.template.row({"role": "assistant", "content": words, "tool_calls": calls})
        text = self.replies.reply_text("user", row, [PROBE_TOOL])
        return self.unended(text) if text is not None and "reserve" in text else None

    def _reads(self, form: CallFormat, given: Sequence[dict[str, Any]], text: str | None) -> bool:
        if text is None:
            return False
        frame = self.replies.frame(tools=True)
        _, rest, _ = self._thoughts(text, frame)
        words, calls = form.read(rest, [PROBE_TOOL])
        if self._words(words, frame, trimmed=True):
            return False
        return [(c.name, c.arguments) for c in calls] == [("reserve", arguments) for arguments in given]


def call_id(prompt: Sequence[int], written: Sequence[int], number: int) -> str:
    """An id for a call that brought none: nine letters and digits, as all templates take them, the same in a
    rerun.
    """
    told = f"{list(prompt[-64:])}:{len(prompt)}:{list(written)}:{number}"
    return hashlib.sha256(told.encode()).hexdigest()[:9]


def _joined(before: str, after: str) -> str:
    """Words on both sides of a thought, with the white space that one of them had."""
    one, other = before.rstrip(), after.lstrip()
    if not one:
        return before + other
    gaps = (before[len(one) :], after[: len(after) - len(other)])
    return one + max(gaps, key=lambda gap: (gap.count("\n"), len(gap))) + other


def _without_end(text: str, frame: Frame, special: frozenset[str]) -> str:
    """The text without a beginning of what the template writes after the words, if that holds a control
    token.

    The token that ended the generation is gone already; of what stands before it, white space may be left.
    """
    tail = frame.tail
    for length in range(min(len(tail), len(text)), 0, -1):
        if text.endswith(tail[:length]) and any(token in tail[:length] for token in special):
            return text[:-length]
    blank = frame.end[: len(frame.end) - len(frame.end.lstrip())]
    return text.removesuffix(blank or (tail if tail.isspace() else ""))


def without_ends(text: str, template: ChatTemplate) -> str:
    """A reply without the control tokens at its end."""
    while True:
        bare = text.rstrip()
        token = next((t for t in {*template.special, *template.ends} if bare.endswith(t)), None)
        if token is None:
            return text
        text = bare[: -len(token)]


def reader_for(template: ChatTemplate) -> ReplyReader:
    """The reader for a template.

    Raises:
        ChatTemplateError: The template cannot be used: see `Replies`.
    """
    return ReplyReader(Replies(template))


__all__ = ["ChatTemplateError", "Reply", "ReplyReader", "call_id", "reader_for"]
