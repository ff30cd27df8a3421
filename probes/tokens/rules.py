"""Which tokens of a conversation are kept: all, those of some roles, from a message on, of the last turns."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from probes.tokens.roles import ROLES


class TokenRule(NamedTuple):
    """A choice of tokens. Its canonical text is part of the store's key.

    `all` takes every token that the model sees, BOS, headers and tools included. Every other rule takes
    tokens that belong to messages, and rules together take what all of them take:

    - `user`, `assistant,tool`: messages of these roles;
    - `from=3`: message number 3 and later ones, counted from 0, the system message included;
    - `last=2`: the last two turns. A turn begins where the user speaks after somebody else and goes on until
      that happens again, so the system message is in none. A conversation without user messages is one turn.
    """

    roles: tuple[str, ...] = ()
    start: int | None = None
    last: int | None = None

    @classmethod
    def parse(cls, text: str) -> "TokenRule":
        """A rule from its text, parts in any order.

        Raises:
            ValueError: A part that is not known, twice there, or not a usable number.
        """
        parts = [part.strip() for part in text.split(",")]
        if parts == ["all"]:
            return cls()
        names = [part.partition("=")[0] for part in parts]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"token rule {text!r}: {', '.join(twice)} is there twice")
        numbers: dict[str, int] = {}
        for part, name in zip(parts, names, strict=True):
            if name in ("from", "last"):
                numbers[name] = _token_count(text, part)
            elif part not in ROLES[1:]:
                raise ValueError(
                    f"token rule {text!r}: {part!r} is neither all (alone), {', '.join(ROLES[1:])}, "
                    "from=<message, from 0> nor last=<turns>"
                )
        roles = tuple(role for role in ROLES if role in parts)
        return cls(roles, numbers.get("from"), numbers.get("last"))

    def __str__(self) -> str:
        parts = list(self.roles)
        parts += [] if self.start is None else [f"from={self.start}"]
        parts += [] if self.last is None else [f"last={self.last}"]
        return ",".join(parts) or "all"

    def select(self, message: np.ndarray, roles: Sequence[str]) -> np.ndarray:
        """Positions of the tokens that are kept.

        Args:
            message: [tokens], number of each token's message, -1 for none.
            roles: Role of every message of the conversation.

        Returns:
            [kept], int64, ascending; none if nothing is left.
        """
        if self == TokenRule():
            return np.arange(len(message))
        begins = max(self.start or 0, self._first_of_last(roles))
        wanted = np.array(
            [i >= begins and (not self.roles or role in self.roles) for i, role in enumerate(roles)] + [False]
        )
        return np.flatnonzero(wanted[message])

    def _first_of_last(self, roles: Sequence[str]) -> int:
        if self.last is None:
            return 0
        turns = [i for i, role in enumerate(roles) if role == "user" and (i == 0 or roles[i - 1] != "user")]
        if turns:
            return turns[-min(self.last, len(turns))]
        return next((i for i, role in enumerate(roles) if role != "system"), len(roles))


def _token_count(text: str, part: str) -> int:
    name, _, value = part.partition("=")
    if not value.isdecimal() or (name == "last" and int(value) == 0):
        least = "1" if name == "last" else "0"
        raise ValueError(f"token rule {text!r}: {name} takes a whole number from {least} on, got {value!r}")
    return int(value)
