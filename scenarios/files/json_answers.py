"""JSON that models write: alone, in a code fence, or in the middle of prose."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_BEGINS = re.compile(r"[\[{]")


def json_values(text: str) -> Iterator[Any]:
    """Whole JSON objects and lists in `text`, from left to right, the outermost that can be read.

    Line breaks within texts are allowed, as models write them.
    """
    decoder = json.JSONDecoder(strict=False)
    at = 0
    while start := _BEGINS.search(text, at):
        try:
            value, at = decoder.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            at = start.end()
            continue
        yield value


def last_object(text: str, keys: set[str]) -> Mapping[str, Any] | None:
    """The last JSON object that has one of `keys`: a model that corrects itself means its last answer."""
    found = [v for v in json_values(text) if isinstance(v, Mapping) and keys & v.keys()]
    return found[-1] if found else None
