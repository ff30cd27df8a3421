"""A simulated user that gives its prompt away: says it word for word, or names it as its source."""

import re
from collections.abc import Sequence
from functools import lru_cache

from solvers.third_person import kind, without_quotes

LEAK_WORDS = 8
"""A run of this many words of the prompt, verbatim, counts as a leak."""

DIRECTION_WORDS = 5
"""A shorter run counts if it speaks of the person as a prompt does: as "you" or "this person"."""

TOLD_WORDS = 3
"""A still shorter one, where the message says that it was told."""

_CONTENT = re.compile(
    r"\"[^\"\n]*\"|“[^”\n]*”"  # what the person is given to say in their own words
    r"|\b(?:think|thinks|believe|believes|know|hear|check) that [^.,;\n]+"  # what they think,
    r"|\bwhether [^.,;\n]+"  # what they waver about,
    r"|\bto [a-z]+ [^.,;\n]+?(?= and (?:who|you|they|that)\b|[.,;\n]|\Z)"  # and do or want
)
"""What a prompt gives the person to say: no direction for how to play them."""

_DIRECTING = frozenset(
    ("you", "your", "yourself", "who", "person", "person's", "they", "them", "their", "theirs", "notes")
)
"""Words by which a prompt speaks of the person."""

_SAYS = re.compile(
    r"(?: \w+){0,2}? (?:says?|tells?|states?|describes?|requires?|wants?|forbids?|asks?|that i|i)\b",
    re.IGNORECASE,
)
_BY = re.compile(r"\b(?:according to|as|per) \Z", re.IGNORECASE)


def leaks(text: str, persona: str, said: Sequence[str]) -> bool:
    """Whether a message gives its prompt away.

    Args:
        text: The message.
        persona: The prompt.
        said: What was said before, by either side: to say it again leaks nothing.
    """
    own = without_quotes(text)
    if kind("given").search(own):
        return True
    directions = _directions(persona)
    if any(not _holds(run, said) for run in _shared(own, directions, LEAK_WORDS)):
        return True
    for run in runs(_same_person(own), LEAK_WORDS):
        if _has(_same_person(directions), run) and not any(_has(_same_person(s), run) for s in said):
            return True
    shared = _shared(own, directions, DIRECTION_WORDS)
    if any(_DIRECTING & set(run) and not _holds(run, said) for run in shared):
        return True
    return any(
        _names_its_source(sentence, persona, directions) for sentence in re.split(r"(?<=[.!?])\s+|\n", own)
    )


# the same prompt and the same messages are looked at in every turn of the conversations that go on
@lru_cache(maxsize=256)
def _directions(persona: str) -> str:
    """A prompt without what it gives the person to say."""
    return _CONTENT.sub(" | ", persona)


@lru_cache(maxsize=1024)
def _same_person(text: str) -> str:
    """A text in which "I" and "you" and "they" are the same word: a prompt told in the first person."""
    text = re.sub(r"\b(?:I|me|you|they|them|this person)\b", "one", text, flags=re.IGNORECASE)
    return re.sub(r"\b(?:my|your|their)\b", "ones", text, flags=re.IGNORECASE)


def _names_its_source(sentence: str, persona: str, directions: str) -> bool:
    """Whether a sentence says that it was told something, and that is in the prompt."""
    source = _source(sentence) or kind("made").search(sentence)
    told = source or kind("told").search(sentence)
    if source and _shared(sentence, persona, TOLD_WORDS):
        return True
    obliged = told or re.search(r"\bi should\b", sentence, re.IGNORECASE)
    if obliged and _shared(sentence, directions, DIRECTION_WORDS):
        return True
    if told is None:
        return False
    shared = _telling_words(sentence[told.end() :]) & _telling_words(persona)
    return len(shared) > (0 if source else 1)


def _source(sentence: str) -> re.Match[str] | None:
    """A source that says something, or by which something is."""
    for found in kind("source").finditer(sentence):
        if _SAYS.match(sentence, found.end()) or _BY.search(sentence[: found.start()]):
            return found
    return None


@lru_cache(maxsize=256)
def runs(text: str, length: int) -> frozenset[tuple[str, ...]]:
    """Every run of `length` words of a message, lower case, without punctuation and the third person's s."""
    found = list[tuple[str, ...]]()
    for part in _plain(text).split("|"):
        words = part.split()
        found += [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]
    return frozenset(found)


# of a prompt the words are kept and not its runs: hundreds of them, which take fifty times the room
@lru_cache(maxsize=1024)
def _plain(text: str) -> str:
    """The words of a text as runs have them, a space on both sides of each; no run goes over a bar."""
    plain = text.lower().replace("’", "'")
    parts = (" ".join(map(_stem, re.findall(r"[\w']+", part))) for part in plain.split("|"))
    return f" {' | '.join(parts)} "


def _stem(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "'s")) else word


def _has(text: str, run: tuple[str, ...]) -> bool:
    return f" {' '.join(run)} " in _plain(text)


def _shared(text: str, persona: str, length: int) -> list[tuple[str, ...]]:
    return [run for run in runs(text, length) if _has(persona, run)]


def _holds(run: tuple[str, ...], said: Sequence[str]) -> bool:
    """Whether a part of a run, long enough to be a direction, was said before."""
    size = DIRECTION_WORDS
    parts = [run[i : i + size] for i in range(len(run) - size + 1)]
    return any(_has(text, part) for text in said for part in parts)


def _telling_words(text: str) -> set[str]:
    """Words of five letters and more that not every text has."""
    return {_stem(w) for w in re.findall(r"[^\W\d_]{5,}", text.lower())} - _COMMON


_COMMON = frozenset(
    re.findall(
        r"\w+",
        "about after again always because before being could every first going might never other should "
        "something their there these thing think those until where which while would write person message",
    )
)
