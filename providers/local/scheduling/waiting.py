"""Requests that wait for their turn, in the order in which they came."""

from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from time import monotonic

from providers.local.request import Request

Fits = Callable[[Request], bool]


class WaitingRequests:
    """Anybody may put some in; the rest is of one thread."""

    def __init__(self) -> None:
        self._new: SimpleQueue[Request] = SimpleQueue()
        self._held: list[Request] = []

    def put(self, request: Request) -> None:
        """One more, from any thread."""
        self._new.put(request)

    def gather(self, enough: int, window: float) -> None:
        """Wait for some, and go on waiting while they come in.

        Args:
            enough: With so many there is no more to wait for.
            window: Seconds without a new one after which no more are expected.
        """
        if not self._held:
            self._held.append(self._new.get())
        quiet_since = monotonic()
        while len(self._held) < enough:
            try:
                self._held.append(self._new.get(timeout=max(0.0, quiet_since + window - monotonic())))
                quiet_since = monotonic()
            except Empty:
                break

    def look(self) -> Sequence[Request]:
        """All that are there now, the oldest first."""
        while True:
            try:
                self._held.append(self._new.get_nowait())
            except Empty:
                break
        if any(request.abandoned for request in self._held):
            self._held = [request for request in self._held if not request.abandoned]
        return self._held

    def take(self, requests: Sequence[Request]) -> None:
        """These wait no longer."""
        taken = set(requests)
        self._held = [request for request in self._held if request not in taken]

    def put_back(self, requests: Sequence[Request]) -> None:
        """They were here before all others."""
        self._held = [*requests, *self._held]
