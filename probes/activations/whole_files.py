"""Files of a store: their names, their digests, and what is told if one cannot be written."""

import hashlib
import itertools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scenarios.files.whole import NO_ROOM, WriteError, write_bytes, write_error
from scenarios.mistakes import UserMistake

__all__ = [
    "NO_ROOM",
    "StoreError",
    "cannot_write",
    "digest",
    "flushed",
    "no_part_left",
    "unique_name",
    "write_whole",
]

_COUNTER = itertools.count()


class StoreError(UserMistake):
    """Something on disk that cannot be read or written. Says which file, and what to do."""


def unique_name() -> str:
    """A name that no other process gives; names sort by the time they were given."""
    return f"{time.time_ns():016x}-{os.getpid():x}-{next(_COUNTER):x}-{os.urandom(4).hex()}"


def digest(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flushed(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, data: bytes | str) -> None:
    """Write a file that is whole or not there.

    Raises:
        StoreError: The disk is full or the file cannot be written; nothing of it is left.
    """
    try:
        write_bytes(path, data.encode() if isinstance(data, str) else data)
    except WriteError as error:
        raise StoreError(str(error)) from error


def refuse_links(folder: Path) -> None:
    """Refuse a folder of a store that is a symbolic link, or that holds one.

    Raises:
        StoreError: Names the link: what lies behind it is not the store's to copy, write or delete.
    """
    for path in (folder, *folder.glob("*"), *folder.glob("*/*")):
        if path.is_symlink():
            raise StoreError(f"{path} is a symbolic link, which a store may not hold; put the file there")


@contextmanager
def no_part_left(path: Path, *unfinished: Path) -> Iterator[None]:
    """Remove what is unfinished if writing `path` fails.

    Raises:
        StoreError: Instead of an `OSError`, with what to do about it.
    """
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        for part in unfinished:
            part.unlink(missing_ok=True)


def cannot_write(path: Path | str, error: OSError) -> StoreError:
    """What to tell about a file that could not be written."""
    return StoreError(str(write_error(path, error)))
