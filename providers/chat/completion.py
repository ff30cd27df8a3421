"""A reply as it is learnt: exactly what the model writes after its prompt, up to the token that ends its
turn.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from providers.chat.reading import ReplyReader, without_ends
from providers.chat.replies import Frame, frame_of
from providers.chat.template import ChatRow, Tools
from providers.chat.words import shown


class Completion(NamedTuple):
    """A prompt and what a model wrote after it, as text."""

    prompt: str
    written: str | None
    """The end of the turn included; None if the template cannot write what the model did."""

    words: tuple[int, int] | None = None
    """Where in `written` the message's own characters begin, and where what ends its turn begins."""


def complete(
    reader: ReplyReader, messages: Sequence[Mapping[str, Any]], reply: Mapping[str, Any], tools: Tools
) -> Completion:
    """The prompt for a conversation and a reply to it, as the model saw and wrote them.

    Words stay as they were generated, where a template would trim them. What a template has its models write
    before words (a channel, the end of a thought that the prompt opened) is the model's own; an empty thought
    that it puts before replies is not. Thoughts and calls are in the template's form, which is read back:
    what does not come back as it was is not written at all.

    Args:
        reader: For the model's template.
        messages: What the model was given, as rows (`messages.py`).
        reply: The message that it generated, as a row.
        tools: What it was offered, as schemas.

    Raises:
        ChatTemplateError: The template refuses the messages.
    """
    template = reader.template
    rows = template.placed(messages)
    prompt = template.render(rows, tools, prompted=True)
    frame = frame_of(reader.replies, rows, tools)
    reply = template.parted(reply)
    row = template.row(reply)
    last = "tool" if rows and rows[-1]["role"] == "tool" else "user"
    if not row.get("tool_calls") and not row.get("reasoning_content"):
        written, begin = _words(row["content"], frame)
        return Completion(prompt, written, (begin, begin + len(row["content"])))
    written = reader.replies.reply_text(last, row, tools)
    if written is not None and _comes_back(reader, written, row, reply, last, tools):
        return Completion(prompt, *_ended(reader, written, rows, row, tools))
    if not row.get("tool_calls"):
        written = _thought_in_line(reader, row, frame)
        if written is not None and _comes_back(reader, written, row, reply, last, tools):
            return Completion(prompt, written, (0, len(without_ends(written, template))))
    return Completion(prompt, None)


def started(reader: ReplyReader, messages: Sequence[Mapping[str, Any]], tools: Tools = None) -> str:
    """The prompt for going on with the last message, which is the assistant's.

    Raises:
        ChatTemplateError: The template refuses the messages.
    """
    template = reader.template
    rows = template.placed(messages[:-1])
    prompt = template.render(rows, tools, prompted=True)
    content = template.row(messages[-1])["content"]
    frame = frame_of(reader.replies, rows, tools)
    return prompt + _words(content, frame)[0][: -len(frame.end) or None]


def _words(content: str, frame: Frame) -> tuple[str, int]:
    lead = "" if not frame.lead.strip() and content.startswith(frame.lead) else frame.lead
    return lead + content + frame.end, len(lead)


def _ended(
    reader: ReplyReader, written: str, rows: Sequence[ChatRow], row: ChatRow, tools: Tools
) -> tuple[str, tuple[int, int]]:
    """With what ends the turn, which some templates leave to whoever speaks next."""
    template, frame = reader.template, frame_of(reader.replies, rows, tools)
    if not (calls := row.get("tool_calls")):
        at = written.rfind(row["content"].strip()) + len(row["content"].strip())
        return written[:at] + frame.end, (0, at)
    at = 0 if reader.calls is None else reader.calls.end(reader.unended(written), tools)
    if any(written[:at].endswith(end) for end in template.ends):
        return written[:at], (0, at)
    tail = written[at:]
    for end in (frame.end.strip(), *template.ends):
        if end and end in tail:
            return written[: at + tail.index(end) + len(end)], (0, at)
    if any(token in tail for token in template.special):
        return written.rstrip(), (0, at)
    return written[:at] + tail.rstrip() + reader.replies.ending("", {**row, "tool_calls": calls}, tools), (
        0,
        at,
    )


def _thought_in_line(reader: ReplyReader, row: ChatRow, frame: Frame) -> str | None:
    """As models write it whose template takes thoughts out: mark, thought, mark, words."""
    form = reader.replies.thoughts
    template = str(reader.template.tokenizer.get_chat_template(reader.template.template))
    if form.closing not in template:
        return None
    before = form.before if frame.opened is None else ""
    between = form.between if frame.lead in form.between else form.between + frame.lead
    return f"{before}{row['reasoning_content']}{between}{row['content']}{frame.end}"


def _comes_back(
    reader: ReplyReader, written: str, row: ChatRow, reply: Mapping[str, Any], last: str, tools: Tools
) -> bool:
    """What is read from the text is the message: nothing left out, added, or in another order."""
    template = reader.template
    if any(end in without_ends(written, template) for end in template.ends):
        return False
    # the words that spell control strings stay marked, so that they are read as words
    read = reader.read(reader.unended(written), last=last, tools=tools if row.get("tool_calls") else None)
    calls = [(c["function"]["name"], c["function"]["arguments"]) for c in reply.get("tool_calls") or []]
    said, thought = str(reply["content"] or "").strip(), str(reply.get("reasoning_content") or "").strip()
    known = reader.calls is not None or not calls
    if (known and shown(read.text).strip() != said) or shown(read.reasoning or "").strip() != thought:
        return False
    if calls and reader.calls is None:
        return _in_order(written, [said, *(part for call in calls for part in _parts(*call))])
    if [(shown(c.name), _shown_in(c.arguments)) for c in read.calls] != calls:
        return False
    if not (said and calls):
        return True
    spoken = written.find(row["content"].strip())
    return 0 <= spoken < written.find(calls[0][0], spoken + len(row["content"].strip()))


def _in_order(text: str, parts: Sequence[str]) -> bool:
    """Every part is there, one after the other: what can be seen of calls in a form that is not known."""
    at, text = 0, shown(text)
    for part in parts:
        places = [(text.find(form, at), form) for form in (part, json.dumps(part, ensure_ascii=False)[1:-1])]
        there = [(found, form) for found, form in places if found >= 0]
        if not there:
            return False
        found, form = min(there)
        at = found + len(form)
    return True


def _parts(name: str, arguments: Any) -> list[str]:
    """The name of a call, its arguments' names and their words, in order."""
    return [name, *_leaves(arguments)]


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield json.dumps(value)


def _shown_in(value: Any) -> Any:
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, dict):
        return {_shown_in(key): _shown_in(item) for key, item in value.items()}
    return [_shown_in(item) for item in value] if isinstance(value, list) else value
