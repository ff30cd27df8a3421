"""Text as programs save it: UTF-8 with and without a mark, UTF-16, code pages of Windows."""

import codecs
import difflib
import io
import logging
import re
from encodings.aliases import aliases
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from scenarios.files.compressed import open_bytes, readable
from scenarios.mistakes import UserMistake

logger = logging.getLogger(__name__)

MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    # those of 32 bits first: one of them begins with one of 16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order mark -> encoding."""

NO_TEXT = {
    b"PK\x03\x04": "a workbook or another zip archive; save it as CSV UTF-8",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save it as CSV UTF-8",
    b"\x1f\x8b": "compressed by gzip; its name must end in .gz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd; its name must end in .zst",
    b"BZh": "compressed by bzip2; its name must end in .bz2",
    b"\xfd7zXZ": "compressed by xz; its name must end in .xz",
    b"PAR1": "a parquet file; its name must end in .parquet",
    b"%PDF": "a PDF",
}
"""How files begin that are no text, and what to do."""

CHUNK = 1 << 20
"""Bytes read at a time."""

GUESSED = 1 << 18
"""Bytes that an unknown code page is guessed from."""

WESTERN = 0.3
"""Share of a Western European text's letters that are beyond ASCII, at most, but for two of them."""

ENOUGH = 8
"""Letters beyond ASCII from which on charset-normalizer is heard against Western European."""

LIKELY = 0.1
"""Coherence with a language, by charset-normalizer, from which on its guess says something."""

_ODD = re.compile(
    r"(?<=[^\W\d_])[^\w\s\x00-\x7f’‘–—­·](?=[^\W\d_])"  # a sign within a word
    r"|(?<=[a-zß-öø-ÿ])[À-ÖØ-ÞŠŒŽŸ](?=[a-z]|\b)|[À-ÖØ-Þ](?=[A-Z][a-z])"  # a capital within one
    r"|(?<=\b[a-z])[–—](?=[a-z])|(?<=[a-z])[–—](?=[a-z]\b)"  # a dash that parts a single letter
    r"|(?<![^\W\d_])[À-ÖØ-öø-ÿŠŒŽšœžŸ]{2,}(?![^\W\d_])|[À-ÖØ-öø-ÿŠŒŽšœžŸ]{3}"  # a word of nothing else
    r"|[ÐÞðþ]"  # Turkish letters of a neighbouring page more often than Icelandic ones
)
"""What stands in a text that was read as Western European and is not."""


_SURROGATE = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
"""Half a character, in what would be UTF-8."""


class TextError(UserMistake):
    """A file that is no text, or not in the encoding that was said or guessed. Names the place."""


class _Undecodable(TextError):
    """A byte that is not of the encoding."""


class Encoding(NamedTuple):
    """How a file is read."""

    name: str
    """As Python calls it."""

    guessed: bool
    """True if neither a mark, nor the user, nor the bytes themselves settle it."""


def encoding_of(path: Path, asked: str | None = None, *, option: str | None = None) -> Encoding:
    """The encoding of a file, which may be compressed, checked from its first byte to its last.

    A mark settles it; then UTF-8, if the whole file is; then a code page of Windows, if the text in it
    looks like one. Damaged UTF-8 is never read as something else.

    Args:
        path: A file.
        asked: What the user said; nothing else is tried then.
        option: With which option users say it, for messages; None if they cannot.

    Raises:
        TextError: Something else than text, or bytes that fit no encoding. Names the first such byte.
        UnreadableError: The file cannot be read.
    """
    with readable(path):
        return _encoding(path, asked, option)


def open_text(path: Path, encoding: str | None = None, *, option: str | None = None) -> TextIO:
    """Open a text file, which may be compressed; the ends of lines stay as they are.

    A code page that was guessed is told as a warning. Arguments are those of `encoding_of`.

    Raises:
        TextError: As `encoding_of`.
        UnreadableError: As `encoding_of`.
    """
    found = encoding_of(path, encoding, option=option)
    if found.guessed:
        advice = f"; {option} says another" if option else "; save it as UTF-8"
        logger.warning("%s is not UTF-8 and is read as %s%s", path, found.name, advice)
    with readable(path):
        return io.TextIOWrapper(open_bytes(path), encoding=found.name, newline="")


def read_text(path: Path, encoding: str | None = None) -> str:
    """A text file's content, its lines ended by line feeds alone.

    Raises:
        TextError: As `encoding_of`.
        UnreadableError: As `encoding_of`.
    """
    with open_text(path, encoding) as file, readable(path):
        return file.read().replace("\r\n", "\n").replace("\r", "\n")


