"""JSON that says one thing: no key twice, no NaN, no half characters, no depth that breaks a reader."""

import ast
import io
import json
import math
import re
import tokenize
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from scenarios.mistakes import UserMistake

DEEPEST = 100
"""Lists and objects within one another."""

_SIDE_BY_SIDE = re.compile(r"""[}\]'"]\s+[{\['"]""")


Place = tuple[str | int, ...]


class JsonError(UserMistake):
    """Text that is not JSON, or JSON that means nothing. Says what and, within a value, where."""


class TooDeepError(JsonError):
    """Lists and objects within one another, beyond all use."""


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        JsonError: Not JSON (with line and column); a key twice; NaN or Infinity; half a character
            (an unpaired surrogate); more than 100 levels; an integer of thousands of digits.
    """
    try:
        value = json.loads(text, object_pairs_hook=_without_repeats)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise JsonError(f"not JSON: {error.msg} ({line}column {error.colno})") from None
    except RecursionError:
        raise TooDeepError(f"more than {DEEPEST} levels of lists and objects") from None
    except JsonError:
        raise
    except ValueError as error:  # an integer with more digits than Python reads
        raise JsonError(f"not JSON that can be read: {error}") from None
    check_values(value)
    return value


def read_jsonl(path: Path) -> list[Any]:
    """The values of a JSON lines file that this suite wrote, in UTF-8.

    Raises:
        JsonError: Names the file and the line that cannot be read.
    """
    values = []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    values.append(parse_json(line.decode()))
                except JsonError as error:
                    raise JsonError(f"{path}:{number}: {error}") from None
                except UnicodeDecodeError as error:
                    raise JsonError(f"{path}:{number}: not UTF-8: {error.reason}") from None
    return values


def parse_literal(text: str) -> Any:
    """The value of a Python literal, as data frames write their cells: only constants, lists, dictionaries.

    Of numpy's ways of writing, two are read as well: lists whose items are not parted by commas, and
    `array([...], dtype=object)`. `nan` is None.

    Raises:
        JsonError: Not a literal, or as `parse_json`.
    """
    try:
        tree = _Plain().visit(ast.parse(_with_commas(text.strip()), mode="eval"))
        value = ast.literal_eval(tree)
    except (ValueError, SyntaxError, TypeError, tokenize.TokenError):
        raise JsonError("not a Python literal") from None
    except (RecursionError, MemoryError):
        raise TooDeepError(f"more than {DEEPEST} levels of lists and objects") from None
    check_values(value)
    return value


def parse_structure(text: str) -> Any:
    """The value of a text that is JSON, or the Python literal that a data frame makes of the same.

    Raises:
        JsonError: It is neither; says what is wrong with it as JSON.
    """
    try:
        return parse_json(text)
    except JsonError as error:
        told = error
    try:
        return parse_literal(text)
    except JsonError:
        raise told from None


class _Plain(ast.NodeTransformer):
    def visit_Call(self, node: ast.Call) -> ast.AST:
        named = isinstance(node.func, ast.Name) and node.func.id == "array" and len(node.args) == 1
        return self.visit(node.args[0]) if named else node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.copy_location(ast.Constant(None), node) if node.id == "nan" else node


def _with_commas(text: str) -> str:
    """Commas between objects and between texts that follow one another, which numpy does not write."""
    if not _SIDE_BY_SIDE.search(text):
        return text
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    found = list(tokenize.generate_tokens(io.StringIO(text).readline))
    tokens = [t for t in found if t.type not in (tokenize.NL, tokenize.NEWLINE)]
    for first, second in reversed(list(pairwise(tokens))):
        texts = first.type == second.type == tokenize.STRING
        if texts or (first.string, second.string) in (("}", "{"), ("]", "[")):
            place = starts[second.start[0] - 1] + second.start[1]
            text = f"{text[:place]},{text[place:]}"
    return text


def check_values(value: Any) -> None:
    """Refuse, at any depth, what cannot be written as JSON or shown to a model.

    Raises:
        JsonError: Names the place in `value`.
    """
    for at, part in _parts(value):
        if isinstance(part, float):
            if not math.isfinite(part):
                raise JsonError(
                    f"{_place(at)}{part} is no number that JSON knows; write null where there is none"
                )
        else:
            _check_text(at, part)


def check_texts(value: Any) -> None:
    """Refuse half characters at any depth.

    Raises:
        JsonError: Names the place in `value`.
    """
    for at, part in _parts(value):
        _check_text(at, part)


def _check_text(at: Place, part: Any) -> None:
    if isinstance(part, str) and not part.isascii() and _is_broken(part):
        raise JsonError(f"{_place(at)}half a character (an unpaired surrogate): the text was cut within one")


def _parts(value: Any) -> Iterator[tuple[Place, Any]]:
    """Every key that is not ASCII, every text and every float in a value, with where it is."""
    waiting: list[tuple[Place, Any]] = [((), value)]
    while waiting:
        at, part = waiting.pop()
        if len(at) > DEEPEST:
            raise TooDeepError(f"more than {DEEPEST} levels of lists and objects")
        if isinstance(part, dict):
            for key, inner in part.items():
                if not isinstance(key, str) or not key.isascii():
                    yield at, key
                waiting.append(((*at, key), inner))
        elif isinstance(part, list | tuple):
            waiting += [((*at, index), inner) for index, inner in enumerate(part)]
        elif isinstance(part, str | float):
            yield at, part


def _place(at: Place) -> str:
    """`a.0.b: `, or nothing for the value itself."""
    return f"{'.'.join(map(str, at))}: " if at else ""


def _is_broken(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise JsonError(f"{next(k for k in keys if keys.count(k) > 1)}: this key is here twice")
    return found
