"""The parser of commands with arguments of their own: mistakes are one line that names the nearest option."""

import argparse
import difflib
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from scenarios.commands.usage import UsageMistake
from scenarios.files.whole import refuse_other_than_jsonl

_CHOICE = re.compile(r"invalid choice: '?(?P<given>.*?)'? \(choose from (?P<choices>.*)\)", re.DOTALL)


def jsonl_path(given: str) -> Path:
    """`type` of an option that names a file of JSON lines to write."""
    try:
        refuse_other_than_jsonl(Path(given))
    except ValueError as error:  # of a ValueError argparse tells only the name of the type
        raise argparse.ArgumentTypeError(str(error)) from None
    return Path(given)


class _GivenOnce(argparse.Action):
    """Stores the value of an option; of two values that are given one would be lost."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        given = parser.given_options if isinstance(parser, CommandParser) else set[str]()
        if option_string is not None and self.dest in given:
            several = self.nargs in ("+", "*")
            advice = f"all of its values after one {option_string}" if several else "it once"
            raise UsageMistake(f"command line: {option_string} is given twice; give {advice}")
        given.add(self.dest)
        setattr(namespace, self.dest, values)


class CommandParser(argparse.ArgumentParser):
    """`argparse.ArgumentParser`, with these differences.

    A mistake is a `UsageMistake`, not three lines and an exit. An option is never abbreviated, and one that
    takes a value is given once. An option that does not exist is told before one that is missing, which it
    may be, misspelled; the nearest name is told, of values that must be chosen as well.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(
            **{
                "formatter_class": argparse.RawDescriptionHelpFormatter,
                "allow_abbrev": False,
                **arguments,
            }
        )
        self.register("action", None, _GivenOnce)
        self.register("action", "store", _GivenOnce)
        self.given_options = set[str]()
        """Names under which values were stored, of the command line that is read just now."""
        self._arguments: list[str] = []

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """As argparse's.

        Raises:
            UsageMistake: An argument that does not exist, is missing or cannot be used.
        """
        given, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self._unknown(unknown[0])
        return given

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """As argparse's. Raises as `parse_args`."""
        self._arguments = list(sys.argv[1:] if args is None else args)
        self.given_options.clear()
        given, unknown = super().parse_known_args(self._arguments, namespace)
        # of a subcommand, whose own options are the ones that may be meant
        if options := [u for u in unknown if u.startswith("-")]:
            self._unknown(options[0])
        return given, unknown

    def error(self, message: str) -> NoReturn:
        """Raise a mistake that argparse found."""
        if message.startswith("the following arguments are required"):
            for argument in self._arguments:
                if argument == "--":
                    break
                if argument.startswith("--") and argument.partition("=")[0] not in self._options:
                    self._unknown(argument)
        if choice := _CHOICE.search(message):
            names = re.findall(r"[^\s,']+", choice["choices"])
            message = message[: choice.start()] + f"{choice['given']!r} is none of {', '.join(names)}"
            if near := nearest(choice["given"], names):
                message += f"; did you mean {near!r}?"
        message = " ".join(message.removeprefix("argument ").split())
        advice = "" if "; " in message else "; --help lists what there is"
        raise UsageMistake(f"command line: {message}{advice}")

    @property
    def _options(self) -> list[str]:
        return [name for action in self._actions for name in action.option_strings]

    def _unknown(self, argument: str) -> NoReturn:
        name = argument.partition("=")[0]
        if not name.startswith("-"):
            raise UsageMistake(
                f"command line: one argument too many, {argument!r}; --help lists what there is"
            )
        options = [option for option in self._options if option not in ("-h", "--help")]
        near = nearest(name, options)
        advice = f"did you mean {near!r}?" if near else f"there are {' '.join(options) or 'none'}"
        raise UsageMistake(f"command line: unknown option {name}; {advice}")


def nearest(name: str, names: Sequence[str]) -> str | None:
    """The name that is most likely meant; None if none is near."""
    close = difflib.get_close_matches(name, names, n=1)
    return close[0] if close else None