def _encoding(path: Path, asked: str | None, option: str | None) -> Encoding:
    with open_bytes(path) as file:
        start = file.read(4096)
    for mark, told in NO_TEXT.items():
        if start.startswith(mark):
            raise TextError(f"{path}: no text: it is {told}")
    if asked is not None:
        name = _known(asked, option or "encoding")
        if start.startswith(codecs.BOM_UTF8) and codecs.lookup(name).name == "utf-8":
            name = "utf-8-sig"
        _check(path, name, f"is not {asked}; say another {option}")
        return Encoding(name, guessed=False)
    for mark, name in MARKS.items():
        if start.startswith(mark):
            _check(path, name, f"is not {name}, which its first bytes say")
            return Encoding(name, guessed=False)
    if (wide := _wide(start)) is not None:
        _check(path, wide, f"is not {wide}, as the rest seems to be")
        return Encoding(wide, guessed=False)
    try:
        advice = f", or say {option}, e.g. cp1252" if option else ""
        _check(path, "utf-8", f"is not UTF-8; save the file as UTF-8{advice}")
    except _Undecodable:
        with open_bytes(path) as file:
            data = file.read()
        if (page := _code_page(data)) is None:
            raise
        return Encoding(page, guessed=True)
    return Encoding("utf-8", guessed=False)


def _known(asked: str, option: str) -> str:
    try:
        codec = codecs.lookup(asked)
    except LookupError:
        close = difflib.get_close_matches(asked.lower().replace("-", "_"), [*aliases, *aliases.values()], n=1)
        advice = f"did you mean {close[0]!r}?" if close else "common ones are utf-8, cp1252, utf-16, cp932"
        raise TextError(f"{option} {asked}: no such encoding; {advice}") from None
    if not getattr(codec, "_is_text_encoding", True):
        raise TextError(f"{option} {asked}: no encoding of text; common ones are utf-8, cp1252, utf-16")
    return codec.name


def _check(path: Path, encoding: str, problem: str) -> None:
    """Decode the whole file, a piece at a time.

    Raises:
        TextError: At the first byte that is not of the encoding, with its line.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    line = 1
    with open_bytes(path) as file:
        while True:
            piece = file.read(CHUNK)
            try:
                text = decoder.decode(piece, final=not piece)
            except UnicodeDecodeError as error:
                # what the decoder kept from the piece before stands at the start of `error.object`
                before = error.object[: error.start].decode(encoding, "replace")
                line += before.count("\n")
                byte = error.object[error.start : error.start + 1].hex()
                raise _Undecodable(f"{path}:{line}: byte 0x{byte} {problem}") from None
            if (place := text.find("\0")) >= 0:
                line += text.count("\n", 0, place)
                raise TextError(f"{path}:{line}: a NUL character: this is no text, or in another encoding")
            line += text.count("\n")
            if not piece:
                return


def _wide(start: bytes) -> str | None:
    """UTF-16 without a mark: every other byte of Latin text is NUL."""
    even, odd = start[::2].count(0), start[1::2].count(0)
    if start[1:2] == b"\0" and odd > 0.4 * len(start) / 2 and not even:
        return "utf-16-le"
    if start[:1] == b"\0" and even > 0.4 * len(start) / 2 and not odd:
        return "utf-16-be"
    return None


def _code_page(data: bytes) -> str | None:
    """The code page of bytes that are not UTF-8; None if they may as well be damaged UTF-8, or of several."""
    if _is_damaged(data):
        return None
    first = next(i for i, byte in enumerate(data) if byte > 127)
    guesses = _guesses(data[max(0, first - GUESSED // 2) :][:GUESSED])
    try:
        western = data.decode("cp1252")
    except UnicodeDecodeError:
        western = None
    if western is not None and _is_western(western):
        enough = sum(c.isalpha() and ord(c) > 127 for c in western) >= ENOUGH
        speaks_against = enough and guesses and guesses[0].coherence >= LIKELY
        fits = any(_same(guess, "cp1252") for guess in guesses)
        return "cp1252" if fits or not speaks_against else None
    if not guesses or guesses[0].coherence < LIKELY or any(str(g) != str(guesses[0]) for g in guesses):
        return None
    try:
        data.decode(guesses[0].encoding)
    except UnicodeDecodeError:
        return None
    return guesses[0].encoding


def _is_damaged(data: bytes) -> bool:
    """Whether there are characters of UTF-8 beside what is none: no code page makes those by chance."""
    beyond = any(ord(character) > 127 for character in data.decode("utf-8", "ignore"))
    return beyond or _SURROGATE.search(data) is not None


def _is_western(text: str) -> bool:
    letters = sum(c.isalpha() for c in text)
    foreign = sum(c.isalpha() and ord(c) > 127 for c in text)
    return foreign <= max(2, WESTERN * letters) and not _ODD.search(text)


def _guesses(piece: bytes) -> list[Any]:
    """The best guess of charset-normalizer, and those that are as good: on short texts it ranks by chance."""
    from charset_normalizer import from_bytes

    found = list(from_bytes(piece))
    return [m for m in found if m.chaos <= found[0].chaos + 0.02 and m.coherence >= found[0].coherence - 0.05]


def _same(guess: Any, encoding: str) -> bool:
    return str(guess) == guess.raw.decode(encoding, "replace")
