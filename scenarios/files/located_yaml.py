"""YAML that remembers its lines, and pydantic errors that name file, line and field."""

import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from scenarios.files.encodings import read_text
from scenarios.mistakes import UserMistake

NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")

MOST_DIGITS = 32
"""Characters of a number."""

MERGE = "tag:yaml.org,2002:merge"

Model = TypeVar("Model", bound=BaseModel)
Location = tuple[str | int, ...]


_RULE = re.compile(r"^---[ \t]*(?:\n|\Z)", re.MULTILINE)


class ScenarioError(UserMistake):
    """A scenario file that cannot be used: what, where, and what to do."""


DEEPEST = 100
"""Lists and mappings within one another."""

MOST_VALUES = 1_000_000
"""Values of a file with its aliases written out."""

_UNRESOLVED = {
    # as in YAML 1.2: `yes`, `no`, `on` and `off` are words, as they are answers of judges, and days are texts
    "tag:yaml.org,2002:bool": "tTfF",
    "tag:yaml.org,2002:timestamp": "",
}
"""Tag -> first letters of the words that still have it."""

_Fastest: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Fastest):
    """Plain values alone; what cannot be made of a word is told with its line."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        number = node.tag in NUMBERS and isinstance(node.value, str)
        if number and ":" in node.value:
            return node.value  # 12:30 is a time of day; YAML 1.1 makes it 750
        if number and len(node.value) > MOST_DIGITS:
            raise _at(node, f"a number of {len(node.value)} characters")
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, OverflowError) as error:
            raise _at(node, str(error)) from None


def _at(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if first in _UNRESOLVED.get(tag, first)]
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
    parts = _RULE.split(_text(path), maxsplit=2)
    if len(parts) < 3 or parts[0].strip():
        raise ScenarioError(f"{path}:1: expected YAML between two lines of ---, then the text")
    before = "\n" * (parts[0].count("\n") + 1)  # so that lines are those of the file
    return _parsed(path, before + parts[1]), parts[2].strip()


def _text(path: Path) -> str:
    try:
        return read_text(path)
    except UserMistake as error:
        raise ScenarioError(str(error)) from error


def _parsed(path: Path, text: str) -> Located:
    try:
        if unprintable := yaml.reader.Reader.NON_PRINTABLE.search(text):
            line = text.count("\n", 0, unprintable.start()) + 1
            raise ScenarioError(f"{path}:{line}: not valid YAML: the character {unprintable[0]!r}")
        _check_depth(path, text)
        return _composed(path, text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ScenarioError(f"{path}:{line}: not valid YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ScenarioError(f"{path}:1: not valid YAML: {' '.join(str(error).split())}") from error


def _check_depth(path: Path, text: str) -> None:
    """Before anything is built of it: thousands of brackets end the process that builds them."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                line = event.start_mark.line + 1
                raise ScenarioError(f"{path}:{line}: more than {DEEPEST} lists and mappings in one another")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _composed(path: Path, text: str) -> Located:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines: dict[Location, int] = {}
        if node is not None:
            _count(node, path, {}, ())
            # before the data is made of the nodes, which changes those with merge keys
            lines.update(_walk(node, (), path))
        data = loader.construct_document(node) if node is not None else None
    finally:
        loader.dispose()
    if not isinstance(data, dict):
        raise ScenarioError(f"{path}:1: expected a mapping, got {type(data).__name__}")
    return Located(path, data, lines)


def _count(node: yaml.Node, path: Path, known: dict[int, int], above: tuple[int, ...]) -> int:
    """Values in a node, those of an alias each time that it is used.

    Raises:
        ScenarioError: An alias within what it stands for, or more than MOST_VALUES.
    """
    if not isinstance(node, yaml.CollectionNode):
        return 1
    line = node.start_mark.line + 1
    if id(node) in above:
        raise ScenarioError(f"{path}:{line}: an alias stands within what it stands for")
    if id(node) not in known:
        inner = (
            [part for pair in node.value for part in pair]
            if isinstance(node, yaml.MappingNode)
            else node.value
        )
        known[id(node)] = 1 + sum(_count(part, path, known, (*above, id(node))) for part in inner)
    if known[id(node)] > MOST_VALUES:
        raise ScenarioError(f"{path}:{line}: aliases make more than {MOST_VALUES:,} values of this")
    return known[id(node)]


def _walk(node: yaml.Node, at: Location, path: Path) -> Iterator[tuple[Location, int]]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.tag == MERGE:  # first, so that what the mapping says itself comes later and wins
                yield from _merged(value, at, path)
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.tag == MERGE:
                continue
            if not isinstance(key, yaml.ScalarNode):
                raise ScenarioError(f"{path}:{line}: a key must be a word, got a list or a mapping")
            if key.value in seen:
                raise ScenarioError(f"{path}:{line}: {key.value}: this key is here twice")
            seen.add(key.value)
            yield (*at, key.value), line
            yield from _walk(value, (*at, key.value), path)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*at, index), item.start_mark.line + 1
            yield from _walk(item, (*at, index), path)


def _merged(node: yaml.Node, at: Location, path: Path) -> Iterator[tuple[Location, int]]:
    """The keys that `<<` brings; of several mappings the first wins."""
    for part in reversed(node.value) if isinstance(node, yaml.SequenceNode) else [node]:
        yield from _walk(part, at, path)


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
        if first["type"] == "missing":
            others = [".".join(map(str, e["loc"])) for e in error.errors() if e["type"] == "missing"][1:]
            advice = f"; missing too: {', '.join(others)}" if others else ""
            raise located.error(location, f"{first['msg']}{advice}") from None
        message = first["msg"].removeprefix("Value error, ")
        # several forms of one value are refused one by one
        others = len({tuple(e["loc"])[:1] for e in error.errors()}) - 1
        more = f" (and {others} more)" if others else ""
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
