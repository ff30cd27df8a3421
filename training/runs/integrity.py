"""Is what a finished training was given, and gave, still what it was? What can be made again is made again.

When a training is done, the size and a digest of its files are written down. When the run is taken up again
they are compared: files that follow from the rollouts' log are written anew, and weights that were cut or
changed are named.
"""

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open

from scenarios.files.whole import write_text
from training.errors import RunError
from training.job import read_trained
from training.runs.run_folder import Iteration

MADE = ("examples.jsonl", "selection.jsonl", "plan.json")
"""Files that follow from the rollouts' log."""

WHOLLY_READ = 2**28
"""Bytes up to which a file is read whole for its digest; of a larger one its two ends are."""

END = 2**20
"""Bytes of an end."""


class Written(BaseModel):
    """`whole.json`: the files of an iteration as they were when its training was done."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sizes: dict[str, int]
    """File, relative to the iteration's folder -> bytes."""

    digests: dict[str, str]
    """File -> SHA-256 of its content, or of its two ends."""

    def difference(self, at: Iteration, name: str) -> str | None:
        """In what a file differs from what was written; None if in nothing, or if it was not written."""
        path, size = at.folder / name, self.sizes.get(name)
        if size is None:
            return None
        if not path.exists():
            return "is gone"
        if path.stat().st_size != size:
            return f"has {path.stat().st_size:,} bytes, and {size:,} were written"
        return None if digest(path) == self.digests[name] else "is not what was written"


def write_down(at: Iteration) -> None:
    """Write `whole.json` of an iteration whose checkpoint is complete."""
    names = [name for name in MADE if (at.folder / name).exists()]
    names += sorted(p.relative_to(at.folder).as_posix() for p in at.checkpoint.rglob("*") if p.is_file())
    written = Written(
        sizes={name: (at.folder / name).stat().st_size for name in names},
        digests={name: digest(at.folder / name) for name in names},
    )
    write_text(at.whole, written.model_dump_json(indent=1) + "\n")


def mend(at: Iteration, make: Callable[[Iteration], object]) -> None:
    """Look at an iteration whose checkpoint is there.

    Args:
        at: The iteration.
        make: Writes `MADE` into the folder of the iteration that it is given.

    Raises:
        RunError: The checkpoint, or what it was trained on, is not what it was and cannot be made again;
            says what to delete.
    """
    before = check_checkpoint(at)
    if before is None:
        if lost := [name for name in MADE if not _can_be_read(at.folder / name)]:
            _make_again(at, make, lost, None)
        write_down(at)
    elif lost := [name for name in MADE if before.difference(at, name)]:
        _make_again(at, make, lost, before)


def check_checkpoint(at: Iteration) -> Written | None:
    """Compare a checkpoint with what was written down of it, or see at least that it is complete.

    Returns:
        What was written down; None if there is nothing of it.

    Raises:
        RunError: A file of it is gone, cut or changed; says what to delete.
    """
    try:
        read_trained(at.checkpoint)
    except (OSError, ValueError) as error:
        told = str(error).partition("\n")[0]
        raise RunError(f"{at.checkpoint} is no whole checkpoint ({told}); {_anew(at)}") from None
    before = _manifest(at)
    if before is None:
        _check_weights(at)
        return None
    for name in before.sizes:
        if name not in MADE and (told := before.difference(at, name)):
            raise RunError(f"{at.folder / name} {told}; put it back, or {_anew(at)}")
    return before


def check_written(at: Iteration) -> None:
    """See that a checkpoint, and what it was trained on, are what was written down of them, if anything was.

    Raises:
        RunError: A file is gone, cut or changed.
    """
    before = _manifest(at)
    if before is None:
        return
    for name in before.sizes:
        if told := before.difference(at, name):
            remedy = (
                "the command of the run makes it again" if name in MADE else f"put it back, or {_anew(at)}"
            )
            raise RunError(f"{at.folder / name} {told}; {remedy}")


def digest(path: Path) -> str:
    """SHA-256 of a file; of one above `WHOLLY_READ` of its size, beginning and end."""
    with path.open("rb") as file:
        if (size := path.stat().st_size) <= WHOLLY_READ:
            return hashlib.file_digest(file, "sha256").hexdigest()
        found = hashlib.sha256(str(size).encode() + file.read(END))
        file.seek(-END, os.SEEK_END)
        found.update(file.read(END))
        return found.hexdigest()


def _anew(at: Iteration) -> str:
    return f"delete {at.checkpoint} and the iterations after {at.number}: the same command trains anew"


def _manifest(at: Iteration) -> Written | None:
    try:
        return Written.model_validate_json(at.whole.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValidationError, UnicodeDecodeError):
        return None  # of an earlier version, killed just before, or damaged itself


def _can_be_read(path: Path) -> bool:
    """It is there, and JSON: one object, or one a line."""
    try:
        text = path.read_text(encoding="utf-8")
        parts = text.split("\n") if path.suffix == ".jsonl" else [text]
        return all(isinstance(json.loads(part), dict) for part in parts if part.strip())
    except (OSError, ValueError):
        return False


def _check_weights(at: Iteration) -> None:
    """Without a record of them weights can at least be complete."""
    files = sorted(at.checkpoint.glob("*.safetensors"))
    try:
        if not files:
            raise FileNotFoundError("no *.safetensors")
        for file in files:
            with safe_open(file, framework="numpy"):
                pass
    except (OSError, SafetensorError) as error:
        raise RunError(f"{at.checkpoint} holds no whole weights ({error}); {_anew(at)}") from None


def _make_again(
    at: Iteration, make: Callable[[Iteration], object], lost: list[str], before: Written | None
) -> None:
    """Put back what follows from the log, if it is what it was."""
    with tempfile.TemporaryDirectory(dir=at.folder, prefix=".again-") as folder:
        again = at._replace(folder=Path(folder))
        make(again)
        for name in lost:
            if before is not None and before.difference(again, name):
                raise RunError(
                    f"{at.folder / name} is not what {at.checkpoint} was trained on, and the log in "
                    f"{at.rollouts} does not give that again; put it back, or {_anew(at)}"
                )
        for name in lost:
            (again.folder / name).replace(at.folder / name)
    print(f"{at.folder}: {', '.join(lost)}: damaged, made again from the log", file=sys.stderr, flush=True)
