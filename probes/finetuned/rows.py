"""Rows that baselines are fitted on and tested on, as the tokens that the model gets."""

import random
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from probes.conversations.conversation import Conversation
from probes.conversations.labels import DataError
from probes.laboratory.rows import SPLITS, StakesRow, read_rows
from probes.tokens.rendering import Renderer
from providers.chat.errors import ChatTemplateError

UNLABELLED = "not labelled"
UNRENDERED = "the chat template cannot render it"
TRAINED_ON = "of a pair that was trained on"


class TokenizedSet(NamedTuple):
    """A data set, or a split of one, as tokens."""

    name: str
    """Name of the file, with the split: `mt:split=test`."""

    rows: list[StakesRow]
    token_ids: list[np.ndarray]
    """[rows][tokens], int32."""

    cut: list[int]
    """[rows], tokens that were left out because the row was too long."""

    excluded: dict[str, int]
    """Reason -> rows that are not in it."""

    @property
    def labels(self) -> np.ndarray:
        """[rows], float64, 0 or 1."""
        return np.array([row.label for row in self.rows], dtype=np.float64)

    @property
    def pairs(self) -> list[str]:
        """Of each row."""
        return [row.pair for row in self.rows]

    def lengths(self) -> dict[str, float]:
        """How long the rows are, in tokens, and what was cut."""
        lengths = [len(ids) for ids in self.token_ids]
        whole = np.array(lengths) + np.array(self.cut)
        return {
            "rows": len(lengths),
            "tokens": int(sum(lengths)),
            "median": float(np.median(lengths)),
            "longest": int(max(lengths)),
            "longest_before_cutting": int(whole.max()),
            "rows_cut": sum(n > 0 for n in self.cut),
            "tokens_cut": int(sum(self.cut)),
        }


def read_part(given: str, split: str | None = None) -> tuple[str, list[StakesRow]]:
    """Name and rows of `FILE` or `FILE:split=test`.

    Args:
        given: As the option has it.
        split: That is meant where none is given; None: all rows.

    Raises:
        DataError: As `read_rows`; a split that is none, or without rows.
    """
    place, mark, part = given.partition(":split=")
    if mark:
        split = part
    if split is not None and split not in SPLITS:
        raise DataError(f"{given}: split {split!r} is none of {', '.join(SPLITS)}")
    rows = read_rows(Path(place), Counter())
    name = Path(place).name.removesuffix(Path(place).suffix)
    if split is None:
        return name, rows
    chosen = [row for row in rows if row.split == split]
    if not chosen:
        there = ", ".join(sorted({row.split or "none" for row in rows}))
        raise DataError(f"{place}: no row of split {split}; there are {there}")
    return f"{name}:split={split}", chosen


def training_rows(given: Sequence[str]) -> list[StakesRow]:
    """Rows of several files: those of the split train where a file has splits, else all.

    Raises:
        DataError: As `read_part`.
    """
    rows: list[StakesRow] = []
    for number, one in enumerate(given):
        _, own = read_part(one)
        if ":split=" not in one and any(row.split for row in own):
            _, own = read_part(one, "train")
        # ids and pairs of another file may be the same without meaning the same
        rows += own if len(given) == 1 else [_of_file(row, number) for row in own]
    return rows


def _of_file(row: StakesRow, number: int) -> StakesRow:
    return row.model_copy(update={"id": f"{number}:{row.id}", "pair": f"{number}:{row.pair}"})


def drawn_pairs(rows: Sequence[StakesRow], most: int | None, seed: int) -> list[StakesRow]:
    """As many rows as wanted, or one pair less than that; pairs whole, drawn by the seed."""
    if most is None or len(rows) <= most:
        return list(rows)
    sizes = Counter(row.pair for row in rows)
    pairs = list(sizes)
    random.Random(seed).shuffle(pairs)
    kept: set[str] = set()
    room = most
    for pair in pairs:
        if sizes[pair] <= room:
            kept.add(pair)
            room -= sizes[pair]
    return [row for row in rows if row.pair in kept]


def tokenized(
    name: str,
    rows: Sequence[StakesRow],
    renderer: Renderer,
    *,
    known_digests: Collection[str] = (),
    known_pairs: Collection[str] = (),
) -> TokenizedSet:
    """Rows that have a label and can be rendered; what is left out is counted.

    Args:
        name: Of the set.
        rows: Of it.
        renderer: Of the model.
        known_digests: Of conversations that were trained on, which are left out.
        known_pairs: That were trained on, of the same file.

    Raises:
        DataError: Nothing is left.
    """
    excluded: Counter[str] = Counter()
    kept, token_ids, cut = list[StakesRow](), list[np.ndarray](), list[int]()
    for row in rows:
        if row.label is None:
            excluded[UNLABELLED] += 1
            continue
        if row.digest in known_digests or row.pair in known_pairs:
            excluded[TRAINED_ON] += 1
            continue
        try:
            rendered = renderer.render(Conversation(row.id, row.messages, row.tools))
        except ChatTemplateError:
            excluded[UNRENDERED] += 1
            continue
        kept.append(row)
        token_ids.append(rendered.token_ids)
        cut.append(rendered.cut)
    if not kept:
        reasons = ", ".join(f"{count} {reason}" for reason, count in excluded.items()) or "it is empty"
        raise DataError(f"{name}: no row is left: {reasons}")
    return TokenizedSet(name, kept, token_ids, cut, dict(excluded))


def check_classes(data: TokenizedSet, why: str) -> None:
    """Refuse a set of one class.

    Raises:
        DataError: Names the set and its counts.
    """
    positive = int(data.labels.sum())
    if not 0 < positive < len(data.rows):
        negative = len(data.rows) - positive
        raise DataError(f"{data.name}: {positive} rows of high stakes and {negative} of low stakes; {why}")
