"""The same rows as several monitors score them: the first one's rows, the others' scores joined by id.

The first monitor is a saved one that reads captured data sets, or one of a file of scores. The others come
from files of scores and from logs of asked models. A row without a score of every monitor is left out of
everything, and counted.
"""

import random
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from probes.activations.grouping import Tie, apart, joined
from probes.cascades.saved import CascadeError
from probes.conversations.facts import check_conditions, fitting, read_part
from probes.evaluation.beside.foreign_scores import (
    COSTS,
    ForeignScores,
    logit_of,
    read_foreign,
    score_line,
    score_sources,
)
from probes.evaluation.evaluation_data import EvaluationSet, read_sets
from probes.evaluation.scored import Named, check_monitors, score_monitors
from scenarios.files.tables import read_table

NOT_GIVEN = "not given to"
NO_ANSWER = "without a usable answer of"

NAMELESS = ("", "stakes")
"""Data sets of logs that do not say which rows they are of."""

SAME = 1e-9
"""Scores nearer to each other than this are the same score."""


class Column(NamedTuple):
    """A monitor's scores of rows."""

    name: str
    logits: np.ndarray
    """[rows], float64; NaN where there is none."""

    costs: Mapping[str, np.ndarray]
    """`flops`, `seconds`, `dollars` -> [rows]; NaN where it is not known, no entry where it never is."""

    def taken(self, rows: np.ndarray) -> "Column":
        """Of some rows."""
        return Column(self.name, self.logits[rows], {name: of[rows] for name, of in self.costs.items()})


class ScoredRow(NamedTuple):
    """What others' scores are joined to."""

    id: str
    label: float | None


class CascadeRows(NamedTuple):
    """Labelled rows of a data set, or of several, with the scores of all monitors of a cascade."""

    name: str
    ids: list[str]
    dataset: list[str]
    """Of each row, as it was given."""

    labels: np.ndarray
    """[rows], float64: 0 or 1."""

    ties: list[Tie]
    columns: list[Column]
    excluded: dict[str, int]
    """Reason -> rows that are in no number."""

    detects: str = ""

    @property
    def rows(self) -> list[ScoredRow]:
        """Ids and labels, to join scores to."""
        return [ScoredRow(id, float(y)) for id, y in zip(self.ids, self.labels, strict=True)]  # noqa: A001

    @property
    def groups(self) -> list[str]:
        """Of each row; those of a group are dependent."""
        return joined(self.ties)

    @property
    def datasets(self) -> list[str]:
        """Each once."""
        return list(dict.fromkeys(self.dataset))

    @property
    def logits(self) -> list[np.ndarray]:
        """Of each monitor [rows]."""
        return [column.logits for column in self.columns]

    def taken(self, rows: np.ndarray, why: str = "") -> "CascadeRows":
        """Some of the rows.

        Args:
            rows: [rows], bool.
            why: The others are left out, which is counted; nothing is if they are only elsewhere.
        """
        kept = np.flatnonzero(rows)
        lost = len(rows) - len(kept)
        excluded = dict(Counter(self.excluded) + Counter({why: lost})) if why and lost else self.excluded
        return self._replace(
            ids=[self.ids[i] for i in kept],
            dataset=[self.dataset[i] for i in kept],
            labels=self.labels[kept],
            ties=[self.ties[i] for i in kept],
            columns=[column.taken(kept) for column in self.columns],
            excluded=excluded,
        )


def captured_rows(monitor: Named, given: Sequence[str], device: str = "cpu") -> list[CascadeRows]:
    """Captured data sets, scored by a saved monitor.

    Rows that the monitor was fitted or validated on are left out. Its FLOPs are those of its head, at most:
    every weight meets every token; its seconds are those that scoring took, without reading from the store.

    Raises:
        MismatchError: The monitor was fitted on other activations.
        StoreError: A data set that cannot be read, or of which nothing is left.
    """
    sets = read_sets(given)
    card = monitor.monitor.card
    known = {d for s in (card.training, card.validation) if s is not None for d in s.known.split()}
    sets = [data.unknown_to(known) for data in sets]
    check_monitors([monitor], sets)
    weights = sum(int(np.prod(w.shape)) for w in monitor.monitor.head.state().values())
    found: list[CascadeRows] = []
    for data in sets:
        before = time.perf_counter()
        logits = score_monitors([monitor], [data], device=device)[0].logits[0]
        seconds = (time.perf_counter() - before) / len(data.rows)
        tokens = np.array([row.n_tokens for row in data.rows], dtype=np.float64)
        costs = {"flops": 2.0 * weights * tokens, "seconds": np.full(len(tokens), seconds)}
        found.append(_of_set(data, Column(monitor.name, logits, costs), card.detects))
    return found


def rows_of_scores(path: Path, monitor: str | None, given: Sequence[str]) -> list[CascadeRows]:
    """Data sets of a file of scores, as `probes/evaluate.py --scores` and `probes/baselines.py` write it.

    Args:
        path: The file.
        monitor: Which of its monitors; the only one if not given.
        given: Names of data sets in it, or parts: `mts:split=dev`.

    Raises:
        CascadeError: No such monitor or data set; two scores of one row.
        DataError: A line that is none of scores.
        FactError: A condition that names a fact or value that is nowhere.
    """
    return [_labelled(rows) for rows in unlabelled_rows_of_scores(path, monitor, given)]


