"""Numbers as people write them in sheets: `2.5`, and `2,5` where the comma is the decimal mark."""

import re

_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_COMMA = re.compile(r"[+-]?\d+,\d{1,2}", re.ASCII)
_EITHER = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d*)?", re.ASCII)


def number_in(text: str) -> float:
    """The number that a cell says.

    Raises:
        ValueError: It says none, or one of two: `1,000` is a thousand here and one there.
    """
    text = text.strip()
    if _NUMBER.fullmatch(text):
        return float(text)
    if _COMMA.fullmatch(text):
        return float(text.replace(",", "."))
    if _EITHER.fullmatch(text):
        raise ValueError(f"{text!r} may be a thousand or a decimal comma; write it without the comma")
    raise ValueError(f"{text!r} is not a number")
