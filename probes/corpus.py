"""Makes one data set of stakes out of logs and files: rows as JSON lines, and a card beside them.

    python probes/corpus.py logs/written --out stakes.jsonl
    python probes/corpus.py logs/labels --rows rows.jsonl --out labelled.jsonl
    python probes/corpus.py --rows stakes.jsonl other.csv --out both.jsonl
    python probes/corpus.py --grammar --out grammar.jsonl      # offline: `scenarios/stakes/grammar.yaml`

Logs are those of `tasks/stakes_generate.py`, whose prompts become rows, and of `tasks/stakes_label.py`, whose
ratings become labels, of people too (`scorers/human.py`). The card (`<out>.md`) tells the counts, what words,
length and style reach alone across pairs, which texts are in others, what is broken, and what it cost.
A pair that lies in two splits is refused, and so are rows of one split that are in another.
"""

from scenarios.commands import starting  # noqa: F401

# isort: split

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from probes.conversations.labels import DataError
from probes.laboratory.grammar import grammar_rows, read_grammar
from probes.laboratory.merging import Conflict, Consensus, merge_ratings, one_sided_pairs
from probes.laboratory.overlap import CONTAINED, refuse_overlap, split_overlaps
from probes.laboratory.rows import StakesRow, check_pairs, read_rows, write_rows
from scenarios.commands.exits import exit_status
from scenarios.commands.parsers import CommandParser, jsonl_path
from scenarios.commands.usage import UsageMistake
from scenarios.files.whole import write_text
from scenarios.generation.similarity import NEAR_DUPLICATE
from scenarios.stakes.ratings import Thresholds

if TYPE_CHECKING:
    from analysis.logs.finding import LogFile
    from probes.laboratory.labels import Answered

FOR_RATINGS = {
    "low": 3.0,
    "high": 8.0,
    "confidence": 7.0,
    "judges": (),
    "consensus": "mean",
    "conflict": "ambiguous",
}
"""Options that say what ratings make of labels, with what they are if not given."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Exit status as of `scenarios.commands.exits`."""
    return exit_status(lambda: _run(_options(arguments)))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(description=__doc__)
    parser.add_argument("logs", nargs="*", help="logs, or folders of logs")
    parser.add_argument("--rows", nargs="+", type=Path, default=[], help="files with rows")
    parser.add_argument("--grammar", action="store_true", help="the rows of the offline grammar")
    parser.add_argument(
        "--out", type=jsonl_path, required=True, help="the rows; the card gets the suffix .md"
    )
    labels = parser.add_argument_group("labels")
    labels.add_argument("--low", type=float, help="low stakes up to this rating (3)")
    labels.add_argument("--high", type=float, help="high stakes from this rating on (8)")
    labels.add_argument("--confidence", type=float, help="ambiguous below this confidence (7)")
    labels.add_argument("--judges", nargs="+", help="only these make labels; human/<name> for people")
    labels.add_argument("--consensus", choices=get_args(Consensus), help="of several judges (mean)")
    labels.add_argument(
        "--conflict",
        choices=get_args(Conflict),
        help="what a rating does to a label that it contradicts (ambiguous)",
    )
    labels.add_argument(
        "--one-sided", choices=("keep", "drop"), default="keep", help="pairs left with one class (keep)"
    )
    overlap = parser.add_argument_group("overlap")
    overlap.add_argument("--near", type=float, default=NEAR_DUPLICATE, help="Jaccard similarity (0.5)")
    overlap.add_argument(
        "--contained", type=float, default=CONTAINED, help="share of a text in another (0.9)"
    )
    overlap.add_argument("--allow-overlap", action="store_true", help="between splits; it stands in the card")
    parser.add_argument("--seed", type=int, default=0, help="of the folds, and of the grammar")
    given = parser.parse_args(arguments)
    given.for_ratings = [name for name in FOR_RATINGS if getattr(given, name) is not None]
    for name in set(FOR_RATINGS) - set(given.for_ratings):
        setattr(given, name, FOR_RATINGS[name])
    return given


