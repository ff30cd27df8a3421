"""What a model sees and writes: from its template and `families.yaml`, without any code of the suite."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import cached_property
from typing import Any

from transformers import PreTrainedTokenizerFast

from benchmarks.providers.real_templates.families import Family, Writing
from benchmarks.providers.real_templates.oracle_rendering import DAY, Refused, Row, Tools, render
from benchmarks.providers.real_templates.vocabulary import ends

SEEN = "zanzibar"
"""A word that no template holds."""

BOOK: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "book",
        "description": "Books a seat.",
        "parameters": {
            "type": "object",
            "properties": {
                "seat": {"type": "string", "description": "Which seat."},
                "nights": {"type": "integer", "description": "How long."},
                "extras": {"type": "array", "description": "What else.", "items": {"type": "string"}},
            },
            "required": ["seat"],
            "additionalProperties": False,
        },
    },
}
"""A tool, as Inspect's providers tell of one."""


def user(words: str) -> Row:
    """What a person says."""
    return {"role": "user", "content": words}


def system(words: str) -> Row:
    """A system message."""
    return {"role": "system", "content": words}


def reply(words: str, *calls: Row, thought: str | None = None) -> Row:
    """What a model says, with what it thought and the tools that it called."""
    row: dict[str, Any] = {"role": "assistant", "content": words}
    if thought is not None:
        row["reasoning_content"] = thought
    if calls:
        row["tool_calls"] = list(calls)
    return row


def call(identity: str, **arguments: Any) -> Row:
    """A call of `BOOK`."""
    return {"type": "function", "id": identity, "function": {"name": "book", "arguments": arguments}}


def result(identity: str, words: str) -> Row:
    """What came of a call."""
    return {"role": "tool", "content": words, "name": "book", "tool_call_id": identity}


