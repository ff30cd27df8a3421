"""How alike two initial states are: the share of word triples that they have in common."""

import re
from collections import defaultdict
from collections.abc import Sequence

NEAR_DUPLICATE = 0.5
"""From this Jaccard similarity of word triples on, two texts count as near-duplicates."""


def triples(text: str) -> frozenset[tuple[str, ...]]:
    """Every run of three words, lower case, punctuation ignored."""
    words = re.findall(r"[\w']+", text.lower())
    return frozenset(zip(words, words[1:], words[2:], strict=False))


def highest_similarities(texts: Sequence[str]) -> list[float]:
    """For each text, its highest Jaccard similarity (0 to 1) of word triples to any other text."""
    sets = [triples(t) for t in texts]
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, own in enumerate(sets):
        for triple in own:
            holders[triple].append(index)
    highest = []
    for index, own in enumerate(sets):
        shared: dict[int, int] = defaultdict(int)
        for triple in own:
            for other in holders[triple]:
                shared[other] += 1
        shared.pop(index, None)
        highest.append(max((n / (len(own) + len(sets[o]) - n) for o, n in shared.items()), default=0.0))
    return highest
