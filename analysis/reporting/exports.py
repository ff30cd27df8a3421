"""The numbers of a report as files: CSV for every table, parquet with a row per conversation and per turn."""

import csv
import io
import math
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from analysis.agreement import Estimate
from analysis.intervals import Interval
from analysis.reporting.evaluations import Evaluation
from analysis.reporting.gathering import Material
from analysis.reporting.means import measured
from analysis.reporting.page import TEMPLATES
from analysis.reporting.reading import LENGTH, REFUSALS, TURNS, UNSCORED
from analysis.score_tables.columns import Column

CONVERSATIONS, TURN_ROWS = "conversations.parquet", "turns.parquet"

TYPES = {
    **dict.fromkeys(("run", "phase", "seed", "split", "state", "decided", "note", "agent_stop"), "string"),
    "iteration": "int64",
    "gameable": "bool",
}
"""Column of a parquet file -> its type where no row has a value; scores and others are numbers."""


class Written(NamedTuple):
    """A file of the report."""

    name: str
    what: str


COLUMNS = "columns.md"
"""What the columns are; among the templates, copied into every report."""


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Rows with the columns of all of them, in order; missing values are empty."""
    text = io.StringIO()
    writer = csv.DictWriter(
        text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n"
    )
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(value) for name, value in row.items()})
    path.write_text(text.getvalue(), encoding="utf-8")


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    # a table program would read a name that begins so as a formula
    return (
        f"'{value}"
        if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") and len(value) > 1
        else value
    )


def facts_of(one: Evaluation) -> dict[str, Any]:
    """Columns that tell an evaluation."""
    return {
        "evaluation": one.name,
        "task": one.task,
        "model": one.model,
        "run": one.run,
        "iteration": one.iteration,
        "phase": one.phase or None,
        "seed": one.seed or None,
    }


def ends_of_interval(found: Interval | Estimate | None) -> dict[str, Any]:
    """Columns of a mean."""
    if found is None:
        return {"mean": None, "low": None, "high": None}
    mean = found.mean if isinstance(found, Interval) else found.value
    return {"mean": mean, "low": found.low, "high": found.high}


def write_exports(material: Material, folder: Path) -> list[Written]:
    """Write all files of numbers into a folder that nobody reads yet. What each is.

    A table of CSV without rows is not written: readers take a file without columns for a broken one.
    """
    tables = {
        "means.csv": (_means, "every mean by evaluation and kind of user"),
        "topics.csv": (_topics, "the same by topic"),
        "tests.csv": (_tests, "comparisons of models and of iterations"),
        "seeds.csv": (_seeds, "means over seeds"),
        "agreement.csv": (_agreement, "judges with each other and with themselves"),
        "slopes.csv": (_slopes, "how ratings go with the length and the place of a reply"),
        "endings.csv": (_endings, "why conversations ended"),
        "tokens.csv": (_tokens, "tokens and cost by role"),
        "power.csv": (_power, "initial states needed"),
    }
    written: list[Written] = []
    for name, (rows_of, what) in tables.items():
        if rows := list(rows_of(material)):
            write_csv(folder / name, rows)
            written.append(Written(name, what))
    _write_parquet(folder / CONVERSATIONS, list(_conversations(material)))
    _write_parquet(folder / TURN_ROWS, list(_turns(material)))
    shutil.copyfile(TEMPLATES / COLUMNS, folder / COLUMNS)
    return [
        *written,
        Written(CONVERSATIONS, "a row for each conversation"),
        Written(TURN_ROWS, "a row for each turn"),
    ]


def _means(material: Material) -> Iterator[dict[str, Any]]:
    for m in material.means:
        yield facts_of(m.evaluation) | _measure(m.column) | {"users": m.users} | _numbers(m)


def _measure(column: Column) -> dict[str, Any]:
    return {"measure": column.title, "score": column.asked.name, "scale": column.asked.scale}


def _numbers(m: Any) -> dict[str, Any]:
    clusters = None if m.mean is None else m.mean.clusters
    counts = {"scored": m.scored, "unscored": m.unscored, "partly_scored": m.partly, "states": clusters}
    return ends_of_interval(m.mean) | counts


def _topics(material: Material) -> Iterator[dict[str, Any]]:
    for one in material.evaluations:
        for topic in sorted({row.topic for row in one.rows}):
            rows = [row for row in one.rows if row.topic == topic]
            for column in material.columns:
                for m in measured(one, column, rows):
                    facts = facts_of(one) | {"topic": topic} | _measure(column)
                    yield facts | {"users": m.users} | _numbers(m)


def _tests(material: Material) -> Iterator[dict[str, Any]]:
    for test in material.tests:
        yield {
            "task": test.first.task,
            "first": test.first.name,
            "second": test.second.name,
            **_measure(test.column),
            "users": test.users,
            **ends_of_interval(test.change),
            "p": test.p,
            "p_holm": test.p_holm,
            "states": test.states,
            "differ_in": ", ".join(test.apart),
        }


def _seeds(material: Material) -> Iterator[dict[str, Any]]:
    for one in material.seeds:
        first = one.evaluations[0]
        names = ", ".join(e.seed for e in one.evaluations)
        facts = {"task": first.task, "model": first.model, "iteration": first.iteration, "phase": first.phase}
        yield (
            facts
            | {"seeds": names}
            | _measure(one.column)
            | {"users": one.users}
            | ends_of_interval(one.mean)
        )


def _agreement(material: Material) -> Iterator[dict[str, Any]]:
    for pair in material.pairs:
        row = {
            "question": pair.question.what,
            "form": pair.question.form,
            "scale": pair.question.scale,
            "first": pair.first.name,
            "second": pair.second.name,
            "same_judge": pair.retest,
            "conversations": pair.conversations,
        }
        for name in ("same_answer", "nominal", "interval", "rank", "bias"):
            found: Estimate = getattr(pair, name)
            row |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
        yield row


def _slopes(material: Material) -> Iterator[dict[str, Any]]:
    for one in material.slopes:
        counts = {"replies": one.found.n, "states": one.found.clusters}
        yield (
            {"score": one.score, "scale": one.scale, "judge": one.judge, "of": one.of}
            | ends_of_interval(one.found)
            | counts
        )


def _endings(material: Material) -> Iterator[dict[str, Any]]:
    for one in material.evaluations:
        stops = [c.stop for c in one.conversations]
        for stop in sorted(set(stops)):
            yield facts_of(one) | {"stop": stop, "conversations": stops.count(stop), "of": len(stops)}


def _tokens(material: Material) -> Iterator[dict[str, Any]]:
    for one in material.evaluations:
        for role in sorted({role for c in one.conversations for role in c.tokens}):
            used = [c.tokens[role] for c in one.conversations if role in c.tokens]
            costs = [t.cost for t in used if t.cost is not None]
            yield facts_of(one) | {
                "role_or_model": role,
                "tokens_read": sum(t.read for t in used),
                "tokens_written": sum(t.written for t in used),
                "cost": sum(costs) if len(costs) == len(used) else None,
            }


def _power(material: Material) -> Iterator[dict[str, Any]]:
    for one in material.needed:
        needed = {f"states_for_power_{power:g}": states for power, states in one.needed.items()}
        facts = {"task": one.task, **_measure(one.column), "design": one.design, "difference": one.difference}
        yield facts | {"sd_between_states": one.spread, "states_here": one.states} | needed


# -- a row per conversation and per turn ----------------------------------------------------------


def _conversations(material: Material) -> Iterator[dict[str, Any]]:
    of = {n: e for e in material.evaluations for n in e.logs}
    reserved = {TURNS, LENGTH, REFUSALS, UNSCORED}
    for number, one in material.conversations:
        log, version = material.logs[number], one.version
        family, state = one.row.state if isinstance(one.row.state, tuple) else ("", one.row.state)
        costs = [t.cost for t in one.tokens.values() if t.cost is not None]
        yield {
            "log": str(log.path),
            "sample": str(version.unit[0]),
            "epoch": version.unit[1],
            "used": material.copies.uses(log, version.unit) and not version.invalidated,
            **facts_of(of[number]),
            "family": str(family),
            "initial_state": str(state),
            "topic": one.row.topic,
            "gameable": one.row.gameable,
            "split": one.split or None,
            "stop": one.stop,
            "turns": one.counts.turns,
            "characters": one.counts.characters,
            "refusals": one.counts.refusals,
            "vetoed": one.vetoed,
            "seconds": one.seconds,
            "tokens_read": sum(t.read for t in one.tokens.values()),
            "tokens_written": sum(t.written for t in one.tokens.values()),
            "cost": sum(costs) if costs and len(costs) == len(one.tokens) else None,
            **{v.name: v.value for v in one.values if v.name not in reserved},
            **{f"{name}:partly": lost for name, lost in one.partly.items()},
        }


def _turns(material: Material) -> Iterator[dict[str, Any]]:
    for number, content in material.contents.items():
        log = str(material.logs[number].path)
        for row in content.turns:
            yield {"log": log, **row}


def _write_parquet(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Missing numbers are null; columns have one type each, whatever the rows hold: reports can be joined."""
    import pyarrow as pa
    from pyarrow import parquet

    def typed(name: str) -> pa.Array:
        found = pa.array([_value(row.get(name)) for row in rows])
        if not pa.types.is_null(found.type):
            return found
        return found.cast(pa.type_for_alias(TYPES.get(name, "double")))

    names = list(dict.fromkeys(name for row in rows for name in row))
    table = pa.table({name: typed(name) for name in names})
    parquet.write_table(table, path, compression="zstd")


def _value(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
