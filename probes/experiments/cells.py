"""Cells of experiments: computed once, each kept in a file of its own with a digest of all it depends on.

A file whose digest is another one than what is asked for is of other settings or other data: it is computed
again, and never drawn.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from scenarios.files.strict_json import JsonError, parse_json
from scenarios.files.whole import write_json
from scenarios.mistakes import UserMistake

FOLDER = "cells"

Row = dict[str, Any]
"""Of a table: text, numbers, or None where there is no number."""


class CellError(UserMistake):
    """A file of an experiment that is missing, broken, or of another configuration."""


class Cell(NamedTuple):
    """One thing to compute."""

    name: str
    """Of its file; letters, digits and `-_.+`."""

    settings: Mapping[str, Any]
    """What it depends on, beside what all cells of the experiment depend on."""

    compute: Callable[[], Any]
    """Gives JSON without NaN."""


class Done(NamedTuple):
    """What is in the files of some cells."""

    contents: dict[str, Any]
    """Name of the cell -> what it gave."""

    computed: int
    kept: int
    stale: int
    """Of those computed, files that were there but of other settings or data."""

    seconds: float


def digest_of(value: Any) -> str:
    """16 hexadecimal digits of the SHA-256 of a JSON value."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_name(name: str) -> str:
    """A name as one of a file."""
    return "".join(c if c.isalnum() or c in "-_.+" else "_" for c in name)


def run_cells(
    folder: Path, study: str, cells: Sequence[Cell], told: Callable[[str], None] = lambda _: None
) -> Done:
    """What the cells give, out of their files where these are there and of this configuration.

    Args:
        folder: Of the experiment.
        study: Digest of what all cells depend on.
        cells: All of different names.
        told: Called with the name of each cell before it is computed.
    """
    contents: dict[str, Any] = {}
    computed = stale = 0
    started = monotonic()
    for cell in cells:
        path = folder / FOLDER / f"{file_name(cell.name)}.json"
        wanted = digest_of([study, cell.settings])
        there = _read(path) if path.exists() else None
        if there is not None and there.get("digest") == wanted:
            contents[cell.name] = there["content"]
            continue
        stale += there is not None
        told(cell.name)
        since = monotonic()
        content = cell.compute()
        write_json(
            path,
            {
                "cell": cell.name,
                "digest": wanted,
                "study": study,
                "settings": dict(cell.settings),
                "seconds": round(monotonic() - since, 3),
                "content": content,
            },
        )
        computed += 1
        contents[cell.name] = content
    return Done(contents, computed, len(cells) - computed, stale, monotonic() - started)


def read_cells(folder: Path, study: str, digests: Mapping[str, str]) -> dict[str, Any]:
    """What the files of a finished experiment hold.

    Args:
        folder: Of the experiment.
        study: Digest of its configuration.
        digests: Name of each cell -> its digest.

    Raises:
        CellError: A file that is missing, broken, or of another configuration.
    """
    contents: dict[str, Any] = {}
    for name, digest in digests.items():
        path = folder / FOLDER / f"{file_name(name)}.json"
        if not path.exists():
            raise CellError(f"{path}: no such file; give the command without --plot-only, which computes it")
        found = _read(path)
        if found.get("study") != study:
            raise CellError(
                f"{path}: of configuration {found.get('study')}, the experiment's other files are of "
                f"{study}; "
                "results of two configurations are not drawn in one figure; give the command without "
                "--plot-only"
            )
        if found.get("digest") != digest:
            raise CellError(
                f"{path}: of other settings than the run that is drawn; give the command without --plot-only"
            )
        contents[name] = found["content"]
    return contents


def cell_digests(study: str, cells: Sequence[Cell]) -> dict[str, str]:
    """Name of each cell -> digest that its file must have."""
    return {cell.name: digest_of([study, cell.settings]) for cell in cells}


def _read(path: Path) -> dict[str, Any]:
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, JsonError) as error:
        raise CellError(f"{path}: {error}; delete it, and give the command again") from error
    if not isinstance(found, dict) or "content" not in found:
        raise CellError(f"{path}: not a cell of an experiment; delete it, and give the command again")
    return found
