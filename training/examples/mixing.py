"""Static data beside the selected conversations: which rows of a data set, as what.

A share of the final set comes from a data set of written answers with labels, such as `Anthropic/hh-rlhf`
(arXiv:2204.05862) or `PKU-Alignment/PKU-SafeRLHF` (arXiv:2406.15513), a JSONL file, or any other set on the
hub. One permutation of the set, drawn with the run's seed, serves all iterations; each takes up where the one
before stopped, so that no row is trained on twice.
"""

import logging
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, Self

from scenarios.files.strict_json import read_jsonl
from scenarios.files.tables import is_table, read_table
from scenarios.mistakes import UserMistake
from training.algorithms import ALGORITHMS, LearnsFrom
from training.errors import RunError
from training.examples.example import Example
from training.examples.static_conversations import Unusable
from training.examples.static_forms import Form, Record, Use, form_of
from training.settings import Algorithm, Mixing

logger = logging.getLogger(__name__)

PRESETS = {"hh-rlhf": "Anthropic/hh-rlhf", "pku-saferlhf": "PKU-Alignment/PKU-SafeRLHF"}
"""Short name -> id on the hub."""

FIRST = 200
"""Rows that are read before anything is drawn."""

USES: dict[LearnsFrom, Use] = {"best": "desirable", "labels": "labelled", "pairs": "pairs"}
"""What of a record is used, by what an algorithm learns from. What is not here cannot be mixed."""


class Source(NamedTuple):
    """Where static data lies."""

    name: str
    """As rows name it: the preset, the id on the hub, or the file's name."""

    preset: str | None
    file: Path | None
    hub: str | None
    """Id on the hub, or a folder with a copy of a data set."""

    revision: str | None


def check_mixing(mixing: Mixing, algorithm: Algorithm) -> None:
    """Raise at once what needs no data to be seen.

    Raises:
        RunError: The algorithm learns nothing from static data, the file is not there, or the map names
            something else than columns.
    """
    if mixing.mix is None:
        return
    if ALGORITHMS[algorithm].learns_from not in USES:
        others = [name for name, of in ALGORITHMS.items() if of.learns_from in USES]
        raise RunError(
            f"mix: {algorithm} learns from groups of conversations with rewards, and static data has no such "
            f"groups; take one of {', '.join(others)}, or leave mix out"
        )
    source = _source(mixing.mix)
    if source.file is not None and not source.file.is_file():
        raise RunError(f"mix: there is no file {source.file}")
    form_of(source.preset, mixing.mix_columns, None)


