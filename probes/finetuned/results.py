"""Results of baselines, in the form of `probes/evaluate.py`."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scipy.special import expit

from analysis.reporting.markdown import interval, table
from probes.evaluation.metrics import OneClassWarning, measure
from probes.evaluation.results import ResultRow
from probes.finetuned.baseline import BaselineCard, Scores
from scenarios.files.whole import write_json, write_jsonl

RESULTS, SCORES = "results.json", "scores.jsonl"


def write_results(out: Path, card: BaselineCard, scores: Sequence[Scores]) -> list[ResultRow]:
    """Write the table, a row for each data set, and a line for each conversation.

    Beside what rows of monitors have: `flops` (mean for a conversation, beyond the monitored model),
    `seconds` (the same), `tokens` (median), `rows_cut`, `excluded` (reason -> rows).

    Raises:
        WriteError: A file cannot be written.
    """
    name = card.settings.called
    rows = [result_row(name, card, one) for one in scores]
    write_json(out / RESULTS, rows)
    write_jsonl(out / SCORES, (line for one in scores for line in _lines(name, one)))
    return rows


def result_row(name: str, card: BaselineCard, scores: Scores) -> ResultRow:
    """The row of one data set."""
    data = scores.data
    with warnings.catch_warnings():
        # a table has None there, and the number of each class beside it
        warnings.simplefilter("ignore", OneClassWarning)
        measured = measure(data.labels, scores.logits, data.pairs, threshold=0.0)
    lengths = data.lengths()
    row: dict[str, Any] = {
        "monitor": name,
        "dataset": data.name,
        "layer": None,
        "seed": card.settings.seed,
        "head": card.settings.kind,
        "control": None,
        "by": None,
        "value": None,
        **measured.row(),
    }
    row["n_excluded"] = sum(data.excluded.values())
    return row | {
        "model": card.settings.model,
        "flops": float(scores.flops.mean()),
        "seconds": scores.seconds,
        "tokens": lengths["median"],
        "rows_cut": lengths["rows_cut"],
        "excluded": data.excluded,
    }


def results_table(rows: Sequence[ResultRow]) -> str:
    """AUROC, recall and cost of each data set."""
    head = ["", "data set", "positive", "negative", "left out", "AUROC", "recall at 1 % FPR", "FLOPs", "s"]
    lines = [
        [
            row["monitor"],
            row["dataset"],
            str(row["n_positive"]),
            str(row["n_negative"]),
            str(row["n_excluded"]),
            interval(row["auroc"], row["auroc_low"], row["auroc_high"]),
            interval(row["recall_at_1pct_fpr"], row["recall_low"], row["recall_high"]),
            f"{row['flops']:.2e}",
            f"{row['seconds']:.3f}",
        ]
        for row in rows
    ]
    return table(head, lines)


def _lines(name: str, scores: Scores) -> list[dict[str, Any]]:
    """As `evaluation.scored.write_score_rows` has them."""
    data = scores.data
    return [
        {
            "dataset": data.name,
            "id": row.id,
            "label": row.label,
            "group": row.pair,
            "facts": row.facts,
            "tokens": len(ids) + cut,
            "scores": {name: {"score": float(logit), "probability": float(expit(logit))}},
            "cost": {name: {"flops": float(flops), "seconds": scores.seconds}},
        }
        for row, ids, cut, logit, flops in zip(
            data.rows, data.token_ids, data.cut, scores.logits, scores.flops, strict=True
        )
    ]
