"""Work in a process of its own, whose memory (the model's on a GPU) is free afterwards.

Such a process ends with the one that started it, and until then holds its locks: a run that was killed is not
started again beside what is left of it.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from pydantic import BaseModel

from scenarios.commands.interruption import STOPPED, termination_as_interrupt
from scenarios.commands.parent_process import end_with_parent, tied
from scenarios.files.whole import write_text
from training.launch.run_lock import files_to_inherit, inheriting

if TYPE_CHECKING:
    import psutil

ROOT = Path(__file__).parent.parent.parent

FAILED = 1
"""Exit status."""

PATIENCE = 20.0
"""Seconds that a process gets to end by itself, e.g. to write its log, before it is killed."""

POLL = 0.02
"""Seconds between two looks at whether a request is done."""

SILENCE = {
    "HF_HUB_DISABLE_TELEMETRY": "1",  # TRL tells of every trainer: its kind, the model's, the device
    "DO_NOT_TRACK": "1",  # vLLM and others
    "GRADIO_ANALYTICS_ENABLED": "False",  # below trackio
    "WANDB_ERROR_REPORTING": "false",
}
"""Environment in which no library tells its makers that it is used."""

Request = TypeVar("Request", bound=BaseModel)


class ProcessFailed(RuntimeError):
    """The process did not do its work.

    Args:
        status: Its exit status.
        reason: The last line it wrote to stderr; empty if it was not listened to.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason or f"exit status {status}")
        self.status = status


def start(
    command: Sequence[str], *, stdin: int | None = None, stderr: int | None = None
) -> subprocess.Popen[str]:
    """Start a process that ends with this one and holds its locks meanwhile.

    It is in a session of its own, so that Ctrl-C reaches this process alone, which then ends the other
    in good request.
    """
    files = files_to_inherit()
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**tied(os.environ), **inheriting(files), **SILENCE, "PYTHONPATH": path}
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL if stdin is None else stdin,
        stderr=stderr,
        text=True,
        pass_fds=files,
        start_new_session=True,
    )


def end(process: subprocess.Popen[str], *, patience: float = PATIENCE) -> None:
    """End a process and all that it has started, which is asked first if there is patience.

    When this returns they have ended: what they held, such as a lock or a GPU's memory, is free.
    """
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        all_of_it = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        if patience:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)
        for one in all_of_it:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        deadline = time.monotonic() + PATIENCE  # one that waits for a disk or a device dies later
        while any(map(_lives, all_of_it)) and time.monotonic() < deadline:
            time.sleep(0.01)
    process.wait()


def _lives(process: "psutil.Process") -> bool:
    """Whether it still holds anything. One that nobody has waited for (a zombie) does not."""
    import psutil

    try:
        return process.status() not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    except psutil.NoSuchProcess:
        return False


class Apart(Protocol):
    """Work that another process does."""

    def finish(self) -> None:
        """Wait until it is done.

        Raises:
            ProcessFailed: The process failed.
            KeyboardInterrupt: It was stopped.
        """

    def end(self) -> None:
        """End it, done or not; it may write down what it has."""


class WorkApart:
    """`python -m module told` at work beside this process, where `module` ends with `serve_request`.

    Args:
        module: Dotted name.
        request: What is to be done; written to `told` for the process, and gone afterwards.
        told: JSON file.
        listen: Keep stderr for the reason of a failure instead of showing it.
    """

    def __init__(self, module: str, request: BaseModel, told: Path, *, listen: bool = False) -> None:
        self._told = told
        write_text(told, request.model_dump_json(indent=1) + "\n")
        command = [sys.executable, "-m", module, str(told.resolve())]
        try:
            self._process = start(command, stderr=subprocess.PIPE if listen else None)
        except BaseException:
            told.unlink(missing_ok=True)
            raise

    def finish(self) -> None:
        """As of `Apart`."""
        try:
            _, written = self._process.communicate()
        except BaseException:
            self.end()
            raise
        self._told.unlink(missing_ok=True)
        if self._process.returncode == STOPPED:
            raise KeyboardInterrupt
        if self._process.returncode != 0:
            raise ProcessFailed(self._process.returncode, (written or "").strip().rpartition("\n")[2])

    def end(self) -> None:
        """As of `Apart`."""
        end(self._process)
        self._told.unlink(missing_ok=True)


