"""The page of a cascade: what was fixed on which rows, what it reaches on others, and what that costs."""

from collections.abc import Mapping, Sequence

from analysis.ranking import Ranked
from analysis.reporting.markdown import interval, table
from probes.cascades.measured.equals import Equal
from probes.cascades.measured.points import ALONE, Point
from probes.cascades.saved import Cascade
from probes.evaluation.beside.foreign_scores import COSTS
from scenarios.files.shown_text import in_markdown

HEADS = {"flops": "FLOPs", "seconds": "seconds", "dollars": "dollars"}


def cascade_page(
    cascade: Cascade,
    alone: Sequence[Point],
    curve: Sequence[Point],
    merges: Sequence[Point],
    controls: Sequence[Point],
    by_set: Sequence[Point],
    equal: Equal,
    counts: Mapping[str, str],
    notes: Sequence[str],
) -> str:
    """Markdown that is readable as it is.

    Args:
        cascade: The saved one.
        alone: Probe and judge.
        curve: All strategies with the cascade's merge, at all budgets.
        merges: All merges with the cascade's strategy.
        controls: The earlier project's rule, and chance.
        by_set: The saved cascade and the monitors alone on each test set.
        equal: Of the cascade's strategy and merge.
        counts: What is told of the rows.
        notes: What a reader must know.
    """
    sections = [
        "# Cascade",
        *notes,
        table(["rows", ""], list(counts.items())),
        "## The cascade that is saved",
        described(cascade),
        "## As good as the judge alone",
        equal.told(),
        "## At each budget",
        points_table([*alone, *curve, *controls]),
        "## Merges",
        points_table(merges),
        "## On each test set",
        points_table(by_set, datasets=True),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def described(cascade: Cascade) -> str:
    """Bands, scales, merge and threshold in sentences."""
    told = [
        f"{in_markdown(cascade.monitor.name)} reads every row; calibration by {cascade.monitor.scale.name}."
    ]
    for stage in cascade.stages:
        where = (
            "nowhere (its band is empty: within this budget asking promised nothing)"
            if stage.low == stage.high
            else f"from {stage.low:.3f} to {stage.high:.3f}"
        )
        rule = stage.merge
        how = {
            "replace": "its word replaces the probability",
            "mean": "the mean of both is taken",
            "weighted-logits": f"{rule.weight or 0:.2f} of the first logit and the rest of its own are taken",
            "likelihood-ratio": f"log-odds are {rule.offset or 0:.2f} + {rule.probe_weight or 0:.2f} of the "
            f"first + {rule.judge_weight or 0:.2f} of its own",
        }[rule.name]
        told.append(f"{in_markdown(stage.judge)} is asked {where}; {how}.")
    fitted = cascade.fitted_on
    told.append(
        f"Strategy {cascade.strategy}, budget {cascade.budget:g}: it asks about {100 * cascade.asked:.1f} % "
        f"of the {fitted.rows} calibration rows ({fitted.positive} positive, {fitted.groups} groups)."
    )
    if cascade.threshold is not None and cascade.asked_fpr is not None:
        told.append(
            f"Flagged from {cascade.threshold:.3f} on: at most {100 * cascade.asked_fpr:g} % of the negative "
            "calibration rows."
        )
    return " ".join(told)


def points_table(points: Sequence[Point], *, datasets: bool = False) -> str:
    """One line for each point."""
    costs = [cost for cost in COSTS if any(cost in point.costs for point in points)]
    head = ["", *(["data set"] if datasets else []), "merge", "budget", "asked %", "AUROC", "recall"]
    head += ["recall / FPR at the threshold", "AUROC less the judge's", *(HEADS[cost] for cost in costs)]
    lines = [
        [
            point.name,
            *([point.dataset] if datasets else []),
            point.merge or "-",
            "-" if point.budget is None else f"{point.budget:g}",
            f"{100 * point.asked.value:.1f}" + _third(point),
            interval(*point.auroc),
            interval(*point.recall, digits=2),
            _at_threshold(point),
            "-" if point.name in ALONE[1:] else interval(*point.against_judge[:3], sign="+"),
            *(f"{point.costs[cost]:.3g}" if cost in point.costs else "-" for cost in costs),
        ]
        for point in points
    ]
    return table(head, lines)


def _third(point: Point) -> str:
    return "" if point.asked_third is None else f" / {100 * point.asked_third:.1f}"


def _at_threshold(point: Point) -> str:
    if point.flagged_recall is None or point.flagged_fpr is None:
        return "-"
    return f"{_plain(point.flagged_recall)} / {_plain(point.flagged_fpr)}"


def _plain(found: Ranked) -> str:
    return interval(*found, digits=2)