def unlabelled_rows_of_scores(path: Path, monitor: str | None, given: Sequence[str]) -> list[CascadeRows]:
    """As `rows_of_scores`, with rows without a label (NaN) and labels that are degrees."""
    lines = [score_line(row) for row in read_table(path)]
    names = list(dict.fromkeys(name for line in lines for name in line["scores"]))
    chosen = names[0] if monitor is None and len(names) == 1 else monitor
    if chosen is None or chosen not in names:
        asked = "--monitor is missing" if chosen is None else f"--monitor {chosen}: no such monitor"
        raise CascadeError(f"{asked} in {path}; there are {', '.join(names) or 'none'}")
    by_set: dict[str, list[dict]] = defaultdict(list)
    for line in lines:
        if chosen in line["scores"]:
            by_set[str(line.get("dataset", ""))].append(line)
    found = [_of_lines(path, chosen, one, by_set) for one in given]
    _check_counted_once(found)
    return found


def read_judge(
    given: Sequence[Path], wanted: str | None, parts: Sequence[CascadeRows], option: str
) -> ForeignScores:
    """The one monitor of files and logs that is asked.

    Args:
        given: Files of scores, logs, folders.
        wanted: Its name, where they hold several.
        parts: Whose rows it was asked about.
        option: That named them.

    Raises:
        CascadeError: None of this name, or several and no name; scores of two configurations under one name.
        DataError: As `read_foreign`.
    """
    names = list(dict.fromkeys(source.monitor for source in score_sources(given, option)))
    if wanted is None and len(names) > 1:
        raise CascadeError(f"{option}: several monitors, name one with {option}-name: {', '.join(names)}")
    if wanted is not None and wanted not in names:
        raise CascadeError(f"{option}-name {wanted}: no such monitor; there are {', '.join(names)}")
    chosen = wanted or names[0]
    _check_one_configuration(given, chosen, option)
    return next(one for one in read_foreign(given, parts, option) if one.name == chosen)


def with_judge(parts: Sequence[CascadeRows], judge: ForeignScores) -> list[CascadeRows]:
    """The rows that the judge scored too; those that it did not are left out and counted."""
    found: list[CascadeRows] = []
    for number, part in enumerate(parts):
        costs = {
            name: np.array([of.get(name, np.nan) for of in judge.row_costs[number]])
            for name in COSTS
            if any(name in of for of in judge.row_costs[number])
        }
        column = Column(judge.name, judge.logits[number], costs)
        whole = part._replace(columns=[*part.columns, column])
        given = judge.answered[number]
        answered = ~np.isnan(column.logits)
        whole = whole.taken(given, f"{NOT_GIVEN} {judge.name}")
        found.append(whole.taken(answered[given], f"{NO_ANSWER} {judge.name}"))
    return found


def together(parts: Sequence[CascadeRows]) -> CascadeRows:
    """Rows of several data sets as one.

    Raises:
        CascadeError: Two with another monitor's scores in one place.
    """
    names = [[column.name for column in part.columns] for part in parts]
    if any(own != names[0] for own in names):
        raise CascadeError(f"data sets are scored by different monitors: {names}")
    columns = [
        Column(
            of[0].name,
            np.concatenate([column.logits for column in of]),
            {
                name: np.concatenate(
                    [column.costs.get(name, np.full(len(column.logits), np.nan)) for column in of]
                )
                for name in COSTS
                if any(name in column.costs for column in of)
            },
        )
        for of in zip(*(part.columns for part in parts), strict=True)
    ]
    return CascadeRows(
        ", ".join(part.name for part in parts),
        [id for part in parts for id in part.ids],  # noqa: A001
        [name for part in parts for name in part.dataset],
        np.concatenate([part.labels for part in parts]),
        [tie for part in parts for tie in part.ties],
        columns,
        dict(sum((Counter(part.excluded) for part in parts), Counter())),
        parts[0].detects,
    )


def check_apart(calibration: CascadeRows, test: Sequence[CascadeRows]) -> None:
    """Refuse test rows that were calibrated on, or are in a group with such rows.

    Raises:
        CascadeError: Says how many, and names one.
    """
    for part in test:
        shared = [
            (row, why)
            for row, why in zip(part.ids, apart(part.ties, calibration.ties), strict=True)
            if why is not None
        ]
        if shared:
            raise CascadeError(
                f"the calibration split overlaps the test split: {len(shared)} of {len(part.ids)} rows of "
                f"{part.name} are calibrated on too, or in a group that is, e.g. {shared[0][0]}; name parts "
                "that share no group, or leave --test out and let the groups be drawn apart"
            )


