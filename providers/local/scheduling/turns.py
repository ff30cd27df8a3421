"""Whose turn it is to use a model."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """A lock between the thread that runs a model and those who borrow it, who go first."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken = False
        self._borrowers = 0

    @property
    def wanted(self) -> bool:
        """Whether somebody waits to borrow it."""
        return self._borrowers > 0

    @contextmanager
    def borrowed(self) -> Iterator[None]:
        """Nothing else happens to the model meanwhile. Not for whoever has it already."""
        with self._changed:
            self._borrowers += 1
            try:
                self._changed.wait_for(lambda: not self._taken)
                self._taken = True
            finally:
                self._borrowers -= 1
        try:
            yield
        finally:
            self._give_back()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """A turn of the thread, which begins when nobody waits to borrow."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken and not self._borrowers)
            self._taken = True
        try:
            yield
        finally:
            self._give_back()

    def _give_back(self) -> None:
        with self._changed:
            self._taken = False
            self._changed.notify_all()
