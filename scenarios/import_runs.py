"""Turns conversations that the earlier system stored into Inspect logs: one `.eval` for each iteration.

    python scenarios/import_runs.py RUNS.jsonl [--out logs/imported] [--name booking]
    inspect view --log-dir logs/imported

Ratings and labels become scores, exactly as they are stored. A number that is missing, lies off its scale, or
stands for an answer that nobody could read (the earlier system counts it as 0) is unscored, with the reason.

A log is written whole or not at all. The same command again writes what is missing, or was made from another
file or in another way. Score the logs anew with `inspect score LOG --scorer scorers/influence.py ...`.
"""

from scenarios.commands import starting  # noqa: F401

# isort: split

import argparse
import hashlib
import re
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, get_args

from inspect_ai.log import EvalLog, EvalResults, EvalSpec, read_eval_log, recompute_metrics, write_eval_log
from rich.console import Console
from rich.progress import Progress

from scenarios.commands.exits import exit_status
from scenarios.commands.parsers import CommandParser
from scenarios.earlier.names import slug
from scenarios.earlier.runs import LABELS, UNKNOWN_MODEL, ImportOptions, Runs, check_runs
from scenarios.earlier.samples import sample_of
from scenarios.files.located_yaml import ScenarioError
from scenarios.files.whole import whole_file
from scenarios.schema import Scale

IMPORTER_VERSION = 2
"""Logs that another version made are made anew."""

LAST = 9999
"""The last iteration that there can be."""

_ITERATIONS = re.compile(r"(\d+)(-)?(\d+)?")

SHOWN = 3
"""Refused rows that are printed; all are counted."""


class Imported(NamedTuple):
    """What an import did."""

    runs: Runs
    written: list[Path]
    kept: list[Path]
    """Logs that were there already, made from the same file in the same way."""

    unscored: dict[str, int]
    """Score -> samples without it, over all logs."""

    stale: list[Path]
    """Logs of this name for iterations that the file does not have. They are left alone."""


def import_runs(path: Path, out: Path, options: ImportOptions, *, progress: bool = False) -> Imported:
    """Write one log for each iteration in `path`, `<name>-<iteration>.eval`.

    The file is read once to check every row before anything is written, and then again iteration by
    iteration, so that no more than one is in memory.

    Args:
        path: JSON lines of the earlier system.
        out: Folder of the logs, made if it is not there.
        options: How to read the file.
        progress: Show a bar on stderr.

    Raises:
        ScenarioError: Something wrong with the file, or a log in `out` that is in the way and was not
            made by an import. Nothing has been written then.
    """
    with Progress(console=Console(stderr=True), disable=not progress, transient=True) as bars:
        checking = bars.add_task("checking", total=path.stat().st_size if path.exists() else None)
        runs = check_runs(path, options, lambda done: bars.update(checking, completed=done))
        targets = {i: out / f"{options.name}-{i:04}.eval" for i in sorted(runs.places)}
        there = {i: _same_import(target, _provenance(runs, i, options)) for i, target in targets.items()}
        out.mkdir(parents=True, exist_ok=True)
        writing = bars.add_task("writing", total=sum(map(len, runs.places.values())))
        unscored: Counter[str] = Counter()
        for iteration, target in targets.items():
            found = there[iteration]
            results = found.results if found else _write(target, runs, iteration, options)
            for score in results.scores if results else []:
                unscored[score.name] += score.unscored_samples or 0
            bars.advance(writing, len(runs.places[iteration]))
    return Imported(
        runs=runs,
        written=[target for i, target in targets.items() if there[i] is None],
        kept=[target for i, target in targets.items() if there[i] is not None],
        unscored={name: n for name, n in unscored.items() if n},
        stale=sorted(set(out.glob(f"{options.name}-[0-9][0-9][0-9][0-9].eval")) - set(targets.values())),
    )


def _provenance(runs: Runs, iteration: int, options: ImportOptions) -> dict[str, Any]:
    return {
        "importer": IMPORTER_VERSION,
        "source": runs.path.name,
        "sha256": runs.sha256,
        "iteration": iteration,
        "rows": len(runs.places[iteration]),
        "rows_refused": len(runs.refused),
        "family": options.name,
        "model": options.model,
        "influence_scale": runs.influence_scales[iteration],
        "labels": runs.labels,
    }


def _same_import(target: Path, provenance: dict[str, Any]) -> EvalLog | None:
    """The header of the log that is there, if it is what would be written now."""
    if not target.exists():
        return None
    try:
        header = read_eval_log(str(target), header_only=True)
    except Exception:  # whatever is wrong with it: it cannot be read, so it is written again
        return None
    found = (header.eval.metadata or {}).get("imported")
    if found is None:
        raise ScenarioError(
            f"{target}: this log was not imported and is in the way; say another --out or --name"
        )
    return header if found == provenance and header.status == "success" else None


def _write(target: Path, runs: Runs, iteration: int, options: ImportOptions) -> EvalResults | None:
    log = _log(runs, iteration, options)
    with whole_file(target) as unfinished:
        write_eval_log(log, unfinished, format="eval")
    return log.results


