"""Stored conversations with logits that are known, and monitors that give just those."""

import json
import math

import numpy as np
import torch

from probes.activations.shards.writing_shards import CapturedRow
from probes.activations.store import DatasetCard, DatasetRow, Store, save_dataset
from probes.evaluate import main
from probes.heads.table import make_head
from probes.monitors.monitor import Monitor, MonitorCard, Sources, Threshold
from probes.tokens.roles import ROLES
from tests.support.stored_rows import spec

LAYER = 4
USER = ROLES.index("user")

LABELS = [1, 1, 0, 0]
LOGITS = [3.0, 1.0, 2.0, 0.0]


def stored(
    root,
    name,
    labels,
    logits,
    *,
    other=None,
    groups=None,
    lengths=None,
    facts=None,
    keys=None,
    texts=None,
    tokenizer=None,
    of=None,
    excluded=None,
):
    """A data set whose rows' tokens all have the activations (logit, other logit)."""
    entry = Store(root).entry(of or spec(dtype="float32"))
    rows, table = [], []
    for i, (label, logit) in enumerate(zip(labels, logits, strict=True)):
        ids = np.array(
            tokenizer(texts[i])["input_ids"] if texts and tokenizer else [3] * (lengths[i] if lengths else 2)
        )
        count = len(ids)
        key = f"{name}-{i}" if keys is None else keys[i]
        values = np.tile([logit, 0.0 if other is None else other[i]], (count, 1)).astype(np.float32)
        rows.append(
            CapturedRow(
                key,
                ids.astype(np.int32),
                np.zeros(count, np.int32),
                np.full(count, USER, np.uint8),
                {LAYER: torch.from_numpy(values)},
            )
        )
        table.append(
            DatasetRow(
                id=str(i),
                key=key,
                label=None if label is None or math.isnan(label) else label,
                group=f"{name}-{i if groups is None else groups[i]}",
                facts=facts[i] if facts else {},
                n_tokens=count,
            )
        )
    entry.write(rows)
    card = DatasetCard(spec=entry.spec.key, source=f"{name}.jsonl", excluded=excluded or {})
    save_dataset(root, name, table, card)
    return f"{root}/{name}"


def saved(
    folder,
    *,
    weight=(1.0, 0.0),
    threshold=0.0,
    head="mean",
    of=None,
    trained_on="elsewhere/train",
    **parameters,
):
    """A monitor whose logit is a weighted sum of both numbers."""
    made = make_head(head, **parameters)
    made.set_weights(torch.tensor(weight)[:, None], torch.zeros(1))
    card = MonitorCard(
        detects="high stakes",
        head=head,
        parameters=made.get_params(),
        layers=[LAYER],
        hidden=2,
        spec=of or spec(dtype="float32"),
        training=Sources(names=[trained_on], digest="0" * 16, rows=8, positive=4, groups=8),
        threshold=None
        if threshold is None
        else Threshold(logit=threshold, asked_fpr=0.01, fpr=0.0, recall=0.5, n_negative=4, n_positive=4),
    )
    return Monitor(made, card).save(folder)


def evaluated(tmp_path, *options, figures=False):
    """Exit status, rows of `results.json`, and `evaluation.json`."""
    out = tmp_path / "results"
    code = main(
        [*map(str, options), "--out", str(out), "--figures", str(figures).lower()],
    )
    if code:
        return code, [], {}
    return code, *(json.loads((out / name).read_text()) for name in ("results.json", "evaluation.json"))


def only(rows, **wanted):
    """The one row with these values; whole sets and no control if nothing else is said."""
    found = [
        r for r in rows if all(r.get(k) == v for k, v in ({"by": None, "control": None} | wanted).items())
    ]
    assert len(found) == 1, found
    return found[0]
