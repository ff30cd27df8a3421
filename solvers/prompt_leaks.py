"""A simulated user that gives its prompt away: says it word for word, or names it as where its words come from."""

import re
from collections.abc import Sequence
from functools import lru_cache

from solvers.stage_talk import without_quotes

LEAK_WORDS = 8
"""A run of this many words of the prompt, verbatim, counts as a leak."""

DIRECTION_WORDS = 5
"""A shorter run counts if it speaks of the person as a prompt does: as "you" or "this person"."""

TOLD_WORDS = 3
"""A still shorter one, where the message says that it was told."""

_CONTENT = re.compile(
    r"\"[^\"\n]*\"|“[^”\n]*”"  # what the person is given to say in their own words
    r"|\b(?:think|thinks|believe|believes|know|hear|check) that [^.,;\n]+|\bwhether [^.,;\n]+"  # what they think,
    r"|\bto [a-z]+ [^.,;\n]+?(?= and (?:who|you|they|that)\b|[.,;\n]|\Z)"  # do or want, not how to play it
)
_DIRECTING = frozenset("you your yourself who person person's they them their theirs notes instructions".split())

_SOURCE = (
    r"(?:(?:my|the|these|this|your|its) (?:system |user |developer )?(?:instructions?|prompt|persona|notes?|profile|brief|script|role description|description|character sheet)"
    r"|(?:my|the) system prompt|(?:the )?(?:app|agency|assistant)['’]s notes|it says here)"
)
_TELLS_ME = re.compile(
    rf"\b{_SOURCE}(?: \w+){{0,2}}? (?:says?|tells?|states?|describes?|requires?|wants?|forbids?|asks?|that i|i)\b"
    rf"|\b(?:according to|as|per) {_SOURCE}"
    r"|\bi(?: am|['’]m| was| have been|['’]ve been|['’]m being) (?:only |just )?(?:told|instructed|prompted|programmed|scripted|supposed|meant|given|not allowed|not supposed|written)\b"
    r"|\bi (?:may|must|can(?:not|['’]t)) (?:not |never )?(?:mention|reveal|say out loud)\b|\bi should\b",
    re.IGNORECASE,
)
_GIVEN_A_PART = re.compile(
    r"\b(?:i was|i am|i['’]m|i have been|i['’]ve been) (?:given|assigned|playing|cast)(?: in)? (?:the |a |an |this )?(?:role|part|persona|character)\b"
    r"|\bhow i (?:was|am) (?:written|prompted|programmed)\b"
    r"|\b(?:mention|reveal|break) (?:the note|the notes|these instructions|my instructions|character)\b"
    r"|\b(?:my|this) (?:persona|character|role) (?:is|wants|says|feels|would|has)\b",
    re.IGNORECASE,
)


def leaks(text: str, persona: str, said: Sequence[str]) -> bool:
    """Whether a message gives its prompt away.

    Args:
        text: The message.
        persona: The prompt.
        said: What was said before, by either side: to say it again leaks nothing.
    """
    own = without_quotes(text)
    if _GIVEN_A_PART.search(own):
        return True
    directions = _CONTENT.sub(" | ", persona)
    known = frozenset[tuple[str, ...]]().union(*(runs(s, DIRECTION_WORDS) for s in said))
    if _shared(own, directions, LEAK_WORDS, known):
        return True
    if any(_DIRECTING & set(run) for run in _shared(own, directions, DIRECTION_WORDS, known)):
        return True
    return any(_names_its_source(sentence, persona, directions) for sentence in re.split(r"(?<=[.!?])\s+|\n", own))


def _names_its_source(sentence: str, persona: str, directions: str) -> bool:
    """Whether a sentence says that it was told something, and that is in the prompt."""
    found = _TELLS_ME.search(sentence)
    if found is None:
        return False
    rest = sentence[found.end() :]
    by_name = re.search(r"prompt|persona|instruct|programmed|scripted|notes|description|says here", found.group(0), re.I)
    if by_name and _shared(sentence, persona, TOLD_WORDS, frozenset()):
        return True
    if _shared(sentence, directions, DIRECTION_WORDS, frozenset()):
        return True
    return bool(by_name) and bool(_telling_words(rest) & _telling_words(persona))


def runs(text: str, length: int) -> frozenset[tuple[str, ...]]:
    """Every run of `length` words, lower case, without punctuation and the third person's s."""
    return _runs(text, length)


@lru_cache(maxsize=2048)
def _runs(text: str, length: int) -> frozenset[tuple[str, ...]]:
    found = list[tuple[str, ...]]()
    for part in text.split("|"):
        words = [_stem(w) for w in re.findall(r"[\w']+", part.lower().replace("’", "'"))]
        found += [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]
    return frozenset(found)


def _stem(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "'s")) else word


def _shared(
    text: str, persona: str, length: int, known: frozenset[tuple[str, ...]]
) -> list[tuple[str, ...]]:
    shared = runs(text, length) & runs(persona, length)
    return [r for r in shared if not _holds(r, known)]


def _holds(run: tuple[str, ...], known: frozenset[tuple[str, ...]]) -> bool:
    size = DIRECTION_WORDS
    return len(run) >= size and any(run[i : i + size] in known for i in range(len(run) - size + 1))


def _telling_words(text: str) -> set[str]:
    return {_stem(w) for w in re.findall(r"[^\W\d_]{5,}", text.lower())} - _COMMON


_COMMON = frozenset("about after again always because before being could every first going might never other should something their there these thing think those until where which while would write person message".split())
