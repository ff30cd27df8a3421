"""Scores of monitors that read no activations: of fine-tuned models from files, of asked models from logs.

They are joined to captured data sets by the ids of the rows. What a monitor gave no score is not guessed.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from analysis.logs.copies import used_once
from analysis.logs.finding import LogFile, find_logs, is_log
from analysis.logs.samples import read_records
from probes.conversations.labels import DataError
from scenarios.files.tables import TableRow, read_table

SCORES = "scores.jsonl"

LEAST = 1e-6
"""A probability nearer to 0 or 1 than this counts as this far away."""

SHARED = 0.5
"""Share of a data set's rows that scores must be of to be taken for scores of this data set."""

COSTS = ("flops", "seconds", "dollars")


class RowScore(NamedTuple):
    """What a monitor says of one row."""

    logit: float
    """NaN: it gave no usable answer."""

    label: float | None
    cost: Mapping[str, float]
    """`flops`, `seconds`, `dollars`, as far as they are known."""


class LabelledRow(Protocol):
    """A row that scores are joined to."""

    @property
    def id(self) -> str:
        """As in the files of scores."""
        ...

    @property
    def label(self) -> float | None:
        """0 to 1."""
        ...


class NamedRows(Protocol):
    """A data set that scores are joined to, e.g. an `EvaluationSet`."""

    @property
    def name(self) -> str:
        """With the part it is, after a colon."""
        ...

    @property
    def rows(self) -> Sequence[LabelledRow]:
        """In the order of what is joined."""
        ...


class ScoreSource(NamedTuple):
    """Scores of one monitor on one data set, as a file or a log has them."""

    monitor: str
    dataset: str
    place: str
    scores: dict[str, RowScore]
    """By id of the row."""


class ForeignScores(NamedTuple):
    """Scores of one monitor on the captured data sets."""

    name: str
    logits: list[np.ndarray]
    """For each data set [rows], float64; NaN where there is none."""

    answered: list[np.ndarray]
    """For each data set [rows], bool: the monitor was given the row."""

    costs: list[dict[str, float]]
    """For each data set, means over the rows whose cost is known."""

    row_costs: list[list[Mapping[str, float]]]
    """For each data set, of each row what is known."""


def read_foreign(
    given: Sequence[Path], sets: Sequence[NamedRows], option: str = "--beside"
) -> list[ForeignScores]:
    """The monitors of files and logs, on the rows of captured data sets.

    Args:
        given: `scores.jsonl`, a folder or a `results.json` beside one, logs or folders of logs.
        sets: Data sets.
        option: That named them, for errors.

    Raises:
        DataError: A file without scores; scores that are of none of the data sets; labels that contradict.
        LogError: A log that cannot be read.
    """
    sources = score_sources(given, option)
    by_monitor: dict[str, list[ScoreSource]] = defaultdict(list)
    for source in sources:
        by_monitor[source.monitor].append(source)
    return [_on_sets(name, own, sets, option) for name, own in by_monitor.items()]


def score_sources(given: Sequence[Path], option: str = "--beside") -> list[ScoreSource]:
    """All that files and logs hold.

    Raises:
        DataError, LogError: As `read_foreign`.
    """
    return [source for path in given for source in _sources(path, option)]


def score_line(row: TableRow) -> dict[str, Any]:
    """A line of a file of scores, checked, with `where` it stands.

    `id` and `scores` (monitor -> `score`, a number or null) are there; `label` is null or 0 to 1; `facts` and
    `cost` (monitor -> cost -> number) are mappings or null, or not there.

    Raises:
        DataError: It is none; says where, and what of it is wrong.
    """
    line: dict[str, Any] = dict(row.cells) | {"where": row.where}
    scores, label = line.get("scores"), line.get("label")
    if not isinstance(scores, Mapping) or "id" not in line:
        raise DataError(f"{row.where}: no id with scores; a line of `--scores` has both")
    for monitor, said in scores.items():
        if not isinstance(said, Mapping) or not ("score" in said and _is_number_or_null(said["score"])):
            raise DataError(f"{row.where}: scores: {monitor} has no number `score`")
    if not _is_number_or_null(label) or not 0 <= (label or 0) <= 1:
        raise DataError(f"{row.where}: label {label!r} is no number from 0 to 1")
    for name in ("facts", "cost"):
        if not isinstance(line.get(name) or {}, Mapping):
            raise DataError(f"{row.where}: {name} is no mapping")
    for monitor, known in (line.get("cost") or {}).items():
        if not isinstance(known or {}, Mapping) or not all(map(_is_number_or_null, (known or {}).values())):
            raise DataError(f"{row.where}: cost: of {monitor} something is no number")
    return line


def logit_of(line: Mapping[str, Any], monitor: str) -> float:
    """What a line of scores says of its row; NaN where it says that there is no usable answer."""
    score = line["scores"][monitor]["score"]
    return math.nan if score is None else float(score)