def _run(options: argparse.Namespace) -> int:
    # --help and mistakes need not wait for these
    from analysis.logs.copies import used_once
    from analysis.logs.finding import find_logs
    from probes.laboratory.card import CardFacts, card_text
    from probes.laboratory.labels import problems_of, ratings_by_row, read_answers
    from probes.laboratory.reach import reach_of
    from probes.laboratory.writing import read_written

    thresholds = Thresholds.checked(options.low, options.high, options.confidence)
    for name in ("near", "contained"):
        if not 0 < (value := getattr(options, name)) <= 1:
            raise UsageMistake(f"command line: --{name} {value:g}: a share above 0, 1 at most")
    logs = find_logs(options.logs) if options.logs else []
    left_out: Counter[str] = Counter()
    broken: Counter[str] = Counter()
    rows = grammar_rows(read_grammar(), seed=options.seed) if options.grammar else []
    asked = 0
    answers: list[Answered] = []
    idle: list[Path] = []
    copies = used_once(logs)
    for log in logs:
        for note in copies.notes(log):
            print(note, file=sys.stderr)
        written, rated = read_written(log, copies), read_answers(log, copies)
        if not written.asked and not rated:
            idle.append(log.path)
        rows += written.rows
        asked += written.asked
        broken += written.broken
        answers += rated
    for path in options.rows:
        rows += read_rows(path, left_out)
    if not rows:
        raise DataError(
            "no rows: name logs of stakes_generate, --rows FILE or --grammar; ratings alone are none"
        )
    if options.for_ratings and not answers and not any(row.ratings for row in rows):
        raise UsageMistake(
            f"command line: --{options.for_ratings[0]} is for ratings, and there are none; "
            "name logs of stakes_label"
        )
    if idle and len(idle) == len(logs):
        raise DataError(
            f"{', '.join(options.logs)}: no prompts of stakes_generate and no ratings, so it adds nothing; "
            "leave it out"
        )
    _check_ids(rows)
    merged = merge_ratings(
        rows,
        ratings_by_row(answers),
        thresholds,
        judges=options.judges,
        consensus=options.consensus,
        conflict=options.conflict,
    )
    rows = merged.rows
    if options.one_sided == "drop" and (sided := one_sided_pairs(rows)):
        left_out["of a one-sided pair"] = sum(row.pair in sided for row in rows)
        rows = [row for row in rows if row.pair not in sided]
    check_pairs(rows)
    overlaps = split_overlaps(rows, near=options.near, contained=options.contained)
    if not options.allow_overlap:
        refuse_overlap(overlaps, str(options.out))
    rated = any(row.ratings for row in rows)
    facts = CardFacts(
        sources=_sources(options, logs),
        reaches=reach_of(rows, seed=options.seed),
        overlaps=overlaps,
        asked=asked,
        broken=broken,
        left_out=left_out,
        labels=merged.counts if rated else {},
        thresholds=thresholds._asdict() if rated else {},
        problems=problems_of(answers),
        usage=_usage(logs),
    )
    write_rows(options.out, rows)
    card = options.out.with_name(f"{options.out.stem}.md")
    write_text(card, card_text(options.out.stem, rows, facts))
    print(
        f"{options.out}: {len(rows)} rows, {sum(row.label is not None for row in rows)} with a label; {card}"
    )
    for path in idle:
        print(f"{path}: no prompts of stakes_generate and no ratings; it adds nothing", file=sys.stderr)
    if lost := sum(broken.values()):
        print(f"{lost} of {asked} prompt pairs are broken, see the card", file=sys.stderr)
    return 0


def _check_ids(rows: Iterable[StakesRow]) -> None:
    """Raises DataError if two sources have a row of one id."""
    seen: set[str] = set()
    for row in rows:
        if row.id in seen:
            raise DataError(
                f"id {row.id!r} comes from two sources; one of them may be named twice, or made of the other"
            )
        seen.add(row.id)


def _sources(options: argparse.Namespace, logs: Sequence["LogFile"]) -> list[str]:
    told = [f"{log.path.name} ({log.header.eval.task}, {log.model}, {log.header.status})" for log in logs]
    grammar = ["the grammar of scenarios/stakes/grammar.yaml"] if options.grammar else []
    return [*grammar, *told, *(path.name for path in options.rows)]


def _usage(logs: Sequence["LogFile"]) -> dict[str, dict[str, float]]:
    """Model -> tokens and cost over all logs; no cost where a price is not known."""
    found: dict[str, dict[str, float]] = {}
    for log in logs:
        for model, used in log.header.stats.model_usage.items():
            own = found.setdefault(model, {"input": 0.0, "output": 0.0})
            own["input"] += used.input_tokens
            own["output"] += used.output_tokens
            if (cost := used.total_cost) is not None:
                own["cost"] = own.get("cost", 0.0) + cost
    return found


if __name__ == "__main__":
    sys.exit(main())
