"""Evaluation sets for monitors of stakes: fetched as they were published, or built from their sources.

    python probes/evaluation_sets.py download --out data/published
    python probes/evaluation_sets.py build anthropic_hh train.jsonl.gz --out hh.jsonl --against stakes.jsonl
    python probes/evaluation_sets.py forms hh_labelled.jsonl --out data/hh
    python probes/evaluation_sets.py sources
    python probes/evaluation_sets.py probing --out probing.jsonl
    python probes/evaluation_sets.py deployment --out deployment.jsonl

`build` makes rows for development and test, which `tasks/stakes_label.py` rates and `corpus.py` labels (MASK
and deployment contexts have labels by construction). `forms` lays labelled rows out as they are (with their
natural base rate), balanced, and balanced among texts of one length. `probing` and `deployment` write the
pairs of `scenarios/stakes/probing/`: made to mislead monitors, or differing in where an assistant works.
Texts that are in another split, or in the training data of `--against`, are refused, or with `--overlap drop`
left out.
"""

from scenarios.commands import starting  # noqa: F401

# isort: split

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from probes.conversations.labels import DataError
from probes.laboratory.overlap import refuse_overlap, split_overlaps, without_overlap
from probes.laboratory.probing import deployment_rows, probing_rows
from probes.laboratory.rows import StakesRow, read_rows, write_rows
from probes.laboratory.sources.published import FILES, download_sets
from probes.laboratory.sources.table import SOURCES, build_rows
from scenarios.commands.exits import exit_status
from scenarios.commands.parsers import CommandParser, jsonl_path
from scenarios.commands.usage import UsageMistake
from scenarios.files.whole import write_text

