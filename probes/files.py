"""Writing files so that they are whole or not there, while other processes write too."""

import errno
import hashlib
import itertools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk, of a user's share of it, and of the largest file that a process may write."""

_COUNTER = itertools.count()


class StoreError(Exception):
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
    """Write under a name of its own in the same folder, then rename.

    Raises:
        StoreError: The disk is full or the file cannot be written; nothing of it is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{unique_name()}.unfinished")
    with no_part_left(path, unfinished):
        unfinished.write_bytes(data.encode() if isinstance(data, str) else data)
        flushed(unfinished)
        unfinished.rename(path)
        flushed(path.parent)


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
    if error.errno in NO_ROOM:
        why = f"the disk is full ({error.strerror}): make room, then give the same command again"
    else:
        why = error.strerror or str(error)
    return StoreError(f"{path} cannot be written: {why}. What was written before it is kept.")