class StaticData:
    """A data set whose rows are mixed in. Made by `open`.

    Args:
        source: Where it came from.
        rows: Its rows, in its own order.
        form: How a row is read.
        algorithm: Decides what of a row is used.
        share: Of the final set, between 0 and 1.
    """

    def __init__(
        self, source: Source, rows: Sequence[Any], form: Form, algorithm: Algorithm, share: float
    ) -> None:
        self.name = source.name
        self.left_out: Counter[str] = Counter()
        """Reason -> rows that the last `draw` came across and could not use."""

        self._examples_of: dict[str, str] = {}
        """Reason -> what is wrong with the first such row."""

        self._rows, self._form, self._algorithm, self._share = rows, form, algorithm, share

    @classmethod
    def open(cls, mixing: Mixing, *, algorithm: Algorithm, cache_dir: Path | None = None) -> Self:
        """Load the data set and check its columns and labels.

        Args:
            mixing: Which, and what its columns are called.
            algorithm: Decides what of a row is used.
            cache_dir: Where a data set of the hub is kept; the user's own cache if not given.

        Raises:
            RunError: As `check_mixing`; the data set cannot be loaded or is empty; it lacks a column (names
                those that are there); or a label is not one of those expected.
        """
        if mixing.mix is None:
            raise RunError("mix: no data set is named")
        check_mixing(mixing, algorithm)
        source = _source(mixing.mix)
        if source.file:
            rows = _from_file(source.file, mixing.mix_encoding)
        else:
            rows = _from_hub(source, mixing.mix_split, cache_dir)
        if not len(rows):
            raise RunError(f"mix: {mixing.mix} has no rows")
        form = form_of(source.preset, mixing.mix_columns, _columns(rows))
        form.check(rows, source.name)
        data = cls(source, rows, form, algorithm, mixing.mix_share)
        data.check_first()
        return data

    def check_first(self) -> None:
        """Read the first rows: a data set in another form than is expected has none that can be used.

        Raises:
            RunError: There is none among the first 200; says what is wrong with them.
        """
        reasons: Counter[str] = Counter()
        first = range(min(len(self._rows), FIRST))
        if next(self._records(first, reasons), None) is None:
            raise RunError(
                f"mix: none of the first {len(first)} rows of {self.name} can be used: "
                f"{self._listed(reasons)}; say by mix_columns what its columns are called"
            )

    def size(self, n: int) -> int:
        """Rows that stand beside `n` of the log, so that the share of all is met to the nearest row.

        M / (M + n) = share; for dpo M is even, as a pair is two rows.
        """
        ratio = Fraction(self._share).limit_denominator(10**6)
        unit = 2 if ALGORITHMS[self._algorithm].learns_from == "pairs" else 1
        return unit * round(n * ratio / (1 - ratio) / unit)

    def used(self, earlier: Iterable[Path]) -> int:
        """Records that earlier iterations took.

        Args:
            earlier: Their `examples.jsonl`.
        """
        return len(
            {row["group"] for file in earlier for row in read_jsonl(file) if row["source"] == self.name}
        )

    def draw(self, n: int, *, seed: int, iteration: int, used: int) -> list[Example]:
        """The static rows of one iteration.

        The same arguments give the same rows. Of a record with two answers the rows stand one after the
        other, the desirable one first; if the size is odd, the last record gives that one alone.

        Args:
            n: Rows of the log that the trainer will learn from.
            seed: Of the permutation, the same in all iterations of a run.
            iteration: From 0, for the message if the data set is exhausted.
            used: Records that earlier iterations took, see `used`.

        Raises:
            RunError: The data set is exhausted.
        """
        wanted = self.size(n)
        order = list(range(len(self._rows)))
        random.Random(f"{seed}:{self.name}").shuffle(order)
        reasons: Counter[str] = Counter()
        before: Counter[str] = Counter()
        taken: list[Example] = []
        usable = 0
        for index, record in self._records(order, reasons):
            usable += 1
            if usable <= used:
                before = reasons.copy()
                continue
            if len(taken) >= wanted:
                break
            taken += self._examples(index, record)[: wanted - len(taken)]
        self.left_out = reasons - before
        if len(taken) < wanted:
            raise RunError(
                f"mix: {self.name} is exhausted: iteration {iteration} needs {wanted} rows; it has "
                f"{len(self._rows)}, {usable} of them usable (left out: {self._listed(reasons)}), and "
                f"{min(used, usable)} were used before; lower mix_share, select fewer conversations, or give "
                "a larger data set"
            )
        if self.left_out:
            logger.warning("mix: rows of %s left out: %s", self.name, self._listed(self.left_out))
        return taken

    def _listed(self, reasons: Counter[str]) -> str:
        counts = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common()) or "none"
        details = "; ".join(self._examples_of[reason] for reason, _ in reasons.most_common())
        return f"{counts}: {details}" if details else counts

    def _records(self, order: Sequence[int], reasons: Counter[str]) -> Iterator[tuple[int, Record]]:
        """The records that can be used, by their place in the data set; the reasons of others are counted."""
        use = USES[ALGORITHMS[self._algorithm].learns_from]
        for index in order:
            try:
                yield (
                    index,
                    self._form.record(self._rows[index]).for_use(use),
                )
            except Unusable as reason:
                reasons[str(reason)] += 1
                self._examples_of.setdefault(str(reason), f"row {index + 1}: {reason.detail}")

    def _examples(self, index: int, record: Record) -> list[Example]:
        return [
            Example(
                prompt=record.prompt,
                completion=[answer.message],
                label=answer.label,
                tools=record.tools,
                source=self.name,
                log=None,
                sample=None,
                epoch=None,
                turn=None,
                score=None,
                rank=None,
                group=f"{self.name}:{index}",
                checkpoint=None,
            )
            for answer in sorted(record.answers, key=lambda a: not a.label)
        ]


def _source(told: str) -> Source:
    name, _, revision = told.partition("@")
    if name in PRESETS:
        return Source(name, name, None, PRESETS[name], revision or None)
    path = Path(told).expanduser()
    if path.is_file() or is_table(path):
        return Source(path.name, None, path, None, None)
    preset = Path(name).name.lower()
    known = preset if preset in PRESETS else None
    if path.is_dir():
        return Source(path.name, known, None, str(path), None)
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise RunError(
            f"mix: {told!r} is neither one of {', '.join(PRESETS)}, nor a file, nor an id on the hub"
        )
    return Source(name, known, None, name, revision or None)


def _from_file(path: Path, encoding: str | None) -> Sequence[Any]:
    try:
        return [row.cells for row in read_table(path, encoding=encoding, option="--mix-encoding")]
    except UserMistake as error:
        raise RunError(f"mix: {error}") from None


def _from_hub(source: Source, split: str, cache_dir: Path | None) -> Sequence[Any]:
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    assert source.hub is not None
    try:
        return load_dataset(
            source.hub,
            split=split,
            revision=source.revision,
            cache_dir=None if cache_dir is None else str(cache_dir),
        )  # pyright: ignore[reportReturnType]
    except (OSError, ValueError, DatasetsError) as error:
        # FileNotFoundError and ConnectionError are OSErrors; an unknown split is a ValueError
        raise RunError(f"mix: {source.hub} (split {split!r}) cannot be loaded: {error}") from error


def _columns(rows: Sequence[Any]) -> list[str]:
    names = getattr(rows, "column_names", None)
    if names is not None:
        return list(names)
    return sorted({key for row in rows for key in row})