def run_apart(module: str, request: BaseModel, told: Path, *, listen: bool = False) -> None:
    """Do work in a process of its own and wait for it; see `WorkApart`.

    Raises:
        ProcessFailed: The process failed.
        KeyboardInterrupt: It was stopped.
    """
    WorkApart(module, request, told, listen=listen).finish()


class StandingProcess:
    """`python -m module --wait`, which does one request after the other and keeps what it has loaded.

    Args:
        module: Dotted name; it ends with `serve_request`.
    """

    def __init__(self, module: str) -> None:
        self._module = module
        self._process: subprocess.Popen[str] | None = None
        self._told: Path | None = None

    def begin(self, request: BaseModel, told: Path) -> None:
        """Hand over a request; the one before is finished.

        Args:
            request: What is to be done.
            told: JSON file, in which the process is told; gone when it is done.
        """
        if self._process is not None and self._process.poll() is not None:  # killed while it waited
            self.end()
        self._told = told
        write_text(told, request.model_dump_json(indent=1) + "\n")
        try:
            if self._process is None:
                self._process = start([sys.executable, "-m", self._module, "--wait"], stdin=subprocess.PIPE)
        except BaseException:
            told.unlink(missing_ok=True)
            raise
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, and `finish` finds it so
            self._process.stdin.write(f"{json.dumps(str(told.resolve()))}\n")
            self._process.stdin.flush()

    def finish(self) -> None:
        """As of `Apart`; afterwards it waits for the next request."""
        process, told = self._process, self._told
        if process is None or told is None:
            return
        try:
            while process.poll() is None and told.exists():
                time.sleep(POLL)
        except BaseException:
            self.end()
            raise
        if told.exists():
            self.end()
            if process.returncode == STOPPED:
                raise KeyboardInterrupt
            raise ProcessFailed(process.returncode, "")

    def end(self) -> None:
        """End the process if there is one, done or not; it may write down what it has."""
        process, self._process = self._process, None
        if process is not None:
            end(process)
            assert process.stdin is not None
            with contextlib.suppress(OSError):  # what it has not read is lost with it
                process.stdin.close()
        if self._told is not None:
            self._told.unlink(missing_ok=True)


def serve_request(
    kind: type[Request],
    work: Callable[[Request], object],
    failures: Mapping[type[Exception], int],
    arguments: Sequence[str] | None = None,
) -> int:
    """The other side: read the request, do the work, and say how it went.

    With `--wait` the files of requests are read from standard input, a line of JSON each, until that ends or
    one fails; a file is gone when its work is done.

    Args:
        kind: Of the request.
        work: Is given it.
        failures: Exceptions whose message says all -> exit status.
        arguments: Command line: the file with the request.

    Returns:
        Exit status: 0 done, 130 stopped, else that of the failure.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("request", type=Path, nargs="?")
    parser.add_argument("--wait", action="store_true")
    given = parser.parse_args(arguments)
    if given.wait == (given.request is not None):
        parser.error("give a request, or --wait")

    def do(told: Path) -> None:
        work(kind.model_validate_json(told.read_text(encoding="utf-8")))

    end_with_parent()
    try:
        with termination_as_interrupt():
            if given.request is not None:
                do(given.request)
            else:
                for told in _requests():
                    do(told)
                    told.unlink(missing_ok=True)
    except tuple(failures) as error:
        print(error, file=sys.stderr)
        return next(status for known, status in failures.items() if isinstance(error, known))
    except KeyboardInterrupt:
        return STOPPED
    return 0


def _requests() -> Iterator[Path]:
    """Files of requests as they come. What the work itself starts finds an empty standard input."""
    lines = os.fdopen(os.dup(sys.stdin.fileno()))
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, sys.stdin.fileno())
    os.close(empty)
    for line in iter(lines.readline, ""):
        yield Path(json.loads(line))
