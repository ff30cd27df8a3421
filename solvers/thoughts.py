"""Thoughts that a model wrote into its text, because its server did not take them apart from the words.

Inspect keeps a model's reasoning in parts of their own, and `message.text` leaves these out. What is read
here is the rest: blocks in tags (`<think>`, `[THINK]`, `<|START_THINKING|>` and their like), harmony's
channels with and without their marks, and a thought that the template opened in the prompt, so that only its
end stands in the text.
"""

import re
from typing import NamedTuple

from inspect_ai.model import ChatMessage, ChatMessageAssistant, Content, ContentReasoning, ContentText

_NAMES = r"think(?:ing)?|thoughts?|reason(?:ing)?|scratch_?pad|reflection|analysis|inner_monologue"
_UNQUOTED = r"(?<![`\"'“‘«])"  # people who talk about a tag quote it
_OPENS = re.compile(
    rf"{_UNQUOTED}(?:(?:<\|?|◁|\[(?=(?-i:[A-Z]{{5}})))(?:\w+:)?(?:START_)?(?:{_NAMES})(?:\s[^<>]*)?(?:\|?>|▷|\])"
    r"|<\|channel>\s*thought)",
    re.IGNORECASE,
)
_CLOSES = re.compile(
    rf"{_UNQUOTED}(?:(?:<\|?/|◁/|\[/(?=(?-i:[A-Z]{{5}}))|<\|END_)(?:\w+:)?(?:{_NAMES})(?:\|?>|▷|\])|<channel\|>)",
    re.IGNORECASE,
)

_BARE = re.compile(r"\A\s*(?:thoughts?|thinking|reasoning|analysis)\s*\n", re.IGNORECASE)
"""A channel's name whose marks were left out on the way."""

_SENTENCE_ENDS = re.compile(r"[.!?…。:;,)*\"”»]\s*\Z")
"""What a block may follow in its line, if it is not a word in a sentence."""

_HARMONY = re.compile(r"<\|(?:channel|message|start|end|return|constrain)\|>")
_HARMONY_FINAL = re.compile(r"<\|channel\|>\s*final\b[^<]*<\|message\|>")
_HARMONY_BARE = re.compile(r"\Aanalysis(?=[A-Z\W])(?P<thought>.*?)assistant\s*final(?=[A-Z\W])", re.DOTALL)


class Spoken(NamedTuple):
    """A text, taken apart."""

    words: str
    """What is said. Empty if the whole text is thought."""

    thoughts: str
    """What was thought before it; empty if nothing was."""

    unclear: bool
    """The marks leave a doubt: a thought was not closed, stood amid the words, or marks are left in them."""


def spoken(text: str) -> Spoken:
    """Take the thoughts out of a text.

    Thoughts are blocks at the beginning; behind one of these, or where a sentence or line begins, blocks
    amid the words; and an unclosed block that begins a line. Tags that are quoted, stand in fenced code or
    in the run of a sentence are somebody's words about tags, and stay.

    Args:
        text: What a model wrote.

    Returns:
        The words, the thoughts, and whether marks leave a doubt. A thought that was cut leaves the words
        before it, if there are any.
    """
    if _HARMONY.search(text):
        return _harmony(text)
    if bare := _HARMONY_BARE.match(text):
        return Spoken(text[bare.end() :].strip(), bare["thought"].strip(), unclear=False)
    words, thoughts = text, list[str]()
    while (end := _end_of_thought(words)) is not None:
        thoughts.append(_CLOSES.sub("", _OPENS.sub("", words[:end])).strip())
        words = words[end:]
    if opened := _OPENS.match(words.lstrip()):
        thoughts.append(words.lstrip()[opened.end() :].strip())
        return Spoken("", "\n\n".join(filter(None, thoughts)), unclear=True)
    left = bool(_OPENS.search(words) or _CLOSES.search(words) or _BARE.match(words))
    if left:
        words, amid = _without_blocks(words, anywhere=words != text)
        thoughts += amid
    return Spoken(words.strip(), "\n\n".join(filter(None, thoughts)), unclear=left)


def take_thoughts_apart(message: ChatMessage) -> bool:
    """Make thoughts that stand in a message's text parts of their own, in place.

    Returns:
        Whether there were any.
    """
    if not isinstance(message, ChatMessageAssistant):
        return False
    if isinstance(message.content, str):
        parts: list[Content] = [ContentText(text=message.content)]
    else:
        parts = list(message.content)
    apart: list[Content] = []
    for part in parts:
        said = spoken(part.text) if isinstance(part, ContentText) else None
        if isinstance(part, ContentText) and said and said.thoughts and said.words != part.text.strip():
            apart += [ContentReasoning(reasoning=said.thoughts), ContentText(text=said.words)]
        else:
            apart.append(part)
    if len(apart) == len(parts):
        return False
    message.content = apart
    return True


def _without_blocks(text: str, *, anywhere: bool) -> tuple[str, list[str]]:
    """The text without the blocks amid its words, and these.

    Args:
        text: That does not begin with a block.
        anywhere: It had one at its beginning: who marks thoughts so does not talk about the tags.
    """
    kept, thoughts, place = "", list[str](), 0
    while opens := _OPENS.search(text, place):
        before = text[: opens.start()]
        begins_line = before.rpartition("\n")[2].strip() == ""
        fenced = before.count("```") % 2 == 1
        end = _end_of_thought(text[opens.start() :])
        if fenced or not (anywhere or begins_line or (end and _SENTENCE_ENDS.search(before))):
            kept, place = kept + text[place : opens.end()], opens.end()
            continue
        kept += text[place : opens.start()]
        place = len(text) if end is None else opens.start() + end
        thoughts.append(_CLOSES.sub("", _OPENS.sub("", text[opens.start() : place])).strip())
    return re.sub(r" {2,}", " ", kept + text[place:]) if thoughts else text, thoughts


def _end_of_thought(text: str) -> int | None:
    """Where the block ends that `text` begins with, or that began before it; None if there is none."""
    begins = _OPENS.match(text.lstrip())
    place = len(text) - len(text.lstrip()) + begins.end() if begins else 0
    depth = 1
    if not begins and (end := _CLOSES.search(text)) and re.match(r"[^\S\n]+[a-z]", text[end.end() :]):
        return None  # the sentence goes on in its line: somebody talks about the tag
    while closes := _CLOSES.search(text, place):
        opens = _OPENS.search(text, place, closes.start())
        if opens and not begins:
            return None  # words, then a block: no thought that began in the prompt
        depth += -1 if opens is None else 1
        place = closes.end() if opens is None else opens.end()
        if depth == 0:
            return place
    return None


def _harmony(text: str) -> Spoken:
    finals = list(_HARMONY_FINAL.finditer(text))
    if not finals:
        # channels without a last one: a thought, or a call, that was cut
        return Spoken("", _HARMONY.sub("\n", text).strip(), unclear=True)
    before, words = text[: finals[-1].start()], text[finals[-1].end() :]
    words = re.split(r"<\|(?:end|return)\|>", words, maxsplit=1)
    return Spoken(
        words[0].strip(), _HARMONY.sub("\n", before).strip(), unclear=bool(words[1:] and words[1].strip())
    )
