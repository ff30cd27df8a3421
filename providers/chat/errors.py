"""What can be wrong with a model's options, with a chat template, or with what it is given."""

from importlib import import_module
from typing import Any

from rich.markup import escape


def _printed_alone() -> Any:
    """The class of errors that `inspect eval` prints without a traceback; private, so it may be gone."""
    try:
        return import_module("inspect_ai._util.error").PrerequisiteError
    except (ImportError, AttributeError):
        return Exception


_PrintedAlone: Any = _printed_alone()


class ModelOptionError(_PrintedAlone, ValueError):
    """An option of a model that does not exist or cannot have that value. One line, with the remedy."""

    def __init__(self, text: str = "") -> None:
        Exception.__init__(self, text)
        self.message = escape(text)
        """For Inspect, which prints it with rich."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class ChatTemplateError(ModelOptionError):
    """The chat template is missing, refuses what it is given, or writes what cannot be read back."""


class NotTextError(ValueError):
    """A message holds something that a chat template cannot be given as text."""
