"""What came of a check, and how a cell of the table tells of several."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

from providers.chat.errors import ChatTemplateError

Status = Literal["right", "left out", "refused", "WRONG"]
ORDER: tuple[Status, ...] = ("right", "left out", "refused", "WRONG")


TRUE = {
    "the template does not show tools": ("does not show the model its tools", "does not write calls"),
    "the template drops calls": ("does not write calls",),
    "a call begins with the token that ends a turn": ("writes calls in another turn",),
    "the template leaves out words": ("leaves out", "cannot write"),
    "the variable is no switch": ("has no switch",),
    "the template changes the order": ("mixes the words", "cannot write"),
}
"""Why a template cannot do something -> words by which a refusal says so; by default the template's own."""


class Outcome(NamedTuple):
    """Of one case."""

    case: str
    status: Status
    told: str = ""
    """Why, unless it is right."""

    plain: bool = True
    """Whether plain dialogue needs the case: words, no calls, no thoughts that the template cannot write."""


class Wrong(AssertionError):
    """What came out is not what the oracle says."""


class LeftOut(Exception):
    """Not done, and counted."""


def tried(case: str, check: Callable[[], None], *, excused: str | None = None, plain: bool = True) -> Outcome:
    """The outcome of a check.

    Args:
        case: Its name.
        check: Returns if all is right; raises `Wrong`, `LeftOut`, or the suite's refusal.
        excused: Why the template cannot do it, so that a refusal is true; None if it can.
        plain: See `Outcome`.
    """
    try:
        check()
    except LeftOut as reason:
        return Outcome(case, "left out", str(reason), plain)
    except Wrong as what:
        return Outcome(case, "WRONG", str(what), plain)
    except (ChatTemplateError, ValueError) as refusal:
        told = _short(str(refusal))
        if excused is None:
            return Outcome(case, "WRONG", f"refused without need: {told}", plain)
        if not any(words in told for words in TRUE.get(excused.partition(":")[0], (_short(excused)[-40:],))):
            return Outcome(case, "WRONG", f"refused for another reason than {excused}: {told}", plain)
        return Outcome(case, "refused", told, plain)
    return Outcome(case, "right", "", plain)


def same(found: object, expected: object, what: str) -> None:
    """Raises `Wrong` unless both are equal."""
    if found != expected:
        raise Wrong(f"{what}: {_difference(found, expected)}")


def one_of(found: object, expected: Sequence[object], what: str) -> None:
    """Raises `Wrong` unless it is one of these."""
    if found not in expected:
        raise Wrong(f"{what}: {_difference(found, expected[0])}")


def worst(outcomes: Iterable[Outcome]) -> Status:
    """Of several, the one that matters most."""
    found = {o.status for o in outcomes}
    ranked: list[Status] = [status for status in reversed(ORDER) if status in found]
    return ranked[0] if ranked else "right"


def _difference(found: object, expected: object) -> str:
    if not isinstance(found, str) or not isinstance(expected, str):
        return f"{found!r}, not {expected!r}"
    at = next(
        (i for i, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b),
        min(len(found), len(expected)),
    )
    start = max(0, at - 30)
    return f"{found[start : at + 70]!r}, not {expected[start : at + 70]!r}"


def _short(text: str) -> str:
    return " ".join(text.split())
