"""The one kind of error that is the user's to mend: told in one line, without a traceback."""

from importlib import import_module
from typing import Any, ClassVar

from rich import get_console
from rich.markup import escape


def _printed_alone() -> Any:
    """The class of errors that `inspect eval` and `inspect score` print without a traceback.

    Its name is private: should it be gone, they show a traceback above the same last line.
    """
    try:
        return import_module("inspect_ai._util.error").PrerequisiteError
    except (ImportError, AttributeError):
        return type("PrintedAlone", (Exception,), {})


_PrintedAlone: Any = _printed_alone()


class UserMistake(_PrintedAlone, ValueError):
    """Something wrong with what the user gave: a file, an option, a name.

    The text is one line that says what is wrong, where (file, line or row, field), and what to do. A command
    prints it and ends with status 1; `inspect eval` and `inspect score` print it without a traceback.
    """

    several: ClassVar[bool] = False
    """The text is several mistakes, one a line."""

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
