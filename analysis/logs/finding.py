"""Which logs a command is given: files, folders with subfolders, links to either. Each with its header."""

import os
import re
import zipfile
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from inspect_ai.log import EvalLog, read_eval_log
from inspect_ai.model import ModelConfig

from scenarios.mistakes import UserMistake

SUFFIXES = (".eval", ".json")

JSON_LOG = re.compile(rb'\s*\{\s*"version"\s*:\s*\d+\s*,\s*"status"\s*:')
"""How a log in JSON begins; other JSON files lie in the same folders."""

TARGET = "target"
"""Role that the model under test plays where it is not the model of the eval, as in inspect_petri's logs."""


class LogError(UserMistake):
    """A log that is not there, or that cannot be read. Says which, and what to do."""


class LogFile(NamedTuple):
    """A log and its header."""

    path: Path
    name: str
    """Path below the folder that was named, or the name of the file, without suffix. Unique among logs that
    were found together."""

    header: EvalLog
    """Without samples."""

    @property
    def created(self) -> datetime:
        """When the eval began."""
        return datetime.fromisoformat(self.header.eval.created).astimezone()

    @property
    def finished(self) -> bool:
        """Whether the eval ended by itself, so that no conversation is missing."""
        return self.header.status == "success"

    @property
    def agent_role(self) -> str | None:
        """Role of the model under test; None: it is the model of the eval."""
        return TARGET if TARGET in (self.header.eval.model_roles or {}) else None

    @property
    def model(self) -> str:
        """The model under test, as Inspect names it."""
        role = self.agent_role
        return self.header.eval.model if role is None else role_models(self.header)[role][0]


def role_models(header: EvalLog) -> dict[str, list[str]]:
    """Role -> models that served it, by the header of a log."""
    found: dict[str, list[str]] = {}
    for role, bound in (header.eval.model_roles or {}).items():
        configs: list[ModelConfig] = bound if isinstance(bound, list) else [bound]
        found[role] = [config.model for config in configs]
    return found


def find_logs(sources: Iterable[Path | str], *, last: bool = False) -> list[LogFile]:
    """The logs that are named, in that order; those of a folder by the time of the eval.

    Args:
        sources: `.eval` or `.json` logs, or folders; links are followed. A file that is there twice, by
            another link or by the folder it is in, is one log.
        last: Of each folder only the eval that was created last.

    Raises:
        LogError: One is not there, is no log, is empty or damaged; or a folder has none.
    """
    found: dict[Path, LogFile] = {}
    for source in map(_local, sources):
        logs = sorted(_logs_in(source), key=_age) if source.is_dir() else [open_log(source)]
        if last and source.is_dir():
            logs = logs[-1:]
        for log in logs:
            found.setdefault(log.path.resolve(), log)
    logs = list(found.values())
    names = [log.name for log in logs]
    return [log if names.count(log.name) == 1 else log._replace(name=_stem(log.path)) for log in logs]


def open_log(path: Path | str) -> LogFile:
    """One log with its header.

    Raises:
        LogError: It is not there, is no log, is empty or damaged.
    """
    path = _local(path)
    return LogFile(path, _stem(Path(path.name)), _header(path))


def is_log(path: Path) -> bool:
    """Whether this is a log by its name and its first bytes, or a folder in or below which one lies."""
    if path.is_dir():
        return next(files_in(path), None) is not None
    return path.suffix == ".eval" or _is_json_log(path)


def unfinished_note(log: LogFile) -> str | None:
    """What to say beside numbers of a log whose eval did not end by itself; None if it did."""
    if log.finished:
        return None
    how = {"started": "it runs still, or was killed", "cancelled": "it was cancelled", "error": "it failed"}
    status = log.header.status
    return (
        f"{log.path}: not finished ({status}: {how.get(status, status)}); only the conversations that "
        "it wrote are here"
    )


def _local(path: Path | str) -> Path:
    return Path(str(path).removeprefix("file://"))


def _stem(path: Path) -> str:
    return str(path.with_suffix("")) if path.suffix in SUFFIXES else str(path)


def _age(log: LogFile) -> tuple[datetime, str]:
    return log.created, str(log.path)


def _logs_in(folder: Path) -> list[LogFile]:
    found = [
        LogFile(path, _stem(path.relative_to(folder)), _header(path)) for path in sorted(files_in(folder))
    ]
    if not found:
        raise LogError(
            f"{folder}: no logs in this folder; name a folder with .eval files, or run `inspect eval`"
        )
    return found


def files_in(folder: Path) -> Iterator[Path]:
    """Logs in a folder and its subfolders; hidden files are not whole yet."""
    seen: set[str] = set()
    for at, folders, files in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(at)) in seen:  # a link to a folder above it
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        for name in sorted(files):
            path = Path(at) / name
            if not name.startswith(".") and (path.suffix == ".eval" or _is_json_log(path)):
                yield path


def _is_json_log(path: Path) -> bool:
    if path.suffix != ".json":
        return False
    try:
        with path.open("rb") as file:
            return JSON_LOG.match(file.read(200)) is not None
    except OSError:
        return False


def _header(path: Path) -> EvalLog:
    if not path.exists():
        gone = "a link to a file that is gone" if path.is_symlink() else "no such file or folder"
        raise LogError(f"{path}: {gone}; name an .eval or .json log, or a folder with logs")
    if path.suffix not in SUFFIXES:
        raise LogError(f"{path}: no Inspect log; name an .eval or .json log, or a folder with logs")
    try:
        if path.stat().st_size == 0:
            raise LogError(
                f"{path}: empty: its eval was stopped before it wrote anything; move it away, or run it again"
            )
        if path.suffix == ".eval" and not zipfile.is_zipfile(path):
            raise LogError(
                f"{path}: damaged or cut off; copy it again, try `inspect log recover`, or move it away"
            )
        return read_eval_log(str(path), header_only=True)
    except LogError:
        raise
    except OSError as error:
        raise LogError(f"{path}: cannot be read ({error.strerror or error}); see who may read it") from None
    except Exception as error:  # whatever is wrong with what is in it
        raise LogError(
            f"{path}: not a readable Inspect log ({_brief(error)}); name an .eval or .json log that Inspect "
            "wrote, or move this one away"
        ) from error


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
