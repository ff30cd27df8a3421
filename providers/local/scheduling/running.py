"""The batch that is at work, and whose rows are whose."""

from collections.abc import Sequence
from contextlib import AbstractContextManager

from providers.local.decoding import Continued, Decoder, Ending
from providers.local.request import Request
from providers.local.scheduling.answers import answer_of, row_of
from providers.local.watching import Readers


class RunningBatch:
    """Requests on their way through the model. They leave by `step` as they are answered, or all at once.

    Args:
        decoder: Without any rows.
        readers: Whoever reads along in it.
        ending: What ends its rows.
        most: Rows at once.
    """

    def __init__(self, decoder: Decoder, readers: Readers, ending: Ending, most: int) -> None:
        self._decoder, self._readers, self._ending, self._most = decoder, readers, ending, most
        self._rows: dict[Continued, Request] = {}

    @property
    def requests(self) -> list[Request]:
        """In the batch, in the order in which they came."""
        return list(self._rows.values())

    @property
    def lost(self) -> bool:
        """Whether none of its rows can go on, since others did not get in."""
        return self._decoder.lost

    def fits(self, waiting: Sequence[Request]) -> list[Request]:
        """The first of these, as many as there is room for."""
        most = min([self._most, *(own.beside for own in self._rows.values())])
        fitting: list[Request] = []
        for request in waiting:
            most = min(most, request.beside)
            if len(self._rows) + len(fitting) >= most:
                break
            fitting.append(request)
        return fitting

    def admit(self, requests: Sequence[Request]) -> list[Request]:
        """Read their prompts; those that are answered by that."""
        rows = self._decoder.admit([row_of(request, self._ending) for request in requests])
        self._rows |= zip(rows, requests, strict=True)
        return self._answered([row for row in rows if row.over])

    def step(self) -> list[Request]:
        """One token more of each; those that are answered by that."""
        return self._answered(self._decoder.step())

    def drop_abandoned(self) -> None:
        """Nobody waits for these any more."""
        if gone := [row for row, request in self._rows.items() if request.abandoned]:
            self._decoder.drop(gone)
            for row in gone:
                del self._rows[row]

    def paused(self) -> AbstractContextManager[None]:
        """Something else goes through the model, which none of those who read along shall see."""
        return self._readers.away()

    def give_up(self) -> list[Request]:
        """All requests, none of which is answered."""
        requests = self.requests
        self._rows = {}
        return requests

    def _answered(self, rows: Sequence[Continued]) -> list[Request]:
        answered = [self._rows.pop(row) for row in rows]
        for row, request in zip(rows, answered, strict=True):
            request.error = row.error
            if row.error is None:
                request.answer = answer_of(row, self._ending)
        return answered