if TYPE_CHECKING:
    from analysis.ranking import Ranked
    from probes.laboratory.variants import Variant


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Exit status as of `scenarios.commands.exits`."""
    return exit_status(lambda: _run(_options(arguments)))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("sources", help="what can be built, and of which files")
    build = commands.add_parser("build", help="rows out of the files of a source")
    build.add_argument("source", choices=sorted(SOURCES))
    build.add_argument("files", nargs="+", type=Path)
    build.add_argument("--out", type=jsonl_path, required=True, help="the rows; counts are printed")
    build.add_argument(
        "--test", type=float, default=0.5, help="share of pairs, where files do not tell (0.5)"
    )
    build.add_argument("--limit", type=int, help="pairs at most, drawn by chance")
    build.add_argument("--against", nargs="+", type=Path, default=[], help="training rows")
    build.add_argument(
        "--overlap",
        choices=("refuse", "drop", "allow"),
        default="refuse",
        help="what is done with it (refuse)",
    )
    build.add_argument("--seed", type=int, default=0, help="of the draws")
    forms = commands.add_parser("forms", help="labelled rows as they are, balanced, and length-matched")
    forms.add_argument("rows", type=Path)
    forms.add_argument("--out", type=Path, required=True, help="folder: <split>_<form>.jsonl and card.md")
    forms.add_argument("--seed", type=int, default=0, help="of the draws")
    for name, what in (
        ("probing", "red-team and negation pairs that come with the suite, fact `kind`"),
        ("deployment", "pairs of deployments that come with the suite, fact `context`"),
    ):
        own = commands.add_parser(name, help=what)
        own.add_argument("--out", type=jsonl_path, required=True, help="the rows")
    download = commands.add_parser("download", help="the published sets, of one commit")
    download.add_argument("--out", type=Path, required=True, help="folder")
    download.add_argument(
        "--revision", default="main", help="commit, branch or tag at the first download (main)"
    )
    download.add_argument("--files", nargs="+", choices=FILES, default=list(FILES), help="only these")
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace) -> int:
    if options.command == "sources":
        for source in SOURCES.values():
            print(f"{source.name}: {source.where}\n    {source.notes}")
    elif options.command == "build":
        _build(options)
    elif options.command == "forms":
        _forms(options)
    elif options.command in ("probing", "deployment"):
        rows = probing_rows() if options.command == "probing" else deployment_rows()
        write_rows(options.out, rows)
        print(f"{options.out}: {len(rows)} rows in {len({row.pair for row in rows})} pairs")
    else:
        done = download_sets(options.out, revision=options.revision, files=options.files)
        print(
            f"{options.out}: {len(done.new)} files fetched, {len(done.kept)} there already, "
            f"commit {done.commit}"
        )
    return 0


def _build(options: argparse.Namespace) -> None:
    if not 0 <= options.test <= 1:
        raise UsageMistake(f"command line: --test {options.test:g}: a share from 0 to 1")
    if options.limit is not None and options.limit < 1:
        raise UsageMistake(f"command line: --limit {options.limit}: at least 1")
    left_out: Counter[str] = Counter()
    source = SOURCES[options.source]
    rows = build_rows(source, options.files, left_out, test=options.test, seed=options.seed)
    if options.limit is not None:
        rows = _drawn(rows, options.limit, options.seed)
    if not rows:
        told = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "the files are empty"
        raise DataError(f"{options.source}: no row makes a conversation: {told}")
    rows = _apart(rows, options, left_out)
    write_rows(options.out, rows)
    splits = Counter(row.split for row in rows)
    labels = sum(row.label is not None for row in rows)
    told = ", ".join(f"{count} {split}" for split, count in sorted(splits.items(), key=str))
    print(f"{options.out}: {len(rows)} rows ({told}), {labels} with a label")
    for reason, count in sorted(left_out.items()):
        print(f"  left out: {count} {reason}")


def _drawn(rows: Sequence[StakesRow], limit: int, seed: int) -> list[StakesRow]:
    """The rows of so many pairs; the same seed draws the same ones, whatever files come behind."""
    import random

    pairs = list(dict.fromkeys(row.pair for row in rows))
    kept = set(random.Random(seed).sample(pairs, min(limit, len(pairs))))
    return [row for row in rows if row.pair in kept]


def _apart(rows: list[StakesRow], options: argparse.Namespace, left_out: Counter[str]) -> list[StakesRow]:
    """The rows, after what is in another split or in the training data is refused or left out."""
    training = [row for path in options.against for row in read_rows(path)]
    if options.overlap == "allow":
        return rows
    if options.overlap == "refuse":
        learnt = [_moved(row, "train") for row in training]
        found = split_overlaps([*learnt, *rows])
        try:
            refuse_overlap(found, str(options.out))
        except DataError as error:
            told = str(error).replace(
                "Leave them out, or say --allow-overlap", "Say --overlap drop, or allow"
            )
            raise DataError(told) from None
        return rows
    if training:
        rows = _without(rows, training, "in the training data", left_out)
    test = [row for row in rows if row.split == "test"]
    others = [row for row in rows if row.split != "test"]
    return [*others, *_without(test, others, "of the test in another split", left_out)]


def _without(
    rows: list[StakesRow], others: Sequence[StakesRow], where: str, left_out: Counter[str]
) -> list[StakesRow]:
    cleaned = without_overlap(rows, others)
    for kind, count in cleaned.dropped.items():
        left_out[f"{kind} text {where}"] += count
    if cleaned.with_them:
        left_out["of a pair that overlaps"] += cleaned.with_them
    return cleaned.rows


def _moved(row: StakesRow, split: str) -> StakesRow:
    return row.model_copy(update={"facts": row.facts | {"split": split}})


def _forms(options: argparse.Namespace) -> None:
    from probes.laboratory.variants import variants_of  # --help and mistakes need not wait for it

    left_out: Counter[str] = Counter()
    rows = read_rows(options.rows, left_out)
    if not any(row.label is not None for row in rows):
        raise DataError(
            f"{options.rows}: no row has a label; rate them with tasks/stakes_label.py and corpus.py"
        )
    variants = variants_of(rows, seed=options.seed)
    for variant in variants:
        write_rows(options.out / f"{variant.split}_{variant.form}.jsonl", variant.rows)
    card = options.out / "card.md"
    write_text(card, _card(options.rows.name, variants, left_out))
    print(f"{options.out}: {', '.join(f'{v.split}_{v.form} {len(v.rows)}' for v in variants)}; {card}")


def _card(name: str, variants: Sequence["Variant"], left_out: Counter[str]) -> str:
    lines = [
        f"# Forms of {name}",
        "",
        "Share of high stakes among labelled rows, in `raw` the natural base rate, and the AUROC of length",
        "alone (above 0.5: longer texts have high stakes); 95 % intervals clustered by pair.",
        "",
        "| split | form | rows | ambiguous | unlabelled | share high | length alone |",
        "|---|---|---|---|---|---|---|",
    ]
    for v in variants:
        told = [str(len(v.rows)), str(v.ambiguous), str(v.unlabelled), _cell(v.base_rate), _cell(v.length)]
        lines.append(f"| {v.split} | {v.form} | {' | '.join(told)} |")
    lines += ["", *(f"* left out: {count} rows, {reason}" for reason, count in sorted(left_out.items()))]
    return "\n".join(lines).rstrip() + "\n"


def _cell(found: "Ranked | None") -> str:
    return "one class" if found is None else f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


if __name__ == "__main__":
    sys.exit(main())