def _is_number_or_null(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _sources(path: Path, option: str) -> Iterator[ScoreSource]:
    table = path / SCORES if path.is_dir() else path.parent / SCORES if path.name == "results.json" else path
    if table.suffix == ".jsonl" and table.is_file():
        yield from _of_table(table, option)
    elif path.exists() and is_log(path):
        logs = find_logs([path])
        copies = used_once(logs)
        for log in logs:
            records = (record for record in read_records(log) if copies.uses(log, record.unit))
            yield from _of_log(log, records, option)
    else:
        raise DataError(
            f"{option} {path}: neither a log nor a file of scores; name a log, or the folder that "
            f"`probes/baselines.py` wrote {SCORES} to"
        )


def _of_table(path: Path, option: str) -> Iterator[ScoreSource]:
    by_set: dict[tuple[str, str], dict[str, RowScore]] = defaultdict(dict)
    for row in read_table(path):
        line = score_line(row)
        costs = line.get("cost") or {}
        for monitor in line["scores"]:
            known = {
                k: float(v) for k, v in (costs.get(monitor) or {}).items() if k in COSTS and v is not None
            }
            score = RowScore(logit_of(line, monitor), line.get("label"), known)
            by_set[str(monitor), str(line.get("dataset", ""))][str(line["id"])] = score
    if not by_set:
        raise DataError(f"{option} {path}: no scores in it")
    for (monitor, dataset), own in by_set.items():
        yield ScoreSource(monitor, dataset, str(path), own)


def _of_log(log: LogFile, records: Iterator[Any], option: str) -> Iterator[ScoreSource]:
    """Of each score that says who was asked, the mean over epochs."""
    told: dict[str, dict[str, list[RowScore]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        for name, score in (record.scores or {}).items():
            metadata = score.metadata or {}
            if metadata.get("over") != "conversation" or ("scale" in metadata and metadata["scale"] != "0-1"):
                continue
            told[_called(name, metadata)][str(record.id)].append(_row_score(score.value, metadata, record))
    if not told:
        raise DataError(f"{option} {log.path}: no score of a whole conversation from 0 to 1 in this log")
    for monitor, rows in told.items():
        merged = {row: _merged(scores) for row, scores in rows.items()}
        yield ScoreSource(monitor, str(log.header.eval.dataset.name or ""), str(log.path), merged)


def _called(name: str, metadata: Mapping[str, Any]) -> str:
    if "method" not in metadata:
        return name
    model = str(metadata.get("model", "")).rstrip("/").rpartition("/")[2]
    return " ".join(part for part in (metadata["method"], metadata.get("template", ""), model) if part)


def _row_score(value: Any, metadata: Mapping[str, Any], record: Any) -> RowScore:
    label = record.metadata.get("label")
    cost = {k: float(v) for k, v in (metadata.get("cost") or {}).items() if k in COSTS and v is not None}
    logit = metadata.get("logit")
    if logit is None:
        usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        p = min(1 - LEAST, max(LEAST, float(value))) if usable else math.nan
        logit = math.log(p / (1 - p)) if usable else math.nan
    return RowScore(float(logit), None if label is None else float(label), cost)


def _merged(scores: Sequence[RowScore]) -> RowScore:
    logits = [s.logit for s in scores if not math.isnan(s.logit)]
    cost = {
        name: math.fsum(s.cost[name] for s in scores) for name in COSTS if all(name in s.cost for s in scores)
    }
    return RowScore(float(np.mean(logits)) if logits else math.nan, scores[0].label, cost)


def _on_sets(
    name: str, sources: Sequence[ScoreSource], sets: Sequence[NamedRows], option: str
) -> ForeignScores:
    logits, answered, costs = list[np.ndarray](), list[np.ndarray](), list[dict[str, float]]()
    row_costs: list[list[Mapping[str, float]]] = []
    for data in sets:
        own = _source_for(data, sources)
        known = [None if own is None else own.scores.get(row.id) for row in data.rows]
        if own is not None:
            _check_labels(data, own, option)
        logits.append(np.array([math.nan if one is None else one.logit for one in known]))
        answered.append(np.array([one is not None for one in known]))
        row_costs.append([{} if one is None else one.cost for one in known])
        of_all = [one.cost for one in known if one is not None]
        costs.append(
            {
                cost: math.fsum(values) / len(values)
                for cost in COSTS
                if (values := [one[cost] for one in of_all if cost in one])
            }
        )
    if not any(rows.any() for rows in answered):
        there = ", ".join(sorted({f"{s.dataset or 'a data set'} in {s.place}" for s in sources}))
        raise DataError(
            f"{option}: {name} has scores of none of {', '.join(d.name for d in sets)}: ids of rows do not "
            f"agree with those of {there}"
        )
    return ForeignScores(name, logits, answered, costs, row_costs)


def _source_for(data: NamedRows, sources: Sequence[ScoreSource]) -> ScoreSource | None:
    """The source that has most of a set's rows: that called like it, or else any with half of them."""

    def shared(source: ScoreSource) -> float:
        return sum(
            (one := source.scores.get(row.id)) is not None and one.label == row.label for row in data.rows
        ) / len(data.rows)

    base = data.name.partition(":")[0]
    called = [s for s in sources if s.dataset.partition(":")[0] == base]
    best = max(called or sources, key=shared, default=None)
    if best is None:
        return None
    return best if called or shared(best) >= SHARED else None


def _check_labels(data: NamedRows, source: ScoreSource, option: str) -> None:
    """Refuse scores of rows that have another label there: they are other rows of the same id."""
    for row in data.rows:
        one = source.scores.get(row.id)
        if one is not None and one.label is not None and row.label is not None and one.label != row.label:
            raise DataError(
                f"{option} {source.place}: {row.id} has label {one.label:g} there, {row.label:g} in "
                f"{data.name}: these are not the same rows"
            )