def drawn_apart(
    parts: Sequence[CascadeRows], share: float, seed: int
) -> tuple[list[CascadeRows], list[CascadeRows]]:
    """Whole groups of each data set drawn for calibration, about so many rows, and the rest for the test."""
    groups = iter(joined([tie for part in parts for tie in part.ties]))
    of_part = [[next(groups) for _ in part.ids] for part in parts]
    names = sorted({group for of in of_part for group in of})
    random.Random(seed).shuffle(names)
    sizes = Counter(group for of in of_part for group in of)
    wanted, chosen = share * sum(sizes.values()), set[str]()
    for name in names:
        if wanted <= 0:
            break
        chosen.add(name)
        wanted -= sizes[name]
    inside = [np.array([group in chosen for group in of]) for of in of_part]
    halves = [
        [part.taken(side) for part, side in zip(parts, sides, strict=True) if side.any()]
        for sides in (inside, [~side for side in inside])
    ]
    return halves[0], halves[1]


def _of_set(data: EvaluationSet, column: Column, detects: str) -> CascadeRows:
    rows = CascadeRows(
        data.name,
        [row.id for row in data.rows],
        [data.name] * len(data.rows),
        data.labels,
        data.ties,
        [column],
        dict(data.excluded),
        detects,
    )
    return _yes_or_no(rows)


def _of_lines(path: Path, monitor: str, given: str, by_set: Mapping[str, list[dict]]) -> CascadeRows:
    name, mark, part = given.partition(":")
    lines = by_set.get(given)
    if lines is None and mark and name in by_set:
        conditions = read_part(part, f"data set {given}")
        facts = [{k: str(v) for k, v in (line.get("facts") or {}).items()} for line in by_set[name]]
        check_conditions(conditions, {name: facts})
        fits = fitting(facts, conditions)
        lines = [line for line, fit in zip(by_set[name], fits, strict=True) if fit]
    if not lines:
        raise CascadeError(
            f"{path}: no rows of {given} with scores of {monitor}; there are {', '.join(by_set)}"
        )
    _check_once(lines, monitor)
    costs = [(line.get("cost") or {}).get(monitor) or {} for line in lines]
    known = {
        cost: np.array([np.nan if of.get(cost) is None else float(of[cost]) for of in costs])
        for cost in COSTS
        if any(of.get(cost) is not None for of in costs)
    }
    logits = np.array([logit_of(line, monitor) for line in lines])
    labels = [line.get("label") for line in lines]
    rows = CascadeRows(
        given,
        [str(line["id"]) for line in lines],
        [given] * len(lines),
        np.array([np.nan if label is None else float(label) for label in labels]),
        [_tie(name, line) for line in lines],
        [Column(monitor, logits, known)],
        {},
    )
    rows = rows.taken(~np.isnan(logits), f"{NO_ANSWER} {monitor}")
    if not rows.ids:
        raise CascadeError(f"{path}: {monitor} has no score of any row of {given}")
    return rows


def _labelled(rows: CascadeRows) -> CascadeRows:
    return _yes_or_no(rows.taken(~np.isnan(rows.labels), "not labelled"))


def _tie(dataset: str, line: Mapping) -> Tie:
    """A group that is named is the same in all data sets; a row's own id is one in its own alone."""
    row, group = str(line["id"]), str(line.get("group") or "")
    return Tie(group if group and group != row else f"{dataset}\n{row}", f"{dataset}\n{row}")


def _yes_or_no(rows: CascadeRows) -> CascadeRows:
    plain = rows.taken(rows.labels != 0.5, "ambiguous")
    return plain._replace(labels=(plain.labels > 0.5).astype(np.float64))


def _check_once(lines: Sequence[Mapping], monitor: str) -> None:
    seen: dict[str, tuple[str, float]] = {}
    for line in lines:
        row, score = str(line["id"]), logit_of(line, monitor)
        where, before = seen.setdefault(row, (line["where"], score))
        if where != line["where"]:
            how = "twice" if abs(before - score) <= SAME else "twice, differently"
            raise CascadeError(
                f"{line['where']}: {row} is scored by {monitor} {how}, first at {where}: scores of two "
                "configurations do not go into one cascade"
            )


def _check_counted_once(parts: Sequence[CascadeRows]) -> None:
    for one, two in combinations(parts, 2):
        shared = {tie.key for tie in one.ties} & {tie.key for tie in two.ties}
        if shared:
            raise CascadeError(
                f"{one.name} and {two.name} share {len(shared)} rows, which would count twice; name each once"
            )


def _check_one_configuration(given: Sequence[Path], monitor: str, option: str) -> None:
    """Refuse the same rows with other scores under one name."""
    sources = [source for source in score_sources(given, option) if source.monitor == monitor]
    for one, two in combinations(sources, 2):
        if one.dataset != two.dataset or one.dataset in NAMELESS:
            continue  # other rows, which may be numbered alike
        shared = one.scores.keys() & two.scores.keys()
        for row in shared:
            before, after = one.scores[row].logit, two.scores[row].logit
            if abs(before - after) > SAME:
                raise CascadeError(
                    f"{option}: {monitor} says {before:.3g} of {row} in {one.place} and {after:.3g} in "
                    f"{two.place}: results of two configurations do not go into one figure; name one"
                )
