"""Fits any number of heads in one pass over the activations at a time.

Heads that see pooled vectors are solved in closed form after one read. The others are trained by AdamW: all
of them, whatever their shape and seed, on the same batches, so that each epoch reads the activations once.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from probes.activations.ragged import Ragged
from probes.heads.base import Head, Masses, Validation, checked_labels
from probes.heads.pooled import Pooled, PooledHead, Pooling, pool, token_scale
from probes.heads.trained import Progress, TrainedHead, train


def fit_together(
    heads: Sequence[Head],
    X: Ragged,  # noqa: N803
    y: Any,
    *,
    sample_weight: Any = None,
    rows: Sequence[np.ndarray | None] | None = None,
    validation: Validation | None = None,
    pooled: Pooled | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> None:
    """Fit heads of any kind on the same activations.

    Args:
        heads: Each is fitted in place.
        X: Activations, one row a conversation.
        y: [rows], in 0..1; between them a soft label.
        sample_weight: [rows], at least 0; 1 if not given.
        rows: For each head [rows], bool: those it is fitted on, e.g. the training rows of a fold. None: all.
        validation: Activations and labels that training is stopped by.
        pooled: Gives the pooled activations of X if they are kept somewhere; computed in one read if not.
        device: Where heads are trained.
        progress: Told (steps done, of how many).

    Raises:
        NotFiniteError: Names the row.
        ValueError: No rows, labels outside 0..1 or of one class only, or a parameter out of range.
    """
    labels = checked_labels(y)
    if len(labels) != len(X):
        raise ValueError(f"{len(X)} rows of activations but {len(labels)} labels")
    weights = np.ones_like(labels) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    masses: list[Masses] = []
    for head, chosen in zip(heads, rows or [None] * len(heads), strict=True):
        head.check_parameters()
        masses.append(head.masses(labels, weights if chosen is None else weights * chosen))
    scale = token_scale(X)
    kept: dict[Pooling, torch.Tensor] = {}
    for head, mass in zip(heads, masses, strict=True):
        if isinstance(head, PooledHead):
            if head.POOLING not in kept:
                kept |= pool(X) if pooled is None else {head.POOLING: pooled(head.POOLING)}
            head.fit_pooled(kept[head.POOLING], mass, scale)
    kept.clear()
    by_batch: dict[int, list[tuple[TrainedHead, Masses]]] = {}
    for head, mass in zip(heads, masses, strict=True):
        if isinstance(head, TrainedHead):
            by_batch.setdefault(head.batch_size, []).append((head, mass))
    for members in by_batch.values():
        train(members, X, scale, validation, device=device, progress=progress)
