"""Whether a message is in another language than the conversation: by its letters, then by its small words.

A language identifier would do more, and is wrong on short messages; these two signs are enough to find a
model that slipped into another language, and say nothing where there is little to go by.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path

import yaml

LEAST_LETTERS = 4
"""Letters of a foreign script from which on it counts."""

RARE = 0.02
"""A script with less than this share of the conversation's letters is foreign to it."""

LEAST_WORDS = 4
"""Small words of another language from which on it counts."""

_WORDS = Path(__file__).parent / "small_words.yaml"


@cache
def _small_words() -> dict[str, frozenset[str]]:
    """Language (ISO 639-1) -> its small words."""
    found = yaml.safe_load(_WORDS.read_text(encoding="utf-8"))
    return {language: frozenset(words.split()) for language, words in found.items()}


def other_language(text: str, conversation: Sequence[str]) -> bool:
    """Whether `text` is in a language that nobody in the conversation has used.

    Args:
        text: The message.
        conversation: What was said before it, by either side. Without words nothing can be told.
    """
    scripts, known = _scripts(text), sum(map(_scripts, conversation), Counter[str]())
    if known.total() < LEAST_LETTERS:
        return False
    foreign = sum(n for script, n in scripts.items() if known[script] < RARE * known.total())
    if foreign >= LEAST_LETTERS and 2 * foreign >= scripts.total():
        return True
    found = _language(text, LEAST_WORDS)
    spoken = {_language(said, LEAST_WORDS - 1) for said in conversation} - {None}
    return found is not None and bool(spoken) and found not in spoken


@lru_cache(maxsize=256)
def _language(text: str, least: int) -> str | None:
    """The language whose small words the text has clearly more of than any other's, and at least so many."""
    words = _words(text)
    counts = Counter({name: sum(w in small for w in words) for name, small in _small_words().items()})
    (first, most), (_, second) = counts.most_common(2)
    return first if most >= least and most >= 0.2 * len(words) and most > 1.3 * second else None


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)?", text.lower().replace("’", "'"))


@lru_cache(maxsize=256)
def _scripts(text: str) -> Counter[str]:
    """Script -> letters of it, not to be changed. Chinese and Japanese signs are one script here."""
    found: Counter[str] = Counter()
    for letter in text:
        if letter.isalpha():
            script = unicodedata.name(letter, "? ").split()[0]
            found["CJK" if script in ("HIRAGANA", "KATAKANA") else script] += 1
    return found
