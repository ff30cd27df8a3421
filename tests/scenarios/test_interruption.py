"""Interruptions arrive, whatever Python is at when they come."""

import importlib
import signal
import sys
import time
import weakref

import pytest

from scenarios.commands.exits import exit_status
from scenarios.commands.interruption import STOPPED, TERMINATED, stop_status, termination_as_interrupt


@pytest.fixture(autouse=True)
def _forgotten_afterwards():
    yield
    with termination_as_interrupt():  # else later commands of this process would seem to be ended
        pass


class Thing:
    """May be referred to weakly."""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, STOPPED), (signal.SIGTERM, TERMINATED)])
def test_one_that_a_callback_swallows_comes_again(number: signal.Signals, status: int):
    @termination_as_interrupt()
    def swallow() -> None:
        thing = Thing()
        watch = weakref.ref(thing, lambda _: signal.raise_signal(number))
        del thing
        assert watch() is None
        time.sleep(5)

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        swallow()
    assert time.monotonic() - begun < 4
    assert stop_status() == status


def test_termination_is_heeded_where_interruptions_are_ignored():
    @termination_as_interrupt()
    def ignore_one_and_heed_the_other() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        time.sleep(5)

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(KeyboardInterrupt):
            ignore_one_and_heed_the_other()
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, STOPPED), (signal.SIGTERM, TERMINATED)])
def test_every_command_ends_in_good_order_on_both(capsys, number: signal.Signals, status: int):
    ended: list[str] = []

    def work() -> int:
        try:
            signal.raise_signal(number)
            time.sleep(5)
        finally:
            ended.append("files closed")
        return 0

    # of a command that did not heed it, SIGTERM would end this process; so it is counted instead
    before = signal.signal(signal.SIGTERM, lambda *_: ended.append("not heeded"))
    try:
        assert exit_status(work, kept="rows are kept") == status
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended == ["files closed"]
    assert capsys.readouterr().err.endswith("stopped; rows are kept\n")


def test_a_module_that_is_being_imported_is_imported_first(tmp_path, monkeypatch):
    """Libraries of C++ abort the process at an exception there."""
    (tmp_path / "slowly_imported.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(0.2)\nWHOLE = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def import_and_wait():
        importlib.import_module("slowly_imported")
        time.sleep(10)

    with termination_as_interrupt(), pytest.raises(KeyboardInterrupt):
        import_and_wait()
    assert sys.modules["slowly_imported"].WHOLE
    assert stop_status() == 143
