"""YAML that remembers its lines, and pydantic errors that name file, line and field."""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from scenarios.mistakes import UserMistake

Model = TypeVar("Model", bound=BaseModel)
Location = tuple[str | int, ...]


class ScenarioError(UserMistake):
    """A scenario file that cannot be used: what, where, and what to do."""


_Fastest: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Fastest):
    """YAML 1.2 booleans: `yes`, `no`, `on` and `off` are words here, as they are answers of judges."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool" or first in "tTfF"
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class Located(NamedTuple):
    """A file's content, and the line (1-based) of every key and item."""

    path: Path
    data: Any
    lines: dict[Location, int]

    def line(self, location: Sequence[str | int]) -> int:
        """Line of `location`, or of the nearest thing around it."""
        parts = tuple(location)
        while parts and parts not in self.lines:
            parts = parts[:-1]
        return self.lines.get(parts, 1)

    def error(self, location: Sequence[str | int], message: str) -> ScenarioError:
        """The error to raise for something wrong at `location`."""
        field = ".".join(map(str, location))
        return ScenarioError(f"{self.path}:{self.line(location)}: {field + ': ' if field else ''}{message}")


def read_yaml(path: Path) -> Located:
    """Read one YAML mapping.

    Raises:
        ScenarioError: The file is missing, is not YAML, repeats a key, or is not a mapping.
    """
    return _parsed(path, _text(path))


def read_front_matter(path: Path) -> tuple[Located, str]:
    """Read the YAML mapping between the `---` lines at the head of a markdown file, and the text after it.

    Raises:
        ScenarioError: As `read_yaml`, or there is no such head.
    """
    parts = _text(path).split("---\n", 2)
    if len(parts) < 3 or parts[0].strip():
        raise ScenarioError(f"{path}:1: expected YAML between two lines of ---, then the text")
    return _parsed(path, "\n" + parts[1]), parts[2].strip()  # its first line is the file's second


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: cannot be read: {error}") from error


def _parsed(path: Path, text: str) -> Located:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        data = loader.construct_document(node) if node is not None else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ScenarioError(f"{path}:{line}: not valid YAML: {error.problem}") from error
    finally:
        loader.dispose()
    lines: dict[Location, int] = {}
    if node is not None:
        for location, line in _walk(node, (), path):
            lines[location] = line
    if not isinstance(data, dict):
        raise ScenarioError(f"{path}:1: expected a mapping, got {type(data).__name__}")
    return Located(path, data, lines)


def _walk(node: yaml.Node, at: Location, path: Path) -> Iterator[tuple[Location, int]]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                raise ScenarioError(f"{path}:{line}: {key.value}: this key is here twice")
            seen.add(key.value)
            yield (*at, key.value), line
            yield from _walk(value, (*at, key.value), path)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*at, index), item.start_mark.line + 1
            yield from _walk(item, (*at, index), path)


def validated(model: type[Model], located: Located) -> Model:
    """`located` as a `model`.

    Raises:
        ScenarioError: The first thing that is wrong, with file, line and field.
    """
    try:
        return model.model_validate(located.data)
    except ValidationError as error:
        # a misspelled key is the cause of a missing one
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        location = tuple(first["loc"])
        if first["type"] == "extra_forbidden":
            raise located.error(location, _unknown_key(model, str(location[-1]))) from None
        message = first["msg"].removeprefix("Value error, ")
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise located.error(location, message + more) from None


def _unknown_key(model: type[BaseModel], key: str) -> str:
    names = sorted(_field_names(model))
    close = difflib.get_close_matches(key, names, n=1)
    return "unknown key" + (f"; did you mean {close[0]!r}?" if close else f"; known keys are {names}")


def _field_names(model: type[BaseModel]) -> set[str]:
    names: set[str] = set()
    for name, field in model.model_fields.items():
        names.add(name)
        for part in _parts(field.annotation):
            names |= _field_names(part)
    return names


def _parts(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _parts(inner)