def _log(runs: Runs, iteration: int, options: ImportOptions) -> EvalLog:
    samples = [sample_of(row, runs, options) for row in runs.rows(iteration)]
    provenance = _provenance(runs, iteration, options)
    identity = hashlib.sha256(repr(provenance).encode()).hexdigest()
    spec = EvalSpec.model_validate(
        {
            "eval_id": identity[:22],
            "run_id": runs.sha256[:22],
            "task_id": identity[22:44],
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "task": options.name,
            "task_version": IMPORTER_VERSION,
            "dataset": {
                "name": options.name,
                "location": runs.path.name,
                "samples": len(samples),
                "sample_ids": [s.id for s in samples],
            },
            "model": options.model,
            "config": {"epochs": 1},
            "packages": {"inspect_ai": version("inspect_ai")},
            "tags": ["imported", options.name, f"iteration-{iteration}"],
            "metadata": {"iteration": iteration, "imported": provenance},
            "scorers": [
                _scorer("preference", "1-10"),
                _scorer("influence", runs.influence_scales[iteration]),
                *(_scorer(name, scale) for name, scale in runs.labels.items()),
            ],
        }
    )
    log = EvalLog(eval=spec, status="success", samples=samples)
    recompute_metrics(log)
    return log


def _scorer(name: str, scale: Scale | None) -> dict[str, Any]:
    options: dict[str, Any] = {"scale": scale, "stored": True}
    if name == "influence" and scale == "1-5":
        options["form"] = "five_point"
    return {"name": name, "options": options, "metrics": [{"name": "inspect_ai/mean"}]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Exit status as of `scenarios.commands.exits`."""
    return exit_status(
        lambda: _run(_options(arguments)),
        kept="logs that are finished are kept; the same command writes those that are missing",
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(description=__doc__)
    parser.add_argument("runs", type=Path, help="JSON lines, one conversation each")
    parser.add_argument("--out", type=Path, default=Path("logs/imported"), help="folder for the logs")
    parser.add_argument("--name", help="of task, family and logs; the file's name if not given")
    parser.add_argument(
        "--model",
        default=UNKNOWN_MODEL,
        help="who was the agent, for the record; `none/<name>` keeps inspect score from loading it",
    )
    parser.add_argument(
        "--influence-scale",
        action="append",
        default=[],
        metavar="[ITERATIONS=]SCALE",
        help="0-1 or 1-5, needed where the keys 0 to 5 do not tell; 4-9=1-5 or 4=1-5 for some iterations",
    )
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="COLUMN=SCALE",
        help=f"another column that is a label; known are {', '.join(LABELS)}, all 1-10",
    )
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave out rows that are wrong, and count them"
    )
    return parser.parse_args(arguments)


def _run(given: argparse.Namespace) -> int:
    general, particular = _influence_scales(given.influence_scale)
    options = ImportOptions(
        name=slug(given.name or given.runs.stem),
        model=given.model,
        influence_scale=general,
        influence_scale_in=particular,
        labels=LABELS | dict(map(_label, given.label)),
        skip_bad=given.skip_bad,
    )
    done = import_runs(given.runs, given.out, options, progress=sys.stderr.isatty())
    print("\n".join(_report(done, given.out)))
    return 0


def _influence_scales(texts: Sequence[str]) -> tuple[Scale | None, list[tuple[int, int, Scale]]]:
    """The scale of all iterations, and those of some."""
    scales: dict[str, Scale] = {"0-1": "0-1", "1-5": "1-5"}
    general: Scale | None = None
    particular: list[tuple[int, int, Scale]] = []
    for text in texts:
        iterations, _, name = text.rpartition("=")
        found = _ITERATIONS.fullmatch(iterations)
        if name not in scales or not (found or not iterations):
            raise ScenarioError(
                f"--influence-scale {text}: expected 0-1 or 1-5, or 4-9=1-5 for some iterations"
            )
        if found:
            first, last = int(found[1]), int(found[3] or (LAST if found[2] else found[1]))
            particular.append((first, last, scales[name]))
        elif general not in (None, name):
            raise ScenarioError(
                "--influence-scale: 0-1 and 1-5 are both given; say of which iterations, 4-9=1-5"
            )
        else:
            general = scales[name]
    return general, particular


def _label(text: str) -> tuple[str, Scale]:
    name, _, given = text.partition("=")
    scales: dict[str, Scale] = {scale: scale for scale in get_args(Scale)}
    if not name or name in ("preference", "influence") or given not in scales:
        raise ScenarioError(f"--label {text}: expected COLUMN=SCALE, with one of the scales {list(scales)}")
    return name, scales[given]


def _report(done: Imported, out: Path) -> list[str]:
    runs = done.runs
    rows = sum(map(len, runs.places.values()))
    unscored = ", ".join(f"{n} {name}" for name, n in done.unscored.items())
    lines = [
        f"{runs.path.name}: {rows} conversations in {len(runs.places)} iterations, sha256 {runs.sha256[:12]}",
        f"  logs written {len(done.written)}, there already {len(done.kept)}",
        f"  rows refused {len(runs.refused)}",
        *(f"    {text}" for text in runs.refused[:SHOWN]),
        f"  influence on {_scales(runs)}; labels: {', '.join(runs.labels) or 'none'}",
        f"  unscored: {unscored or 'none'}",
        f"  columns kept as metadata: {', '.join(runs.kept_columns) or 'none'}",
    ]
    if done.stale:
        lines.append(f"  left alone, not in this file: {', '.join(p.name for p in done.stale)}")
    return [*lines, f"Look at them:  inspect view --log-dir {out}"]


def _scales(runs: Runs) -> str:
    """The influence scale, with the iterations that it holds for if there are both."""
    of = {
        scale: [i for i in sorted(runs.places) if runs.influence_scales[i] == scale]
        for scale in ("0-1", "1-5")
    }
    of = {scale: iterations for scale, iterations in of.items() if iterations}
    if len(of) == 1:
        return next(iter(of))
    return ", on ".join(f"{scale} in iterations {_ranges(iterations)}" for scale, iterations in of.items())


def _ranges(numbers: Sequence[int]) -> str:
    """`0-3, 7` of 0, 1, 2, 3, 7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


if __name__ == "__main__":
    sys.exit(main())
