"""A chat template, asked how it wants its messages, and rendered in that form."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal

from providers.chat.errors import ChatTemplateError
from providers.chat.words import (
    CUT,
    control_strings,
    shown,
    spelled_out,
    spelled_out_in,
    tokens_of_all,
    without_thought_in_line,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ChatRow = dict[str, Any]
"""A message: role, content, reasoning_content, tool_calls (arguments as an object), tool_call_id, name."""

Tools = Sequence[Mapping[str, Any]] | None

BEGIN = "(The conversation begins.)"
"""Said in the person's name where an assistant speaks first and the template wants a user before it."""

CLOCK = date(2024, 7, 26)
"""The day that a template is told where no conversation says another: tokens must not change overnight."""

PROBE_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "reserve",
        "description": "Reserves.",
        "parameters": {
            "type": "object",
            "properties": {
                "seat": {"type": "string", "description": "Which."},
                "count": {"type": "integer", "description": "How many."},
                "extras": {"type": "array", "items": {"type": "string"}, "description": "What else."},
            },
            "required": ["seat"],
        },
    },
}
"""What templates are asked about."""

ESCAPED_CUT = json.dumps(CUT).strip('"')

SWITCHES: dict[str, tuple[Any, Any]] = {
    "enable_thinking": (False, True),
    "thinking": (False, True),
    "thinking_mode": ("disabled", "enabled"),
}
"""Variables by which templates turn thoughts off and on, with what they take."""


