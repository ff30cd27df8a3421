"""Labels of transcripts and of single messages, in Inspect Scout's validation format.

A CSV, JSON, JSONL or YAML file of cases: `id` (of a transcript, which is the sample's uuid, or of a message),
`target` (or `target_NAME`, `label_NAME`, `labels: {NAME: ...}`), and perhaps `split`; in JSON and YAML splits
may hold their cases: `{split: dev, cases: [...]}`. Source: inspect_scout 0.6.2, `validation_set`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from probes.conversations.labels import DataError
from scenarios.files.tables import read_table

TABLES = (".csv", ".jsonl")
LISTS = (".json", ".yaml", ".yml")
PREFIXES = ("target_", "label_")
YES, NO = ("true", "yes", "1", "1.0"), ("false", "no", "0", "0.0")


class ValidationCase(NamedTuple):
    """What one transcript or message is."""

    id: str
    positive: bool
    split: str | None
    where: str
    """File and line, for messages."""


def read_cases(path: Path, target: str | None = None) -> list[ValidationCase]:
    """The cases of a file.

    Args:
        path: The file.
        target: Which of several targets; `target`, or the only one, if not given.

    Raises:
        DataError: Another kind of file; a case without id or target, with several ids, with a target that
            is not yes or no, or with a predicate other than eq; one id in two cases; several targets and none
            named. Says where.
        TableError, UnreadableError: As `read_table`.
    """
    suffix = path.suffix.lower()
    if suffix not in (*TABLES, *LISTS):
        raise DataError(f"{path}: cases are in .csv, .jsonl, .json or .yaml")
    raw = list(_of_table(path) if suffix in TABLES else _of_list(path))
    if not raw:
        raise DataError(f"{path}: no cases")
    column = _column(path, raw, target)
    found = [_case(case, column, where) for where, case in raw]
    seen: dict[str, str] = {}
    for case in found:
        if seen.setdefault(case.id, case.where) != case.where:
            raise DataError(f"{case.where}: {case.id} is a case already, at {seen[case.id]}")
    return found


def splits_of(cases: Sequence[ValidationCase]) -> list[str]:
    """Names of the splits, sorted."""
    return sorted({case.split for case in cases if case.split is not None})


def _of_table(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for row in read_table(path):
        yield from _cases_in(row.where, dict(row.cells))


def _of_list(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, list):
        raise DataError(f"{path}: a list of cases is needed, this is a {type(found).__name__}")
    for number, case in enumerate(found, start=1):
        if not isinstance(case, dict):
            raise DataError(f"{path}, case {number}: no mapping with id and target")
        yield from _cases_in(f"{path}, case {number}", case)


def _cases_in(where: str, case: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The case itself, or those of a split."""
    if "id" not in case and isinstance(case.get("cases"), list):
        for number, inner in enumerate(case["cases"], start=1):
            if not isinstance(inner, dict):
                raise DataError(f"{where}, case {number}: no mapping with id and target")
            yield f"{where}, case {number}", _flat(dict(inner) | {"split": case.get("split")})
        return
    yield where, _flat(dict(case))


def _flat(case: dict[str, Any]) -> dict[str, Any]:
    labels = case.pop("labels", None)
    if isinstance(labels, Mapping):
        case |= {f"label_{name}": value for name, value in labels.items()}
    return case


def _column(path: Path, raw: Sequence[tuple[str, Mapping[str, Any]]], target: str | None) -> str:
    """Name of the column that holds what is validated against."""
    columns = list(dict.fromkeys(name for _, case in raw for name in case))
    there = [name for name in columns if name == "target" or name.startswith(PREFIXES)]
    if target is not None:
        wanted = [name for name in there if name == target or name in (f"{p}{target}" for p in PREFIXES)]
        if not wanted:
            raise DataError(f"--target {target}: {path} has {', '.join(there) or 'no target at all'}")
        return wanted[0]
    if "target" in there:
        return "target"
    if len(there) != 1:
        told = f"several targets, name one with --target: {', '.join(there)}" if there else "no column target"
        raise DataError(f"{path}: {told}")
    return there[0]


def _case(case: Mapping[str, Any], column: str, where: str) -> ValidationCase:
    ids = _ids(case.get("id"))
    if len(ids) != 1:
        what = "no id" if not ids else f"{len(ids)} ids in one case; a monitor's score is of one each"
        raise DataError(f"{where}: {what}")
    predicate = case.get("predicate")
    if predicate not in (None, "", "eq"):
        raise DataError(f"{where}: predicate {predicate}: a label here is yes or no, which is compared by eq")
    value = case.get(column)
    positive = _yes_or_no(value)
    if positive is None:
        raise DataError(f"{where}: {column} is {value!r}; it must be true or false (or 1 or 0)")
    split = case.get("split")
    return ValidationCase(ids[0], positive, None if split in (None, "") else str(split), where)


def _ids(value: Any) -> list[str]:
    """As Scout reads them: one, a list, or several in one text."""
    if isinstance(value, list):
        return [str(one) for one in value]
    text = "" if value is None else str(value).strip()
    if text.startswith("[") and text.endswith("]"):
        try:
            return [str(one) for one in json.loads(text)]
        except ValueError:
            pass
    return [part.strip() for part in text.split(",") if part.strip()]


def _yes_or_no(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    return True if text in YES else False if text in NO else None
