"""What a template puts around a reply: found out by rendering replies that are known.

Nothing here knows a model's name. A conversation is rendered up to the prompt, with a reply of words, and
with a thought before the words; what stands between the parts is the form in which the model writes them.
"""

import json
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

from providers.chat.errors import ChatTemplateError
from providers.chat.template import PROBE_TOOL, ChatRow, ChatTemplate, Tools
from providers.chat.thoughts import ASKED, NEXT, WORDS, Thoughts, after_asked, thoughts_of


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
        ChatTemplateError: It drops the words of somebody, or its prompt is no more than the end of the
        question.
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
        """How thoughts are written."""
        return thoughts_of(self.template)

    # -- replies with thoughts and calls ----------------------------------------------------------

    def reply_text(self, last: str, reply: ChatRow, tools: Tools) -> str | None:
        """What the template has the model write for one reply to such a message; None if it cannot.

        It is rendered after a short conversation of the same shape: what came before changes no reply, and
        some templates write a prompt in another way once a reply follows it.
        """
        rows = self._rows(last)
        try:
            opened = self._opened(last, tools)
            closed = self._without_appendix(
                after_asked(self.template.render([*rows, reply], tools)), rows, tools
            )
            frame = self.frame(last, tools=bool(tools))
        except ChatTemplateError:
            return None
        written = self._after_prompt(opened, closed, frame, reply)
        return None if written is None else self._one_turn(written)

    def _without_appendix(self, closed: str, rows: Sequence[ChatRow], tools: Tools) -> str:
        """Without what the template puts at the end of every conversation, e.g. the next header."""
        always = after_asked(self.template.render(rows, tools))
        shared = _common(closed[::-1], always[::-1])
        places = [always.find(s, len(always) - shared) for s in self.template.special]
        begin = min((at for at in places if at >= 0), default=len(always))
        appendix = always[begin:]
        several = sum(appendix.count(s) for s in self.template.special) > 1
        # what is all that follows a question is the end of its turn, unless no prompt adds anything to it
        more = begin > 0 or always == self._opened(rows[-1]["role"], tools)
        return closed[: -len(appendix)] if several and more else closed

    def _after_prompt(self, opened: str, closed: str, frame: Frame, reply: ChatRow) -> str | None:
        """What the model writes of `closed`, when it has been given `opened`."""
        form, thought = self.thoughts, reply.get("reasoning_content")
        if closed.startswith(opened):
            written = closed[len(opened) :]
            if thought or frame.opened is not None:
                return written
            return form.without_leading_block(written, frame.head)
        header, marks = form.header(opened)
        if not closed.startswith(header):
            header = frame.head if closed.startswith(frame.head) else None
        if header is None:
            return None
        written = closed[len(header) :]
        if marks and written.startswith(marks):
            return written[len(marks) :]
        if thought:
            return written if frame.opened is None or not form.opening else None
        bare = form.without_leading_block(written, frame.head)
        if frame.opened is None:
            return bare
        return (form.between if reply["content"] else form.end) + bare

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
            self._prompts[key] = after_asked(self.template.render(self._rows(last), tools, prompted=True))
        return self._prompts[key]

    # -- what ends a reply ------------------------------------------------------------------------

    def ending(self, tail: str, row: ChatRow, tools: Tools) -> str:
        """Of what the template writes after a reply, the part that the model writes: up to its last token.

        Args:
            tail: All that the template writes after the words or the calls.
            row: The reply.
            tools: What is offered.

        Raises:
            ChatTemplateError: Nothing ends the turn.
        """
        template = self.template
        chain = re.match(r"\s*\S*", tail)
        for text in (chain[0] if chain else "", tail):
            if places := [text.index(end) + len(end) for end in template.ends if end in text]:
                return text[: min(places)]
            if places := [(text.index(s), -len(s), s) for s in template.special if s in text]:
                at, _, token = min(places)
                # what ends a thought too ends a part of a turn: a model with ends of its own goes on there
                part = len(template.ends) > 1 and token in self.thoughts.between
                return text[:at] + (str(template.tokenizer.eos_token or token) if part else token)
        follows = self._next_token(row, tools)
        if follows.strip() in template.ends:
            return follows
        if template.tokenizer.eos_token is None:
            raise ChatTemplateError(
                f"neither the chat template of {template.source} nor its tokenizer has a token that ends a "
                "turn, so the model could not learn to stop; set eos_token in its tokenizer_config.json"
            )
        return tail.rstrip() + str(template.tokenizer.eos_token)

    def _next_token(self, row: ChatRow, tools: Tools) -> str:
        """The first control token that the template writes once somebody speaks after a reply."""
        asked = self._rows("user")
        reply = {**row, "content": WORDS} if not row.get("tool_calls") else dict(row)
        reply.pop("reasoning_content", None)
        reply.pop("reasoning", None)
        follower: ChatRow = {"role": "user", "content": NEXT}
        if calls := reply.get("tool_calls"):
            follower = {
                "role": "tool",
                "content": NEXT,
                "name": calls[-1]["function"]["name"],
                "tool_call_id": calls[-1].get("id"),
            }
        try:
            closed = self.template.render([*asked, reply], tools)
            longer = self.template.render([*asked, reply, follower], tools)
        except ChatTemplateError:
            return ""
        spoken = longer.partition(NEXT)[0]
        # an earlier reply may be written otherwise than the last; its last characters are the same
        gap = spoken.rpartition(closed.rstrip()[-12:])[2]
        places = [(gap.index(s), -len(s), s) for s in self.template.special if s in gap]
        if not places:
            return ""
        at, _, token = min(places)
        return gap[:at] + token if not gap[:at].strip() else token

    # -- probing ----------------------------------------------------------------------------------

    def _rows(self, last: str) -> list[ChatRow]:
        asked: ChatRow = {"role": "user", "content": ASKED}
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
        rows, words = self._rows(last), {"role": "assistant", "content": WORDS}
        prompt = after_asked(template.render(rows, given, prompted=True))
        reply = after_asked(template.render([*rows, words], given))
        head, found, tail = reply.partition(WORDS)
        if not found:
            raise ChatTemplateError(f"the chat template of {template.source} drops messages of ['assistant']")
        lead, opened = self._lead(prompt, head)
        if last == "tool" and prompt in head:
            # some models go on in the turn that they called in, though templates show it as a new one
            lead = lead.removeprefix(self._added_header())
        return Frame(lead, opened, self.ending(tail, words, given), tail, head)

    @cached_property
    def next_turn(self) -> re.Pattern[str]:
        """Where one reply is written as two turns: the end of the first and the head of the second."""
        header = self.thoughts.header(self._added_header())[0].strip()
        return re.compile(rf"{re.escape(self.frame().end.strip())}\s*{re.escape(header)}\s*")

    def _added_header(self) -> str:
        """What `add_generation_prompt` adds after a question."""
        prompt, closed = (self.template.render(self._rows("user"), prompted=p) for p in (True, False))
        return prompt[len(closed) :] or "\0"

    def _lead(self, prompt: str, head: str) -> tuple[str, str | None]:
        """What comes between prompt and words, and the prompt's open thought."""
        form = self.thoughts
        header, marks = form.header(prompt)
        if marks and form.closing not in marks:
            # what the template's own empty thought has more than the prompt closes it, else what closes any
            rest = head[len(prompt) :] if head.startswith(prompt) else ""
            return (rest if form.closing in rest else form.between), marks
        if form.written and not form.before:
            return form.between, ""
        if form.written and not form.opening and (opener := prompt.removeprefix(head)) != prompt:
            # in words of its own, e.g. "Here are my reasoning steps:"
            return form.between, opener
        if marks and form.closing in head:
            return _after(head, form.closing).removeprefix(_after(marks, form.closing)), None
        bare = form.without_block(head)
        # where the template writes the prompt in another way once a reply follows it, the model sees the
        # prompt
        return (bare[len(header) :] if bare.startswith(header) else ""), None

    def _check_dialogue(self) -> None:
        template = self.template
        rows: list[ChatRow] = [
            {"role": "user", "content": "hotel"},
            {"role": "assistant", "content": WORDS},
            {"role": "user", "content": ASKED},
        ]
        text = template.render(rows, prompted=True)
        roles = {"hotel": "user", WORDS: "assistant", ASKED: "user"}
        if lost := sorted({role for word, role in roles.items() if word not in text}):
            raise ChatTemplateError(f"the chat template of {template.source} drops messages of {lost}")
        # one that always writes the same writes a prompt if nothing but the words is missing
        if text == template.render(rows) and self.frame().lead.strip() and self._anybody_may_follow():
            raise ChatTemplateError(
                f"the chat template of {template.source} ignores add_generation_prompt, so the model would "
                "go on with the user's words; give a mended one with chat_template=<file.jinja>"
            )

    def _anybody_may_follow(self) -> bool:
        """The prompt is no more than the end of the user's turn: what follows it may be the user again."""
        asked = self._rows("user")
        prompt = after_asked(self.template.render(asked, prompted=True))
        try:
            twice = self.template.render([*asked, {"role": "user", "content": NEXT}], prompted=True)
        except ChatTemplateError:
            return True
        return after_asked(twice).startswith(prompt)


def frame_of(replies: Replies, rows: Sequence[ChatRow], tools: Any) -> Frame:
    """The frame of a reply after these rows."""
    last = rows[-1]["role"] if rows else "user"
    return replies.frame("tool" if last == "tool" else "user", tools=bool(tools))


def _common(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def _after(text: str, mark: str) -> str:
    return text.rpartition(mark)[2]
