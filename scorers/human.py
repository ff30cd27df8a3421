"""Ratings by people: sheets to fill, and their way into the log as scores.

python scorers/human.py template LOG --scale 1-5 --construct deception --n 50 --seed 0 --out ratings.csv
python scorers/human.py import LOG ratings.csv --rater anna

A sheet shows neither scores nor anything of the sample but its words; the same seed draws the same
conversations for every rater. The import writes the score `human/<construct>/<rater>` into a copy of
the log, which is read into memory as a whole. Compare raters with `scorers/agreement.py`.
"""

from scenarios.commands import starting  # noqa: F401

# isort: split

import argparse
import io
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, get_args

from inspect_ai.log import EvalSample

from analysis.logs.finding import open_log
from analysis.logs.samples import read_records, read_samples
from scenarios.commands.exits import exit_status
from scenarios.commands.parsers import CommandParser
from scenarios.files.whole import write_bytes
from scenarios.mistakes import UserMistake
from scenarios.schema import Hidden, Scale, Sees
from scorers.judging.transcript import GIVEN, render, show_given
from scorers.people.human_scores import (
    HumanError,
    Imported,
    check_construct,
    check_name,
    import_ratings,
    spoken_replies,
)
from scorers.people.rating_sheet import LONGEST, write_sheet
from scorers.people.ratings import conversation_digest


class SheetRow(NamedTuple):
    """A conversation, or one reply in it, to be rated."""

    id: str
    turn: int | None
    conversation: str


def template_rows(path: str, *, n: int, seed: int, turns: bool = False) -> list[SheetRow]:
    """Rows of a sheet: `n` conversations in random order, as the influence judge sees them.

    Conversations in which the agent said nothing are passed over, but for those that are data themselves,
    of which all is to be judged. Those that ended in an error, or are declared invalid, are not there. All
    replies of one conversation stand together and in order.

    Args:
        path: A log.
        n: Conversations; all if there are fewer.
        seed: Of the draw and the order.
        turns: A row for each reply instead of one for the conversation.
    """
    log = open_log(path)
    usable = (record for record in read_records(log) if record.error is None and not record.invalidated)
    units = sorted((record.unit for record in usable), key=str)
    random.Random(seed).shuffle(units)
    rows: list[SheetRow] = []
    found = 0
    for sample in read_samples(log, units, without={"events", "attachments", "output"}, progress=True):
        spoken = spoken_replies(sample, from_the_first=not turns)
        if sample.metadata.get(GIVEN):
            found += 1
            shown = show_given(sample.messages, sample.metadata.get("tools"))
            rows.append(SheetRow(conversation_digest(sample), None, shown.text))
        elif any(r.message.text.strip() for r in spoken):
            found += 1
            digest, sees = conversation_digest(sample), _sees(sample)
            judged = [(r.number, r) for r in spoken] if turns else [(None, spoken[-1])]
            rows += [SheetRow(digest, number, render(reply, sees)) for number, reply in judged]
        if found == n:
            break
    return rows


def _sees(sample: EvalSample) -> frozenset[Hidden]:
    return Sees.model_validate(sample.metadata.get("sees") or {}).influence


# -- commands -------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Exit status as of `scenarios.commands.exits`."""
    return exit_status(lambda: _run(_options(arguments)), kept="log and sheet are as they were")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    _template_options(commands.add_parser("template", help="a sheet to be filled"))
    _import_options(commands.add_parser("import", help="a filled sheet into the log"))
    options = parser.parse_args(arguments)
    paths = [options.log, *([options.sheet] if options.command == "import" else [])]
    if missing := [str(path) for path in paths if not path.is_file()]:
        raise UserMistake(f"no such file: {', '.join(missing)}; name a log, and a sheet")
    return options


def _run(options: argparse.Namespace) -> int:
    if options.command == "template":
        _template(options)
    else:
        print(_import(options))
    return 0


def _template_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("log", type=Path)
    parser.add_argument("--scale", choices=get_args(Scale), required=True)
    parser.add_argument(
        "--construct", required=True, help="what is rated; a rubric's name, to compare with it"
    )
    parser.add_argument("--n", type=int, default=50, help="conversations")
    parser.add_argument("--seed", type=int, default=0, help="of the draw and the order")
    parser.add_argument("--turns", action="store_true", help="a row for each reply of the agent")
    parser.add_argument("--out", type=Path, help="the sheet, marked as UTF-8 for Excel; printed if not given")
    _own_option(parser)


def _import_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("log", type=Path)
    parser.add_argument("sheet", type=Path)
    parser.add_argument("--rater", required=True, help="name of the person")
    parser.add_argument("--construct", help="what must have been rated")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--out", type=Path, help="the copy (<log>_rated); one that is there is added to")
    where.add_argument("--in-place", action="store_true", help="write into the log itself")
    parser.add_argument("--replace", action="store_true", help="in place of this rater's earlier sheet")
    parser.add_argument(
        "--scale", choices=get_args(Scale), help="if a spreadsheet has made something else of the sheet's"
    )
    parser.add_argument("--encoding", help="of the sheet, e.g. cp1252; told from its bytes if not given")
    _own_option(parser)


def _own_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--own-construct", action="store_true", help="the construct is not the one that is named almost so"
    )


def _template(options: argparse.Namespace) -> None:
    if options.n < 1:
        raise HumanError(f"--n must be 1 or more, got {options.n}")
    check_name(options.construct)
    check_construct(options.construct, open_log(options.log).header, own=options.own_construct)
    rows = template_rows(str(options.log), n=options.n, seed=options.seed, turns=options.turns)
    if options.out is None:
        write_sheet(sys.stdout, rows, options.construct, options.scale)
    else:
        sheet = io.StringIO()
        write_sheet(sheet, rows, options.construct, options.scale)
        write_bytes(options.out, sheet.getvalue().encode("utf-8-sig"))
    found = len({row.id for row in rows})
    if found < options.n:
        print(f"{found} conversations with a reply of the agent, {options.n} were asked for", file=sys.stderr)
    if long := sum(len(row.conversation) > LONGEST for row in rows):
        print(
            f"{long} conversations are longer than the {LONGEST:,} characters that Excel shows of a cell; "
            "LibreOffice shows them whole",
            file=sys.stderr,
        )


def _import(options: argparse.Namespace) -> Imported:
    return import_ratings(
        options.log,
        options.sheet,
        options.rater,
        construct=options.construct,
        out=options.out,
        in_place=options.in_place,
        replace=options.replace,
        own=options.own_construct,
        scale=options.scale,
        encoding=options.encoding,
    )


if __name__ == "__main__":
    sys.exit(main())
