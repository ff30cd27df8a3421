"""Cascades, and rows for them whose best decision is known."""

import json

import numpy as np

from probes.activations.grouping import Tie
from probes.cascades.joined import CascadeRows, Column
from probes.cascades.merging import MergeRule
from probes.cascades.saved import Cascade, FirstMonitor, FittedOn, Stage
from probes.cascades.scales import ScoreScale


def a_cascade(**changed) -> Cascade:
    """One stage, a band from .2 to .6."""
    return Cascade(
        **{
            "detects": "high stakes",
            "monitor": FirstMonitor(
                name="mean-layer2", scale=ScoreScale(name="isotonic", knots=[(-1.0, 0.1), (2.0, 0.9)])
            ),
            "stages": [
                Stage(
                    judge="likelihood default",
                    scale=ScoreScale(name="platt", slope=1.5, offset=-0.25),
                    low=0.2,
                    high=0.6,
                    merge=MergeRule(name="weighted-logits", weight=0.4),
                )
            ],
            "strategy": "uncertainty",
            "budget": 0.2,
            "asked": 0.19,
            "threshold": 0.8,
            "asked_fpr": 0.01,
            "fitted_on": FittedOn(datasets=["mts"], rows=10, positive=4, groups=9, digest="00" * 8),
        }
        | changed
    )


def gaussian_rows(count, *, seed=0, probe=1.5, judges=(2.5,), base_rate=0.5, name="made") -> CascadeRows:
    """Scores that are normal with unit variance about +-half of their distance, independent of each other.

    The best that can be done with any of them is known: log-likelihood ratios are distance times score.
    """
    rng = np.random.default_rng(seed)
    labels = (rng.random(count) < base_rate).astype(float)
    names = ["probe", *(f"judge{i}" for i in range(1, len(judges) + 1))]
    columns = [
        Column(
            own,
            distance * (distance * (labels - 0.5) + rng.normal(size=count)),
            {"flops": np.full(count, 10.0 ** (3 * place)), "seconds": np.full(count, 0.1 * place)},
        )
        for place, (own, distance) in enumerate(zip(names, (probe, *judges), strict=True))
    ]
    ids = [f"{name}-{seed}-{i}" for i in range(count)]
    ties = [Tie(row, row) for row in ids]
    return CascadeRows(name, ids, [name] * count, labels, ties, columns, {}, "high stakes")


def write_scores(folder, parts, *, columns=(0, 1), lacking=(), facts=None):
    """One `scores.jsonl` for each monitor, in folders called like them; some rows lack the second score."""
    for place in columns:
        lines = []
        for part in parts:
            column = part.columns[place]
            for i, (row, label) in enumerate(zip(part.ids, part.labels, strict=True)):
                if place and row in lacking:
                    continue
                line = {
                    "dataset": part.name,
                    "id": row,
                    "label": label,
                    "group": part.ties[i].group,
                    "facts": {} if facts is None else facts(i),
                    "scores": {column.name: {"score": float(column.logits[i])}},
                    "cost": {column.name: {name: float(of[i]) for name, of in column.costs.items()}},
                }
                lines.append(json.dumps(line) + "\n")
        path = folder / parts[0].columns[place].name
        path.mkdir(parents=True, exist_ok=True)
        (path / "scores.jsonl").write_text("".join(lines))
    return [folder / parts[0].columns[place].name / "scores.jsonl" for place in columns]
