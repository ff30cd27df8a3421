"""A process that is nothing without the one that started it, and ends with it, however that came to its end.

`python -m scenarios.commands.parent_process MODULE ARGUMENT...` runs a module as such a process.
"""

import os
import platform
import runpy
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping

PARENT = "INSPECT_INFLUENCE_PARENT"
"""Environment variable: host and process id of the one to end with."""

POLL = 0.25
"""Seconds between two looks at the parent."""

GRACE = 15.0
"""Seconds for a process to end by itself once its parent is gone, e.g. to write the log of an eval."""


def tied(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child that is to end with this process, whatever launchers stand between them."""
    return {**environment, PARENT: f"{os.getpid()}@{platform.node()}"}


def end_with_parent() -> None:
    """Watch the parent from now on, if the environment names one on this machine.

    When it is gone, this process gets SIGTERM, and is ended after `GRACE` if that did not do it. A signal
    of the kernel for this (PR_SET_PDEATHSIG) is Linux's alone, and a closed pipe does not reach through
    launchers.
    """
    pid, _, host = os.environ.pop(PARENT, "").partition("@")
    if not pid.isdigit() or host != platform.node():
        return
    threading.Thread(target=_watch, args=(int(pid),), name="parent", daemon=True).start()


def _watch(pid: int) -> None:
    alive = _looking_at(pid)
    while alive():
        time.sleep(POLL)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)


def _looking_at(pid: int) -> Callable[[], bool]:
    if os.getppid() == pid:
        # exact: an orphan gets another parent at once, even while nobody has asked how the old one ended
        return lambda: os.getppid() == pid
    import psutil

    try:
        parent = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return lambda: False

    def alive() -> bool:
        try:
            return parent.is_running() and parent.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return alive


def main() -> None:
    """Run the module that the command line names."""
    end_with_parent()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
