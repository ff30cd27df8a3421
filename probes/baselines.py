"""Fine-tunes a model to tell high from low stakes, and scores rows with it: a baseline for monitors.

    python probes/baselines.py fit --data rows.jsonl --model Qwen/Qwen3-0.6B --kind lora --out baselines/lora
    python probes/baselines.py score --baseline baselines/lora --data other.jsonl --out results/other
    python probes/evaluate.py --monitors monitors --data activations/other --beside results/other

Kinds: `lora` and `full` (sequence classification, all blocks learn), and `last-block` (the last block of the
monitored model learns, the others run for the model itself anyway). Weights are safetensors. Both commands
write results.json, with the rows of `probes/evaluate.py`, and scores.jsonl, a line for each conversation.
"""

from scenarios.commands import starting  # noqa: F401

# isort: split

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scenarios.commands.command_line import read_settings
from scenarios.commands.exits import exit_status
from scenarios.commands.usage import UsageMistake

if TYPE_CHECKING:
    from probes.finetuned.baseline import Scores

COMMANDS = ("fit", "score")


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Exit status as of `scenarios.commands.exits`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    return exit_status(
        lambda: _run(given),
        kept="a baseline that is fitted is kept; `score` takes it up",
        mistakes=(ValueError,),
    )


def _run(given: Sequence[str]) -> int:
    from probes.finetuned.settings import FitSettings, ScoreSettings

    command = given[0] if given else ""
    if command in ("-h", "--help"):
        print(__doc__)
        return 0
    if command not in COMMANDS:
        raise UsageMistake(f"{command or 'no command'}: first fit or score, then options (fit --help)")
    if command == "fit":
        return _fit(read_settings(FitSettings, given[1:], __doc__ or ""))
    return _score(read_settings(ScoreSettings, given[1:], __doc__ or ""))


def _fit(settings: Any) -> int:
    from probes.finetuned.baseline import fit_baseline, score_part
    from probes.finetuned.results import write_results
    from probes.finetuned.training import slow_autocast

    if (slow := slow_autocast(settings)) is not None:
        print(slow, file=sys.stderr)
    baseline = fit_baseline(settings, progress=sys.stderr.isatty())
    training = baseline.card.training
    print(
        f"{settings.called}: {training['rows']:.0f} rows ({baseline.card.trained_weights:,} weights), "
        f"{training['median']:.0f} tokens in the median, {training['longest']:.0f} at most; "
        f"{training['rows_cut']:.0f} rows cut by {training['tokens_cut']:.0f} tokens; "
        f"{training['steps']:.0f} steps in {training['seconds']:.0f} s, loss {training['loss']:.3f}"
    )
    for reason, count in baseline.card.excluded.items():
        print(f"training rows left out: {count} {reason}")
    parts: list[tuple[str, str | None]] = [(one, None) for one in settings.test]
    scores: list[Scores] = []
    for given, split in parts or [(one, "test") for one in settings.data if ":split=" not in one]:
        if not parts and not _has_split(given, "test"):
            continue
        scores.append(score_part(baseline, given, split, settings.batch_tokens))
    if scores:
        _report(write_results(settings.out, baseline.card, scores), settings.out)
    else:
        print("no test rows: name them with --test, or score them later")
    return 0


def _has_split(given: str, split: str) -> bool:
    from probes.laboratory.rows import read_rows

    return any(row.split == split for row in read_rows(Path(given), None))


def _score(settings: Any) -> int:
    from probes.finetuned.baseline import load_baseline, score_part
    from probes.finetuned.results import write_results

    baseline = load_baseline(settings.baseline, settings.model)
    scores = [score_part(baseline, given, None, settings.batch_tokens) for given in settings.data]
    _report(write_results(settings.out, baseline.card, scores), settings.out)
    return 0


def _report(rows: Sequence[dict[str, Any]], out: Path) -> None:
    from probes.finetuned.results import RESULTS, SCORES, results_table

    print(f"\n{results_table(rows)}\n\n{RESULTS}, {SCORES}: {out}")


if __name__ == "__main__":
    sys.exit(main())
