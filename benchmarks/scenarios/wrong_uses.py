"""Uses commands wrongly, and counts by command how many mistakes are told in one line.

    python benchmarks/scenarios/wrong_uses.py          # --each lists those that are not

The uses are those of `tests/support/wrong_uses.py`. Takes half a minute.
"""

import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from scenarios.commands.exits import exit_status
from scenarios.commands.parsers import CommandParser
from tests.support.wrong_uses import USES, material, tried


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Exit status: 0 all are told in one line."""
    parser = CommandParser(description=__doc__)
    parser.add_argument("--each", action="store_true", help="list what is not told in one line")
    return exit_status(lambda: _count(each=parser.parse_args(arguments).each))


def _count(*, each: bool) -> int:
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    others: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        at = material(Path(folder) / "uses")
        for use in USES:
            outcome = tried(use, at)
            traceback = outcome.status is None
            counts[use.command].update({"tried": 1, "line": outcome.in_one_line, "traceback": traceback})
            if not outcome.in_one_line:
                others.append(f"{use.command} {use.arguments}: {outcome}")
    print(f"{'command':28} {'tried':>6} {'told in one line':>17} {'with traceback':>15}")
    for command, of in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        print(f"{command:28} {of['tried']:6} {of['line']:17} {of['traceback']:15}")
    if each:
        print("\n".join(others))
    return int(bool(others))


if __name__ == "__main__":
    sys.exit(main())
