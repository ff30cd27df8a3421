"""Work in a process of its own, whose memory (the model's on a GPU) is free afterwards."""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from training.files import write_text

ROOT = Path(__file__).parent.parent

FAILED, STOPPED = 1, 130
"""Exit statuses."""

Order = TypeVar("Order", bound=BaseModel)


class Ended(RuntimeError):
    """The process did not do its work.

    Args:
        status: Its exit status.
        reason: The last line it wrote to stderr; empty if it was not listened to.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason or f"exit status {status}")
        self.status = status


def run_apart(module: str, order: BaseModel, told: Path, *, listen: bool = False) -> None:
    """Run `python -m module told`, where `module` ends with `obey`.

    Args:
        module: Dotted name.
        order: What is to be done; written to `told` for the process, and gone afterwards.
        told: JSON file.
        listen: Keep stderr for the reason of a failure instead of showing it.

    Raises:
        Ended: The process failed.
        KeyboardInterrupt: It was stopped.
    """
    write_text(told, order.model_dump_json(indent=1) + "\n")
    done = subprocess.run(
        [sys.executable, "-m", module, str(told.resolve())],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE if listen else None,
        text=True,
        check=False,
    )
    told.unlink(missing_ok=True)
    if done.returncode == STOPPED:
        raise KeyboardInterrupt
    if done.returncode != 0:
        raise Ended(done.returncode, (done.stderr or "").strip().rpartition("\n")[2])


def obey(
    kind: type[Order],
    work: Callable[[Order], object],
    failures: Mapping[type[Exception], int],
    arguments: Sequence[str] | None = None,
) -> int:
    """The other side: read the order, do the work, and say how it went.

    Args:
        kind: Of the order.
        work: Is given it.
        failures: Exceptions whose message says all -> exit status.
        arguments: Command line: the file with the order.

    Returns:
        Exit status: 0 done, 130 stopped, else that of the failure.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("order", type=Path)
    order = kind.model_validate_json(parser.parse_args(arguments).order.read_text(encoding="utf-8"))
    try:
        work(order)
    except tuple(failures) as error:
        print(error, file=sys.stderr)
        return next(status for known, status in failures.items() if isinstance(error, known))
    except KeyboardInterrupt:
        return STOPPED
    return 0
