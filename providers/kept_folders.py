"""Folders that are made once and kept in the user's cache: whole or not there, made by one process."""

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

CACHE_VARIABLE = "INSPECT_INFLUENCE_CACHE"
MANIFEST = "manifest.json"

UNFINISHED = "unfinished-"
"""How the name of a folder begins in which something is made; then come the final name and chance."""


class Making(NamedTuple):
    """How the making is told on stderr: `training the miniature, once, a minute or two`."""

    name: str
    doing: str
    takes: str


def cache_folder(kind: str) -> Path:
    """Where folders of a kind are kept; `INSPECT_INFLUENCE_CACHE` moves all of them."""
    moved = os.environ.get(CACHE_VARIABLE)
    return (Path(moved) if moved else user_cache_path("inspect-influence")) / kind


def kept_folder(folder: Path, make: Callable[[Path], Mapping[str, Any]], told: Making) -> Path:
    """The folder, made first if it is not there or not whole.

    Of several processes one makes it and the others wait; a folder under its final name is always complete.

    Args:
        folder: Final place; what it is made from should be in its name.
        make: Fills the empty folder that it is given; returns figures for the manifest. What it raises passes
            through, and nothing is left of the folder.
        told: What to say.
    """
    if is_whole(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(_lock_of(folder))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"another process is {told.doing} {told.name}; waiting for it")
        lock.acquire()
    try:
        if not is_whole(folder):
            _make(folder, make, told)
    finally:
        lock.release()
    return folder


def is_whole(folder: Path) -> bool:
    """True if every file of the folder is there with the content that was written."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        return all(digest_of(folder / name) == digest for name, digest in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def say(text: str) -> None:
    """A line on stderr, at once."""
    print(text, file=sys.stderr, flush=True)


def _make(folder: Path, make: Callable[[Path], Mapping[str, Any]], told: Making) -> None:
    if folder.exists():
        say(f"{told.name} in {folder} is damaged; {told.doing} it anew")
        shutil.rmtree(folder)
    else:
        say(f"{told.doing} {told.name}, once, {told.takes}")
    _remove_unfinished(folder)
    beginning = f"{UNFINISHED}{folder.name}-"
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=beginning) as unfinished:
        made = Path(unfinished) / "checkpoint"
        made.mkdir()
        figures = make(made)
        files = {p.name: digest_of(p) for p in sorted(made.iterdir()) if p.is_file()}
        manifest = json.dumps({"figures": dict(figures), "files": files}, indent=1)
        (made / MANIFEST).write_text(manifest + "\n", encoding="utf-8")
        made.rename(folder)


def _remove_unfinished(folder: Path) -> None:
    """Remove what killed processes left of this folder, whose lock is held here, and of others.

    Those of another version of the suite would stay for ever: nobody makes that one again. What a living
    process makes is locked.
    """
    for left in folder.parent.glob(f"{UNFINISHED}*-*"):
        name = left.name.removeprefix(UNFINISHED).rpartition("-")[0]
        if name == folder.name:
            shutil.rmtree(left, ignore_errors=True)
            continue
        with suppress(Timeout), FileLock(_lock_of(folder.parent / name), timeout=0):
            shutil.rmtree(left, ignore_errors=True)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")
