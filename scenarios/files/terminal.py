"""Words of others on a terminal: names in a log may hold codes that move the cursor or hide what is there."""

import unicodedata

KEPT = frozenset("\t")

HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories of what steers and is not seen: control codes, direction marks, ends of lines."""

JOINERS = frozenset("\u200c\u200d")
"""Parts of words in Persian, Hindi and others, and of emoji."""


def without_controls(text: str) -> str:
    """One line in which codes that steer a terminal stand as text: the escape code as `\\x1b`."""
    return "".join(_shown(character) if _steers(character) else character for character in text)


def _steers(character: str) -> bool:
    if character.isascii():
        return not character.isprintable() and character not in KEPT
    return unicodedata.category(character) in HIDDEN and character not in JOINERS


def _shown(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
