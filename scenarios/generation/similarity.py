"""How alike two initial states are: the share of word triples that they have in common."""

import re
from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array

NEAR_DUPLICATE = 0.5
"""From this Jaccard similarity of word triples on, two texts count as near-duplicates."""

ROWS = 256
"""Texts compared with all others at a time; bounds the memory."""


def triples(text: str) -> frozenset[tuple[str, ...]]:
    """Every run of three words, lower case, punctuation ignored."""
    words = re.findall(r"[\w']+", text.lower())
    return frozenset(zip(words, words[1:], words[2:], strict=False))


def highest_similarities(texts: Sequence[str]) -> np.ndarray:
    """For each text [n] its highest Jaccard similarity (0 to 1) of word triples to any other.

    The triples that two texts share are counted by a product of sparse matrices, so that thousands of
    texts take seconds.
    """
    owns = [triples(text) for text in texts]
    columns = {triple: i for i, triple in enumerate({triple: None for own in owns for triple in own})}
    sizes = np.array([len(own) for own in owns])
    indices = [columns[triple] for own in owns for triple in own]
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    shape = (len(texts), max(len(columns), 1))
    has = csr_array((np.ones(len(indices), dtype=np.int32), indices, bounds), shape=shape)
    highest = np.zeros(len(texts))
    for start in range(0, len(texts), ROWS):
        shared = (has[start : start + ROWS] @ has.T).toarray()
        rows = np.arange(len(shared))
        shared[rows, start + rows] = 0
        united = sizes[start : start + ROWS, None] + sizes[None, :] - shared
        highest[start : start + ROWS] = (shared / np.maximum(united, 1)).max(axis=1)
    return highest
