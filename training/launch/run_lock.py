"""One process at a time works in a folder; what it starts there counts as the same work.

The lock is the kernel's on an open file (`flock`), and a child inherits the open file. So it is free when the
owner *and* all of its children have ended, a killed owner's children included.
"""

import contextlib
import errno
import fcntl
import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from training.errors import RunError

LOCK = ".lock"
"""In the folder: the lock, and who holds it."""

INHERITED = "INSPECT_INFLUENCE_LOCKS"
"""Environment variable: open files that hold locks of the process that started this one."""

ORPHANS = 30.0
"""Seconds in which children of a killed process have ended (`scenarios/commands/parent_process.py`)."""

OWNERS = 1.0
"""Seconds for the owner itself, which may be about to end."""

POLL = 0.1
"""Seconds."""

NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""What a file system without locks says."""

_held: list[int] = []


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Work in a folder alone. It is made if it is not there, and gone again if nothing else is put into it.

    Children of a process that was killed are waited for, as they are about to end.

    Raises:
        RunError: Another process works in it, or it cannot be written to.
    """
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _acquired(folder)
    except OSError as error:
        raise RunError(f"{folder} cannot be used: {error.strerror or error}") from None
    _held.append(file)
    try:
        yield
    finally:
        _held.remove(file)
        if new and {p.name for p in folder.iterdir()} == {LOCK}:
            (folder / LOCK).unlink()
            folder.rmdir()
        os.close(file)


def files_to_inherit() -> tuple[int, ...]:
    """Open files that a child must be given so that it holds the locks of this process, too."""
    named = (part.partition(":") for part in os.environ.get(INHERITED, "").split(","))
    inherited = [int(file) for file, _, mark in named if file.isdigit() and _mark(int(file)) == mark]
    return (*_held, *inherited)


def inheriting(files: Sequence[int]) -> dict[str, str]:
    """The part of a child's environment that lets its own children inherit the files, too."""
    return {INHERITED: ",".join(f"{file}:{_mark(file)}" for file in files)}


def _acquired(folder: Path) -> int:
    path = folder / LOCK
    begun = time.monotonic()
    said = False
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = _owner(file)
            os.close(file)
            if error.errno in NO_LOCKS:
                raise RunError(
                    f"{folder} lies on a file system without locks ({error.strerror}), so that two processes "
                    "could work in it unseen; name a folder on another one"
                ) from None
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            gone = _is_gone(owner)
            if time.monotonic() - begun > (ORPHANS if gone else OWNERS):
                raise RunError(_refusal(folder, owner)) from None
            if gone and not said:
                print(f"waiting for what a killed process still has running in {folder}", file=sys.stderr)
                said = True
            time.sleep(POLL)
            continue
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), path.stat()):
                _sign(file)
                return file
        os.close(file)  # of a folder that its owner has just taken away again


def _sign(file: int) -> None:
    told = json.dumps({"pid": os.getpid(), "host": platform.node()}).encode() + b"\n"
    os.ftruncate(file, 0)
    os.pwrite(file, told, 0)


def _owner(file: int) -> dict[str, object]:
    """Who took the lock, as far as it says so."""
    try:
        found = json.loads(os.pread(file, 1000, 0) or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _is_gone(owner: dict[str, object]) -> bool:
    pid = owner.get("pid")
    if not isinstance(pid, int) or owner.get("host") != platform.node():
        return False
    import psutil

    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _refusal(folder: Path, owner: dict[str, object]) -> str:
    who = f" ({owner['pid']} on {owner['host']})" if {"pid", "host"} <= owner.keys() else ""
    if _is_gone(owner):
        return f"what the killed process{who} had started still works in {folder}; wait for it, or end it"
    return f"another process{who} works in {folder}; wait for it, or give another folder"


def _mark(file: int) -> str | None:
    """What tells an open file from another that has its number in another process; None if it is closed."""
    try:
        found = os.fstat(file)
    except OSError:
        return None
    return f"{found.st_dev}-{found.st_ino}"
