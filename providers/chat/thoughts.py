"""How models with a chat template write thoughts: found out by rendering replies that are known."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from providers.chat.errors import ChatTemplateError
from providers.chat.template import PROBE_TOOL, SWITCHES, ChatRow, ChatTemplate

ASKED, WORDS, THOUGHT, NEXT = "qzaskedzq", "qzwordszq", "qzthoughtzq", "qznextzq"
"""Words that no conversation holds."""

TAGS: tuple[tuple[str, str], ...] = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel>thought", "<channel|>"),
    ("<seed:think>", "</seed:think>"),
    ("<mm:think>", "</mm:think>"),
    ("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]"),
    ("<thought>", "</thought>"),
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<unused94>thought", "<unused95>"),
)
"""Opening and closing marks of thoughts, for templates that never write one; the first one named counts."""

LAST_TAG = re.compile(r"<[^<>\s]+>\s*\Z")


class Thoughts(NamedTuple):
    """How thoughts are written."""

    opening: str
    """Mark at which one begins; empty where the prompt's own words begin it."""

    closing: str
    """Mark at which it ends."""

    before: str
    """All that stands between the prompt and a thought that the prompt has not opened."""

    between: str
    """All that stands between a thought and the words after it."""

    written: bool
    """Whether the template writes a thought itself; otherwise its models do, and it is not shown again."""

    @property
    def end(self) -> str:
        """All that stands between a thought and a call of a tool: the closing mark, and white space."""
        before, mark, after = self.between.partition(self.closing)
        return before + mark + after[: len(after) - len(after.lstrip())]

    def without_block(self, text: str) -> str:
        """What stands before words, without an empty thought and the white space after it."""
        return self._block(r"\s*").sub("", text, count=1)

    def without_leading_block(self, text: str, head: str) -> str:
        """A reply without an empty thought at its beginning, and the white space that `head` has after it."""
        begin = re.match(rf"(\s*){self._block('').pattern}", text)
        if begin is None:
            return text
        after = head.rpartition(self.closing)[2] if self.closing in head else ""
        return begin[1] + text[begin.end() :].removeprefix(after[: len(after) - len(after.lstrip())])

    def header(self, text: str) -> tuple[str, str]:
        """What stands after a question: its part before any mark of a thought, and the rest."""
        places = [text.find(mark) for mark in (self.opening, self.closing) if mark and mark in text]
        at = min(places, default=len(text))
        return text[:at], text[at:]

    def _block(self, after: str) -> re.Pattern[str]:
        opening = rf"(?:{re.escape(self.opening)}\s*)?" if self.opening else ""
        return re.compile(rf"{opening}{re.escape(self.closing)}{after}")


def thoughts_of(template: ChatTemplate) -> Thoughts:
    """How thoughts are written; by `<think>` where nothing tells."""
    return _written(template) or _named(template)


def after_asked(text: str) -> str:
    """What stands after the question."""
    return text.rpartition(ASKED)[2]


def _written(template: ChatTemplate) -> Thoughts | None:
    """From a reply whose thought the template writes."""
    try:
        prompt = _rendered(template, [])
        reply = _rendered(template, [_reply(thought=True)])
        bare = _rendered(template, [_reply()])
    except ChatTemplateError:
        return None
    head, found, rest = reply.partition(THOUGHT)
    between, words, _ = rest.partition(WORDS)
    if not found or not words or not between.strip():
        return None
    shared = _common(prompt, head)
    if named := next(((o, c) for o, c in TAGS if c in between and o in head), None):
        return Thoughts(*named, head[min(shared, head.rfind(named[0])) :], between, True)
    closing = _first_mark(between, template.special)
    begun = bare.partition(WORDS)[0] != head
    if begun and shared < len(prompt) and shared == len(head) and (tag := LAST_TAG.search(head)):
        # the prompt goes on beyond the mark: it closes the thought at once
        return Thoughts(tag[0].strip(), closing, tag[0], between, True)
    return Thoughts(head[shared:].strip(), closing, head[shared:], between, True)


