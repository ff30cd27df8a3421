"""The results of an evaluation as Markdown that is readable as it is."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from analysis.ranking import Compared as Difference
from analysis.ranking import Ranked
from probes.evaluation.comparisons import MEAN, Compared
from probes.evaluation.evaluation_data import EvaluationSet
from probes.evaluation.metrics import ASKED_FPR
from probes.evaluation.results import LENGTH, SHUFFLED, ResultRow
from probes.evaluation.transfer import SAVED, Transferred
from probes.evaluation.within import Within
from scenarios.files.shown_text import in_markdown

NOTHING = "-"
FEW_POSITIVES = 5
"""Groups with positives; see `benchmarks/analysis/coverage.py`."""

MORE = {
    "auprc": "AUPRC",
    "partial_auroc": "partial AUROC",
    "auroc_within_length": "AUROC within length",
    "rank_correlation": "rank correlation",
    "brier": "Brier",
    "ece": "ECE",
    "log_loss": "log loss",
    "accuracy": "accuracy",
}
"""Columns of the table of everything else."""


class Found(NamedTuple):
    """Everything that an evaluation found."""

    sets: list[EvaluationSet]
    rows: list[ResultRow]
    """As in `results.json`."""

    seeds: list[ResultRow]
    transferred: list[Transferred]
    compared: list[Compared]
    shown: list[str]
    """Monitors that long tables and figures are restricted to."""

    notes: list[str]
    """What a reader must know."""

    within: Sequence[Within] = ()
    sections: Sequence[str] = ()
    """Further tables: of monitors beside, of changed rows."""

    changed: Sequence[dict[str, Any]] = ()
    """As in `evaluation.json`: AUROC before and after rows were changed."""


def results_page(found: Found) -> str:
    """All tables; those of parts and thresholds for the monitors that are shown."""
    sections = [
        "# Evaluation of monitors",
        *found.notes,
        headline(found),
        _over_seeds(found),
        _compared(found),
        _more(found),
        _transferred(found),
        _parts(found),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def headline(found: Found) -> str:
    """Data sets, AUROC and recall: what the command prints."""
    columns = [data.name for data in found.sets]
    columns += [MEAN] if any(row["dataset"] == MEAN for row in found.rows) else []
    whole = [row for row in found.rows if row["by"] is None]
    return "\n\n".join(
        [
            "## Data",
            _data(found.sets, whole),
            "## AUROC, with 95 % intervals by group",
            _wide(whole, columns, "auroc"),
            *(
                ["Shuffled labels: mean and range over permutations of the same head fitted on them."]
                if any(row["control"] == SHUFFLED for row in whole)
                else []
            ),
            f"## Recall at {100 * ASKED_FPR:g} % FPR, with 95 % intervals by group",
            "The interval is of the recall at the data set's own threshold, which it takes as given.",
            _wide([row for row in whole if row["control"] != SHUFFLED], columns, "recall_at_1pct_fpr"),
            *_within(found.within),
            *_scarce(whole),
            *(_few_positives(found.sets) if MEAN in columns else []),
            *found.sections,
            *_saved(found),
        ]
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns, the first to the left; no cell makes a row, a tag or a link."""
    escaped = [[in_markdown(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[i]) for row in escaped) for i in range(len(head))]
    lines = [
        "| "
        + " | ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in escaped
    ]
    rule = (
        "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    )
    return "\n".join([lines[0], rule, *lines[1:]])


def interval(
    value: float | None, low: float | None, high: float | None, digits: int = 3, *, sign: str = ""
) -> str:
    """A number with its interval, as far as there are any."""
    if value is None:
        return NOTHING
    if low is None or high is None:
        return f"{value:{sign}.{digits}f}"
    return f"{value:{sign}.{digits}f} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"


def _data(sets: Sequence[EvaluationSet], rows: Sequence[ResultRow]) -> str:
    # the first: monitors beside may not have scored all rows
    counts = {row["dataset"]: row for row in reversed(rows) if row["control"] is None}
    lines = []
    for data in sets:
        row = counts[data.name]
        reasons = dict(data.excluded)
        if row["n_ambiguous"]:
            reasons["ambiguous"] = row["n_ambiguous"]
        lines.append(
            [
                data.name,
                str(row["n_positive"]),
                str(row["n_negative"]),
                str(len(set(data.groups))),
                _counts(reasons),
                _counts(data.left_out),
            ]
        )
    return table(["data set", "positive", "negative", "groups", "not counted", "not captured"], lines)


def _counts(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or NOTHING


def _wide(rows: Sequence[ResultRow], columns: Sequence[str], figure: str) -> str:
    """Monitors down, data sets across."""
    ends = ("auroc_low", "auroc_high") if figure == "auroc" else ("recall_low", "recall_high")
    lines: dict[str, dict[str, str]] = {}
    for row in rows:
        name = f"shuffled labels, {row['monitor']}" if row["control"] == SHUFFLED else row["monitor"]
        told = interval(row[figure], row.get(ends[0]), row.get(ends[1]))
        lines.setdefault(name, {})[row["dataset"]] = told
    return table(
        ["", *columns],
        [[name, *(cells.get(column, NOTHING) for column in columns)] for name, cells in lines.items()],
    )


def _within(found: Sequence[Within]) -> list[str]:
    """Of each fact a table: pairs of the same value alone, beside all pairs and the fact by itself."""
    sections = []
    for fact in dict.fromkeys(one.fact for one in found):
        shown = in_markdown(fact)
        mine = [one for one in found if one.fact == fact]
        lines = [
            [
                one.monitor,
                one.dataset,
                _cell(one.within),
                _cell(one.plain),
                _cell(one.difference, "+"),
                _cell(one.alone),
                f"{one.values_with_both} of {one.values}",
                f"{one.pairs:.0%}",
            ]
            for one in mine
        ]
        head = ["", "data set", f"within {fact}", "plain", "difference", f"{fact} alone", "values", "pairs"]
        lacking = {one.dataset: one.without_fact for one in mine if one.without_fact}
        sections += [
            f"## AUROC within {shown}",
            f"Pairs of the same {shown} alone, beside all pairs, and beside what {shown} alone tells of the "
            "label. Values: that have both classes. Pairs: the share of all that these are.",
            table(head, lines),
            *(
                f"Without {shown}, and not counted here: {count} rows of {in_markdown(name)}."
                for name, count in lacking.items()
            ),
        ]
    return sections


def _cell(found: Ranked | Difference, sign: str = "") -> str:
    value, low, high = (None if math.isnan(end) else end for end in found[:3])
    return interval(value, low, high, sign=sign)


def _scarce(rows: Sequence[ResultRow]) -> list[str]:
    """Data sets on which nobody can know the false-positive rate that their thresholds have."""
    few = {
        row["dataset"]: (row["n_negative"], row["fpr_high"])
        for row in rows
        if row["control"] is None
        and row["dataset"] != MEAN
        and row["recall_at_1pct_fpr"] is not None
        and row["n_negative"] * ASKED_FPR < 1
    }
    if not few:
        return []
    told = ", ".join(
        f"{in_markdown(name)} ({count}" + ("" if high is None else f"; up to {100 * high:.1f} %") + ")"
        for name, (count, high) in few.items()
    )
    return [
        f"Too few negatives for one of them to be flagged at {100 * ASKED_FPR:g} % FPR: {told}. The recall "
        "there is that of no false alarm in so many, and the rate elsewhere may be as high as is said."
    ]


def _few_positives(sets: Sequence[EvaluationSet]) -> list[str]:
    """Data sets that tell too little of a recall for the interval of a mean with them."""
    few: dict[str, int] = {}
    for data in sets:
        groups = {group for group, label in zip(data.groups, data.labels, strict=True) if label > 0.5}
        if 0 < len(groups) < FEW_POSITIVES:
            few[data.name] = len(groups)
    if not few:
        return []
    told = ", ".join(f"{in_markdown(name)} ({count})" for name, count in few.items())
    return [
        f"Few groups with positives: {told}. With fewer than {FEW_POSITIVES} the interval of a recall in the "
        "mean over data sets is likely too narrow."
    ]


def _saved(found: Found) -> list[str]:
    """What monitors do at the threshold that they were saved with: also on data of one class."""
    cells: dict[str, dict[str, str]] = {}
    for one in found.transferred:
        if one.threshold_from == SAVED:
            parts = [_rate(what, part) for what, part in (("FPR", one.fpr), ("recall", one.recall)) if part]
            cells.setdefault(one.monitor, {})[one.dataset] = ", ".join(parts)
    if not cells:
        return []
    columns = [data.name for data in found.sets]
    return [
        "## At the saved threshold, with 95 % intervals by group",
        table(
            ["", *columns],
            [[name, *(of.get(column, NOTHING) for column in columns)] for name, of in cells.items()],
        ),
    ]


def _rate(what: str, found: Ranked) -> str:
    low, high = (None if math.isnan(end) else end for end in (found.low, found.high))
    return f"{what} {interval(found.value, low, high)}"


def _over_seeds(found: Found) -> str:
    if not found.seeds:
        return ""
    columns = list(dict.fromkeys(row["dataset"] for row in found.seeds))
    lines: dict[str, dict[str, str]] = {}
    for row in found.seeds:
        name = f"{row['head']}, layer {row['layer']}, {len(row['seeds'])} seeds"
        told = interval(row["auroc"], row["auroc_low"], row["auroc_high"])
        told += f" ({row['auroc_lowest']:.3f} to {row['auroc_highest']:.3f})"
        lines.setdefault(name, {})[row["dataset"]] = told
    return "## AUROC over seeds: mean, 95 % interval over the seeds, lowest and highest\n\n" + table(
        ["", *columns],
        [[name, *(cells.get(column, NOTHING) for column in columns)] for name, cells in lines.items()],
    )


def _compared(found: Found) -> str:
    if not found.compared:
        return ""
    reference = found.compared[0].reference
    columns = list(dict.fromkeys(one.dataset for one in found.compared))
    lines: dict[str, dict[str, str]] = {}
    for one in found.compared:
        low, high = (None if math.isnan(end) else end for end in (one.found.low, one.found.high))
        told = interval(one.found.value, low, high, sign="+") + ("" if low is None else f" q {one.q:.3f}")
        lines.setdefault(one.monitor, {})[one.dataset] = told
    return (
        f"## AUROC less that of {in_markdown(reference)}\n\n"
        "Paired: both on the same rows, intervals by group. q: the share of false findings to expect if all "
        "differences of the column with no larger q are believed.\n\n"
        + table(
            ["", *columns],
            [[name, *(cells.get(column, NOTHING) for column in columns)] for name, cells in lines.items()],
        )
    )


def _more(found: Found) -> str:
    rows = [
        row
        for row in found.rows
        if row["by"] is None and row["control"] != SHUFFLED and row["dataset"] != MEAN
    ]
    return (
        "## Everything else\n\n"
        "AUPRC depends on the share of positives. Partial AUROC: mean recall over FPR from 0.1 % to 10 % on "
        "a log scale, chance 0.022. AUROC within length compares conversations of the same length bin alone. "
        "Rank correlation: Spearman's, with labels that are degrees. "
        "Brier score, ECE (bins of equal mass) and log loss take the logistic function of the logit as a "
        "probability. Accuracy: at the threshold that the monitor was saved with.\n\n"
        + table(
            ["", "data set", *MORE.values()],
            [
                [
                    row["monitor"],
                    row["dataset"],
                    *(interval(row[name], row.get(f"{name}_low"), row.get(f"{name}_high")) for name in MORE),
                ]
                for row in rows
            ],
        )
    )


def _transferred(found: Found) -> str:
    sections = []
    columns = [data.name for data in found.sets]
    for name in found.shown:
        mine = [one for one in found.transferred if one.monitor == name]
        cells: dict[str, dict[str, str]] = {}
        for one in mine:
            told = " / ".join(_percent(part.value if part else None) for part in (one.fpr, one.recall))
            source = "as saved" if one.threshold_from == SAVED else one.threshold_from
            cells.setdefault(source, {})[one.dataset] = told
        logits = {
            "as saved" if one.threshold_from == SAVED else one.threshold_from: one.logit for one in mine
        }
        sections.append(
            f"### {in_markdown(name)}\n\n"
            + table(
                ["threshold from", "logit", *columns],
                [
                    [source, f"{logits[source]:.3f}", *(of.get(column, NOTHING) for column in columns)]
                    for source, of in cells.items()
                ],
            )
        )
    if not sections:
        return ""
    told = (
        "## Thresholds elsewhere: false-positive rate / recall\n\n"
        f"A data set's own threshold is the lowest with at most {100 * ASKED_FPR:g} % false positives there. "
        "All monitors, with intervals: `evaluation.json`."
    )
    return "\n\n".join([told, *sections])


def _percent(value: float | None) -> str:
    return NOTHING if value is None else f"{100 * value:.1f} %"


def _parts(found: Found) -> str:
    """AUROC of the monitors that are shown, and of controls."""
    rows = [row for row in found.rows if row["by"] is not None]
    names = [*found.shown, *dict.fromkeys(row["monitor"] for row in rows if row["control"] is not None)]
    sections = []
    for by in dict.fromkeys(row["by"] for row in rows):
        lines: dict[tuple[str, str], dict[str, Any]] = {}
        for row in rows:
            if row["by"] == by:
                lines.setdefault((row["dataset"], row["value"]), {})[row["monitor"]] = row
        told = [
            [
                f"{dataset}, {value}",
                str(next(iter(of.values()))["n"]),
                *(interval(of[n]["auroc"], of[n]["auroc_low"], of[n]["auroc_high"], 2) for n in names),
            ]
            for (dataset, value), of in lines.items()
        ]
        title = "length in tokens" if by == LENGTH else in_markdown(by)
        sections.append(f"## AUROC by {title}\n\n" + table(["", "n", *names], told))
    return "\n\n".join(sections)
