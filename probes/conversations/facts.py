"""Choosing conversations by their facts: `topic!=smoking`, `turns=2..5`, `booking:iteration=0,3`.

A condition is `[DATA SET:]FACT=VALUES` or `[DATA SET:]FACT!=VALUES`. Values are separated by commas; `2..5`,
`2..` and `..5` are ranges of numbers, both ends included. Conditions on one fact with `=` add up (any of
their values will do), as do those with `!=` (none of their values may be there); all facts must fit.
"""

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BeforeValidator

from scenarios.mistakes import UserMistake

MOST_SHOWN = 8
"""Values of a fact that an error lists."""

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})?\.\.({_NUMBER})?")
_CONDITION = re.compile(r"(?:(?P<dataset>[\w][\w.-]*):)?(?P<fact>[^=!]+)(?P<sign>!?=)(?P<values>.*)")


class FactError(UserMistake):
    """A condition that cannot be read, or that fits nothing there is."""


class Condition(NamedTuple):
    """What rows of a data set are chosen by."""

    dataset: str | None
    """Its name; None: of all data sets."""

    fact: str
    negated: bool
    values: tuple[str, ...]

    def __str__(self) -> str:
        dataset = "" if self.dataset is None else f"{self.dataset}:"
        return f"{dataset}{self.fact}{'!=' if self.negated else '='}{','.join(self.values)}"

    def concerns(self, dataset: str) -> bool:
        """Whether it says something about this data set."""
        return self.dataset in (None, dataset)


def read_conditions(texts: Iterable[str]) -> list[Condition]:
    """Conditions as they are written.

    Raises:
        FactError: One that is not `FACT=VALUES` or `FACT!=VALUES`, or a range whose ends are the wrong way
            round.
    """
    return [_condition(text) for text in texts]


def read_part(text: str, where: str) -> list[Condition]:
    """Conditions in one text, as behind the name of a data set: `iteration=0,3,topic!=smoking`.

    Raises:
        FactError: As `read_conditions`; `where` is named.
    """
    pieces: list[str] = []
    for piece in text.split(",") if text else []:
        if "=" in piece:
            pieces.append(piece)
        elif pieces:
            pieces[-1] += f",{piece}"
        else:
            raise FactError(f"{where}: a part is chosen by fact=value, got {piece!r}")
    return read_conditions(pieces)


def fitting(facts: Sequence[Mapping[str, str]], conditions: Sequence[Condition]) -> list[bool]:
    """Of each row whether it fits all conditions, whichever data set they name.

    A row without a fact fits no `=` of it, and every `!=`.
    """
    wanted: dict[str, list[str]] = {}
    unwanted: dict[str, list[str]] = {}
    for condition in conditions:
        (unwanted if condition.negated else wanted).setdefault(condition.fact, []).extend(condition.values)
    return [
        all(_is_any(own.get(fact), values) for fact, values in wanted.items())
        and not any(_is_any(own.get(fact), values) for fact, values in unwanted.items())
        for own in facts
    ]


def check_conditions(
    conditions: Sequence[Condition], facts_of: Mapping[str, Sequence[Mapping[str, str]]]
) -> None:
    """Refuse conditions that say nothing of the data sets they are about: mostly slips of the pen.

    Args:
        conditions: Of all data sets.
        facts_of: Name of a data set -> facts of its rows.

    Raises:
        FactError: A data set, fact or value that is nowhere; names what there is.
    """
    for condition in conditions:
        if condition.dataset is not None and condition.dataset not in facts_of:
            raise FactError(
                f"{condition}: no data set {condition.dataset!r}; there are {', '.join(facts_of)}"
            )
        rows = [own for name, of in facts_of.items() if condition.concerns(name) for own in of]
        there = sorted({own[condition.fact] for own in rows if condition.fact in own}, key=_natural)
        if not there:
            known = sorted({fact for own in rows for fact in own})
            raise FactError(
                f"{condition}: no row has a fact {condition.fact!r}; {_nearest(condition.fact, known)}"
            )
        for value in condition.values:
            if not any(_is(own, value) for own in there):
                raise FactError(
                    f"{condition}: no row has {condition.fact}={value}; {values_told(condition.fact, there)}"
                )


def values_told(fact: str, values: Sequence[str]) -> str:
    """`there are split=test|train`, at most eight of them."""
    more = f" and {len(values) - MOST_SHOWN} more" if len(values) > MOST_SHOWN else ""
    return f"there are {fact}={'|'.join(values[:MOST_SHOWN])}{more}"


def _condition(text: str) -> Condition:
    parts = _CONDITION.fullmatch(text)
    if parts is None:
        raise FactError(
            f"{text!r}: expected FACT=VALUE or FACT!=VALUE, e.g. iteration=0,1 topic!=smoking turns=2..5"
        )
    values = tuple(value.strip() for value in parts["values"].split(","))
    for value in values:
        if (ends := _ends(value)) is not None and not ends[0] <= ends[1]:
            raise FactError(f"{text!r}: the range {value} ends before it begins")
    return Condition(parts["dataset"], parts["fact"].strip(), parts["sign"] == "!=", values)


def _ends(value: str) -> tuple[float, float] | None:
    """Of a range; None if it is a plain value."""
    parts = _RANGE.fullmatch(value)
    if parts is None or value == "..":
        return None
    low, high = parts.groups()
    return (-math.inf if low is None else float(low), math.inf if high is None else float(high))


def _is_any(own: str | None, values: Sequence[str]) -> bool:
    return own is not None and any(_is(own, value) for value in values)


def _is(own: str, value: str) -> bool:
    """Whether a fact has a value; numbers are equal however they are written."""
    if own == value:
        return True
    ends, number = _ends(value), _as_number(own)
    if ends is not None:
        return number is not None and ends[0] <= number <= ends[1]
    return number is not None and number == _as_number(value)


def _as_number(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return None if math.isnan(found) else found


def _natural(value: str) -> tuple[bool, float, str]:
    """Numbers by size, before texts."""
    number = _as_number(value)
    return (number is None, 0.0 if number is None else number, value)


def _nearest(name: str, known: Sequence[str]) -> str:
    if close := difflib.get_close_matches(name, known, n=1):
        return f"did you mean {close[0]!r}?"
    return (
        f"there are {', '.join(known)}"
        if known
        else "they have none; name some with --facts when you capture"
    )


def _texts(given: Any) -> Any:
    """A mapping of a YAML file, `{iteration: [0, 1]}`, is `iteration=0,1`."""
    if isinstance(given, Mapping):
        return [
            f"{fact}={','.join(map(_plain, value)) if isinstance(value, list) else _plain(value)}"
            for fact, value in given.items()
        ]
    return [given] if isinstance(given, str) else given


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _readable(texts: list[str]) -> list[str]:
    read_conditions(texts)
    return texts


Conditions = Annotated[list[str], BeforeValidator(_texts), AfterValidator(_readable)]
"""A setting: conditions as they are written, or a mapping fact -> value or values."""
