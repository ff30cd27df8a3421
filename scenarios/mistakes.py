"""The one kind of error that is the user's to mend: told in one line, without a traceback."""

import sys
from functools import cache
from importlib import import_module
from typing import Any, ClassVar, Self

from rich import get_console
from rich.markup import escape

INSPECT = "inspect_ai"


class UserMistake(ValueError):
    """Something wrong with what the user gave: a file, an option, a name.

    The text is one line that says what is wrong, where (file, line or row, field), and what to do. A command
    prints it and ends with status 1; `inspect eval` and `inspect score` print it without a traceback.
    """

    several: ClassVar[bool] = False
    """The text is several mistakes, one a line."""

    def __new__(cls, *args: object) -> Self:
        """A mistake that Inspect knows for one, if Inspect is there: it can only be in what it has called."""
        kind = _printed_alone(cls) if INSPECT in sys.modules else cls
        made: Any = (OSError if issubclass(kind, OSError) else ValueError).__new__(kind, *args)
        return made

    def __init__(self, text: object = "") -> None:
        # not Inspect's: it would set `message`, which is made below
        Exception.__init__(self, text)

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""

    @property
    def message(self) -> Any:
        """The text for Inspect, which prints it with rich: `[x]` would be markup, long lines be broken."""
        console = get_console()
        if not console.is_terminal:
            console.soft_wrap = True
        return escape(str(self))


def printed_alone() -> tuple[type[Exception], ...]:
    """The errors that `inspect eval` and `inspect score` print without a traceback.

    Their name is private: should it be gone, mistakes are shown with a traceback above the same last line.
    """
    try:
        return (import_module(f"{INSPECT}._util.error").PrerequisiteError,)
    except (ImportError, AttributeError):
        return ()


@cache
def _printed_alone(kind: type[UserMistake]) -> Any:
    """The class as one of those errors."""
    if not (alone := printed_alone()) or issubclass(kind, alone):
        return kind
    named = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    return type(kind.__name__, (kind, *alone), named)
