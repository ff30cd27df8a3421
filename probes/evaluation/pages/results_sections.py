"""What an evaluation found, as sections of a page: tables of numbers with their intervals."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from analysis.ranking import Compared as Difference
from analysis.ranking import Ranked
from analysis.reporting.markdown import NOTHING, interval
from analysis.reporting.page import Part, Section, Table
from probes.evaluation.comparisons import MEAN, Compared
from probes.evaluation.evaluation_data import EvaluationSet
from probes.evaluation.metrics import ASKED_FPR
from probes.evaluation.results import LENGTH, MORE, SHUFFLED, ResultRow
from probes.evaluation.transfer import SAVED, Transferred
from probes.evaluation.within import Within

FEW_POSITIVES = 5
"""Groups with positives; see `benchmarks/analysis/coverage.py`."""

MOST_ROWS = 24
"""Of a table that is open."""


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
    sections: Sequence[Section] = ()
    """Further tables: of monitors beside, of changed rows."""

    changed: Sequence[dict[str, Any]] = ()
    """As in `evaluation.json`: AUROC before and after rows were changed."""


def main_sections(found: Found) -> list[Section]:
    """Data sets, AUROC and recall."""
    columns = [data.name for data in found.sets]
    columns += [MEAN] if any(row["dataset"] == MEAN for row in found.rows) else []
    whole = [row for row in found.rows if row["by"] is None]
    shuffled = any(row["control"] == SHUFFLED for row in whole)
    told = "Shuffled labels: mean and range over permutations of the same head fitted on them."
    recall = [row for row in whole if row["control"] != SHUFFLED]
    cautions = [*_scarce(whole), *(_few_positives(found.sets) if MEAN in columns else [])]
    return [
        _section("data", "Data", [], _data(found.sets, whole)),
        _section(
            "auroc",
            "AUROC, with 95 % intervals by group",
            [told] if shuffled else [],
            _wide(whole, columns, "auroc"),
        ),
        _section(
            "recall",
            f"Recall at {100 * ASKED_FPR:g} % FPR, with 95 % intervals by group",
            [
                "The interval is of the recall at the data set's own threshold, which it takes as given.",
                *cautions,
            ],
            _wide(recall, columns, "recall_at_1pct_fpr"),
        ),
        *_within(found.within),
        *found.sections,
        *_saved(found),
    ]


def further_sections(found: Found) -> list[Section]:
    """All other tables; those of parts and thresholds for the monitors that are shown."""
    return [*_over_seeds(found), *_compared(found), _more(found), *_transferred(found), *_parts(found)]


def _section(key: str, title: str, texts: list[str], *tables: Table) -> Section:
    return Section(key, title, texts, [Part(tables=list(tables))])


def _by_column(cells: Mapping[str, Mapping[str, str]], columns: Sequence[str]) -> Table:
    """Names down, columns across, a dash where there is nothing."""
    rows = [[name, *(of.get(column, NOTHING) for column in columns)] for name, of in cells.items()]
    return Table(["", *columns], rows)


def _data(sets: Sequence[EvaluationSet], rows: Sequence[ResultRow]) -> Table:
    # the first: monitors beside may not have scored all rows
    counts = {row["dataset"]: row for row in reversed(rows) if row["control"] is None}
    lines = []
    for data in sets:
        row = counts[data.name]
        reasons = dict(data.excluded)
        if row["n_ambiguous"]:
            reasons["ambiguous"] = row["n_ambiguous"]
        numbers = row["n_positive"], row["n_negative"], len(set(data.groups))
        lines.append([data.name, *map(str, numbers), _counts(reasons), _counts(data.left_out)])
    return Table(["data set", "positive", "negative", "groups", "not counted", "not captured"], lines)


def _counts(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or NOTHING


def _wide(rows: Sequence[ResultRow], columns: Sequence[str], figure: str) -> Table:
    """Monitors down, data sets across."""
    ends = ("auroc_low", "auroc_high") if figure == "auroc" else ("recall_low", "recall_high")
    cells: dict[str, dict[str, str]] = {}
    for row in rows:
        name = f"shuffled labels, {row['monitor']}" if row["control"] == SHUFFLED else row["monitor"]
        told = interval(row[figure], row.get(ends[0]), row.get(ends[1]))
        cells.setdefault(name, {})[row["dataset"]] = told
    return _by_column(cells, columns)


def _within(found: Sequence[Within]) -> list[Section]:
    """Of each fact a table: pairs of the same value alone, beside all pairs and the fact by itself."""
    sections = []
    for number, fact in enumerate(dict.fromkeys(one.fact for one in found)):
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
        notes = [
            f"Without {fact}, and not counted here: {count} rows of {name}."
            for name, count in lacking.items()
        ]
        told = (
            f"Pairs of the same {fact} alone, beside all pairs, and beside what {fact} alone tells of the "
            "label. Values: that have both classes. Pairs: the share of all that these are."
        )
        sections.append(
            _section(f"within-{number}", f"AUROC within {fact}", [told], Table(head, lines, notes=notes))
        )
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
        f"{name} ({count}" + ("" if high is None else f"; up to {100 * high:.1f} %") + ")"
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
    told = ", ".join(f"{name} ({count})" for name, count in few.items())
    return [
        f"Few groups with positives: {told}. With fewer than {FEW_POSITIVES} the interval of a recall in the "
        "mean over data sets is likely too narrow."
    ]


def _saved(found: Found) -> list[Section]:
    """What monitors do at the threshold that they were saved with: also on data of one class."""
    cells: dict[str, dict[str, str]] = {}
    for one in found.transferred:
        if one.threshold_from == SAVED:
            rates = ("FPR", one.fpr), ("recall", one.recall)
            told = ", ".join(f"{what} {_cell(rate)}" for what, rate in rates if rate)
            cells.setdefault(one.monitor, {})[one.dataset] = told
    if not cells:
        return []
    title = "At the saved threshold, with 95 % intervals by group"
    return [_section("saved", title, [], _by_column(cells, [data.name for data in found.sets]))]


def _over_seeds(found: Found) -> list[Section]:
    if not found.seeds:
        return []
    columns = list(dict.fromkeys(row["dataset"] for row in found.seeds))
    cells: dict[str, dict[str, str]] = {}
    for row in found.seeds:
        name = f"{row['head']}, layer {row['layer']}, {len(row['seeds'])} seeds"
        told = interval(row["auroc"], row["auroc_low"], row["auroc_high"])
        told += f" ({row['auroc_lowest']:.3f} to {row['auroc_highest']:.3f})"
        cells.setdefault(name, {})[row["dataset"]] = told
    title = "AUROC over seeds: mean, 95 % interval over the seeds, lowest and highest"
    return [_section("seeds", title, [], _by_column(cells, columns))]


def _compared(found: Found) -> list[Section]:
    if not found.compared:
        return []
    columns = list(dict.fromkeys(one.dataset for one in found.compared))
    cells: dict[str, dict[str, str]] = {}
    for one in found.compared:
        q = "" if math.isnan(one.found.low) else f" q {one.q:.3f}"
        cells.setdefault(one.monitor, {})[one.dataset] = _cell(one.found, "+") + q
    told = (
        "Paired: both on the same rows, intervals by group. q: the share of false findings to expect if all "
        "differences of the column with no larger q are believed."
    )
    title = f"AUROC less that of {found.compared[0].reference}"
    return [_section("compared", title, [told], _by_column(cells, columns))]


def _more(found: Found) -> Section:
    lines = [
        [
            row["monitor"],
            row["dataset"],
            *(interval(row[name], row.get(f"{name}_low"), row.get(f"{name}_high")) for name in MORE),
        ]
        for row in found.rows
        if row["by"] is None and row["control"] != SHUFFLED and row["dataset"] != MEAN
    ]
    told = (
        "AUPRC depends on the share of positives. Partial AUROC: mean recall over FPR from 0.1 % to 10 % on "
        "a log scale, chance 0.022. AUROC within length compares conversations of the same length bin alone. "
        "Rank correlation: Spearman's, with labels that are degrees. "
        "Brier score, ECE (bins of equal mass) and log loss take the logistic function of the logit as a "
        "probability. Accuracy: at the threshold that the monitor was saved with."
    )
    return _section("more", "Everything else", [told], _long(["", "data set", *MORE.values()], lines))


def _long(head: list[str], lines: list[list[str]]) -> Table:
    """Folded on a screen if it is long."""
    return Table(head, lines, folded=len(lines) > MOST_ROWS)


def _transferred(found: Found) -> list[Section]:
    columns = [data.name for data in found.sets]
    parts = []
    for name in found.shown:
        cells: dict[str, dict[str, str]] = {}
        for one in found.transferred:
            if one.monitor == name:
                told = " / ".join(_percent(part.value if part else None) for part in (one.fpr, one.recall))
                source = "as saved" if one.threshold_from == SAVED else one.threshold_from
                of = cells.setdefault(source, {})
                of[""], of[one.dataset] = f"{one.logit:.3f}", told
        lines = [[source, *(of.get(c, NOTHING) for c in ("", *columns))] for source, of in cells.items()]
        parts.append(Part(name, tables=[Table(["threshold from", "logit", *columns], lines)]))
    if not parts:
        return []
    told = (
        f"A data set's own threshold is the lowest with at most {100 * ASKED_FPR:g} % false positives there. "
        "All monitors, with intervals: evaluation.json."
    )
    return [Section("elsewhere", "Thresholds elsewhere: false-positive rate / recall", [told], parts)]


def _percent(value: float | None) -> str:
    return NOTHING if value is None else f"{100 * value:.1f} %"


def _parts(found: Found) -> list[Section]:
    """AUROC of the monitors that are shown, and of controls."""
    rows = [row for row in found.rows if row["by"] is not None]
    names = [*found.shown, *dict.fromkeys(row["monitor"] for row in rows if row["control"] is not None)]
    sections = []
    for number, by in enumerate(dict.fromkeys(row["by"] for row in rows)):
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
        title = f"AUROC by {'length in tokens' if by == LENGTH else by}"
        sections.append(_section(f"parts-{number}", title, [], _long(["", "n", *names], told)))
    return sections
