"""Writes the pages that are made from the source, into docs/reference/.

python docs/making/make.py
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from docs.making import commands, errors, families, judges  # noqa: E402
from scenarios.files.whole import write_text  # noqa: E402

PAGES = {
    "families.md": families.page,
    "judges.md": judges.page,
    "commands.md": commands.page,
    "troubleshooting.md": errors.page,
}


def main() -> None:
    """Write all of them."""
    for name, page in PAGES.items():
        write_text(ROOT / "docs" / "reference" / name, page())


if __name__ == "__main__":
    main()
