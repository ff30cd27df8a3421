"""Puts the checkpoints and the selected data of a run on the Hugging Face hub, with a card.

    python training/publish.py RUN --repo user/name                # private; needs `hf auth login`
    python training/publish.py RUN --repo user/name --dry-run      # writes the folder that would be uploaded

The card says what was trained on which feedback, with the numbers of every iteration, and that the result
is a model organism. Optimizer states and the trainer's own checkpoints are never uploaded, logs only with
--logs.
"""

from scenarios.commands import starting  # noqa: F401

# isort: split

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub.utils import validate_repo_id
from jinja2 import TemplateError

from scenarios.commands.exits import exit_status
from scenarios.commands.parsers import CommandParser
from training.reporting.publishing import UPLOAD, push, stage


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Exit status as of `scenarios.commands.exits`."""
    return exit_status(
        lambda: _publish(_options(arguments)),
        kept="what the hub has already got is there; the same command uploads again",
        # of a run whose files are damaged, and of a repository that has no such name
        mistakes=(ValueError, TemplateError),
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--repo", required=True, help="repository on the hub, user/name")
    parser.add_argument("--public", action="store_true", help="for everybody to see; private if not given")
    parser.add_argument("--logs", action="store_true", help="upload the Inspect logs too")
    parser.add_argument(
        "--dry-run", action="store_true", help=f"only write what would be uploaded, to RUN/{UPLOAD}"
    )
    return parser.parse_args(arguments)


def _publish(given: argparse.Namespace) -> int:
    if given.dry_run:
        validate_repo_id(given.repo)
        print(stage(given.run, given.run / UPLOAD, logs=given.logs))
    else:
        print(push(given.run, given.repo, private=not given.public, logs=given.logs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
