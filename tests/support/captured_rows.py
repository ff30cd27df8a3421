"""Data sets of the activation store whose labels one layer tells."""

import numpy as np
import torch

from probes.activations.shards.writing_shards import CapturedRow
from probes.activations.store import DatasetCard, DatasetRow, Store, save_dataset
from tests.support.stored_rows import spec

HIDDEN = 6


def captured(
    root, name, count=80, *, seed=0, layers=(2, 4), tells=4, start=0, of=None, labels=None, excluded=None
):
    """A data set in which one layer tells the label and the others do not; two rows make a group."""
    rng = np.random.default_rng(seed)
    entry = Store(root).entry(of or spec(dtype="float32"))
    stored, table = [], []
    for i in range(count):
        label, tokens = float(i % 2), int(rng.integers(2, 9))
        values = {n: rng.normal(size=(tokens, HIDDEN)).astype(np.float32) for n in layers}
        values[tells][:, 0] += 1.2 * (2 * label - 1)
        key = f"{name}-{start + i}"
        message = np.zeros(tokens, dtype=np.int32)
        stored.append(
            CapturedRow(
                key,
                message,
                message,
                message.astype(np.uint8),
                {n: torch.from_numpy(v) for n, v in values.items()},
            )
        )
        table.append(
            DatasetRow(
                id=str(i),
                key=key,
                label=label if labels is None else labels[i],
                group=f"{name}-{i // 2}",
                facts={"split": "train" if i < 0.75 * count else "test"},
                n_tokens=tokens,
            )
        )
    entry.write(stored)
    save_dataset(
        root, name, table, DatasetCard(spec=entry.spec.key, source="made up", excluded=excluded or {})
    )
    return root / name
