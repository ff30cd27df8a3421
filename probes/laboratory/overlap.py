"""Texts of one data set that are in another, whole, nearly, or as a part of a longer one.

Texts are compared by the runs of three words that they share (`shingles`). Exact: every pair above the limits
is found. A text can only be like another if it shares one of its rarest runs with it, so only those are
followed; what they find is counted run by run.

Source of the filter: prefix filtering, Chaudhuri, Ganti and Kaushik 2006 (ICDE), as in
`scenarios/generation/near_duplicates.py`; here with numbers in place of words, and for containment too.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from probes.conversations.labels import DataError
from probes.laboratory.rows import StakesRow
from scenarios.generation.similarity import NEAR_DUPLICATE

CONTAINED = 0.9
"""From this share of a text's runs on it counts as a part of the other."""

FEWEST = 8
"""Runs of a text below which it is not looked for within others: a short phrase is found everywhere."""

SHOWN = 3
"""Examples in a message."""

Kind = Literal["same", "near", "contained"]

_WORD = re.compile(r"[\w']+")

_LONGEST_WORD = 20
"""Mean length of words above which a script is taken to be written without spaces."""


class Overlap(NamedTuple):
    """A text, and one of the other set that is most like it."""

    row: int
    """Place in the texts that were looked up."""

    other: int
    """Place in the texts that they were looked up among."""

    kind: Kind
    """`same` but for case and punctuation; `near`: shares most of its runs; `contained` in the other."""

    similarity: float
    """Jaccard similarity of runs, 0 to 1; of what is contained, the share of its runs."""


class SplitOverlap(NamedTuple):
    """Rows of one split that are in another split, or twice in their own."""

    split: str
    other: str
    counts: dict[Kind, int]
    """Rows of `split` by the strongest kind."""

    examples: list[tuple[str, str, Overlap]]
    """Ids of rows and of what they are like; a few."""

    @property
    def rows(self) -> int:
        """Rows of the split that are found in the other."""
        return sum(self.counts.values())


def shingles(text: str) -> set[int]:
    """The runs of three words of a text as numbers; of a script without spaces, of five characters.

    Numbers are Python's of the words, which are the same within one process; two runs in 10^9 may share one.
    """
    words: Sequence[str] = _WORD.findall(text.lower())
    if words and sum(map(len, words)) / len(words) > _LONGEST_WORD:
        joined = "".join(words)
        return {hash(joined[i : i + 5]) for i in range(max(1, len(joined) - 4))}
    if len(words) < 3:
        return {hash(tuple(words))} if words else set()
    return set(map(hash, zip(words, words[1:], words[2:], strict=False)))