class Oracle:
    """One family.

    Args:
        family: What is known of it.
        template: Its text.
        tokenizer: Tells the control strings by name.
    """

    def __init__(self, family: Family, template: str, tokenizer: PreTrainedTokenizerFast) -> None:
        self.family = family
        self.template = template
        self.tokens = {k: str(v) for k, v in tokenizer.special_tokens_map.items() if isinstance(v, str)}
        self.ends = ends(family)
        self.parts = self.empty_tools = False
        self.empty_tools = self._refuses_none()
        self.parts = self._wants_parts()
        self.takes_system = SEEN in self._text([system(SEEN), user("b")])
        self.lets_assistant_open = SEEN in self._text([reply(SEEN), user("b")])
        self.shows_tools = "Books a seat." in self._text([user("b")], [BOOK])

    @cached_property
    def cannot_call(self) -> str | None:
        """Why no tools can be used with the template; None if they can."""
        booked = call("abcdefgh1", seat="lisbon")
        try:
            self.rendered([user("a")], [BOOK], prompt=True)
            if not self.shows_tools:
                return "the template does not show tools"
            text = self.rendered([user("a"), reply("", booked)], [BOOK])
            written = self.written(self.family.writing, "", [booked]) if "lisbon" in text else ""
        except Refused as reason:
            return str(reason)
        if not written:
            return "the template drops calls"
        at_once = any(written.startswith(end) for end in self.ends)
        return "a call begins with the token that ends a turn" if at_once else None

    # -- what a model sees ------------------------------------------------------------------------

    def rendered(
        self,
        rows: Sequence[Row],
        tools: Tools = None,
        *,
        prompt: bool = False,
        variables: Mapping[str, Any] | None = None,
        day: date = DAY,
    ) -> str:
        """The template's text of rows as they are, in the form that the template takes.

        Raises:
            Refused: The template does not render them.
        """
        told = [self._in_its_form(row) for row in rows]
        given = tools if tools else ([] if self.empty_tools else None)
        return render(
            self.template,
            told,
            tools=given,
            prompt=prompt,
            tokens=self.tokens,
            variables=variables,
            day=day,
        )

    def _in_its_form(self, row: Row) -> Row:
        told: dict[str, Any] = {**row}
        if self.parts:
            told["content"] = [{"type": "text", "text": row["content"]}]
        if row.get("tool_calls") and self.family.arguments == "json":
            told["tool_calls"] = [
                {**c, "function": {**c["function"], "arguments": json.dumps(c["function"]["arguments"])}}
                for c in row["tool_calls"]
            ]
        return told

    def placed(self, rows: Sequence[Row], opening: str) -> list[Row]:
        """One system message at the head, or in the first user message; `opening` where a user must begin.

        The suite's own rule, written down a second time.
        """
        words = "\n\n".join(str(row["content"]) for row in rows if row["role"] == "system")
        rest = [row for row in rows if row["role"] != "system"]
        if rest and rest[0]["role"] == "assistant" and not self.lets_assistant_open:
            rest = [user(opening), *rest]
        if not words:
            return rest
        if self.takes_system:
            return [system(words), *rest]
        if rest and rest[0]["role"] == "user":
            return [user(f"{words}\n\n{rest[0]['content']}"), *rest[1:]]
        return [user(words), *rest]

    # -- what a model writes ----------------------------------------------------------------------

    def written(
        self,
        writing: Writing,
        words: str,
        calls: Sequence[Row] = (),
        *,
        thought: str | None = None,
        nothing: int = 0,
        end: str | None = None,
    ) -> str:
        """A whole generation, the token that ends it included.

        Raises:
            Refused: The template does not tell how calls are written.
        """
        before = writing.nothing[nothing] if thought is None else str(writing.thought).format(thought)
        said = writing.head + words if words or not calls else ""
        if not calls:
            return before + said + (end or writing.end)
        return (
            before
            + said
            + self._calls(writing, calls, after=words)
            + (writing.call_end or writing.end if end is None else end)
        )

    def written_calls(self, writing: Writing, words: str, calls: Sequence[Row]) -> list[str]:
        """Every way in which a model may write words and calls when it thinks nothing.

        Raises:
            Refused: The template does not tell how calls are written.
        """
        found = [self.written(writing, words, calls, nothing=n) for n in range(len(writing.nothing))]
        if self.family.template in FORMS:
            return found
        end = writing.call_end or writing.end
        body = self._after_header(writing, reply(words, *calls))
        if self._ordered(body, [words, *_seats(calls)]):
            found += [n + self._before_end(body, calls) + end for n in writing.nothing]
        # a line break of the thought's end and one of the call's beginning are the same
        return [
            *found,
            *(n + f.removeprefix(n).lstrip("\n") for f in found for n in writing.nothing if n.endswith("\n")),
        ]

    def writes(self, rows: Sequence[Row], *needles: str) -> bool:
        """Whether the template writes a last message with all of these in this order, as one generation."""
        text = self._text(rows, [BOOK], prompt=False)
        if (
            self.family.template in FORMS
            or not self.family.words_with_calls
            or not self._ordered(text, needles)
        ):
            return False
        said = [n for n in needles if n]
        between = text[text.index(said[0]) : text.index(said[-1])]
        return not any(end in between for end in self.ends)

    @staticmethod
    def _ordered(text: str, needles: Sequence[str]) -> bool:
        places = [text.find(n) for n in needles if n]
        return -1 not in places and places == sorted(places)

    def _calls(self, writing: Writing, calls: Sequence[Row], *, after: str) -> str:
        """Calls as the template writes them, without what ends the turn.

        Where a template leaves words out or writes them after calls, it is asked for the calls alone.
        """
        own = FORMS.get(self.family.template)
        if own is not None:
            return own(calls, after)
        body = self._after_header(writing, reply(SEEN if after else "", *calls))
        if lost := [seat for seat in _seats(calls) if seat not in body]:
            raise Refused(f"the template leaves out the call with {lost[0]}")
        if after:
            if SEEN not in body or body.index(SEEN) > body.index(_seats(calls)[0]):
                return self._calls(writing, calls, after="")
            body = body.partition(SEEN)[2]
        return self._before_end(body, calls)

    def _after_header(self, writing: Writing, row: Row) -> str:
        asked = [user("Where?")]
        header = self.rendered(asked, [BOOK], prompt=True, variables=writing.variables).removesuffix(
            writing.opened
        )
        closed = self.rendered([*asked, row], [BOOK], variables=writing.variables)
        if not closed.startswith(header):
            raise Refused("the template writes the prompt in another way when a call follows it")
        body = closed[len(header) :]
        for empty in sorted(
            {writing.opened, *(writing.opened + n for n in writing.nothing), *writing.nothing, *EMPTY},
            key=len,
            reverse=True,
        ):
            if empty and body.startswith(empty):
                return body[len(empty) :]
        return body

    def _before_end(self, body: str, calls: Sequence[Row]) -> str:
        """Up to the token that ends the turn: the first one after the last call's arguments."""
        last = max((body.rindex(seat) + len(seat) for seat in _seats(calls) if seat in body), default=0)
        places = [body.index(end, last) for end in self.ends if end in body[last:]]
        kept = body[: min(places)] if places else body.rstrip()
        space = self.family.writing.end.removesuffix(self.family.writing.end.lstrip())
        return kept.removesuffix(space) if places and not self.family.writing.call_end else kept

    def shows(self, rows: Sequence[Row], *needles: str, tools: Tools = None, prompt: bool = True) -> bool:
        """Whether the template writes all of these."""
        text = self._text(rows, tools, prompt=prompt)
        return all(n in text for n in needles)

    def refuses(self, rows: Sequence[Row], tools: Tools = None, *, prompt: bool = True) -> bool:
        """Whether the template fails."""
        try:
            self.rendered(rows, tools, prompt=prompt)
        except Refused:
            return True
        return False

    def _text(self, rows: Sequence[Row], tools: Tools = None, *, prompt: bool = True) -> str:
        try:
            return self.rendered(rows, tools, prompt=prompt)
        except Refused:
            return ""

    def _wants_parts(self) -> bool:
        """Templates of models that see images take content as a list alone."""
        if SEEN in self._text([user(SEEN)]):
            return False
        self.parts = True
        return SEEN in self._text([user(SEEN)])

    def _refuses_none(self) -> bool:
        """Some templates go through the tools without asking whether there are any."""
        with_none = self.refuses([user(SEEN)])
        self.empty_tools = True
        return with_none and not self.refuses([user(SEEN)])


