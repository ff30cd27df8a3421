"""One typed settings object per command: from a YAML file, with command-line overrides."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from scenarios.commands.parsers import CommandParser, nearest
from scenarios.commands.usage import UsageMistake
from scenarios.files.located_yaml import Located, ScenarioError, read_yaml, validated

Settings = TypeVar("Settings", bound=BaseModel)


LONGEST_SHOWN = 20
"""Characters of a value that an error repeats; longer ones may be anything."""


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
            shown = _shown(self.given[name], location[1:])
            return ScenarioError(f"command line: {_flag(name)}{shown}: {message}")
        if message.startswith("Field required") and not self.located.data:
            return ScenarioError(
                f"command line: {_flag(name)} is missing{message.removeprefix('Field required')}"
            )
        of_options = any(re.search(rf"\b{option}\b", message) for option in self.given)
        if not location and (of_options or not self.located.data):
            return ScenarioError(f"command line: {message}")
        return self.located.error(location, message)


def read_settings(model: type[Settings], arguments: Sequence[str] | None, description: str) -> Settings:
    """Settings from `--config FILE` and, before it, from the command line.

    Every field of `model` is an option; its description is the help, its `title` the group it is shown in.
    A field whose type names a list takes several values, one that names a dict takes `key=value` pairs.
    `none` is no value where a field can do without.

    Raises:
        UsageMistake: An option that does not exist (names the nearest one) or cannot be used.
    """
    try:
        return _read_settings(model, arguments, description)
    except UsageMistake:
        raise
    except ScenarioError as error:
        raise UsageMistake(str(error)) from error


def _read_settings(model: type[Settings], arguments: Sequence[str] | None, description: str) -> Settings:
    parser = CommandParser(description=description)
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
            **({"nargs": "+"} if several else {}),
        )
    given = vars(parser.parse_args(arguments))
    config = given.pop("config")
    located = Located(Path("command line"), {}, {}) if config is None else read_yaml(config)
    for name in located.data:
        if name not in model.model_fields:
            near = nearest(str(name), names := ["config", *model.model_fields])
            advice = f"did you mean {near!r}?" if near else f"there are {' '.join(names)}"
            raise located.error((name,), f"unknown key; {advice}")
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


def _shown(value: Any, within: Sequence[str | int] = ()) -> str:
    """A short value as it was given; of several the one at the place `within` them, if it is told."""
    if isinstance(value, list):
        place = next((n for n in within if isinstance(n, int) and n < len(value)), None)
        value = None if place is None else value[place]
    return f" {value}" if isinstance(value, str) and len(value) <= LONGEST_SHOWN else ""


def _help(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True, validated_data={})
    told = "" if field.is_required() or default in (None, {}, []) else f" (default {default})"
    return f"{field.description}{told}".replace("%", "%%")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
