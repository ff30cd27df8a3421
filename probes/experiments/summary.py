"""One page of all experiments in a folder: figures, tables and what a reader must know."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from probes.experiments.cells import CellError
from probes.experiments.running import RECORD, read_record
from scenarios.files.whole import write_text

SUMMARY = "summary.html"
TEMPLATE = "summary.html.jinja"
MOST_ROWS = 40
"""Of a table on the page; the CSV has all."""


def write_summary(
    out: Path, names: Sequence[str], skipped: Mapping[str, str], *, about: Sequence[str] = ()
) -> Path:
    """Write the page.

    Args:
        out: Folder of the experiments.
        names: Of those that are shown, in this order.
        skipped: Experiment -> why it is not there.
        about: What the page is of, a line each.

    Raises:
        CellError: Experiments of different training rows or tests.
    """
    records = {name: read_record(out / name) for name in names}
    data = {record["data"] for record in records.values()}
    if len(data) > 1:
        first = next(iter(records.values()))["data"]
        other = next(name for name, record in records.items() if record["data"] != first)
        raise CellError(
            f"{out / other / RECORD}: of other training rows or tests than {out / next(iter(records))}; "
            "results "
            "of two configurations are not shown on one page; run it again, or name another --out"
        )
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(TEMPLATE).render(
        records=records,
        skipped=skipped,
        about=about,
        total=sum(float(record["seconds"]) for record in records.values()),
        most=MOST_ROWS,
        tables={name: _shortened(record["table"]) for name, record in records.items()},
    )
    write_text(out / SUMMARY, page)
    return out / SUMMARY


def _shortened(table: Mapping[str, Any]) -> dict[str, Any]:
    rows = table["rows"]
    return {"head": table["head"], "rows": rows[:MOST_ROWS], "left": max(0, len(rows) - MOST_ROWS)}
