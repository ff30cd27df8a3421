"""Files that may be compressed: `.gz`, `.bz2`, `.xz` and `.zst`, told by the ends of their names."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from scenarios.mistakes import UserMistake

CHUNK = 1 << 17
"""Packed bytes that are read at a time."""


class UnreadableError(UserMistake):
    """A file that is not there, may not be read, or is not whole."""


class _Zstandard(io.RawIOBase):
    """What a zst file holds, all frames of it: the library's own reader takes a file cut off for its end."""

    def __init__(self, path: Path) -> None:
        import zstandard  # of Inspect's own dependencies

        self._file = path.open("rb")
        self._started = zstandard.ZstdDecompressor().decompressobj
        self._frame = self._started()
        self._untouched = True
        """True between two frames."""

        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            packed = self._frame.unused_data if self._frame.eof else b""
            if self._frame.eof:
                self._frame, self._untouched = self._started(), True
            packed = packed or self._file.read(CHUNK)
            if not packed:
                if self._untouched:
                    return 0
                raise EOFError("the last frame is not whole")
            self._untouched = False
            self._ready = self._frame.decompress(packed)
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size

    def close(self) -> None:
        self._file.close()
        super().close()


_OPENERS: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": lambda path: io.BufferedReader(_Zstandard(path), CHUNK),
}

DAMAGED = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)


def kind_of(path: Path) -> str:
    """The end of a file's name in small letters, without that of a compression: `.csv` of `A.CSV.gz`."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _OPENERS:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def open_bytes(path: Path) -> BinaryIO:
    """Open a file; what is read is not compressed any more."""
    return _OPENERS.get(path.suffix.lower(), lambda p: p.open("rb"))(path)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Around reading `path`.

    Raises:
        UnreadableError: Instead of the errors of the disk and of what unpacks the file.
    """
    try:
        yield
    except UserMistake:
        raise
    except DAMAGED as error:
        raise UnreadableError(f"{path}: damaged or cut off: {error}") from error
    except OSError as error:
        raise UnreadableError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] in ("zstandard", "zstd"):
            raise UnreadableError(f"{path}: damaged or cut off: {error}") from error
        raise
