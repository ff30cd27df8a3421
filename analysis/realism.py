"""Do simulated users write as real ones do? A realism card of any log's users, without asking a model.

    python analysis/realism.py LOG_OR_FOLDER...                       how its users write
    python analysis/realism.py LOG --against chats.jsonl              beside real conversations
    python analysis/realism.py chats.jsonl --against other.jsonl --out card.md

Conversations of one task are one card. Real ones are any table of chats: JSON lines, CSV or parquet, in the
forms of OpenAI, ShareGPT (WildChat and LMSYS as well) or hh-rlhf. With `--out card.md` the numbers are
written beside it, as card.csv and card.json.
"""

from scenarios.commands import starting  # noqa: F401

# isort: split

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.logs.finding import find_logs
from analysis.user_messages.card import Card, card_of, page, rows_of
from analysis.user_messages.chats import Chats, chats_of_logs, chats_of_table
from scenarios.commands.exits import exit_status
from scenarios.commands.parsers import CommandParser
from scenarios.commands.usage import UsageMistake
from scenarios.files.tables import is_table
from scenarios.files.terminal import without_controls
from scenarios.files.whole import write_json, write_text


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Exit status as of `scenarios.commands.exits`."""
    return exit_status(lambda: _run(_options(arguments)))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(description=__doc__)
    parser.add_argument("logs", nargs="+", help="logs or folders of one task; or one table of chats")
    parser.add_argument("--last", action="store_true", help="of each folder the log that was created last")
    parser.add_argument("--against", type=Path, help="a table of real chats")
    parser.add_argument("--column", help="of a table: where the chats stand, if it is not told by its name")
    parser.add_argument("--out", type=Path, help="the card as a file, .md; .csv and .json beside it")
    options = parser.parse_args(arguments)
    if options.out is not None and options.out.suffix != ".md":
        raise UsageMistake(f"command line: --out {options.out}: name a file that ends in .md")
    tables = [source for source in options.logs if _is_chats(source)]
    if tables and len(options.logs) > 1:
        raise UsageMistake(f"command line: {tables[0]} is a table of chats; name it alone, or logs alone")
    return options


def _is_chats(source: str) -> bool:
    """A table of chats; a `.json` may be a log as well and is taken for one."""
    path = Path(source)
    return is_table(path) and path.suffix != ".json"


def _run(options: argparse.Namespace) -> int:
    real = None if options.against is None else chats_of_table(options.against, options.column)
    card = card_of(_ours(options), real)
    text = page(card)
    print("\n".join(map(without_controls, text.splitlines())))
    if options.out is not None:
        _write(options.out, card, text)
    return 0


def _ours(options: argparse.Namespace) -> Chats:
    if _is_chats(options.logs[0]):
        return chats_of_table(Path(options.logs[0]), options.column)
    return chats_of_logs(find_logs(options.logs, last=options.last))


def _write(path: Path, card: Card, text: str) -> None:
    rows = rows_of(card)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = io.StringIO()
    writer = csv.DictWriter(table, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path.with_suffix(".csv"), table.getvalue())
    about = {"simulated": card.ours, "real": card.real, "conversations": card.conversations}
    write_json(path.with_suffix(".json"), {**about, "measures": rows})
    write_text(path, text)


if __name__ == "__main__":
    sys.exit(main())
