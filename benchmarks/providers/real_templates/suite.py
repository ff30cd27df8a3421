"""What the suite does with a template, under one roof for the checks: through the code that `local/` runs."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    ContentReasoning,
    ContentText,
)
from inspect_ai.tool import ToolCall, ToolInfo
from transformers import PreTrainedTokenizerFast

from benchmarks.providers.real_templates.families import Family
from benchmarks.providers.real_templates.oracle_rendering import DAY, Row, Tools
from benchmarks.providers.real_templates.vocabulary import BYTES, ends
from probes.conversations.conversation import Conversation
from probes.tokens.rendering import Renderer
from providers.chat.choice import Readers, TemplateChoice
from providers.chat.completion import complete
from providers.chat.messages import chat_message, tool_schemas
from providers.chat.reading import Reply
from providers.chat.template import BEGIN
from providers.local.speech import Prompt, Speech


class Suite:
    """One template with its variables, on the day of the oracle.

    Raises:
        ChatTemplateError: The suite does not use the template at all.
    """

    opening = BEGIN
    """Said in the person's name where a template wants a user first."""

    def __init__(self, family: Family, tokenizer: PreTrainedTokenizerFast, choice: TemplateChoice) -> None:
        self.tokenizer = tokenizer
        known = [tokenizer.convert_tokens_to_ids(token) for token in ends(family)]
        self.speech = Speech(tokenizer, [t for t in known if isinstance(t, int)], choice, "the model")
        self.template, self.reader = self.speech.template, self.speech.reader
        self._readers = Readers(tokenizer, [t for t in known if isinstance(t, int)], choice, "the model")
        variables = choice.template_options or {}
        self._renderer = Renderer(tokenizer, options=variables, source="the model", ends=ends(family))
        self._prompts: dict[tuple[str, bool], Prompt] = {}

    def prompt_tokens(self, rows: Sequence[Row], tools: Tools = None) -> list[int]:
        """What a model is prompted with; a last message of the assistant is gone on with."""
        return self.speech.prompt(messages(rows), infos(tools)).tokens

    def prompt(self, rows: Sequence[Row], tools: Tools = None) -> str:
        """The same as text."""
        return self.text(self.prompt_tokens(rows, tools))

    def read(self, text: str, *, last: str = "user", tools: Tools = None) -> Reply:
        """A generation without the token that ended it, as a message."""
        key = (last, bool(tools))
        if key not in self._prompts:
            rows = AFTER_RESULT if last == "tool" else AFTER_RESULT[:1]
            self._prompts[key] = self.speech.prompt(messages(rows), infos(tools))
        return self.speech.read(self._prompts[key], self.tokens(text))

    def learnt(
        self, rows: Sequence[Row], reply: Row, tools: Tools = None
    ) -> tuple[list[int], list[int] | None]:
        """The prompt of a row of training data, and what is learnt after it; None if it is left out."""
        told = [chat_message(m) for m in messages([*rows, reply])]
        made = complete(self.reader, told[:-1], told[-1], tool_schemas(infos(tools)))
        prompt = self.template.tokens(made.prompt)
        if made.written is None:
            return prompt, None
        return prompt, self.template.tokens(made.prompt + made.written)[len(prompt) :]

    def served_prompt(self, rows: Sequence[Row]) -> list[int]:
        """The prompt of a row of training data that a server rendered."""
        reader = self._readers.on(DAY, served=True)
        told = [chat_message(m) for m in messages(rows)]
        return reader.template.tokens(reader.template.prompt(told))

    def owners(self, rows: Sequence[Row], tools: Tools = None) -> tuple[str, list[int]]:
        """The text of a captured conversation, and of every character the message of its token, or -1."""
        told = [chat_message(m) for m in messages(rows)]
        day = DAY.isoformat()
        made = self._renderer.render(Conversation("", told, tool_schemas(infos(tools)), day=day))
        pieces = self._pieces(made.token_ids.tolist())
        owners = [int(m) for piece, m in zip(pieces, made.message, strict=True) for _ in piece]
        return "".join(pieces), owners

    def _pieces(self, tokens: Sequence[int]) -> list[str]:
        """The characters of each token; one of several bytes counts with its last."""
        control = {str(t) for t in self.tokenizer.added_tokens_decoder.values()}
        pieces, waiting = [], b""
        for token in self.tokenizer.convert_ids_to_tokens(list(tokens)):
            if token in control:
                pieces.append(token)
                continue
            waiting += bytes([BYTES[c] for c in token])
            try:
                pieces.append(waiting.decode())
                waiting = b""
            except UnicodeDecodeError:
                pieces.append("")
        return pieces

    def tokens(self, text: str) -> list[int]:
        """Tokens of a text in which control strings are control tokens."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])  # pyright: ignore

    def text(self, tokens: Sequence[int]) -> str:
        """All of them as text."""
        return str(self.tokenizer.decode(list(tokens), clean_up_tokenization_spaces=False))


def chosen(variables: Mapping[str, Any]) -> TemplateChoice:
    """The template's own, with these variables."""
    return TemplateChoice(template_options=variables, date=DAY)


def switched(on: bool) -> TemplateChoice:
    """The template's own, with thoughts turned on or off by the suite's option."""
    return TemplateChoice(thinking=on, date=DAY)


def messages(rows: Sequence[Row]) -> list[ChatMessage]:
    """Rows as Inspect's messages."""
    return [_message(row) for row in rows]


def infos(tools: Tools) -> list[ToolInfo]:
    """Schemas of tools as Inspect's."""
    return [ToolInfo.model_validate_json(json.dumps(tool["function"])) for tool in tools or []]


def _message(row: Row) -> ChatMessage:
    words = str(row["content"])
    if row["role"] == "system":
        return ChatMessageSystem(content=words)
    if row["role"] == "user":
        return ChatMessageUser(content=words)
    if row["role"] == "tool":
        return ChatMessageTool(content=words, function=row["name"], tool_call_id=row["tool_call_id"])
    thought = row.get("reasoning_content")
    calls = [
        ToolCall(id=c["id"], function=c["function"]["name"], arguments=dict(c["function"]["arguments"]))
        for c in row.get("tool_calls") or []
    ]
    parts = [ContentReasoning(reasoning=thought), ContentText(text=words)] if thought is not None else words
    return ChatMessageAssistant(content=parts, tool_calls=calls or None)


AFTER_RESULT: list[dict[str, Any]] = [
    {"role": "user", "content": "alpha"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {
                "type": "function",
                "id": "abcdefgh1",
                "function": {"name": "book", "arguments": {"seat": "lisbon"}},
            }
        ],
    },
    {"role": "tool", "content": "Booked lisbon.", "name": "book", "tool_call_id": "abcdefgh1"},
]
"""A conversation in which a model answers to the result of a call."""