def _named(template: ChatTemplate) -> Thoughts:
    """From the marks that the template names, and the places where it puts an empty thought or one with a
    call.
    """
    text = str(template.tokenizer.get_chat_template(template.template))
    opening, closing = next((tags for tags in TAGS if tags[1] in text), TAGS[0])
    line = "" if opening in template.special else "\n"
    after = "" if closing in template.special else line + line
    form = (f"{opening}{line}", f"{line}{closing}{after}")
    for found in (_beside_call(template, opening, closing), _in_block(template, opening, closing)):
        form = found or form
        if found:
            break
    prompt = _rendered(template, [])
    at = prompt.rfind(opening)
    opened = at >= 0 and closing not in prompt[at:]
    before = prompt[at:] if opened else form[0]
    if opened and before.endswith("\n") and not form[1].startswith("\n"):
        return Thoughts(opening, closing, before, f"\n{closing}\n\n", False)
    return Thoughts(opening, closing, before, form[1], False)


def _beside_call(template: ChatTemplate, opening: str, closing: str) -> tuple[str, str] | None:
    """What stands around a thought that the template writes only where a call follows."""
    call = {"name": "reserve", "arguments": {"seat": "north"}}
    row = _reply(thought=True) | {
        "content": "",
        "tool_calls": [{"type": "function", "id": "callnr123", "function": call}],
    }
    try:
        head, found, rest = _rendered(template, [template.row(row)], tools=True).partition(THOUGHT)
    except ChatTemplateError:
        return None
    at, end = head.rfind(opening), rest.find(closing)
    if not found or at < 0 or not 0 <= end < rest.find("reserve"):
        return None
    return head[at:], rest[: end + len(closing)]


def _in_block(template: ChatTemplate, opening: str, closing: str) -> tuple[str, str] | None:
    """From an empty thought in a prompt or before a reply, also with thoughts turned off."""
    block = re.compile(rf"{re.escape(opening)}(\s*){re.escape(closing)}(\s*)")
    for inner, outer in (m.groups() for text in _heads(template) if (m := block.search(text))):
        if inner != "\n":  # one line break does not tell which mark it belongs to
            half = "\n" if inner else ""
            return opening + half, half + closing + outer
    return None


def _heads(template: ChatTemplate) -> list[str]:
    """What the template writes before words: of a reply, in a prompt, in one with thoughts turned off."""
    templates = [template]
    if (switch := template.switch) is not None:
        off = {**template.options, switch: SWITCHES[switch][0]}
        templates.append(
            ChatTemplate(template.tokenizer, source=template.source, template=template.template, options=off)
        )
    found = []
    for each in templates:
        for rows in ([], [_reply()]):
            try:
                found.append(_rendered(each, rows).partition(WORDS)[0])
            except ChatTemplateError:
                continue
    return found


def _reply(*, thought: bool = False) -> ChatRow:
    row: ChatRow = {"role": "assistant", "content": WORDS}
    return row | {"reasoning_content": THOUGHT, "reasoning": THOUGHT} if thought else row


def _rendered(template: ChatTemplate, rows: Sequence[ChatRow], *, tools: bool = False) -> str:
    """What follows a question: the prompt, or these rows."""
    asked: ChatRow = {"role": "user", "content": ASKED}
    text = template.render([asked, *rows], [PROBE_TOOL] if tools else None, prompted=not rows)
    return after_asked(text)


def _first_mark(between: str, special: frozenset[str]) -> str:
    """The mark with which a thought ends: the first control token, else the first line."""
    places = [(between.index(s), -len(s), s) for s in special if s in between]
    first = between.strip().splitlines()[0]
    if not places:
        return first
    at, _, token = min(places)
    return between[: at + len(token)].strip() or first


def _common(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))
