"""As many negatives as positives in every topic, so that no monitor is fitted to the topic."""

import random
from collections import defaultdict
from collections.abc import Sequence

import numpy as np


def matched(labels: np.ndarray, values: Sequence[str | None], seed: int) -> np.ndarray:
    """Which rows to keep: of every value the smaller class whole, and as many rows of the other.

    Args:
        labels: [rows], in 0..1; from 0.5 on positive.
        values: What a row is matched by, e.g. its topic; rows without it are not kept.
        seed: Of the draw.

    Returns:
        [rows], bool.
    """
    rng = random.Random(seed)
    classes: dict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for row, (label, value) in enumerate(zip(labels, values, strict=True)):
        if value is not None:
            classes[value][int(label >= 0.5)].append(row)
    kept = np.zeros(len(labels), dtype=bool)
    for negative, positive in classes.values():
        count = min(len(negative), len(positive))
        for rows in (negative, positive):
            kept[rng.sample(rows, count)] = True
    return kept
