"""The lock of an entry: many may write to it together, who deletes is alone."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from probes.activations.whole_files import StoreError, refuse_links

LOCK = ".lock"


@contextmanager
def writing(folder: Path, *, alone: bool = False) -> Iterator[bool]:
    """Say that shards are being written here. `alone`: nobody else may; False if somebody does.

    The lock goes with the process, however it ends.
    """
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold the lock of an entry from which something is deleted.

    Raises:
        StoreError: Another process is writing to it, or it holds a symbolic link, behind which are files that
            are not the store's.
    """
    refuse_links(folder)
    with writing(folder, alone=True) as alone:
        if not alone:
            raise StoreError(f"{folder}: another process is writing to it just now; wait until it has ended")
        yield
