"""A run as one HTML file that needs nothing else: `python training/report.py RUN`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from training.errors import RunError
from training.reporting.report import write_report


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Exit status: 0 written, 1 no run there, or a file of it cannot be read."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="run folder")
    try:
        print(write_report(parser.parse_args(arguments).run))
    except (RunError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
