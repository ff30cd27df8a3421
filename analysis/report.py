"""What some logs say, as a page with figures, tables of numbers and all conversations to read.

    python analysis/report.py LOG_OR_FOLDER... --out FOLDER

Logs of any of the tasks: of training runs, of plain evals of any model, imported ones, mixed. The page
(`FOLDER/index.html`) needs nothing but its folder, and asks no other host for anything. Numbers lie beside it
as CSV, and as parquet with a row per conversation and per turn.
"""

from scenarios.commands import starting  # noqa: F401

# isort: split

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.logs.finding import LogError
from scenarios.commands.exits import exit_status
from scenarios.commands.parsers import CommandParser
from scenarios.commands.usage import UsageMistake


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Exit status as of `scenarios.commands.exits`."""
    return exit_status(
        lambda: _write(_options(arguments)),
        kept="no report was written; an earlier one is as it was",
        mistakes=(LogError,),
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(description=__doc__)
    parser.add_argument("logs", nargs="+", help=".eval or .json logs, or folders with them")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the report; one of an earlier report is replaced"
    )
    parser.add_argument(
        "--processes", type=int, default=2, help="that read large logs at the same time; 2 if not given"
    )
    parser.add_argument(
        "--view", default="http://127.0.0.1:7575/", help="where inspect view serves, for links to samples"
    )
    options = parser.parse_args(arguments)
    if options.processes < 1:
        raise UsageMistake(f"command line: --processes {options.processes}: give 1 or more")
    if not options.view.startswith(("http://", "https://")):
        raise UsageMistake(
            f"command line: --view {options.view}: give an address that begins with http:// or https://"
        )
    return options


def _write(options: argparse.Namespace) -> int:
    from analysis.reporting.report import PAGE, write_report  # of no need to who asks for help

    view = options.view if options.view.endswith("/") else f"{options.view}/"
    material = write_report(options.logs, options.out, processes=options.processes, view=view)
    print(material.counted)
    for one in material.skipped:
        print(f"skipped {one.path}: {one.why}")
    print(options.out / PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
