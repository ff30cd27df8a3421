"""Who rated conversations, what they were asked, and which of them can be compared."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from pydantic import BaseModel, Field

from scenarios.schema import Scale

HUMAN = "human"
"""First part of the names of people's scores: `human/<construct>/<rater>`."""

Unit = tuple[str | int, ...]
"""What a conversation is known by in all copies of its log, see `analysis.logs.copies.conversation_key`."""


class RatingsError(ValueError):
    """Ratings that cannot be compared. The message says which, and what to do."""


class Asked(NamedTuple):
    """What a rater answered; raters with the same are compared when none is named."""

    what: str
    """Name of the scorer or of the construct."""

    scale: Scale | None
    form: str = ""
    """Name of the question; or the options of the scorer that change it, where the score does not say."""

    over: str | None = None
    """How turns became one number. None for people, who are compared with either."""


class Rater(BaseModel):
    """One judge or person, with all their ratings."""

    name: str
    """Of the score; `score.key` for one number of several; `...@model` for one of several judges in it. With
    what was asked of whom in brackets, where the log calls two raters by one name."""

    log: str
    """The logs with these ratings."""

    asked: Asked
    human: bool = False
    epoch: int | None = None
    """The epoch of these ratings, where epochs are compared; None: of all."""

    whole: bool = True
    """False if the number is the mean of several judges who are also here by themselves."""

    models: list[str] = Field(default_factory=list)
    """Models that judged (for people, their name); empty if the log does not say."""

    values: dict[Unit, float] = Field(default_factory=dict)
    """NaN if unscored; conversations without this score are not there."""


class Judged(BaseModel):
    """Raters over the same conversations."""

    title: str
    units: dict[Unit, str]
    """Conversation -> its initial state."""

    raters: list[Rater]
    notes: list[str] = Field(default_factory=list)
    """What was left out, and which logs are not whole."""


def named(raters: Sequence[Rater], names: Sequence[str]) -> list[Rater]:
    """The raters of these names, in all logs; `human/anna` finds `human/<construct>/anna`.

    Raises:
        RatingsError: There is none of a name, several constructs fit it, or only one rater is left.
    """
    found: list[Rater] = []
    for name in names:
        fits = [r for r in raters if r.name == name] or [r for r in raters if _is_person(r, name)]
        if not fits:
            there = ", ".join(dict.fromkeys(r.name for r in raters))
            raise RatingsError(f"no score {name!r}; there are {there}")
        if len({r.name for r in fits}) > 1:
            raise RatingsError(f"{name!r} may be any of {', '.join(r.name for r in fits)}; write it out")
        found += [r for r in fits if r not in found]
    if len(found) < 2:
        raise RatingsError(f"{', '.join(names)}: agreement needs two raters or more")
    return found


def _is_person(rater: Rater, name: str) -> bool:
    parts = rater.name.split("/")
    return rater.human and name == f"{HUMAN}/{parts[-1]}"


def comparable(raters: Sequence[Rater]) -> list[list[Rater]]:
    """Every set of raters that were asked the same: of each, those who share conversations with another.

    People join the judges of their construct.
    """
    sets: dict[Asked, list[Rater]] = {}
    for rater in raters:
        if rater.whole and not rater.human:
            sets.setdefault(rater.asked, []).append(rater)
    for rater in raters:
        if rater.human:
            fits = [s for s in sets if (s.what, s.scale) == (rater.asked.what, rater.asked.scale)]
            for asked in fits or [rater.asked]:
                sets.setdefault(asked, []).append(rater)
    groups = [_with_shared_conversations(group) for group in sets.values()]
    return [group for group in groups if group]


def asked_again(raters: Sequence[Rater]) -> list[list[Rater]]:
    """Of every judge the epochs, which are raters of their own here."""
    sets: dict[tuple[str, Asked, tuple[str, ...]], list[Rater]] = {}
    for rater in raters:
        if rater.whole and not rater.human:
            sets.setdefault((rater.log, rater.asked, tuple(rater.models)), []).append(rater)
    groups = [_with_shared_conversations(group) for group in sets.values()]
    return [group for group in groups if group]


def _with_shared_conversations(group: Sequence[Rater]) -> list[Rater]:
    counts = Counter(unit for rater in group for unit in rater.values)
    return [rater for rater in group if any(counts[unit] > 1 for unit in rater.values)]
