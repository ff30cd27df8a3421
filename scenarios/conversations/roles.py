"""Roles that models are cast as."""

import difflib
from collections.abc import Iterable
from typing import Literal, get_args

Role = Literal["user", "preference", "transition", "influence", "veto"]

JUDGES: tuple[Role, ...] = ("preference", "transition", "influence", "veto")
"""Roles for which the model role `judge` may stand in."""

ROLES = (*get_args(Role), "judge")
"""All names that models may be cast as."""


def misspelled_role(names: Iterable[str], *, all_known: bool = False) -> str | None:
    """What is wrong with names under which models were cast, and the nearest right one; None if nothing.

    Args:
        names: Of model roles.
        all_known: Every name must be one of ours. Otherwise other tasks and scorers may have theirs.
    """
    for name in names:
        if name in ROLES:
            continue
        near = difflib.get_close_matches(name.lower(), ROLES, n=1, cutoff=0.7)
        if near:
            return f"{name}: no such role; did you mean {near[0]!r}?"
        if all_known:
            return f"{name}: no such role; there are {', '.join(ROLES)}"
    return None
