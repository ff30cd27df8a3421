"""What a template puts around a reply: found out by rendering replies that are known.

Nothing here knows a model's name. A conversation is rendered up to the prompt, with a reply of words, and with a
thought before the words; what stands between the parts is the form in which the model writes them.
"""

import json
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

from providers.chat.errors import ChatTemplateError
from providers.chat.template import PROBE_TOOL, ChatTemplate, Row, Tools

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
    ("<thought>", "</thought>"),
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<unused94>thought", "<unused95>"),
)
"""Opening and closing marks of thoughts, for templates that never write one; the first that it names counts."""


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


class Frame(NamedTuple):
    """What stands around the words of a reply, at one place of a conversation."""

    lead: str
    """What the model writes after the prompt before its words, without a thought."""

    opened: str | None
    """What the prompt ends with if it opens a thought; None if it does not."""

    end: str
    """What ends the turn after the words, up to the token that ends the generation."""

    tail: str
    """All that the template writes after the words of a reply that ends the conversation."""

    head: str
    """All that the template writes between the question and the words."""


class Replies:
    """The form of a template's replies.

    Args:
        template: The template.

    Raises:
        ChatTemplateError: It drops the words of somebody, or its prompt is no more than the end of the question.
    """

    def __init__(self, template: ChatTemplate) -> None:
        self.template = template
        self._frames: dict[tuple[str, bool], Frame] = {}
        self._prompts: dict[tuple[str, str], str] = {}
        self._check_dialogue()

    def frame(self, last: str = "user", *, tools: bool = False) -> Frame:
        """What stands around a reply to a message of this role (`user` or `tool`), with or without tools.

        Raises:
            ChatTemplateError: The template refuses such a conversation.
        """
        key = (last if last == "tool" else "user", tools)
        if key not in self._frames:
            self._frames[key] = self._frame(*key)
        return self._frames[key]

    @cached_property
    def thoughts(self) -> Thoughts:
        """How thoughts are written; by `<think>` where nothing tells."""
        return self._written_thoughts() or self._named_thoughts()

    def reply_text(self, last: str, reply: Row, tools: Tools) -> str | None:
        """What the template has the model write for one reply to a message of this role; None if it cannot.

        It is rendered after a short conversation of the same shape: what came before changes no reply, and some
        templates write a prompt in another way once a reply follows it.
        """
        rows = self._rows(last)
        try:
            opened = self._opened(last, tools)
            closed = _after_asked(self.template.render([*rows, reply], tools))
            frame = self.frame(last, tools=bool(tools))
        except ChatTemplateError:
            return None
        thought = reply.get("reasoning_content")
        closing_first = "" if thought or frame.opened is None else self.thoughts.between
        if closed.startswith(opened):
            written = closed[len(opened) :]
            bare = thought or frame.opened is not None
            return self._one_turn(written if bare else _without_block(written, self.thoughts))
        header, marks = _header(opened, self.thoughts)
        if not closed.startswith(header):
            if not closed.startswith(frame.head):
                return None
            return self._one_turn(closing_first + closed[len(frame.head) :])
        written = closed[len(header) :]
        if marks and written.startswith(marks):
            return self._one_turn(written[len(marks) :])
        if thought:
            return self._one_turn(written) if frame.opened is None else None
        return self._one_turn(closing_first + _without_block(written, self.thoughts))

    def _one_turn(self, text: str) -> str | None:
        """A reply up to the token that ends its generation; None if another turn of the model follows."""
        places = [(text.index(end), end) for end in self.template.ends if end in text]
        if not places:
            return text
        at, end = min(places)
        rest = text[at + len(end) :]
        for token in self.template.special:
            rest = rest.replace(token, "")
        return None if rest.strip() else text[: at + len(end)]

    def _opened(self, last: str, tools: Tools) -> str:
        """The prompt after the question."""
        key = (last, json.dumps(tools, sort_keys=True, default=str))
        if key not in self._prompts:
            self._prompts[key] = _after_asked(self.template.render(self._rows(last), tools, prompted=True))
        return self._prompts[key]

    # -- probing ----------------------------------------------------------------------------------

    def _rows(self, last: str) -> list[Row]:
        asked: Row = {"role": "user", "content": ASKED}
        if last != "tool":
            return [asked]
        call = {"name": "reserve", "arguments": {"seat": "north"}}
        return self.template.placed(
            [
                {"role": "user", "content": "hotel"},
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [{"type": "function", "id": "callnr123", "function": call}],
                },
                {"role": "tool", "content": ASKED, "name": "reserve", "tool_call_id": "callnr123"},
            ]
        )

    def _frame(self, last: str, tools: bool) -> Frame:
        template, given = self.template, [PROBE_TOOL] if tools or last == "tool" else None
        rows = self._rows(last)
        prompt = _after_asked(template.render(rows, given, prompted=True))
        reply = _after_asked(template.render([*rows, {"role": "assistant", "content": WORDS}], given))
        head, found, tail = reply.partition(WORDS)
        if not found:
            raise ChatTemplateError(f"the chat template of {template.source} drops messages of ['assistant']")
        lead, opened = self._lead(prompt, head)
        if last == "tool":
            # some models go on in the turn that they called in, though templates show it as a new one
            lead = lead.removeprefix(self._added_header()) if prompt in head else lead
        return Frame(
            lead,
            opened,
            self.ending(tail, [*rows, {"role": "assistant", "content": WORDS}], given),
            tail,
            head,
        )

    def _added_header(self) -> str:
        """What `add_generation_prompt` adds after a question."""
        prompt, closed = (self.template.render(self._rows("user"), prompted=p) for p in (True, False))
        return prompt[len(closed) :] or "\0"

    def _lead(self, prompt: str, head: str) -> tuple[str, str | None]:
        """What comes between prompt and words, and the prompt's open thought, from what follows the question."""
        header, marks = _header(prompt, self.thoughts)
        if marks and self.thoughts.closing not in marks:
            return self.thoughts.between, marks
        if self.thoughts.written and not self.thoughts.before:
            return self.thoughts.between, ""
        by_words = self.thoughts.written and not self.thoughts.opening
        if by_words and (opener := prompt.removeprefix(head)) != prompt and opener.strip():
            # in words of its own, e.g. "Here are my reasoning steps:"
            return self.thoughts.between, opener
        bare = _without_block(head, self.thoughts)
        if not bare.startswith(header):
            # the template writes the prompt in another way once a reply follows it; the model sees the prompt
            return "", None
        rest = bare[len(header) :]
        return (rest.removeprefix(marks.rpartition(self.thoughts.closing)[2]) if marks else rest), None

    def ending(self, tail: str, rows: Sequence[Row], tools: Tools) -> str:
        """Of what the template writes after a reply, the part that the model writes: up to the token that ends it.

        Raises:
            ChatTemplateError: Nothing ends the turn.
        """
        template = self.template
        chain = re.match(r"\s*\S*", tail)
        chain = chain[0] if chain else ""
        for text in (chain, tail):
            if places := [text.index(end) + len(end) for end in template.ends if end in text]:
                return text[: min(places)]
            if places := [text.index(s) + len(s) for s in template.special if s in text]:
                return text[: min(places)]
        follows = self._next_token(rows, tools)
        if follows in template.ends:
            return follows
        if template.tokenizer.eos_token is None:
            raise ChatTemplateError(
                f"neither the chat template of {template.source} nor its tokenizer has a token that ends a "
                "turn, so the model could not learn to stop; set eos_token in its tokenizer_config.json"
            )
        return tail.rstrip() + str(template.tokenizer.eos_token)

    def _next_token(self, rows: Sequence[Row], tools: Tools) -> str:
        """The first special token that the template writes once somebody speaks after a reply."""
        reply = rows[-1]
        follower: Row = {"role": "user", "content": NEXT}
        if calls := reply.get("tool_calls"):
            follower = {
                "role": "tool",
                "content": NEXT,
                "name": calls[-1]["function"]["name"],
                "tool_call_id": calls[-1].get("id"),
            }
        try:
            closed = self.template.render(rows, tools)
            longer = self.template.render([*rows, follower], tools)
        except ChatTemplateError:
            return ""
        gap = longer[len(closed) :] if longer.startswith(closed) else longer.rpartition(WORDS)[2]
        places = [(gap.index(s), -len(s), s) for s in self.template.special if s in gap.partition(NEXT)[0]]
        return min(places)[2] if places else ""

    def _written_thoughts(self) -> Thoughts | None:
        """From a reply whose thought the template writes."""
        template = self.template
        row: Row = {"role": "assistant", "content": WORDS, "reasoning_content": THOUGHT}
        try:
            prompt = _after_asked(template.render(self._rows("user"), prompted=True))
            reply = _after_asked(template.render([*self._rows("user"), row]))
            bare = _after_asked(
                template.render([*self._rows("user"), {"role": "assistant", "content": WORDS}])
            )
        except ChatTemplateError:
            return None
        head, found, rest = reply.partition(THOUGHT)
        between, words, _ = rest.partition(WORDS)
        if not found or not words or not between.strip():
            return None
        shared = _common(prompt, head)
        named = next(((o, c) for o, c in TAGS if c in between and o in head), None)
        if named:
            at = head.rfind(named[0])
            return Thoughts(*named, head[min(shared, at) :], between, True)
        closing = _first_mark(between, template.special)
        begun = bare.partition(WORDS)[0] != head
        if begun and shared < len(prompt) and shared == len(head) and (tag := LAST_TAG.search(head)):
            # the prompt goes on beyond the mark: it closes the thought at once
            return Thoughts(tag[0].strip(), closing, tag[0], between, True)
        before = head[shared:]
        return Thoughts(before.strip(), closing, before, between, True)

    def _named_thoughts(self) -> Thoughts:
        """From the marks that the template names, though it writes no thought itself."""
        text = str(self.template.tokenizer.get_chat_template(self.template.template))
        opening, closing = next((tags for tags in TAGS if tags[1] in text), TAGS[0])
        prompt = _after_asked(self.template.render(self._rows("user"), prompted=True))
        at = prompt.rfind(opening)
        line = "" if opening in self.template.special else "\n"
        before = prompt[at:] if at >= 0 and closing not in prompt[at:] else f"{opening}{line}"
        return Thoughts(opening, closing, before, f"{line}{closing}{line}{line}", False)

    def _check_dialogue(self) -> None:
        template = self.template
        rows: list[Row] = [
            {"role": "user", "content": "hotel"},
            {"role": "assistant", "content": WORDS},
            {"role": "user", "content": ASKED},
        ]
        text = template.render(rows, prompted=True)
        roles = {"hotel": "user", WORDS: "assistant", ASKED: "user"}
        if lost := sorted({role for word, role in roles.items() if word not in text}):
            raise ChatTemplateError(f"the chat template of {template.source} drops messages of {lost}")
        lead = self.frame().lead
        if text != template.render(rows):
            return
        # it always writes the same; that is a prompt if nothing but the words is missing, or nobody else may speak
        if lead.strip() and self._anybody_may_follow():
            raise ChatTemplateError(
                f"the chat template of {template.source} ignores add_generation_prompt, so the model would "
                "go on with the user's words; give a mended one with chat_template=<file.jinja>"
            )

    def _anybody_may_follow(self) -> bool:
        """The prompt is no more than the end of the user's turn: what follows it may be the user again."""
        asked = self._rows("user")
        prompt = _after_asked(self.template.render(asked, prompted=True))
        try:
            twice = self.template.render([*asked, {"role": "user", "content": NEXT}], prompted=True)
        except ChatTemplateError:
            return True
        return _after_asked(twice).startswith(prompt)


