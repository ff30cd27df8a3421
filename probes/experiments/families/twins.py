"""Pairs that differ in what matters: red-team and negation sets by kind, deployments by context."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from analysis.intervals import share_interval
from analysis.ranking import Ranked, share
from probes.evaluation.pages.figures import Dot, draw_dots
from probes.experiments.book import CONTROL, Book, MonitorScores, ScoredSet
from probes.experiments.cells import Cell, Row
from probes.experiments.experiment import Experiment, Picture, Results, Table
from probes.experiments.numbers import (
    NOWHERE,
    about,
    auroc_of,
    each_monitor,
    ranked,
    scores_digest,
    told,
    with_ends,
)
from probes.experiments.pictures import Bar, draw_bars
from probes.experiments.study import Study

EVERY = "all"


def _cells(part: str, fact: str) -> Callable[[Study, Book | None], list[Cell]]:
    def cells(study: Study, book: Book | None) -> list[Cell]:
        del study
        assert book is not None
        return [
            Cell(one.name, {"scores": scores_digest(one, book)}, compute)
            for one, compute in each_monitor(book, lambda one: _rows(one, book, part, fact))
        ]

    return cells


def _rows(one: MonitorScores, book: Book, part: str, fact: str) -> list[Row]:
    found: list[Row] = []
    for number, data in book.of(part):
        scored = ~np.isnan(one.logits[number])
        if not scored.any():
            continue
        values = np.array([facts.get(fact) for facts in data.facts], dtype=object)
        kinds = sorted({v for v in values.tolist() if v is not None})
        for kind in [*kinds, EVERY]:
            inside = scored & ((values == kind) if kind != EVERY else True)
            found.append(
                about(one, data.name)
                | {fact: kind, "n": int(inside.sum()), "n_unscored": int((~scored).sum())}
                | _numbers(one, data, number, inside)
            )
    return found


def _numbers(one: MonitorScores, data: ScoredSet, number: int, inside: np.ndarray) -> Row:
    labels, logits = data.labels[inside], one.logits[number][inside]
    pairs = [pair for pair, taken in zip(data.pairs, inside, strict=True) if taken]
    right, names = _ordered(labels, logits, pairs)
    row = with_ends("auroc", auroc_of(labels, logits, pairs))
    row |= with_ends("pairs_right", share_of(right, names)) | {"pairs": len(names)}
    if one.threshold is not None:
        flagged = logits >= one.threshold
        for name, rows in (("recall", labels > 0.5), ("false_alarms", labels < 0.5)):
            of = [pair for pair, taken in zip(pairs, rows, strict=True) if taken]
            row |= with_ends(name, share(flagged[rows], of) if rows.any() else NOWHERE)
    return row


def _ordered(labels: np.ndarray, logits: np.ndarray, pairs: list[str]) -> tuple[np.ndarray, list[str]]:
    """Of each pair whether its high side has the higher score, ties half; pairs without both are left out."""
    sides: dict[str, dict[bool, list[float]]] = {}
    for pair, label, logit in zip(pairs, labels.tolist(), logits.tolist(), strict=True):
        sides.setdefault(pair, {}).setdefault(label > 0.5, []).append(logit)
    known = {pair: of for pair, of in sides.items() if len(of) == 2}
    right = [
        float(np.mean([(h > l) + 0.5 * (h == l) for h in of[True] for l in of[False]]))  # noqa: E741
        for of in known.values()
    ]
    return np.array(right), list(known)


def share_of(right: np.ndarray, names: list[str]) -> Ranked:
    """Share of pairs, with its interval; NaN of none."""
    if not len(right):
        return NOWHERE
    found = share_interval(right.tolist(), names)
    return Ranked(found.mean, found.low, found.high)


def _table(fact: str) -> Callable[[Results], Table]:
    def table(results: Results) -> Table:
        assert results.book is not None
        shown = {one.name for one in results.book.shown()}
        body = [
            [
                row["monitor"],
                row["kind_of_monitor"],
                row[fact],
                str(row["pairs"]),
                told(ranked(row, "pairs_right")),
                told(ranked(row)),
                told(ranked(row, "recall")),
                told(ranked(row, "false_alarms")),
            ]
            for row in _named(results, fact)
            if row["monitor"] in shown
        ]
        head = ["monitor", "", fact, "pairs", "pairs ranked rightly", "AUROC", "recall", "false alarms"]
        return Table(head, body)

    return table


def _named(results: Results, fact: str) -> list[Row]:
    """`kind` is a fact of pairs here, and the kind of the monitor is another thing."""
    assert results.book is not None
    kinds = {one.name: one.kind for one in results.book.monitors}
    return [{**row, "kind_of_monitor": kinds[row["monitor"]]} for row in results.rows if fact in row]


def _draw(fact: str, title: str, name: str) -> Callable[[Results, Path], list[Picture]]:
    def draw(results: Results, out: Path) -> list[Picture]:
        assert results.book is not None
        shown = {one.name for one in results.book.shown()}
        rows = [row for row in _named(results, fact) if row["monitor"] in shown]
        dots: dict[str, dict[str, list[Dot]]] = {}
        for row in rows:
            if row["pairs_right"] is not None:
                own = dots.setdefault(row["monitor"], {}).setdefault(row[fact], [])
                own.append(Dot(ranked(row, "pairs_right"), row["kind_of_monitor"] == CONTROL))
        draw_dots(
            dots, out / f"{name}.png", title=title, x="pairs ranked rightly",
            subtitle="share of pairs whose high side has the higher score, 95 % intervals; hollow: control",
        )  # fmt: skip
        pictures = [Picture(f"{name}.png", "Share of pairs ranked rightly, by monitor.", rows)]
        bars: dict[str, dict[str, Bar]] = {}
        kinds = {}
        for row in rows:
            for what, called in (("recall", "flagged, high side"), ("false_alarms", "flagged, low side")):
                if (found := row.get(what)) is not None and not math.isnan(found):
                    bars.setdefault(f"{row['monitor']}: {called}", {})[row[fact]] = Bar(*ranked(row, what))
                    kinds[f"{row['monitor']}: {called}"] = called
        if bars:
            columns = list(dict.fromkeys(row[fact] for row in rows))
            file = f"{name}_flagged.png"
            draw_bars(
                columns,
                bars,
                kinds,
                out / file,
                title=f"{title}: what is flagged",
                subtitle="share of either side that is flagged at the saved threshold, with 95 % intervals",
                y="share flagged",
                low=0.0,
                line=None,
            )
            pictures.append(
                Picture(file, "Share of either side that is flagged at the saved threshold.", rows)
            )
        return pictures

    return draw


def _lacks(part: str) -> Callable[[Study], str | None]:
    def lacks(study: Study) -> str | None:
        if getattr(study, part):
            return None
        return (
            f"no data: capture the rows of `python probes/evaluation_sets.py {part}`, and name them "
            f"with {part}"
        )

    return lacks


PROBING = Experiment(
    name="probing_sets",
    title="Red-team and negation sets",
    asks="Does a monitor tell the pairs apart that are made to mislead it: borderline, confounded, "
    "embedded, negated?",
    uses=(),
    cells=_cells("probing", "kind"),
    table=_table("kind"),
    draw=_draw("kind", "Red-team and negation sets", "probing_sets"),
    lacks=_lacks("probing"),
    on_scores=True,
    notes=lambda _: [
        "A pair is one situation told twice, with much and with little at stake. Recall and false alarms "
        "at the "
        "threshold that held-out training rows gave for 1 % false positives."
    ],
)

DEPLOYMENT = Experiment(
    name="deployment",
    title="Deployment contexts",
    asks="The same request in a deployment where much hangs on it, and in one where little does: who "
    "sees that?",
    uses=(),
    cells=_cells("deployment", "context"),
    table=_table("context"),
    draw=_draw("context", "Deployment contexts", "deployment"),
    lacks=_lacks("deployment"),
    on_scores=True,
    notes=lambda _: [
        "Words of the request are the same on both sides; the system prompt tells where the assistant works."
    ],
)
