"""Writing files so that they are whole or not there, whatever stops the writing.

A file is written under another name in its folder, flushed to the disk, and renamed. Other processes may
write the same file at the same time: the last one wins, whole. What a killed process left behind is removed
by the next that writes the file on that machine.
"""

import errno
import itertools
import json
import os
import re
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from scenarios.mistakes import UserMistake

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk, of a user's share of it, and of the largest file that a process may write."""

_COUNTER = itertools.count()


class WriteError(UserMistake, OSError):
    """A file that could not be written; what was there before is as it was. Says what to do."""


@contextmanager
def whole_file(path: Path, *, suffix: str = "") -> Iterator[Path]:
    """Write a file of any kind: the block writes to the path that it is given, which then becomes `path`.

    Args:
        path: The file. Its folder is made if it is not there. A device or a pipe (`/dev/stdout`) is written
            to as it is.
        suffix: End of the other name, for those who tell a file's kind by it; nothing lists the file then
            but what lists hidden files too.

    Raises:
        WriteError: The disk is full, or the file cannot be written. Nothing of it is left.
    """
    if _is_device(path):
        try:
            yield path
        except OSError as error:
            raise write_error(path, error) from error
        return
    unfinished = unfinished_name(path, suffix)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        _flush(unfinished)
        unfinished.replace(path)
        _flush(path.parent)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def unfinished_name(path: Path, suffix: str = "") -> Path:
    """Another name for `path` in its folder, which no other process gives.

    What processes of this machine that have ended left behind of `path` is removed.
    """
    _remove_orphans(path)
    return path.with_name(f".{path.name}.{_here()}-{next(_COUNTER)}.unfinished{suffix}")


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` whole. Raises WriteError."""
    with whole_file(path) as unfinished:
        unfinished.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` whole, in UTF-8 with the ends of lines that it has. Raises WriteError."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """One JSON value, indented. NaN is refused: a number that is missing is null. Raises WriteError."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """One JSON value per line. Raises WriteError."""
    with whole_file(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, allow_nan=False, ensure_ascii=False) + "\n")


def refuse_other_than_jsonl(path: Path) -> None:
    """Before the work that fills a file of JSON lines: its name must say so, for readers go by the name.

    Streams and devices as /dev/stdout may have any name.

    Raises:
        ValueError: The name ends in something else.
    """
    if path.suffix.lower() != ".jsonl" and not _is_device(path):
        raise ValueError(f"{path}: what is written are JSON lines; name a file that ends in .jsonl")


def write_error(path: Path | str, error: OSError) -> WriteError:
    """What to tell about a file that could not be written."""
    if isinstance(error, WriteError):
        return error
    if error.errno in NO_ROOM:
        why = f"the disk is full ({error.strerror}): make room, then give the same command again"
    else:
        why = error.strerror or str(error)
    return WriteError(f"{path} cannot be written: {why}. What was written before it is kept.")


def _is_device(path: Path) -> bool:
    streams = ("/dev", "/dev/fd", "/proc/self/fd")  # links to what may be a file, and stay links
    special = path.exists() and not path.is_file() and not path.is_dir()
    return special or str(path.absolute().parent) in streams


def _here() -> str:
    """This process among those of all machines that share the disk."""
    return f"{re.sub(r'[^A-Za-z0-9]', '_', socket.gethostname())}-{os.getpid()}"


def _remove_orphans(path: Path) -> None:
    host = _here().rpartition("-")[0]
    name = re.compile(rf"\.{re.escape(path.name)}\.{re.escape(host)}-(\d+)-\d+\.unfinished.*")
    with suppress(OSError):
        for other in os.scandir(path.parent):
            if not (found := name.fullmatch(other.name)) or _is_alive(int(found[1])):
                continue
            if other.is_dir(follow_symlinks=False):
                shutil.rmtree(other.path, ignore_errors=True)
            else:
                Path(other.path).unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
