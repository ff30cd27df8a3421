"""Runs an experiment, or draws it again from its files: cells, table, figures with numbers, a record.

<out>/scores/cells/           scores of every monitor, which several experiments share
<out>/<experiment>/cells/     a file for each cell
<out>/<experiment>/table.csv, table.md, <figure>.png, <figure>.csv
<out>/<experiment>/experiment.json   configuration and digests: what drawing again is held to
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from analysis.reporting.markdown import table as markdown_table
from probes.experiments.book import compute_book, read_book, score_cells
from probes.experiments.cells import CellError, Row, cell_digests, digest_of, read_cells, run_cells
from probes.experiments.experiment import Experiment, Picture, Results, Table
from probes.experiments.study import Study, set_digest
from scenarios.files.strict_json import JsonError, parse_json
from scenarios.files.whole import write_json, write_text

RECORD, TABLE, PAGE = "experiment.json", "table.csv", "table.md"

Told = Callable[[str], None]


class Ran(NamedTuple):
    """What became of an experiment."""

    experiment: Experiment
    table: Table
    pictures: list[Picture]
    notes: list[str]
    computed: int
    """Cells, scores included."""

    kept: int
    stale: int
    seconds: float


def run(experiment: Experiment, study: Study, told: Told = lambda _: None) -> Ran:
    """Compute what is not there, write the table, and draw.

    Raises:
        CellError: A file that is broken.
        ValueError: What fits and evaluations raise.
    """
    started = monotonic()
    folder = study.settings.out / experiment.name
    book, scores, counts = None, None, [0, 0, 0]
    if experiment.on_scores:
        common, cells = score_cells(study)
        book, done = compute_book(study.settings.out, study, told)
        scores = {"study": common, "cells": cell_digests(common, cells)}
        counts = [done.computed, done.kept, done.stale]
    configuration = _configuration(experiment, study, scores)
    cells = experiment.cells(study, book)
    done = run_cells(folder, configuration, cells, told)
    counts = [a + b for a, b in zip(counts, (done.computed, done.kept, done.stale), strict=True)]
    settings = _settings(experiment, study)
    record = {
        "experiment": experiment.name,
        "title": experiment.title,
        "configuration": configuration,
        "data": study.data_digest,
        "settings": settings,
        "cells": cell_digests(configuration, cells),
        "scores": scores,
    }
    rows = [row for cell in cells for row in done.contents[cell.name]]
    return _told(experiment, folder, Results(rows, book, settings), record, counts, monotonic() - started)


def draw_again(experiment: Experiment, out: Path) -> Ran:
    """Table and figures from the files of a finished run alone; nothing is computed, no data are read.

    Raises:
        CellError: There is no finished run, or a file of it is missing, broken or of another configuration.
    """
    started = monotonic()
    folder = out / experiment.name
    record = read_record(folder)
    contents = read_cells(folder, record["configuration"], record["cells"])
    scores, book = record["scores"], None
    if scores is not None:
        book = read_book(out, scores["study"], scores["cells"])
    rows = [row for name in record["cells"] for row in contents[name]]
    own = {
        key: record[key]
        for key in ("experiment", "title", "configuration", "data", "settings", "cells", "scores")
    }
    counts = [0, len(contents) + len(scores["cells"] if scores else ()), 0]
    seconds = record.get("seconds", monotonic() - started)
    return _told(experiment, folder, Results(rows, book, record["settings"]), own, counts, seconds)


def read_record(folder: Path) -> dict[str, Any]:
    """What a finished experiment left.

    Raises:
        CellError: Nothing, or something else.
    """
    path = folder / RECORD
    if not path.is_file():
        raise CellError(f"{path}: no such file; give the command without --plot-only, which computes it")
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, JsonError) as error:
        raise CellError(f"{path}: {error}; give the command without --plot-only") from error
    known = {"experiment": str, "configuration": str, "settings": dict, "cells": dict}
    if not isinstance(found, dict) or any(not isinstance(found.get(k), kind) for k, kind in known.items()):
        raise CellError(f"{path}: not the record of an experiment; give the command without --plot-only")
    return found


def _settings(experiment: Experiment, study: Study) -> dict[str, Any]:
    dumped = study.settings.model_dump(mode="json")
    return {name: dumped[name] for name in experiment.uses} | {"layer": study.layer}


def _configuration(experiment: Experiment, study: Study, scores: Mapping[str, Any] | None) -> str:
    return digest_of(
        {
            "experiment": experiment.name,
            "version": experiment.version,
            "data": study.data_digest,
            "sets": [set_digest(data) for data in study.sets] if experiment.on_scores else [],
            "scores": None if scores is None else scores["study"],
            "settings": _settings(experiment, study),
        }
    )


def _told(
    experiment: Experiment,
    folder: Path,
    results: Results,
    record: dict[str, Any],
    counts: Sequence[int],
    seconds: float,
) -> Ran:
    """Write table, figures and, last, the record."""
    table = experiment.table(results)
    notes = list(experiment.notes(results))
    write_text(folder / TABLE, csv_text(results.rows))
    page = [f"# {experiment.title}", experiment.asks, *notes, markdown_table(table.head, table.rows)]
    write_text(folder / PAGE, "\n\n".join(page) + "\n")
    pictures = experiment.draw(results, folder)
    for picture in pictures:
        write_text(folder / numbers_file(picture), csv_text(picture.rows))
    more = {
        "seconds": round(seconds, 2),
        "asks": experiment.asks,
        "notes": notes,
        "table": {"head": table.head, "rows": table.rows},
        "pictures": [{"file": p.file, "caption": p.caption, "numbers": numbers_file(p)} for p in pictures],
    }
    write_json(folder / RECORD, record | more)
    computed, kept, stale = counts
    return Ran(experiment, table, pictures, notes, computed, kept, stale, seconds)


def numbers_file(picture: Picture) -> str:
    """Of the CSV beside a figure."""
    return str(Path(picture.file).with_suffix(".csv"))


def csv_text(rows: Sequence[Row]) -> str:
    """Rows as CSV, with all columns that any of them has; empty where there is no number."""
    text = io.StringIO()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
