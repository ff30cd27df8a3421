"""Interruptions arrive, whatever Python is at when they come."""

import signal
import time
import weakref

import pytest

from scenarios.commands.interruption import STOPPED, TERMINATED, stop_status, termination_as_interrupt


class Thing:
    """May be referred to weakly."""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, STOPPED), (signal.SIGTERM, TERMINATED)])
def test_one_that_a_callback_swallows_comes_again(number: signal.Signals, status: int):
    thing = Thing()
    watch = weakref.ref(thing, lambda _: signal.raise_signal(number))
    with pytest.raises(KeyboardInterrupt), termination_as_interrupt():
        del thing
        time.sleep(5)
    assert watch() is None
    assert stop_status() == status


def test_termination_is_heeded_where_interruptions_are_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(KeyboardInterrupt), termination_as_interrupt():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
            time.sleep(5)
    finally:
        signal.signal(signal.SIGINT, before)
