"""Rows that a model says in other words, through Inspect: calls are logged, cached, retried and counted."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from inspect_ai import Task, eval  # noqa: A004
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import EvalLog
from inspect_ai.model import ChatMessageSystem, ChatMessageUser, GenerateConfig, Model, get_model
from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.util import StoreModel
from pydantic import Field

from probes.conversations.labels import DataError
from probes.laboratory.restyling import changed_row
from probes.laboratory.rows import StakesRow
from scenarios.files.located_yaml import read_front_matter, validated
from scenarios.generation.checks import REFUSAL
from scenarios.stakes.factors import FOLDER, StakesPrompt
from scenarios.templates import fill


class SaidOtherwise(StoreModel):
    """What a model made of the messages of a row."""

    messages: list[str] = Field(default_factory=list)
    problem: str | None = None
    """`refusal`, `no answer`, `cut`: then the row is left out."""


class Rewritten(NamedTuple):
    """Rows that a model said in other words."""

    rows: list[StakesRow]
    left_out: Counter[str]
    """Reason -> rows."""

    log: Path


def rewritten(rows: Sequence[StakesRow], style: str, model: str | Model, logs: Path) -> Rewritten:
    """All rows in a style, by a model, in one eval.

    Args:
        rows: To say otherwise; their tools and calls stay as they are.
        style: In words, as the model is told.
        model: As Inspect names it.
        logs: Folder of the log.

    Raises:
        DataError: The eval failed, or no row could be used.
    """
    samples = [Sample(id=row.id, input=row.text, metadata={"messages": row.messages}) for row in rows]
    task = Task(
        name="restyle",
        dataset=MemoryDataset(samples, name="rows to restyle"),
        solver=said_otherwise(style),
        metadata={"style": style},
        tags=["stakes"],
    )
    (log,) = eval(task, model=model, log_dir=str(logs), display="none", fail_on_error=False)
    if log.status != "success":
        why = log.error.message if log.error else log.status
        raise DataError(f"{log.location}: the rows were not said in other words: {why}")
    return _usable_rows(rows, style, log)


def _usable_rows(rows: Sequence[StakesRow], style: str, log: EvalLog) -> Rewritten:
    said = {str(s.id): s.store_as(SaidOtherwise) for s in log.samples or [] if s.error is None}
    kept, left_out = list[StakesRow](), Counter[str]()
    for row in rows:
        own = said.get(row.id)
        if own is None or own.problem is not None or not own.messages:
            left_out[(own.problem if own else None) or "the call failed"] += 1
            continue
        words = iter(own.messages)
        kept.append(changed_row(row, f"restyled-{style}", lambda _role, _words, w=words: next(w)))
    if not kept:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise DataError(f"{log.location}: no row could be used: {reasons}")
    return Rewritten(kept, left_out, Path(log.location))


@solver
def said_otherwise(style: str) -> Solver:
    """Say every message of a row in other words, one call each.

    Args:
        style: In words.
    """
    head, text = read_front_matter(FOLDER / "restyling.md")
    prompt = validated(StakesPrompt, head._replace(data=head.data | {"system": text}))

    async def solve(state: TaskState, generate: Generate) -> TaskState:  # noqa: ARG001
        asked, store = get_model(), state.store_as(SaidOtherwise)
        for message in state.metadata["messages"]:
            if not message.get("content"):
                continue
            given = {"style": style, "role": message["role"], "text": message["content"]}
            output = await asked.generate(
                [ChatMessageSystem(content=prompt.system), ChatMessageUser(content=fill(prompt.ask, given))],
                config=GenerateConfig(temperature=0.7),
                cache=True,
            )
            words = output.completion.strip()
            if not output.choices or output.stop_reason == "content_filter":
                store.problem = "refusal"
            elif output.stop_reason in ("max_tokens", "model_length"):
                store.problem = "cut"
            elif not words:
                store.problem = "no answer"
            elif REFUSAL.search(words) and not REFUSAL.search(message["content"]):
                store.problem = "refusal"
            if store.problem is not None:
                return state
            store.messages = [*store.messages, words]
        return state

    return solve
