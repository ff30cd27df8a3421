"""Near-duplicates among many texts, by the word triples that they share."""

import math
from collections import defaultdict
from typing import NamedTuple

from scenarios.generation.similarity import triples


class Neighbour(NamedTuple):
    """The state that is most like another."""

    similarity: float
    """Jaccard similarity of word triples, 0 to 1."""

    name: str | None


class Neighbours:
    """Texts by their word triples, so that near-duplicates are found without comparing all.

    Args:
        limit: Similarity from which on neighbours count, above 0.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._texts: list[tuple[str, frozenset[tuple[str, ...]]]] = []
        self._holders: dict[tuple[str, ...], list[int]] = defaultdict(list)

    def add(self, name: str, text: str) -> None:
        """Add a text under a name for messages."""
        own = triples(text)
        for triple in own:
            self._holders[triple].append(len(self._texts))
        self._texts.append((name, own))

    def closest(self, text: str) -> Neighbour:
        """The most similar text so far, the earliest of several; similarity 0 if none reaches the limit."""
        own = triples(text)
        # a neighbour shares at least limit * len(own) triples, so one of any more than the rest of them:
        # the rarest ones do, and phrases that everybody uses need not be followed up
        rarest = sorted(own, key=lambda triple: len(self._holders.get(triple, ())))
        followed = rarest[: len(own) - math.ceil(self._limit * len(own) - 1e-9) + 1]
        best = Neighbour(0.0, None)
        for index in sorted({i for triple in followed for i in self._holders.get(triple, ())}):
            name, other = self._texts[index]
            shared = len(own & other)
            similarity = shared / (len(own) + len(other) - shared)
            if similarity >= self._limit and similarity > best.similarity:
                best = Neighbour(similarity, name)
        return best
