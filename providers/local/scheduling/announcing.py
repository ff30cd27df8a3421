"""Telling those who wait that their answer is there."""

import logging
import threading
from collections.abc import Sequence
from queue import Empty, SimpleQueue

import anyio.from_thread
import anyio.lowlevel

from providers.local.request import Request

logger = logging.getLogger(__name__)


class Announcer:
    """A thread of its own, so that the model does not wait for an event loop that is busy."""

    def __init__(self, name: str) -> None:
        self._answered: SimpleQueue[Sequence[Request]] = SimpleQueue()
        threading.Thread(target=self._run_forever, name=name, daemon=True).start()

    def announce(self, requests: Sequence[Request]) -> None:
        """Wake the waiting tasks, soon."""
        if requests:
            self._answered.put(requests)

    def _run_forever(self) -> None:
        while True:
            self._announce_all()

    def _announce_all(self) -> None:
        """One hop into each event loop for all that is there."""
        loops: dict[anyio.lowlevel.EventLoopToken, list[Request]] = {}
        for request in self._next():
            loops.setdefault(request.token, []).append(request)
        for token, requests in loops.items():
            try:
                anyio.from_thread.run_sync(_wake, requests, token=token)
            except RuntimeError:  # the event loop is gone, and with it everybody who waited
                logger.debug("nobody waits for %d answers any more", len(requests))

    def _next(self) -> list[Request]:
        answered = [*self._answered.get()]
        while True:
            try:
                answered += self._answered.get_nowait()
            except Empty:
                return answered


def _wake(requests: Sequence[Request]) -> None:
    for request in requests:
        request.done.set()
