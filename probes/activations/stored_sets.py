"""Data sets on top of a store: which conversations were captured, with their labels and groups.

Beside the entries of a store lie `datasets/<name>.jsonl`, a line per conversation, and `datasets/<name>.json`
which says of which entry the rows are, where the conversations come from, and how many were left out and why.
"""

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from pydantic import Field, ValidationError

from probes.activations.capture_spec import CaptureSpec
from probes.activations.mapped import Activations
from probes.activations.whole_files import StoreError, write_whole
from scenarios.schema import Frozen

FOLDER = "datasets"

Model = TypeVar("Model", bound=Frozen)


class DatasetRow(Frozen):
    """One conversation."""

    id: str
    """Unique in the data set."""

    key: str
    """Of its row in the store. Conversations of the same tokens share one."""

    label: float | None = Field(None, ge=0, le=1)
    """None: unlabelled."""

    group: str = ""
    """Rows that stay together in splits and bootstraps."""

    facts: dict[str, str] = {}
    """What results are broken down by."""

    n_tokens: int = Field(ge=1)
    """That are kept."""

    truncated: int = Field(0, ge=0)
    """Tokens that were cut off, kept or not."""


class DatasetCard(Frozen):
    """What the rows are of."""

    spec: str
    """Key of the entry."""

    source: str
    """File, folder or hub data set that was read."""

    rows: int | None = None
    """Lines of the table; None in data sets of earlier versions. `save_dataset` counts them."""

    excluded: dict[str, int] = {}
    """Reason -> number of conversations that were left out."""


class Dataset(NamedTuple):
    """Activations with what a monitor is fitted and evaluated on; all in the same order."""

    activations: Activations
    labels: np.ndarray
    """[rows], float64 in [0, 1]; NaN where there is no label."""

    groups: list[str]
    facts: list[dict[str, str]]
    ids: list[str]
    spec: CaptureSpec
    card: DatasetCard


def save_dataset(root: Path | str, name: str, rows: Sequence[DatasetRow], card: DatasetCard) -> None:
    """Write both files; the card last, so that a data set with a card is complete.

    Raises:
        ValueError: Two rows with the same id, or a name that is no file name.
    """
    folder = _folder(root, name)
    seen: set[str] = set()
    for row in rows:
        if row.id in seen:
            raise ValueError(f"data set {name}: two rows have the id {row.id!r}")
        seen.add(row.id)
    counted = card.model_copy(update={"rows": len(rows)})
    lines = "".join(row.model_dump_json() + "\n" for row in rows)
    write_whole(folder / f"{name}.jsonl", lines)
    write_whole(folder / f"{name}.json", counted.model_dump_json(indent=1) + "\n")


def read_dataset(root: Path | str, name: str) -> tuple[list[DatasetRow], DatasetCard]:
    """Rows and card.

    Raises:
        StoreError: No such data set (names those that exist), a line that is not one of its rows, or fewer or
            more rows than were written.
    """
    folder = _folder(root, name)
    card, table = folder / f"{name}.json", folder / f"{name}.jsonl"
    if not (card.exists() and table.exists()):
        names = ", ".join(dataset_names(root)) or "none; capture makes them"
        raise StoreError(f"{root} has no data set {name!r}; it has: {names}")
    rows: list[DatasetRow] = []
    told = _parsed(DatasetCard, _text(card), str(card))
    # other line separators of Unicode may stand in a row's texts
    for number, line in enumerate(_text(table).removesuffix("\n").split("\n"), start=1):
        rows.append(_parsed(DatasetRow, line, f"{table}:{number}"))
    if told.rows not in (None, len(rows)):
        raise StoreError(
            f"{table}: {len(rows)} rows instead of {told.rows}; capture again, or delete "
            f"it and {card.name}, and pull"
        )
    return rows, told


def dataset_names(root: Path | str) -> list[str]:
    """Data sets of a store."""
    return sorted(p.stem for p in (Path(root) / FOLDER).glob("*.json"))


def label_array(rows: Sequence[DatasetRow]) -> np.ndarray:
    """[rows], float64, NaN where there is no label."""
    return np.array([math.nan if row.label is None else row.label for row in rows], dtype=np.float64)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise StoreError(f"{path}: not UTF-8 from byte {error.start} on; capture again") from error


def _parsed(model: type[Model], text: str, where: str) -> Model:
    try:
        return model.model_validate(json.loads(text))
    except json.JSONDecodeError as error:
        raise StoreError(f"{where}: not JSON: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise StoreError(f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _folder(root: Path | str, name: str) -> Path:
    if not re.fullmatch(r"[\w][\w.-]*", name):
        raise ValueError(f"data set name {name!r}: letters, digits, '_', '.' and '-' only")
    return Path(root) / FOLDER