EMPTY = (
    "<|START_THINKING|><|END_THINKING|>",
    "<think></think>",
    "</think>",
    "<think>\n\n</think>\n\n",
    "<think>\n\n</think>\n",
)
"""How templates write that nothing was thought."""


def _seats(calls: Sequence[Row]) -> list[str]:
    """By their first word, which no template writes otherwise."""
    return [str(c["function"]["arguments"]["seat"]).split()[0] for c in calls]


def _harmony(calls: Sequence[Row], after: str) -> str:
    head = "<|end|><|start|>assistant" if after else ""
    parts = [
        f" to=functions.{n}<|channel|>commentary json<|message|>{json.dumps(a, ensure_ascii=False)}"
        for n, a in _named(calls)
    ]
    return head + "<|call|><|start|>assistant".join(parts)


def _named(calls: Sequence[Row]) -> Iterator[tuple[str, dict[str, Any]]]:
    for made in calls:
        yield made["function"]["name"], made["function"]["arguments"]


def _actions(calls: Sequence[Row], _after: str) -> str:
    """In a block of JSON, as Command R+ is told to."""
    told = [{"tool_name": name, "parameters": given} for name, given in _named(calls)]
    return f"\nAction:\n```json\n{json.dumps(told, indent=4, ensure_ascii=False)}```"


FORMS: dict[str, Any] = {
    "trl/gptoss": _harmony,
    "unsloth/gpt-oss": _harmony,
    "llama-cpp-python/CohereForAI-c4ai-command-r-plus-tool_use": _actions,
}
"""Calls of families whose templates do not tell the whole."""
