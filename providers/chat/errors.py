"""What can be wrong with a model's options, with a chat template, or with what it is given."""

from functools import cache
from importlib import import_module
from typing import Any, Self

from rich.markup import escape


class ModelOptionError(ValueError):
    """An option of a model that does not exist or cannot have that value. One line, with the remedy."""

    def __new__(cls, text: str = "") -> Self:
        """An error that Inspect prints so. Inspect loads when one is made: the trainer needs none of it."""
        return ValueError.__new__(_printed_alone(cls), text)

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


@cache
def _printed_alone(kind: type[ModelOptionError]) -> Any:
    """The class as one of the errors that `inspect eval` prints alone; the name of theirs is private."""
    try:
        alone = import_module("inspect_ai._util.error").PrerequisiteError
    except (ImportError, AttributeError):
        return kind
    return (
        kind
        if issubclass(kind, alone)
        else type(kind.__name__, (kind, alone), {"__module__": kind.__module__})
    )
