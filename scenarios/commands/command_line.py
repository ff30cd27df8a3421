"""One typed settings object per command: from a YAML file, with command-line overrides."""

import argparse
import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeVar, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from scenarios.files.located_yaml import Located, ScenarioError, read_yaml, validated

Settings = TypeVar("Settings", bound=BaseModel)


LONGEST_SHOWN = 20
"""Characters of a value that an error repeats; longer ones may be anything."""


class _Several(argparse.Action):
    """Values of an option that takes several, given once: of two lists one would be lost."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        if hasattr(namespace, self.dest):
            parser.error(f"{option_string} is given twice; give all of its values after one {option_string}")
        setattr(namespace, self.dest, values)


class _Sources(NamedTuple):
    """A file's content with the command line's options laid over it; errors name the one they are from."""

    located: Located
    given: dict[str, Any]

    @property
    def data(self) -> dict[str, Any]:
        return self.located.data | self.given

    def error(self, location: Sequence[str | int], message: str) -> ScenarioError:
        name = str(location[0]) if location else ""
        if name in self.given:
            told = _shown(self.given[name])
            return ScenarioError(f"command line: {_flag(name)}{told}: {message}")
        if not location and any(re.search(rf"\b{option}\b", message) for option in self.given):
            return ScenarioError(f"command line: {message}")
        return self.located.error(location, message)


class _Parser(argparse.ArgumentParser):
    """Mistakes are `ScenarioError`s like those in files."""

    def error(self, message: str) -> NoReturn:
        raise ScenarioError(f"command line: {message}")


def read_settings(model: type[Settings], arguments: Sequence[str] | None, description: str) -> Settings:
    """Settings from `--config FILE` and, before it, from the command line.

    Every field of `model` is an option; its description is the help, its `title` the group it is shown in.
    A field whose type names a list takes several values, one that names a dict takes `key=value` pairs.
    `none` is no value where a field can do without.

    Raises:
        ScenarioError: An option that does not exist (names the nearest one) or cannot be used.
    """
    parser = _Parser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--config", type=Path, help="YAML file with any of the options below")
    groups: dict[str | None, Any] = {None: parser}
    for name, field in model.model_fields.items():
        if field.title not in groups:
            groups[field.title] = parser.add_argument_group(field.title)
        several = _names(field, list) or _names(field, dict)
        groups[field.title].add_argument(
            _flag(name),
            default=argparse.SUPPRESS,
            help=_help(field),
            **({"nargs": "+", "action": _Several} if several else {}),
        )
    known, unknown = parser.parse_known_args(arguments)
    if unknown:
        raise ScenarioError(f"command line: unknown option {unknown[0]}; {_nearest(model, unknown[0])}")
    given = vars(known)
    config = given.pop("config")
    located = Located(Path("command line"), {}, {}) if config is None else read_yaml(config)
    for name in located.data:
        if name not in model.model_fields:
            raise located.error((name,), f"unknown key; {_nearest(model, str(name))}")
    pairs = {name: _pairs(name, given[name]) for name in given if _names(model.model_fields[name], dict)}
    optional = {name for name, field in model.model_fields.items() if _names(field, type(None))}
    nothing = {name: None for name, value in given.items() if value == "none" and name in optional}
    sources: Any = _Sources(located, given | pairs | nothing)
    return validated(model, sources)


def _names(field: FieldInfo, wanted: type) -> bool:
    """True if `wanted` is, or is one of, the field's types."""
    parts = getattr(field.annotation, "__args__", ())
    return any(get_origin(part) is wanted or part is wanted for part in (field.annotation, *parts))


def _pairs(name: str, values: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for given in values:
        key, mark, value = given.partition("=")
        if not mark or not key:
            raise ScenarioError(f"command line: {_flag(name)} takes key=value, got {given!r}")
        if key in found:
            raise ScenarioError(f"command line: {_flag(name)}: {key} is given twice")
        found[key] = value
    return found


def _shown(value: Any) -> str:
    """A short value as it was given; nothing of several, whose message names the one that is wrong."""
    return f" {value}" if isinstance(value, str) and len(value) <= LONGEST_SHOWN else ""


def _help(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True, validated_data={})
    told = "" if field.is_required() or default in (None, {}, []) else f" (default {default})"
    return f"{field.description}{told}".replace("%", "%%")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _nearest(model: type[BaseModel], option: str) -> str:
    """The option that is meant: as a flag if `option` is one, as a key of the file otherwise."""
    form = _flag if option.startswith("-") else str
    names = [form(name) for name in ("config", *model.model_fields)]
    close = difflib.get_close_matches(option.split("=")[0], names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {' '.join(names)}"
