"""Any model as a monitor of labelled conversations: how well it tells high from low stakes, at what cost.

inspect eval tasks/stakes.py -T data=rows.jsonl --model local/Qwen/Qwen3-4B
inspect eval tasks/stakes.py -T data=rows.jsonl -T template=single_letter --model openai/gpt-4.1-mini
inspect eval tasks/stakes.py -T data=rows.jsonl -T method=reasoned --model anthropic/claude-sonnet-4-5
python probes/evaluate.py --monitors monitors --data activations/rows --beside LOG

The monitor is the model role `monitor`, or else `--model`. How it is asked is in
`scenarios/stakes/monitors.yaml`; what it writes that is no answer is unscored and counted, never guessed.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from inspect_ai import Task, task

from probes.laboratory.rows import StakesRow
from probes.laboratory.samples import given_rows, stakes_dataset
from scenarios.mistakes import UserMistake
from scorers.prompted_monitor import prompted_monitor
from solvers.stakes.given import as_given


@task
def stakes(
    data: str = "",
    method: str = "likelihood",
    template: str = "default",
    templates: str = "",
    samples: int = 1,
    split: str = "",
    one_class: bool = False,
    cache: bool = True,
    size: dict[str, Any] | None = None,
) -> Task:
    """A model is asked about every row; AUROC, recall at 1 % false positives and cost are in the log.

    Args:
        data: The rows; see `probes/laboratory/rows.py`.
        method: likelihood (of two answers), answer (the one that it writes) or reasoned (a thought, then
            a number).
        template: Name of a template of the method: likelihood and answer have default, single_word,
            prompt_at_end, single_letter and in_turns.
        templates: A YAML file of one's own in place of `scenarios/stakes/monitors.yaml`.
        samples: Answers that are sampled for each row, of which the mean counts; of no effect on likelihoods.
        split: Only rows of this split.
        one_class: Take a set in which all labels are alike, of which nothing can be ranked.
        cache: Keep answers in Inspect's cache.
        size: body, head, layers and width of a model that is not `local/`, for its FLOPs.
    """
    rows = _rows(data, split)
    _check_classes(rows, data, one_class)
    return Task(
        dataset=stakes_dataset(rows, Path(data).stem),  # by which its scores are joined to what was captured
        solver=as_given(),
        scorer=prompted_monitor(method, template, templates, samples, cache, size),
        tags=["stakes"],
        metadata={"rows": len(rows), "method": method, "template": template},
    )


def _rows(data: str, split: str) -> list[StakesRow]:
    rows = given_rows(data)
    if not split:
        return rows
    chosen = [row for row in rows if row.split == split]
    if not chosen:
        there = ", ".join(sorted({row.split or "none" for row in rows}))
        raise UserMistake(f"split={split}: no row of {data} is in it; there are {there}")
    return chosen


def _check_classes(rows: list[StakesRow], data: str, one_class: bool) -> None:
    counts = Counter(row.label for row in rows)
    if (counts[0] and counts[1]) or one_class:
        return
    raise UserMistake(
        f"{data}: {counts[1]} rows of high stakes, {counts[0]} of low stakes, {counts[None]} without a "
        "label: nothing can be ranked; give both classes, or -T one_class=true for the scores alone"
    )
