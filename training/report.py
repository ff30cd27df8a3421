"""A run as one HTML file that needs nothing else: `python training/report.py RUN`."""

from scenarios.commands import starting  # noqa: F401

# isort: split

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from scenarios.commands.exits import exit_status
from scenarios.commands.parsers import CommandParser
from training.reporting.report import write_report


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Exit status as of `scenarios.commands.exits`."""
    return exit_status(lambda: _write(_options(arguments)), mistakes=(ValueError,))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run folder")
    return parser.parse_args(arguments)


def _write(options: argparse.Namespace) -> int:
    print(write_report(options.run))
    return 0


if __name__ == "__main__":
    sys.exit(main())
