"""Stopping on SIGINT (Ctrl-C) and SIGTERM alike: what runs is ended in good order, and one line says so."""

import atexit
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

STOPPED, TERMINATED = 130, 143
"""Exit statuses of a command that SIGINT, or SIGTERM, stopped: 128 and the number of the signal."""

AGAIN_AFTER = 0.05
"""Seconds until an interruption that was dropped is raised again."""

_terminated = threading.Event()


@contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does: libraries (asyncio, Inspect) end in good order on that one alone.

    Python drops an interruption that comes while a finalizer or the callback of a weak reference runs; it is
    raised again then.
    """
    _terminated.clear()
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return
    main = threading.get_ident()  # which the signal shall wake, if it sleeps or waits
    before, hook = signal.signal(signal.SIGTERM, _interrupt), sys.unraisablehook

    def again(lost: "sys.UnraisableHookArgs") -> None:
        if issubclass(lost.exc_type, KeyboardInterrupt):
            threading.Timer(AGAIN_AFTER, signal.pthread_kill, [main, signal.SIGINT]).start()
        else:
            hook(lost)

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = hook
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    _terminated.set()
    if _imports(frame):  # torch answers an exception there by aborting the process
        threading.Timer(AGAIN_AFTER, signal.pthread_kill, [threading.get_ident(), number]).start()
        return
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as under nohup, or in the background of a script
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.raise_signal(signal.SIGINT)


def _imports(frame: FrameType | None) -> bool:
    """Whether a module is being imported."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def stop_status() -> int:
    """Exit status of a command that was interrupted."""
    return TERMINATED if _terminated.is_set() else STOPPED


def say_stopped(what_is_kept: str) -> int:
    """Say in one line that the command was stopped and what is kept; returns the exit status."""
    begin = "\n" if sys.stderr.isatty() else ""  # the terminal has just shown ^C
    print(f"{begin}stopped; {what_is_kept}", file=sys.stderr, flush=True)
    return stop_status()


def leave(status: int) -> NoReturn:
    """End the process with an exit status.

    One that was stopped does not wait for threads that still compute, which torch would answer with an abort.
    """
    if status in (STOPPED, TERMINATED):
        with contextlib.suppress(BaseException):
            atexit._run_exitfuncs()  # e.g. Inspect ends servers that it has started
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
