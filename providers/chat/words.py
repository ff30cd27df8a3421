"""Words that spell control strings stay words.

A message may hold `<|im_end|>` or `</think>` as plain text: somebody wrote it, it ends nothing. A template
would cut at it and a tokenizer would read it as the token. Such a string is given to the template with `CUT`
after its first character; where `CUT` stands, the text is parted before it is tokenized, so that no control
token can come of it, and nothing else changes.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

CUT = "\ufdd0"
"""A code point that is no character and never will be one (Unicode 23.7), so no text holds it."""

THOUGHT_TAGS = re.compile(r"</?(?:think|thinking|thought|reasoning|seed:think|mm:think)(?:ing)?>|\[/?THINK\]")
"""Strings at which templates part a message into a thought and words, whatever the tokenizer knows of them.
"""


STEM = "zqMarkzq"
"""Of the marks by which messages are told apart in a rendered conversation (`spans.py`)."""

THOUGHT_IN_LINE = re.compile(
    rf"\A(?:(?:{STEM}\d+)?\s*<think>(?P<marked>.*?)</think>|(?P<open>[^<]*?)\n</think>(?=\s*\n))\s*(?P<words>.*)\Z",
    re.DOTALL,
)


def control_strings(tokenizer: Any) -> frozenset[str]:
    """Strings that the tokenizer reads as tokens of their own wherever they stand."""
    added = {token.content for token in tokenizer.added_tokens_decoder.values()}
    named = {str(token) for token in tokenizer.all_special_tokens}
    return frozenset(s for s in added | named if s.strip() and len(s) > 1)


def spelled_out(text: str, controls: frozenset[str]) -> str:
    """The text with `CUT` in every control string and thought tag in it."""
    if CUT in text:
        text = text.replace(CUT, "")
    if not _first_characters(controls).search(text):
        return text
    return _pattern(controls).sub(lambda found: found[0][0] + CUT + found[0][1:], text)


def without_thought_in_line(text: str) -> dict[str, str]:
    """A reply with its thought in the text, as data sets have them: `content` and `reasoning_content`.

    The thought stands in marks at the beginning, or its mark at the end has a line of its own (where a prompt
    opened it). Any other mark is a word.
    """
    found = THOUGHT_IN_LINE.match(text) if "</think>" in text else None
    if found is None:
        return {"content": text}
    return {"content": found["words"], "reasoning_content": (found["marked"] or found["open"] or "").strip()}


def spelled_out_in(value: Any, controls: frozenset[str]) -> Any:
    """The same for every text in a structure as JSON has them."""
    if isinstance(value, str):
        return spelled_out(value, controls)
    if isinstance(value, Mapping):
        return {spelled_out_in(key, controls): spelled_out_in(item, controls) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [spelled_out_in(item, controls) for item in value]
    return value


def shown(text: str) -> str:
    """The text without `CUT`, for people."""
    return text.replace(CUT, "")


def tokens_of_all(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of texts that a template wrote, special tokens included; nothing is added.

    One call of the tokenizer for all: many are slow.
    """
    pieces = [text.split(CUT) for text in texts]
    flat = [piece for row in pieces for piece in row]
    ids = iter(tokenizer(flat, add_special_tokens=False, verbose=False)["input_ids"] if flat else [])
    return [[token for _ in row for token in next(ids)] for row in pieces]


@lru_cache(maxsize=64)
def _first_characters(controls: frozenset[str]) -> re.Pattern[str]:
    """Most texts hold none of the characters with which control strings begin."""
    return re.compile(f"[{''.join(re.escape(c) for c in sorted({s[0] for s in controls} | set('<[')))}]")


@lru_cache(maxsize=64)
def _pattern(controls: frozenset[str]) -> re.Pattern[str]:
    return re.compile("|".join([*_longest_first(controls), THOUGHT_TAGS.pattern]))


def _longest_first(strings: Iterable[str]) -> list[str]:
    return [re.escape(s) for s in sorted(strings, key=lambda s: (-len(s), s))]