class ShingleIndex:
    """Texts by their shingles.

    Args:
        texts: To be looked among.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._sets = [shingles(text) for text in texts]
        self._sizes = np.array([len(own) for own in self._sets], dtype=np.int64)
        values = np.fromiter((s for own in self._sets for s in own), np.int64, int(self._sizes.sum()))
        owners = np.repeat(np.arange(len(texts), dtype=np.int32), self._sizes)
        order = np.argsort(values, kind="stable")
        self._owners = owners[order]
        self._known, self._starts = np.unique(values[order], return_index=True)
        self._ends = np.append(self._starts[1:], len(values))

    def overlaps(
        self,
        texts: Sequence[str] | None = None,
        *,
        near: float = NEAR_DUPLICATE,
        contained: float = CONTAINED,
        apart: Sequence[str] | None = None,
    ) -> Iterator[Overlap]:
        """For each text that is like one of the index, the one that it is most like, in order.

        Args:
            texts: Looked up; None: those of the index themselves, each among the ones before it and, as it
                may be contained, among longer ones.
            near: Jaccard similarity from which on two texts are near-duplicates, above 0.
            contained: Share of a text's runs from which on it is contained in the other, above 0.
            apart: Of the index itself, groups within which likeness is meant, e.g. the twins of a pair.
        """
        itself = texts is None
        for row, own in enumerate(self._sets if texts is None else map(shingles, texts)):
            found = self._closest(own, near, contained, row if itself else None, apart)
            if found is not None:
                yield found._replace(row=row)

    def _closest(
        self, own: set[int], near: float, contained: float, row: int | None, apart: Sequence[str] | None
    ) -> Overlap | None:
        if not own:
            return None
        others, shared = self._candidates(np.fromiter(own, np.int64, len(own)), min(near, contained))
        if row is not None and len(others):
            kept = others != row
            if apart is not None:
                kept &= np.array([apart[other] != apart[row] for other in others.tolist()], dtype=bool)
            others, shared = others[kept], shared[kept]
        if not len(others):
            return None
        sizes = self._sizes[others]
        jaccard = shared / (len(own) + sizes - shared)
        share = shared / len(own)
        if row is not None:  # of two that are alike the later one is the copy
            jaccard = np.where(others < row, jaccard, 0.0)
            share = np.where((others < row) | (sizes > len(own)), share, 0.0)
        best = int(np.argmax(jaccard))
        if jaccard[best] >= near:
            kind: Kind = "same" if jaccard[best] == 1 else "near"
            return Overlap(0, int(others[best]), kind, float(jaccard[best]))
        best = int(np.argmax(share))
        if len(own) >= FEWEST and share[best] >= contained:
            return Overlap(0, int(others[best]), "contained", float(share[best]))
        return None

    def _candidates(self, own: np.ndarray, limit: float) -> tuple[np.ndarray, np.ndarray]:
        """Texts that share at least `limit` of these runs perhaps, and how many they share."""
        places = np.searchsorted(self._known, own)
        places[places == len(self._known)] = 0
        there = self._known[places] == own if len(self._known) else np.zeros(len(own), dtype=bool)
        starts = np.where(there, self._starts[places] if len(self._known) else 0, 0)
        ends = np.where(there, self._ends[places] if len(self._known) else 0, 0)
        counts = ends - starts
        # whoever shares `limit` of the runs shares one of any more than the rest of them: the rarest ones do
        order = np.argsort(counts, kind="stable")
        followed = order[: len(own) - math.ceil(limit * len(own) - 1e-9) + 1]
        candidates = np.unique(self._slices(starts[followed], ends[followed]))
        if not len(candidates):
            return candidates, candidates
        if len(candidates) <= len(own):
            wanted = set(own.tolist())
            shared = [len(wanted & self._sets[other]) for other in candidates.tolist()]
            return candidates, np.array(shared)
        holders, shared = np.unique(self._slices(starts, ends), return_counts=True)
        kept = np.isin(holders, candidates)
        return holders[kept], shared[kept]

    def _slices(self, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """The owners in all these stretches, one behind the other."""
        parts = [self._owners[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True) if b > a]
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int32)


def split_overlaps(
    rows: Sequence[StakesRow], *, near: float = NEAR_DUPLICATE, contained: float = CONTAINED
) -> list[SplitOverlap]:
    """Likeness of rows within each split and between splits; what is nowhere alike is not listed.

    Within a split rows of one pair are not compared: they are meant to be alike. Rows without a split are a
    split of their own, named `none`.

    Args:
        rows: Of all splits.
        near: See `ShingleIndex.overlaps`.
        contained: See there.
    """
    by_split: dict[str, list[StakesRow]] = defaultdict(list)
    for row in rows:
        by_split[row.split or "none"].append(row)
    order = [name for name in ("train", "dev", "test", "none") if name in by_split]
    found: list[SplitOverlap] = []
    for number, other in enumerate(order):
        index = ShingleIndex([row.text for row in by_split[other]])
        pairs = [row.pair for row in by_split[other]]
        inside = index.overlaps(near=near, contained=contained, apart=pairs)
        found.append(_counted(other, other, by_split, list(inside)))
        for split in order[number + 1 :]:
            texts = [row.text for row in by_split[split]]
            across = index.overlaps(texts, near=near, contained=contained)
            found.append(_counted(split, other, by_split, list(across)))
    return [one for one in found if one.rows]


def refuse_overlap(overlaps: Sequence[SplitOverlap], where: str) -> None:
    """Refuse rows of one split that are in another: what is tested would have been learnt.

    Args:
        overlaps: See `split_overlaps`; those within one split pass.
        where: File, for the message.

    Raises:
        DataError: Counts them by kind and names the first.
    """
    across = [one for one in overlaps if one.split != one.other]
    if not across:
        return
    told = "; ".join(f"{one.rows} rows of {one.split} are in {one.other} ({_kinds(one)})" for one in across)
    row, other, _ = across[0].examples[0]
    raise DataError(
        f"{where}: {told}; the first is {row!r}, like {other!r}. Leave them out, or say --allow-overlap"
    )


class Cleaned(NamedTuple):
    """Rows that are not in another set."""

    rows: list[StakesRow]
    dropped: dict[Kind, int]
    """Rows that are in it, by kind."""

    with_them: int
    """Rows that went because another row of their pair is in it: half a pair tells the other's label."""


def without_overlap(
    rows: Sequence[StakesRow],
    others: Sequence[StakesRow],
    *,
    near: float = NEAR_DUPLICATE,
    contained: float = CONTAINED,
) -> Cleaned:
    """The rows whose pair has no row in another set, e.g. test rows that are not in the training set.

    Args:
        rows: To be cleaned.
        others: What they must not be in.
        near: See `ShingleIndex.overlaps`.
        contained: See there.
    """
    index = ShingleIndex([row.text for row in others])
    found = list(index.overlaps([row.text for row in rows], near=near, contained=contained))
    gone = {rows[one.row].pair for one in found}
    kept = [row for row in rows if row.pair not in gone]
    counts: Counter[Kind] = Counter(one.kind for one in found)
    return Cleaned(kept, dict(counts), len(rows) - len(kept) - len(found))


def _counted(
    split: str, other: str, by_split: dict[str, list[StakesRow]], found: Sequence[Overlap]
) -> SplitOverlap:
    counts: Counter[Kind] = Counter(one.kind for one in found)
    examples = [(by_split[split][o.row].id, by_split[other][o.other].id, o) for o in found[:SHOWN]]
    return SplitOverlap(split, other, dict(counts), examples)


def _kinds(one: SplitOverlap) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in one.counts.items())
