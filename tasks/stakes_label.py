"""Judges rate how much is at stake in each row of a file, 1 to 10 with confidence.

inspect eval tasks/stakes_label.py -T data=rows.jsonl --model openai/gpt-4.1
inspect eval tasks/stakes_label.py -T data=rows.jsonl -T judges=openai/gpt-4.1,google/gemini-2.5-pro
inspect eval tasks/stakes_label.py -T data=more.jsonl -T labelled=logs/labels --model openai/gpt-4.1
python scorers/agreement.py LOG
python probes/corpus.py LOG --rows rows.jsonl --out labelled.jsonl

The judge is the model role `judge`, or else `--model`; with `--epochs` it is asked several times. An eval
that was stopped is taken up with `inspect eval-retry LOG`. Rows that have a rating of the same judge under
the same rubric in the logs of `labelled` are not asked again.
"""

from collections.abc import Sequence
from pathlib import Path

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset

from probes.laboratory.labels import answers_in, rated_by
from probes.laboratory.rows import StakesRow
from probes.laboratory.samples import given_rows, stakes_dataset
from scenarios.files.given_paths import where_meant
from scenarios.mistakes import UserMistake
from scenarios.stakes.ratings import Thresholds, read_rubric
from scorers.judging.annotation import judges_named
from scorers.stakes_rating import classes, judge_models, stakes_rating
from solvers.stakes.given import as_given


@task
def stakes_label(
    data: str = "",
    labelled: str | list[str] | None = None,
    judges: str | list[str] | None = None,
    rubric: str = "",
    low: float = 3,
    high: float = 8,
    confidence: float = 7,
    cache: bool = True,
) -> Task:
    """Judges rate the stakes of every row; classes by thresholds are counted, labels are made by `corpus.py`.

    Args:
        data: The rows; see `probes/laboratory/rows.py`.
        labelled: Logs or folders of logs, comma separated, whose ratings are not asked for again.
        judges: Models, comma separated; each rates every row. By default the role `judge`, or `--model`.
        rubric: A markdown file in place of `scenarios/stakes/rubric.md`.
        low: Low stakes up to this rating.
        high: High stakes from this rating on.
        confidence: Below this confidence a row is ambiguous.
        cache: Keep answers in Inspect's cache.
    """
    thresholds = Thresholds.checked(low, high, confidence)
    path = where_meant(Path(rubric)).absolute() if rubric else None
    key = read_rubric(path).key
    rows = given_rows(data)
    names = _judges(judges)
    known = _known(labelled, key)
    dataset, skipped = _unrated(rows, known, names)
    return Task(
        dataset=dataset,
        solver=as_given(),
        scorer=stakes_rating(str(path or ""), judges, cache),
        metrics=[classes(*thresholds)],
        tags=["stakes"],
        metadata={
            "rubric": key,
            "thresholds": thresholds._asdict(),
            "rows": len(rows),
            "rated_before": skipped,
        },
    )


def _judges(judges: str | list[str] | None) -> set[str]:
    """Names of the judges of this run.

    Raises:
        UserMistake: There is none.
    """
    named = judges_named(judges)
    try:
        names = {str(model) for model in judge_models(named)}
    except ValueError:
        if named == [None]:  # the task is made outside of an eval, which names its model later
            return set()
        raise
    if "none/none" in names:
        raise UserMistake("no judge: name one with --model, --model-role judge=<model> or -T judges=<models>")
    return names


def _known(labelled: str | Sequence[str] | None, rubric: str) -> dict[tuple[str, str], set[str]]:
    if not labelled:
        return {}
    names = labelled.split(",") if isinstance(labelled, str) else labelled
    return rated_by(answers_in(where_meant(Path(name.strip())) for name in names if name.strip()), rubric)


def _unrated(
    rows: Sequence[StakesRow], known: dict[tuple[str, str], set[str]], judges: set[str]
) -> tuple[MemoryDataset, int]:
    """Samples of the rows that a judge has not rated, and how many rows all have."""
    if known and not judges:
        raise UserMistake("labelled: which judge is meant? Name it with judges=<model>")
    left = [row for row in rows if not judges or judges - known.get((row.id, row.digest), set())]
    if rows and not left:
        raise UserMistake(
            f"all {len(rows)} rows have a rating of {', '.join(sorted(judges))} in the logs of labelled; "
            "nothing is left to ask"
        )
    dataset = stakes_dataset(left, "stakes to label")
    for sample, row in zip(dataset, left, strict=True):
        if before := known.get((row.id, row.digest)):
            (sample.metadata or {})["rated_by"] = sorted(before)
    return dataset, len(rows) - len(left)
