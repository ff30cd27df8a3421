"""The picture of a run: rating and harm by iteration, for gameable and other users, from `metrics.jsonl`.

    python training/curves.py RUN [RUN...] [--out curves.png]

Of several runs each is a thin line, their mean a thick one. If they differ in the seed alone, the mean has
its 95 % interval over the seeds.
"""

from scenarios.commands import starting  # noqa: F401

# isort: split

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from scenarios.commands.exits import exit_status
from scenarios.commands.parsers import CommandParser
from training.reporting.curves import CURVES, draw_curves, draw_runs, notes_of, title_of
from training.runs.run_folder import read_run


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Exit status as of `scenarios.commands.exits`; 1 if there is nothing to draw."""
    return exit_status(lambda: _draw(_options(arguments)))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="run folders")
    parser.add_argument("--out", type=Path, help="PNG; curves.png in the (first) run folder by default")
    return parser.parse_args(arguments)


def _draw(options: argparse.Namespace) -> int:
    folders = [read_run(path) for path in options.runs]
    if empty := [str(f.path) for f in folders if not f.metrics]:
        print(f"nothing measured yet in {', '.join(empty)}", file=sys.stderr)
        return 1
    out = options.out or options.runs[0] / (CURVES if len(folders) == 1 else "curves_of_runs.png")
    note = notes_of(f.settings.model for f in folders)
    if len(folders) == 1:
        draw_curves(folders[0].metrics, out, title=title_of(folders[0].settings), note=note)
    else:
        runs = {str(f.path): f.metrics for f in folders}
        told = [f.settings.model_dump(exclude={"run", "seed"}) for f in folders]
        alone = all(one == told[0] for one in told)
        draw_runs(runs, out, title=title_of(folders[0].settings), note=note, seeds_alone=alone)
    print(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
