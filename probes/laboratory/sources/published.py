"""The published evaluation sets: which files, of which commit, and that they are the ones they were.

The first download resolves the revision that is asked for to a commit, and writes it beside the files with
the SHA-256 of each. From then on that commit is asked for, and a file that is another is an error.
"""

import hashlib
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from probes.conversations.labels import DataError
from scenarios.files.strict_json import JsonError, parse_json
from scenarios.files.whole import whole_file, write_json

REPOSITORY = "Arrrlex/models-under-pressure"

SETS = ("anthropic_hh", "mt", "mts", "toolace")
FORMS = ("balanced", "raw")
TEST_ONLY = ("mental_health", "aya_redteaming")

FILES = (
    "training/train.jsonl",
    "training/test.jsonl",
    *(f"{name}_{form}/{split}.jsonl" for name in SETS for form in FORMS for split in ("validation", "test")),
    *(f"{name}_{form}/test.jsonl" for name in TEST_ONLY for form in FORMS),
)
"""In the data set on the hub."""

LOCK = "published.json"

_COMMIT = re.compile(r"[0-9a-f]{40}")


class Download(NamedTuple):
    """What is there now."""

    commit: str
    new: list[str]
    """Files that were fetched."""

    kept: list[str]
    """Files that were there and are the right ones."""


def download_sets(
    folder: Path, *, revision: str = "main", files: Sequence[str] = FILES, repository: str = REPOSITORY
) -> Download:
    """Fetch the published sets into a folder; what is there is not fetched again.

    Args:
        folder: Gets the files under the names that they have in the data set, and `published.json`.
        revision: Commit, branch or tag of the first download. Later ones must be of the same commit.
        files: Names in the data set.
        repository: Data set on the hub.

    Raises:
        DataError: The hub cannot be reached or has no such file; another commit than the first; a file that
            was changed.
    """
    lock = _read_lock(folder / LOCK)
    if lock and lock["repository"] != repository:
        raise DataError(f"{folder / LOCK}: the files here are of {lock['repository']}; choose another folder")
    commit = str(lock["commit"]) if lock else _resolved(repository, revision)
    if lock and _COMMIT.fullmatch(revision) and revision != commit:
        raise DataError(f"{folder / LOCK}: the files here are of commit {commit}, not {revision}")
    sums: dict[str, str] = dict(lock["files"]) if lock else {}
    done = Download(commit, [], [])
    for name in files:
        path = folder / name
        if path.is_file() and name in sums:
            if _digest(path) != sums[name]:
                raise DataError(f"{path}: this is not the file that was fetched; remove it to fetch it again")
            done.kept.append(name)
            continue
        with whole_file(path) as unfinished:
            shutil.copyfile(_fetched(repository, name, commit), unfinished)
        found = _digest(path)
        if sums.setdefault(name, found) != found:
            path.unlink()
            raise DataError(f"{path}: the hub gave another file than before for commit {commit}")
        write_json(folder / LOCK, {"repository": repository, "commit": commit, "files": sums})
        done.new.append(name)
    return done


def _read_lock(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        lock = parse_json(path.read_text(encoding="utf-8"))
    except (JsonError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {error}; remove it and the files beside it") from None
    if not isinstance(lock, dict) or not {"repository", "commit", "files"} <= lock.keys():
        raise DataError(f"{path}: no repository, commit and files; remove it and the files beside it")
    return lock


def _resolved(repository: str, revision: str) -> str:
    if _COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi

    try:
        commit = HfApi().dataset_info(repository, revision=revision).sha
    except Exception as error:  # whatever the client says: network, name, rights
        raise _unreachable(repository, error) from error
    if commit is None:
        raise DataError(f"{repository}: the hub names no commit for {revision!r}; give one with --revision")
    return commit


def _fetched(repository: str, name: str, commit: str) -> str:
    from huggingface_hub import hf_hub_download

    try:
        return hf_hub_download(repo_id=repository, filename=name, repo_type="dataset", revision=commit)
    except Exception as error:  # whatever the client says: network, name, rights
        raise _unreachable(f"{repository}/{name}", error) from error


def _unreachable(what: str, error: Exception) -> DataError:
    told = " ".join(str(error).split())[:200] or type(error).__name__
    return DataError(f"{what}: cannot be fetched from the hub ({told}); what was fetched before is kept")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