class ChatTemplate:
    """A tokenizer's chat template in use: one for generation, training, captures and spans.

    System messages become one, at the head. Where a template takes none it goes to the head of the first user
    message; where one wants a user to speak first, `BEGIN` stands before an assistant that does. Calls of
    tools get arguments and ids in the form that the template takes.

    Args:
        tokenizer: Applies the template.
        source: What to call the model in messages.
        template: Text of the template, or the name of one of the tokenizer's own, which is the default.
        options: Variables of the template, e.g. `enable_thinking`.
        clock: The day that `strftime_now` tells.
        ends: Tokens that end a generation, as the model's generation config lists them.
        spells_out: Words that spell control strings stay words; otherwise they become the tokens, as on
        servers.

    Raises:
        ChatTemplateError: There is no template.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        *,
        source: str,
        template: str | None = None,
        options: Mapping[str, Any] | None = None,
        clock: date | None = None,
        ends: Sequence[str] = (),
        spells_out: bool = True,
    ) -> None:
        self.tokenizer = tokenizer
        self.source = source
        self.template = template
        self.options = dict(options or {})
        self.clock = clock or CLOCK
        own = str(tokenizer.eos_token) if tokenizer.eos_token is not None else None
        self.ends: tuple[str, ...] = tuple(dict.fromkeys([*ends, *([own] if own else [])]))
        if not (template or tokenizer.chat_template):
            raise ChatTemplateError(
                f"{source} has no chat template; name a file with one (chat_template=<file.jinja>), "
                "or use the model's instruction-tuned version"
            )
        self._spells_out = spells_out
        self._controls = control_strings(tokenizer)

    # -- text -------------------------------------------------------------------------------------

    def prompt(self, messages: Sequence[ChatRow], tools: Tools = None) -> str:
        """The text up to where the model writes its next words.

        Raises:
            ChatTemplateError: The template refuses the messages, or does not show the tools.
        """
        text = self.render(self.placed(messages), tools, prompted=True)
        if tools and not self.shows_tools:
            raise ChatTemplateError(
                f"the chat template of {self.source} does not show the model its tools; "
                "give one that does with chat_template=<file.jinja>, or use a model trained on tools"
            )
        return text

    def placed(self, messages: Sequence[Mapping[str, Any]]) -> list[ChatRow]:
        """The messages in the form that the template takes, words that spell control strings spelled out."""
        system = [str(m["content"]) for m in messages if m["role"] == "system"]
        rows = [self.row(m) for m in messages if m["role"] != "system"]
        words = self._words("\n\n".join(system))
        if rows and rows[0]["role"] == "assistant" and not self.lets_assistant_open:
            rows = [{"role": "user", "content": BEGIN}, *rows]
        if not words:
            return rows
        if self.takes_system:
            return [{"role": "system", "content": words}, *rows]
        if rows and rows[0]["role"] == "user":
            return [{"role": "user", "content": f"{words}\n\n{rows[0]['content']}"}, *rows[1:]]
        return [{"role": "user", "content": words}, *rows]

    def parted(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """A reply with its thought in the text, with the thought apart if the template tells them apart."""
        if not self._spells_out or message["role"] != "assistant" or message.get("reasoning_content"):
            return message
        apart = without_thought_in_line(str(message["content"] or ""))
        return {**message, **apart} if len(apart) > 1 and self.parts_thoughts else message

    def row(self, message: Mapping[str, Any]) -> ChatRow:
        """One message in that form."""
        message = self.parted(message)
        row = dict(message)
        content = str(message["content"] or "")
        kept = message["role"] == "assistant" and "reasoning_content" in without_thought_in_line(content)
        row["content"] = self._around_thought(content) if kept else self._words(content)
        if reasoning := message.get("reasoning_content"):
            # templates read one name or the other
            row["reasoning_content"] = row["reasoning"] = self._words(str(reasoning))
        if calls := message.get("tool_calls"):
            row["tool_calls"] = [self._call(call) for call in calls]
        if message.get("name") is not None:
            row["name"] = self._words(str(message["name"]))
        if message.get("tool_call_id") is not None:
            row["tool_call_id"] = self._identity(str(message["tool_call_id"]))
        return row

    def render(self, rows: Sequence[ChatRow], tools: Tools = None, *, prompted: bool = False) -> str:
        """The template's text of rows that are `placed`; with the head of the next reply if `prompted`.

        Raises:
            ChatTemplateError: The template refuses them.
        """
        if self.wants_parts:
            rows = [{**row, "content": [{"type": "text", "text": row["content"]}]} for row in rows]
        return self._rendered(rows, tools if tools else self._no_tools, prompted)

    # -- tokens -----------------------------------------------------------------------------------

    def tokens(self, text: str) -> list[int]:
        """Token ids of a text that the template wrote."""
        return tokens_of_all(self.tokenizer, [text])[0]

    def tokens_of_all(self, texts: Sequence[str]) -> list[list[int]]:
        """The same for many texts in one call."""
        return tokens_of_all(self.tokenizer, texts)

    @cached_property
    def identity(self) -> str:
        """Names the rendering: digest of the template, its variables and, where it asks for it, the day."""
        told: list[Any] = [self.template or self.tokenizer.chat_template, self.options]
        if self.asks_the_day and self.clock != CLOCK:
            told.append(self.clock.isoformat())
        written = json.dumps(told, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(written.encode()).hexdigest()[:16]

    @cached_property
    def asks_the_day(self) -> bool:
        """It writes the date."""
        return "strftime_now" in str(self.tokenizer.get_chat_template(self.template))

    @cached_property
    def special(self) -> frozenset[str]:
        """Strings of special tokens, which never belong to words."""
        added = self.tokenizer.added_tokens_decoder.values()
        return frozenset(
            {*map(str, self.tokenizer.all_special_tokens), *(t.content for t in added if t.special)}
        )

    @cached_property
    def switch(self) -> str | None:
        """The variable that turns thoughts on and off, if the template has one."""
        return next(
            (name for name in SWITCHES if self._thinking(name, True) != self._thinking(name, False)), None
        )

    def _thinking(self, name: str, on: bool) -> str | None:
        rows = [{"role": "system", "content": "delta"}, {"role": "user", "content": "alpha"}]
        given = {**self.options, name: SWITCHES[name][on]}
        changed = ChatTemplate(self.tokenizer, source=self.source, template=self.template, options=given)
        return changed._tried(changed.placed(rows), prompted=True)

    # -- what the template takes ------------------------------------------------------------------

    @cached_property
    def takes_system(self) -> bool:
        """It writes a system message before a user's."""
        rows = [{"role": "system", "content": "delta"}, {"role": "user", "content": "alpha"}]
        return "delta" in (self._tried(rows, prompted=True) or "")

    @cached_property
    def lets_assistant_open(self) -> bool:
        """An assistant may speak before any user."""
        rows = [{"role": "assistant", "content": "bravo"}, {"role": "user", "content": "alpha"}]
        text = self._tried(rows, prompted=True) or ""
        return "bravo" in text and "alpha" in text

    @cached_property
    def parts_thoughts(self) -> bool:
        """A thought in the text of an earlier reply is taken out."""
        thought = "<think>\ndelta\n</think>\n\nbravo"
        rows = [
            {"role": "user", "content": "alpha"},
            {"role": "assistant", "content": thought},
            {"role": "user", "content": "charlie"},
        ]
        return thought not in (self._tried(rows, prompted=True) or "")

    @cached_property
    def wants_parts(self) -> bool:
        """Content must be a list of parts (templates of models that take images as well)."""
        text = self._or_none(
            lambda: self._rendered([{"role": "user", "content": "alpha"}], self._no_tools, True)
        )
        if text is not None and "alpha" in text:
            return False
        parts = [{"role": "user", "content": [{"type": "text", "text": "alpha"}]}]
        return "alpha" in (self._or_none(lambda: self._rendered(parts, self._no_tools, True)) or "")

    @cached_property
    def shows_tools(self) -> bool:
        """The model is told of the tools that it is offered."""
        rows = [{"role": "user", "content": "alpha"}]
        return "reserve" in (self._tried(rows, [PROBE_TOOL], prompted=True) or "")

    @cached_property
    def arguments(self) -> Literal["object", "json"]:
        """Whether arguments of a call are given as an object or as JSON text."""
        for form in ("object", "json"):
            text = self._called(form, "callnr123")
            if text is not None and "north" in text and '{\\"' not in text:
                return form
        return "object"

    @cached_property
    def short_ids(self) -> bool:
        """Ids of calls must have nine letters or digits."""
        long = self._called(self.arguments, "call-with-a-long-id")
        return long is None and self._called(self.arguments, "callnr123") is not None

    @cached_property
    def _no_tools(self) -> list[Any] | None:
        """What stands for no tools: some templates need an empty list."""
        rows = [{"role": "user", "content": "alpha"}]
        for none in (None, []):
            if self._or_none(lambda none=none: self._rendered(rows, none, True)) is not None:
                return none
        return None

    def _called(self, form: str, identity: str) -> str | None:
        given: Any = {"seat": "north", "count": 2}
        call = {"name": "reserve", "arguments": given if form == "object" else json.dumps(given)}
        rows: list[ChatRow] = [
            {"role": "user", "content": "alpha"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"type": "function", "id": identity, "function": call}],
            },
            {"role": "tool", "content": "charlie", "name": "reserve", "tool_call_id": identity},
        ]
        return self._tried(rows, [PROBE_TOOL], prompted=True)

    def _call(self, call: Mapping[str, Any]) -> ChatRow:
        function = call["function"]
        given: Any = function["arguments"]
        if self._spells_out:
            given = spelled_out_in(given, self._controls)
        if isinstance(given, str) and self.arguments == "object":
            given = _object(given)
        if not isinstance(given, str) and self.arguments == "json":
            given = json.dumps(given, ensure_ascii=False)
        told = {**call, "function": {**function, "name": self._words(function["name"]), "arguments": given}}
        if call.get("id") is not None:
            told["id"] = self._identity(str(call["id"]))
        return told

    def _around_thought(self, text: str) -> str:
        """Words and thought of a reply, between its marks as they are."""
        head, mark, rest = text.partition("</think>")
        begin = "<think>" if "<think>" in head else ""
        blank, _, thought = head.partition(begin) if begin else ("", "", head)
        return blank + begin + self._words(thought) + mark + self._words(rest)

    def _words(self, text: str) -> str:
        return spelled_out(text, self._controls) if self._spells_out else text

    def _identity(self, identity: str) -> str:
        if not self.short_ids or (len(identity) == 9 and identity.isalnum()):
            return identity
        return hashlib.sha256(identity.encode()).hexdigest()[:9]

    # -- rendering --------------------------------------------------------------------------------

    def _tried(self, rows: Sequence[ChatRow], tools: Tools = None, *, prompted: bool = False) -> str | None:
        """The text, or None if the template refuses."""
        return self._or_none(lambda: self.render(rows, tools, prompted=prompted))

    @staticmethod
    def _or_none(render: Callable[[], str]) -> str | None:
        try:
            return render()
        except ChatTemplateError:
            return None

    def _rendered(self, rows: Sequence[ChatRow], tools: Tools, prompted: bool) -> str:
        try:
            text = self.tokenizer.apply_chat_template(
                list(rows),
                tools=None if tools is None else list(tools),  # pyright: ignore[reportArgumentType]
                chat_template=_at(self.clock, self.tokenizer.get_chat_template(self.template, tools or None)),  # pyright: ignore[reportArgumentType]
                tokenize=False,
                add_generation_prompt=prompted,
                **self.options,
            )
        except Exception as error:  # templates raise whatever they like
            roles = [row["role"] for row in rows]
            reason = shown(str(error))
            raise ChatTemplateError(
                f"the chat template of {self.source} refuses {roles}: {reason}"
            ) from error
        # a template that writes JSON in ASCII alone escapes it
        return str(text).replace(ESCAPED_CUT, CUT)


def _object(text: str) -> Any:
    """Arguments that were given as JSON text, as the object that they are."""
    try:
        return json.loads(text)
    except ValueError:
        return text


DIRECTIVES = "YmdBbAaHMSyjpIeUuwGVDFTRx"
"""Of strftime: what a template may ask of the day."""


@lru_cache(maxsize=64)
def _at(day: date, template: str) -> str:
    """A template that asks for the date is told this day.

    The function cannot be given as a variable: transformers lets templates have plain data alone.
    """
    if "strftime_now" not in template:
        return template
    told = "".join(
        f"|replace('%{form}', '{day.strftime(f'%{form}')}')" for d in DIRECTIVES for form in (d, f"-{d}")
    )
    macro = "{%- macro strftime_now(format) -%}{{- format" + told + " -}}{%- endmacro +%}"
    return macro + template
