"""The card of a set of stakes rows: counts, what simple features reach, overlap, judges, cost."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from analysis.ranking import Ranked
from probes.laboratory.merging import one_sided_pairs
from probes.laboratory.overlap import SplitOverlap
from probes.laboratory.reach import Reach
from probes.laboratory.rows import AMBIGUOUS, StakesRow
from scenarios.stakes.ratings import HIGHEST, LOWEST

SCALE = range(LOWEST, HIGHEST + 1)
BROKEN_DOWN = ("style", "tone", "language", "length", "topic", "source")
MOST_VALUES = 40
"""Of one fact; a list of more is no overview."""


@dataclass(frozen=True)
class CardFacts:
    """What a card tells beside the rows themselves."""

    sources: Sequence[str]
    """Files and logs."""

    reaches: Sequence[Reach] = ()
    overlaps: Sequence[SplitOverlap] = ()
    asked: int = 0
    """Prompt pairs that a model was to write."""

    broken: Mapping[str, int] = field(default_factory=dict)
    """Reason -> prompt pairs that are not here."""

    left_out: Mapping[str, int] = field(default_factory=dict)
    """Reason -> rows that are not here."""

    labels: Mapping[str, int] = field(default_factory=dict)
    """What happened to labels -> rows."""

    thresholds: Mapping[str, float] = field(default_factory=dict)
    problems: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Judge -> reason -> answers that could not be used."""

    usage: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Model -> tokens and, if prices are known, cost."""


def card_text(name: str, rows: Sequence[StakesRow], facts: CardFacts) -> str:
    """The card, in markdown.

    Args:
        name: Of the set.
        rows: All that are in the file.
        facts: What else is known.
    """
    lines = [f"# {name}", "", f"{len(rows)} rows in {len({row.pair for row in rows})} pairs. Made of:", ""]
    lines += [f"* {source}" for source in facts.sources]
    lines += ["", "## Labels by split", "", *_by("split", rows)]
    lines += ["", *_pairs(rows)]
    lines += ["", "## Lengths", "", *_lengths(rows)]
    for fact in BROKEN_DOWN:
        if any(fact in row.facts for row in rows):
            lines += ["", f"## By {fact}", "", *_by(fact, rows)]
    lines += ["", *_new_in_test(rows)]
    lines += ["", *_reach_lines(facts.reaches), "", *_overlap_lines(facts.overlaps)]
    lines += _left_out_lines(facts)
    lines += _label_lines(rows, facts)
    if facts.usage:
        lines += [
            "",
            "## What the logs say was used",
            "",
            "| model | tokens in | tokens out | cost |",
            "|---|---|---|---|",
        ]
        for model, used in facts.usage.items():
            cost = f"{used['cost']:.4f}" if "cost" in used else "not known"
            lines.append(f"| {model} | {used['input']:.0f} | {used['output']:.0f} | {cost} |")
    return "\n".join(lines).rstrip() + "\n"


def _by(fact: str, rows: Sequence[StakesRow]) -> list[str]:
    counts: dict[str, Counter[str]] = {}
    for row in rows:
        told = "unlabelled" if row.label is None else ("low", "high")[row.label]
        told = AMBIGUOUS if row.facts.get("class") == AMBIGUOUS else told
        counts.setdefault(row.facts.get(fact, "not told"), Counter())[told] += 1
    head = ("high", "low", "ambiguous", "unlabelled")
    lines = [f"| {fact} | {' | '.join(head)} |", "|---|" + "---|" * len(head)]
    shown = sorted(counts, key=lambda value: (-counts[value].total(), value))
    for value in shown[:MOST_VALUES]:
        lines.append(f"| {_cell(value)} | {' | '.join(str(counts[value][name]) for name in head)} |")
    if len(shown) > MOST_VALUES:
        lines.append(f"\n{len(shown) - MOST_VALUES} more values are not shown.")
    return lines


def _lengths(rows: Sequence[StakesRow]) -> list[str]:
    """Medians and ends of characters and messages, by label."""
    lines = [
        "| label | rows | characters: median | lowest to highest | messages: median |",
        "|---|---|---|---|---|",
    ]
    for label, name in ((1, "high"), (0, "low"), (None, "none")):
        own = [row for row in rows if row.label == label]
        if own:
            sizes = [len(row.text) for row in own]
            turns = median(len(row.messages) for row in own)
            ends = f"{min(sizes)} to {max(sizes)}"
            lines.append(f"| {name} | {len(own)} | {median(sizes):.0f} | {ends} | {turns:.0f} |")
    return lines


def _pairs(rows: Sequence[StakesRow]) -> list[str]:
    sizes = Counter(row.pair for row in rows)
    several = sum(size > 1 for size in sizes.values())
    sided = len(one_sided_pairs(rows))
    return [f"{several} pairs of two rows or more; {sided} of them one-sided (labels of one class, or none)."]


def _new_in_test(rows: Sequence[StakesRow]) -> list[str]:
    learnt = {row.facts.get("style") for row in rows if row.split == "train"}
    tested = {row.facts.get("style") for row in rows if row.split == "test"}
    if new := sorted(style for style in tested - learnt - {None} if style):
        return [f"Styles of the test that no training row has: {', '.join(new)}."]
    return ["No style is held out for the test."]


def _reach_lines(reaches: Sequence[Reach]) -> list[str]:
    lines = [
        "## What simple features reach alone",
        "",
        "AUROC for high stakes, of classifiers that have not seen the pair (5 folds by pair, ranked within",
        "each fold), with 95 % intervals clustered by pair. 0.5: the feature knows nothing. Nothing is",
        "fitted of length: below 0.5 shorter texts have high stakes.",
        "",
        "| feature | AUROC | rows |",
        "|---|---|---|",
    ]
    return lines + [
        f"| {one.feature} | {_area(one.auroc) if one.auroc else one.problem} | {one.rows} |"
        for one in reaches
    ]


def _area(found: Ranked) -> str:
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def _overlap_lines(overlaps: Sequence[SplitOverlap]) -> list[str]:
    lines = ["## Overlap", ""]
    if not overlaps:
        return [
            *lines,
            "No text is in another one, within a split (twins of a pair apart) or between splits.",
        ]
    lines += ["| rows of | in | same | nearly | as a part | for example |", "|---|---|---|---|---|---|"]
    for one in overlaps:
        row, other, _ = one.examples[0]
        cells = [str(one.counts.get(kind, 0)) for kind in ("same", "near", "contained")]
        lines.append(f"| {one.split} | {one.other} | {' | '.join(cells)} | {_cell(row)} in {_cell(other)} |")
    return lines


def _left_out_lines(facts: CardFacts) -> list[str]:
    lines: list[str] = []
    if facts.asked:
        broken = sum(facts.broken.values())
        lines += [
            "",
            "## Broken pairs",
            "",
            f"{broken} of {facts.asked} prompt pairs are broken and not here.",
        ]
        lines += ["", *(f"* {reason}: {count}" for reason, count in sorted(facts.broken.items()) if count)]
    if any(facts.left_out.values()):
        lines += ["", "## Left out", ""]
        lines += [f"* {reason}: {count} rows" for reason, count in sorted(facts.left_out.items()) if count]
    return lines


def _label_lines(rows: Sequence[StakesRow], facts: CardFacts) -> list[str]:
    judges: dict[str, list[float]] = {}
    for row in rows:
        for rating in row.ratings:
            own = judges.setdefault(rating.judge, [])
            own += [] if rating.rating is None else [rating.rating]
    if not judges and not facts.problems:
        return []
    told = ", ".join(f"{name} {value:g}" for name, value in facts.thresholds.items())
    lines = ["", "## Judges", "", *([f"Thresholds: {told}.", ""] if told else [])]
    lines += ["| judge | rows rated | mean rating | answers that could not be used |", "|---|---|---|---|"]
    for judge in sorted({*judges, *facts.problems}):
        ratings = judges.get(judge, [])
        mean = f"{sum(ratings) / len(ratings):.2f}" if ratings else "none"
        problems = ", ".join(f"{n} {why}" for why, n in sorted(facts.problems.get(judge, {}).items())) or "0"
        lines.append(f"| {_cell(judge)} | {len(ratings)} | {mean} | {problems} |")
    lines += ["", "Rows by rating, to the nearest:", "", f"| judge | {' | '.join(map(str, SCALE))} |"]
    lines += ["|---|" + "---|" * len(SCALE)]
    for judge, ratings in sorted(judges.items()):
        # halves go up, as where judges are compared
        counts = Counter(math.floor(rating + 0.5) for rating in ratings)
        lines.append(f"| {_cell(judge)} | {' | '.join(str(counts[value]) for value in SCALE)} |")
    if facts.labels:
        lines += ["", *(f"* {what}: {count} rows" for what, count in sorted(facts.labels.items()))]
    return lines


def _cell(value: Any) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")
