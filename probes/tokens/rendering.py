"""From conversations to token ids, with the message and the role of every token."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from probes.conversations.conversation import Conversation
from probes.tokens.roles import ROLES
from providers.chat.errors import ChatTemplateError
from providers.chat.reading import reader_for
from providers.chat.spans import ConversationSpans, Span, SpannedText
from providers.chat.template import ChatTemplate, Tools
from providers.chat.words import CUT

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PLAIN = "plain:1"
"""Name of the rendering without a chat template, see `plain_text`."""

Truncation = Literal["auto", "left", "right"]


class Rendered(NamedTuple):
    """One conversation as the model gets it."""

    token_ids: np.ndarray
    """[tokens], int32."""

    message: np.ndarray
    """[tokens], int32: number of the message, from 0; -1: of no message (BOS, headers, tools)."""

    role: np.ndarray
    """[tokens], uint8: code in `activations.ROLES`."""

    cut: int
    """Tokens that were left out because the row was too long."""

    cut_at_end: bool = False
    """They were the latest; else the earliest."""


class Renderer:
    """Turns conversations into tokens, the same way on every machine and every day.

    A chat template writes the special tokens itself, so that the tokenizer adds none; without a template
    the tokenizer adds its own (BOS; CLS and SEP of encoders). Either way no BOS stands twice.

    Args:
        tokenizer: A fast one.
        template: Text of a chat template; `plain` for the plain rendering. By default the tokenizer's own,
            and the plain rendering if it has none.
        options: Variables of the template.
        source: What to call the model in messages.
        ends: Tokens that end a generation, as the model's generation config lists them.
        max_tokens: Longest row. The token before everything (BOS or CLS) stays in any case.
        truncation: `left` cuts the earliest tokens, `right` the latest; `auto` the latest of a single text,
            which says at its beginning what it is about, and the earliest of a dialogue.

    Raises:
        ChatTemplateError: A tokenizer that cannot tell where its tokens stand in the text.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        *,
        template: str | None = None,
        options: Mapping[str, Any] | None = None,
        source: str = "the model",
        ends: Sequence[str] = (),
        max_tokens: int | None = None,
        truncation: Truncation = "auto",
    ) -> None:
        if not tokenizer.is_fast:
            raise ChatTemplateError(
                f"the tokenizer of {source} cannot tell where its tokens stand in the text; "
                "it needs a fast one (a tokenizer.json in the model's folder)"
            )
        own = template or tokenizer.chat_template
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.truncation: Truncation = truncation
        self._template, self._options = template, dict(options or {})
        self._source, self._ends = source, tuple(ends)
        self._spans: dict[tuple[str | None, bool], ConversationSpans] = {}
        self._plain = own is None or template == "plain"
        self.identity = PLAIN if self._plain else _digest(own, self._options)
        """Names the rendering: `plain:1`, or the digest of the template with its variables."""

    def text(self, conversation: Conversation) -> SpannedText:
        """The whole conversation as text.

        Raises:
            ChatTemplateError: See `ConversationSpans.render`; or a role that does not exist.
        """
        _check_roles(conversation.messages)
        if self._plain:
            return plain_text(conversation.messages, conversation.tools)
        return self._spans_for(conversation).render(conversation.messages, conversation.tools)

    def render(self, conversation: Conversation) -> Rendered:
        """The tokens of a conversation.

        A token belongs to the message whose words are in it. One that holds words of two messages belongs
        to the later, and one that ends a turn to the message if it does nothing else.

        Raises:
            ChatTemplateError: See `text`.
        """
        text, spans, prompt = self.text(conversation)
        # a reply was not there when its prompt was tokenized
        pieces = [text] if not prompt else [text[:prompt], text[prompt:]]
        token_ids, offsets, added = self._encoded(pieces)
        message = np.where(added, -1, _owners(text, spans, offsets))
        codes = np.array([ROLES.index(m["role"]) for m in conversation.messages] + [0], dtype=np.uint8)
        row = Rendered(token_ids, message.astype(np.int32), codes[message], 0)
        return self._cut(row, at_end=self._loses_its_end(conversation))

    def _loses_its_end(self, conversation: Conversation) -> bool:
        if self.truncation != "auto":
            return self.truncation == "right"
        return sum(message["role"] != "system" for message in conversation.messages) < 2

    def _spans_for(self, conversation: Conversation) -> ConversationSpans:
        """By the day that the template was told, and by whether a server rendered it."""
        key = (conversation.day, conversation.served)
        if key not in self._spans:
            template = ChatTemplate(
                self.tokenizer,
                source=self._source,
                template=self._template,
                options=self._options,
                clock=None if conversation.day is None else date.fromisoformat(conversation.day),
                ends=self._ends,
                spells_out=not conversation.served,
            )
            self._spans[key] = ConversationSpans(reader_for(template))
        return self._spans[key]

    def _encoded(self, pieces: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Token ids; where each begins and ends in all pieces together; and which the tokenizer has added."""
        ids, offsets, added, start = list[int](), list[tuple[int, int]](), list[bool](), 0
        for part in [cut for piece in pieces for cut in re.split(f"({CUT})", piece)]:
            if part != CUT and (part or len(pieces) == 1):
                encoded = self.tokenizer(
                    part,
                    add_special_tokens=self._plain,
                    return_offsets_mapping=True,
                    return_attention_mask=False,
                    verbose=False,
                )
                ids += encoded["input_ids"]
                offsets += [(start + a, start + b) for a, b in encoded["offset_mapping"]]
                # tokens that the tokenizer adds stand nowhere, but their offsets say 0
                added += [s is None for s in encoded.sequence_ids(0)]
            start += len(part)
        return (
            np.array(ids, dtype=np.int32),
            np.array(offsets, dtype=np.int64).reshape(-1, 2),
            np.array(added, dtype=bool),
        )

    def _cut(self, row: Rendered, *, at_end: bool) -> Rendered:
        over = 0 if self.max_tokens is None else len(row.token_ids) - self.max_tokens
        if over <= 0:
            return row
        kept = np.arange(len(row.token_ids))
        if at_end:
            kept = kept[: self.max_tokens]
        else:
            special = (self.tokenizer.bos_token_id, self.tokenizer.cls_token_id)
            first = 1 if row.token_ids[0] in [i for i in special if i is not None] else 0
            kept = np.concatenate([kept[:first], kept[first + over :]])
        return Rendered(row.token_ids[kept], row.message[kept], row.role[kept], over, at_end)


def plain_text(messages: Sequence[Mapping[str, Any]], tools: Tools = None) -> SpannedText:
    """Rendering for models without a chat template, version `plain:1`.

    Messages stand below each other, a blank line between them, each as `role: words`; a tool call is a line
    `name(argument=value, ...)`, values as JSON. Tools, if there are any, come first as `tools: names`.
    """
    text = ""
    spans: list[Span] = []
    if tools:
        text = "tools: " + ", ".join(str(t.get("function", t).get("name", "")) for t in tools)
    for number, message in enumerate(messages):
        lines = [message.get("reasoning_content") or "", str(message["content"])]
        lines += [_plain_call(call["function"]) for call in message.get("tool_calls") or []]
        words = "\n".join(line for line in lines if line)
        text += ("\n\n" if text else "") + f"{message['role']}: "
        if words:
            spans.append(Span(len(text), len(text) + len(words), number, closing=False))
        text += words
    return SpannedText(text, spans)


def read_template(source: str | None) -> str | None:
    """The template that an option names: a file's text; `plain` and None as they are.

    Raises:
        ChatTemplateError: There is no such file.
    """
    if source is None or source == "plain":
        return source
    try:
        return Path(source).read_text(encoding="utf-8")
    except OSError as error:
        told = f"--template {source}: {error.strerror}; name a Jinja file, or plain"
        raise ChatTemplateError(told) from None


def _check_roles(messages: Sequence[Mapping[str, Any]]) -> None:
    """Raises ChatTemplateError for a role that no template knows."""
    for number, message in enumerate(messages):
        if message["role"] not in ROLES[1:]:
            raise ChatTemplateError(
                f"message {number} is of role {message['role']!r}; there are {', '.join(ROLES[1:])}"
            )


def _owners(text: str, spans: list[Span], offsets: np.ndarray) -> np.ndarray:
    """[tokens]: number of the message that a token belongs to, or -1."""
    words = np.full(len(text) + 1, -1, dtype=np.int64)
    closings = words.copy()
    for span in spans:
        (closings if span.closing else words)[span.start : span.end] = span.message
    starts = np.minimum(offsets[:, 0], len(text))
    ends = np.maximum(offsets[:, 1] - 1, starts)
    owners = np.where(words[ends] >= 0, words[ends], words[starts])
    # a whole short message may lie within one token
    held = np.concatenate([[0], np.cumsum(words >= 0)])
    for token in np.flatnonzero((owners < 0) & (held[ends + 1] > held[starts])):
        owners[token] = words[starts[token] : ends[token] + 1].max()
    closed = (owners < 0) & (closings[starts] >= 0) & (closings[starts] == closings[ends])
    # what lies wholly in a closing, or at its words and in it
    return np.where(closed, closings[starts], owners)


def _digest(template: Any, options: Mapping[str, Any]) -> str:
    told = json.dumps([template, dict(options)], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _plain_call(function: Mapping[str, Any]) -> str:
    given = ", ".join(f"{k}={json.dumps(v, ensure_ascii=False)}" for k, v in function["arguments"].items())
    return f"{function['name']}({given})"
