"""Names of environments, topics and initial states of the earlier system, as ours take them."""

import hashlib
import re

PLAIN = re.compile(r"[a-z][a-z0-9_-]*")
"""What our topics may be called."""

PLAIN_STATE = re.compile(r"\.*[A-Za-z0-9_-][A-Za-z0-9_.-]*")
"""What our initial states may be called."""


def slug(name: str) -> str:
    """`name` in small letters, with `-` for what is neither letter, digit nor `_`; several may become one."""
    return re.sub(r"[^a-z0-9_-]", "-", name.lower())


def identifier(name: str) -> str:
    """A topic's name for `name`, the same in every import, and another for every other name.

    A name that our topics may bear stays as it is. Of any other what can be kept is, and eight hexadecimal
    digits of its SHA-256 follow: `a b`, `a.b` and `A-b` would all be `a-b`.
    """
    if PLAIN.fullmatch(name):
        return name
    kept = slug(name).strip("-_")
    return f"{kept if PLAIN.fullmatch(kept) else f'n{kept}'}-{_digest(name)}"


def state_identifier(name: str) -> str:
    """As `identifier`, of an initial state's id, which may have capitals and dots."""
    if PLAIN_STATE.fullmatch(name):
        return name
    kept = re.sub(r"[^A-Za-z0-9_.-]", "-", name).strip("-.")
    return f"{kept}-{_digest(name)}".removeprefix("-")


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]