def _after_asked(text: str) -> str:
    """What stands after the question."""
    return text.rpartition(ASKED)[2]


def _header(text: str, thoughts: Thoughts) -> tuple[str, str]:
    """What stands after a question: its part before any mark of a thought, and the rest."""
    places = [text.find(mark) for mark in (thoughts.opening, thoughts.closing) if mark and mark in text]
    at = min(places, default=len(text))
    return text[:at], text[at:]


def _without_block(head: str, thoughts: Thoughts) -> str:
    """What stands before the words, without an empty thought and the white space after it."""
    opening = f"(?:{re.escape(thoughts.opening)}\\s*)?" if thoughts.opening else ""
    return re.sub(rf"{opening}{re.escape(thoughts.closing)}\s*", "", head, count=1)


def _first_mark(between: str, special: frozenset[str]) -> str:
    """The mark with which a thought ends: the first line's first special token, else the first line."""
    places = [(between.index(s), -len(s), s) for s in special if s in between]
    first = between.strip().splitlines()[0]
    if not places:
        return first
    at, _, token = min(places)
    return between[: at + len(token)].strip() or first


def _common(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def frame_of(replies: Replies, rows: Sequence[Row], tools: Any) -> Frame:
    """The frame of a reply after these rows."""
    last = rows[-1]["role"] if rows else "user"
    return replies.frame("tool" if last == "tool" else "user", tools=bool(tools))
