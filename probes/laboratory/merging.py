"""Ratings become labels: which judges count, what their agreement is, and what a contradiction does."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from probes.laboratory.rows import AMBIGUOUS, Rating, StakesRow
from scenarios.mistakes import UserMistake
from scenarios.stakes.ratings import StakesClass, Thresholds, mean_of

Consensus = Literal["mean", "all"]
"""`mean`: of the judges' ratings and confidences. `all`: a class that each of them gives."""

Conflict = Literal["ambiguous", "rating", "keep"]
"""Where a rating contradicts the label that a row has: no label, the rating's, or the row's."""

CLASS_LABELS: Mapping[StakesClass, Literal[0, 1] | None] = {"high": 1, "low": 0, "ambiguous": None}


class Merged(NamedTuple):
    """Rows with their ratings, and what became of their labels."""

    rows: list[StakesRow]
    counts: dict[str, int]
    """What happened -> rows; each row once."""


def merge_ratings(
    rows: Sequence[StakesRow],
    ratings: Mapping[tuple[str, str], Sequence[Rating]],
    thresholds: Thresholds,
    *,
    judges: Sequence[str] = (),
    consensus: Consensus = "mean",
    conflict: Conflict = "ambiguous",
) -> Merged:
    """Give rows the labels that ratings tell.

    A row without a usable rating keeps the label that it has.

    Args:
        rows: Of one data set.
        ratings: (Row id, digest) -> ratings, see `labels.ratings_by_row`. Those of another text under the
            same id do not count.
        thresholds: What makes a class of a rating.
        judges: Only these make labels; all if none is named. All are kept in the rows.
        consensus: Of several judges.
        conflict: What a contradiction does.

    Raises:
        UserMistake: A judge that has rated nothing.
    """
    known = {r.judge for of in ratings.values() for r in of} | {r.judge for row in rows for r in row.ratings}
    if unknown := [judge for judge in judges if judge not in known]:
        there = ", ".join(sorted(known)) or "none"
        raise UserMistake(f"--judges: no ratings by {unknown[0]!r}; there are {there}")
    counts: Counter[str] = Counter()
    merged: list[StakesRow] = []
    for row in rows:
        new = ratings.get((row.id, row.digest), ())
        asked = {(r.judge, r.rubric) for r in new}
        all_of = [*(r for r in row.ratings if (r.judge, r.rubric) not in asked), *new]
        counted = [r for r in (new or all_of) if r.rating is not None and (not judges or r.judge in judges)]
        told, happened = _label(row, counted, thresholds, consensus, conflict)
        counts[happened] += 1
        merged.append(_with_label(row, told).model_copy(update={"ratings": all_of}))
    return Merged(merged, dict(counts))


def one_sided_pairs(rows: Sequence[StakesRow]) -> set[str]:
    """Pairs of two rows or more of which the labelled ones are all high, all low, or none."""
    labels: dict[str, list[int | None]] = defaultdict(list)
    for row in rows:
        labels[row.pair].append(row.label)
    return {pair for pair, told in labels.items() if len(told) > 1 and not {0, 1} <= set(told)}


def _label(
    row: StakesRow,
    ratings: Sequence[Rating],
    thresholds: Thresholds,
    consensus: Consensus,
    conflict: Conflict,
) -> tuple[StakesClass | None, str]:
    """The class of a row, None for none, and what happened."""
    own: StakesClass | None = None
    if row.label is not None:
        own = "high" if row.label else "low"
    if row.facts.get("class") == AMBIGUOUS:
        own = AMBIGUOUS
    if not ratings:
        return own, "kept, without a usable rating" if own else "without label and usable rating"
    rated = _class_of(ratings, thresholds, consensus)
    if row.label is None:
        return rated, f"rated {rated}"
    if rated == own:
        return rated, f"confirmed {rated}"
    if rated == AMBIGUOUS:
        # that a judge is not sure of a label does not contradict it, but it is not confirmed either
        return (own, "kept, though ambiguous to judges") if conflict == "keep" else (AMBIGUOUS, "ambiguous")
    outcomes: dict[Conflict, StakesClass] = {"ambiguous": AMBIGUOUS, "rating": rated, "keep": own or rated}
    kept = outcomes[conflict]
    return kept, f"rated {rated}, labelled {own}: {kept}"


def _class_of(ratings: Sequence[Rating], thresholds: Thresholds, consensus: Consensus) -> StakesClass:
    if consensus == "mean":
        rating = mean_of([r.rating for r in ratings])
        return thresholds.class_of(rating or 0.0, mean_of([r.confidence for r in ratings]))
    classes: set[StakesClass] = {
        thresholds.class_of(r.rating, r.confidence) for r in ratings if r.rating is not None
    }
    return next(iter(classes)) if len(classes) == 1 else AMBIGUOUS


def _with_label(row: StakesRow, told: StakesClass | None) -> StakesRow:
    facts = {name: value for name, value in row.facts.items() if name != "class"}
    if told == AMBIGUOUS:
        facts["class"] = AMBIGUOUS
    label = None if told is None else CLASS_LABELS[told]
    return row.model_copy(update={"label": label, "facts": facts})
