"""Rows out of logs in which a model wrote pairs of stakes, see `tasks/stakes_generate.py`."""

from collections import Counter
from collections.abc import Iterator
from typing import Literal, NamedTuple

from analysis.logs.copies import Copies
from analysis.logs.finding import LogFile
from analysis.logs.samples import SampleRecord, read_records
from probes.laboratory.labels import ONCE
from probes.laboratory.rows import StakesRow
from scenarios.stakes.factors import PairSpec
from scenarios.stakes.records import PromptPair, Sides, StakesPair

SOURCE = "written"

SIDES: tuple[Literal["high", "low"], ...] = ("high", "low")

_PREFIX = f"{StakesPair.__name__}:"


class WrittenPairs(NamedTuple):
    """What a log has of pairs."""

    rows: list[StakesRow]
    asked: int
    """Prompt pairs that were to be written."""

    broken: Counter[str]
    """Reason -> prompt pairs that are not in the rows."""

    unanswered: int
    """Properties of situations that were not answered as asked."""


def read_written(log: LogFile, copies: Copies = ONCE) -> WrittenPairs:
    """The prompts of a log, two rows for each prompt pair that has both sides; none if it holds no pairs.

    A prompt pair that is broken gives no row at all, and is counted: by its own problem, by that of its
    situations, or as `not written` where the sample failed.

    Args:
        log: Any log.
        copies: Which samples are used from another log, as from the retry of this one.

    Raises:
        LogError: The log holds no samples, or is damaged.
    """
    found = WrittenPairs([], 0, Counter(), 0)
    for record in read_records(log):
        if "spec" not in record.metadata or not copies.uses(log, record.unit):
            continue
        spec = PairSpec.model_validate(record.metadata["spec"])
        rows = list(_rows(record, spec, log, found.broken))
        unanswered = int(record.store.get(f"{_PREFIX}metadata_problems", 0))
        found = WrittenPairs(
            [*found.rows, *rows],
            found.asked + len(spec.variations),
            found.broken,
            found.unanswered + unanswered,
        )
    return found


def _rows(record: SampleRecord, spec: PairSpec, log: LogFile, broken: Counter[str]) -> Iterator[StakesRow]:
    told = {k.removeprefix(_PREFIX): v for k, v in record.store.items() if k.startswith(_PREFIX)}
    situations = told.get("situations")
    prompts = [PromptPair.model_validate(prompt) for prompt in told.get("prompts") or []]
    if record.error is not None or situations is None:
        broken["not written"] += len(spec.variations)
        return
    if (problem := Sides.model_validate(situations).problem) is not None:
        broken[f"situations: {problem}"] += len(spec.variations)
        return
    broken["not written"] += len(spec.variations) - len(prompts)
    for number, prompt in enumerate(prompts):
        if prompt.problem is not None:
            broken[prompt.problem] += 1
            continue
        for side in SIDES:
            properties = (told.get("metadata") or {}).get(side) or {}
            yield StakesRow(
                id=f"{spec.pair}-{number}-{side}" + (f"-{record.epoch}" if record.epoch > 1 else ""),
                pair=spec.pair,
                messages=[{"role": "user", "content": getattr(prompt, side)}],
                label=1 if side == "high" else 0,
                facts={
                    **prompt.variation.model_dump(),
                    "topic": spec.topic,
                    "role": spec.role,
                    "impact": spec.impact,
                    "split": spec.split,
                    "source": SOURCE,
                    "writer": log.model,
                    **properties,
                },
            )
