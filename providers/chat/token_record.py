"""The tokens of a generation, kept in its log, so that what is trained on is what was generated.

`local/` writes them into `ModelOutput.metadata["tokens"]`, one record for each choice. Of a prompt that goes
on after an earlier generation only what is new is kept: a conversation's records grow with it, not with its
square.
"""

import base64
import zlib
from array import array
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from inspect_ai.event import ModelEvent

KEY = "tokens"
HELD = 4096
"""Generations that a provider remembers; the prompt of one that goes on after a forgotten one is kept whole.
"""


class Tokens(NamedTuple):
    """What went into a model and what came out."""

    prompt: list[int]
    written: list[int]
    """The token that ended the generation included."""


class TokenLog:
    """Makes the records of a provider's generations."""

    def __init__(self) -> None:
        self._whole: OrderedDict[str, array[int]] = OrderedDict()

    def record(
        self, message: str, prompt: Sequence[int], written: Sequence[int], earlier: Sequence[str]
    ) -> dict[str, Any]:
        """The record of one generation.

        Args:
            message: Id of the message that was generated.
            prompt: Token ids.
            written: Token ids.
            earlier: Ids of the assistant's messages in the prompt, in order.
        """
        after = next((name for name in reversed(earlier) if name in self._whole), None)
        kept = 0 if after is None else _shared(self._whole[after], prompt)
        self._remember(message, prompt, written)
        told: dict[str, Any] = {"written": packed(written), "prompt": packed(prompt[kept:])}
        return told if after is None else {**told, "after": after, "kept": kept}

    def _remember(self, message: str, prompt: Sequence[int], written: Sequence[int]) -> None:
        self._whole[message] = array("i", [*prompt, *written])
        while len(self._whole) > HELD:
            self._whole.popitem(last=False)


def tokens_of(events: Mapping[str, "ModelEvent"], message: str) -> Tokens | None:
    """The tokens of a generation; None if its log holds none.

    Args:
        events: Id of the message that was generated -> event, of one sample.
        message: Id of the message.
    """
    chain, name = list[Mapping[str, Any]](), message
    while True:
        record = _record(events.get(name), name)
        if record is None or len(chain) > len(events):
            return None
        chain.append(record)
        if "after" not in record:
            break
        name = record["after"]
    prompt, written = list[int](), list[int]()
    for record in reversed(chain):
        prompt = [*prompt, *written][: record.get("kept", 0)] + unpacked(record["prompt"])
        written = unpacked(record["written"])
    return Tokens(prompt, written)


def clock_of(event: "ModelEvent | None") -> str | None:
    """The day (ISO) that a generation's template was told; None if its log does not say."""
    told = (event.output.metadata or {}).get("clock") if event is not None else None
    return told if isinstance(told, str) else None


def packed(tokens: Sequence[int]) -> str:
    """Token ids as text: 32 bits each, deflated, in base 64."""
    return base64.b64encode(zlib.compress(array("i", tokens).tobytes(), 6)).decode("ascii")


def unpacked(text: str) -> list[int]:
    """Token ids from `packed`."""
    found = array("i")
    found.frombytes(zlib.decompress(base64.b64decode(text)))
    return found.tolist()


def _record(event: "ModelEvent | None", message: str) -> Mapping[str, Any] | None:
    records = (event.output.metadata or {}).get(KEY) if event is not None else None
    if event is None or not isinstance(records, list) or len(records) != len(event.output.choices):
        return None
    told = (r for r, c in zip(records, event.output.choices, strict=True) if c.message.id == message)
    return next(told, None)


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))
