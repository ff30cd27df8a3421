"""Rows of training data: one generation of the agent each, with exactly what it saw and what it wrote.

The same JSONL feeds every algorithm and the exporters. A row comes from a model event of the log, not from
the transcript: the event holds what the agent's model was given, tools included. The transcript tells which
events count, and the record of sessions which are notes that the agent wrote for itself. A reply that a veto
took back is not in it; what the simulated user and the judges said, and what the scenario's opening says in
the agent's name, has no event of the agent.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from inspect_ai.event import ModelEvent
from inspect_ai.log import EvalSample
from inspect_ai.model import ChatMessageAssistant

from analysis.logs import finding as logs
from analysis.logs.finding import LogFile, open_log
from analysis.logs.samples import read_samples
from providers.chat.errors import NotTextError
from providers.chat.messages import chat_message, is_served, tool_schemas
from providers.chat.token_record import clock_of, packed, tokens_of
from scenarios.conversations.dialogue import Dialogue
from training.errors import RunError
from training.examples.example import Example


class ExamplesError(RunError):
    """A log that rows cannot be made from."""


class Mark(NamedTuple):
    """What selection says about one conversation; see `Example`."""

    label: bool | None
    score: float | None
    rank: int | None
    group: str | None


def rows_of_log(
    log: Path | str,
    chosen: Mapping[tuple[str, int], Mark],
    *,
    left_out: Counter[str] | None = None,
    checkpoint: str | None = None,
    run: Path | None = None,
    expect_task: str | None = None,
    expect_model: str | None = None,
) -> Iterator[Example]:
    """A row for each generation of the agent in the chosen conversations, in the order of `chosen`.

    The log's header is checked by the call itself, before the first row is asked for. Time and memory grow
    with the number of chosen conversations, not with that of the log.

    Args:
        log: An `.eval` file.
        chosen: (sample id, epoch) -> what selection says about it.
        left_out: Counts what is not made a row, by reason: `truncated` (the reply was cut off at a
            limit of tokens), `unreadable_call` (a tool call that could not be parsed), `filtered` (the
            provider's content filter), `empty` (neither words nor calls), `not_text` (images and the like);
            and `no_generation`: conversations in which the agent said nothing that stayed.
        checkpoint: Who generated, see `Example`.
        run: Folder of the run; the log is named relative to it if it lies in it.
        expect_task: Name of the task that the log must be of, e.g. `therapy`.
        expect_model: Model that the log must be of, as Inspect names it.

    Raises:
        ExamplesError: The log is missing or unreadable, not complete, of another task or model; a chosen
            conversation is not in it; or it was written without model events.
    """
    file = _finished_log(log)
    _check_belongs(log, "task", file.header.eval.task.rpartition("/")[2], expect_task)
    _check_belongs(log, "model", file.model, expect_model)
    counts = Counter[str]() if left_out is None else left_out
    return _rows(file, chosen, counts, _shown(file.path, run), checkpoint)


def _finished_log(log: Path | str) -> LogFile:
    try:
        file = open_log(log)
    except logs.LogError as error:
        raise ExamplesError(f"{error}; or run the rollouts again") from None
    if not file.finished:
        raise ExamplesError(
            f"{log}: the run ended with status {file.header.status!r}, so conversations may be missing; "
            "finish it with `inspect eval-retry`, or run the rollouts again"
        )
    return file


def _check_belongs(log: Path | str, what: str, found: str, expected: str | None) -> None:
    if expected is not None and found != expected:
        raise ExamplesError(
            f"{log}: a log of {what} {found!r}, not of {expected!r}; it does not belong to this iteration"
        )


def _shown(log: Path, run: Path | None) -> str:
    inside = run is not None and log.resolve().is_relative_to(run.resolve())
    return str(log.resolve().relative_to(run.resolve())) if run is not None and inside else log.name


def _rows(
    log: LogFile,
    chosen: Mapping[tuple[str, int], Mark],
    left_out: Counter[str],
    shown: str,
    checkpoint: str | None,
) -> Iterator[Example]:
    for key, sample in zip(chosen, _samples(log, list(chosen)), strict=True):
        mark = chosen[key]
        generations = _generations(log.path, sample)
        by_message = {e.output.message.id or "": e for e in generations}
        if not generations:
            left_out["no_generation"] += 1
        for turn, event in enumerate(generations, start=1):
            if reason := _unusable(event):
                left_out[reason] += 1
                continue
            try:
                prompt, completion = _messages(event)
            except NotTextError:
                left_out["not_text"] += 1
                continue
            yield Example(
                prompt=prompt,
                completion=completion,
                label=mark.label,
                tools=tool_schemas(event.tools),
                source="log",
                log=shown,
                sample=key[0],
                epoch=key[1],
                turn=turn,
                score=mark.score,
                rank=mark.rank,
                group=mark.group,
                checkpoint=checkpoint,
                tokens=_tokens(by_message, event),
                clock=clock_of(event) or _day_of(sample),
                served=is_served(event.model),
            )


def _samples(log: LogFile, units: Sequence[tuple[str, int]]) -> Iterator[EvalSample]:
    try:
        yield from read_samples(log, units, attachments=True)
    except logs.LogError as error:
        raise ExamplesError(f"{error} The selection was made from another log; select again") from None


def _generations(log: Path, sample: EvalSample) -> list[ModelEvent]:
    """The model events of what the agent generated and what stayed in the transcript, in its order."""
    events = {e.output.message.id: e for e in sample.events if isinstance(e, ModelEvent) and e.output.choices}
    said = [m for m in sample.messages if isinstance(m, ChatMessageAssistant) and m.source == "generate"]
    notes = [n.message for _, n in sample.store_as(Dialogue).notes()]
    order = {name: place for place, name in enumerate(events)}
    wanted = [m.id for m in said] + notes
    if notes:  # each has its place behind the session that it is of
        wanted.sort(key=lambda name: order.get(name, -1))
    if wanted and not events:
        raise ExamplesError(
            f"{log}: sample {sample.id!r}, epoch {sample.epoch}: the log has no model events, so what the "
            "agent saw is not known: it was imported, or its events were stripped; rows need the log of a run"
        )
    for name in wanted:
        if name not in events:
            raise ExamplesError(
                f"{log}: sample {sample.id!r}, epoch {sample.epoch}: no model event for the agent's message "
                f"{name}; the log was edited; use the log as the run wrote it"
            )
    return [events[name] for name in wanted]


def _unusable(event: ModelEvent) -> str | None:
    """Why a generation must not be trained on."""
    message = event.output.message
    if event.output.stop_reason in ("max_tokens", "model_length"):
        return "truncated"
    if event.output.stop_reason == "content_filter":
        return "filtered"
    if any(call.parse_error is not None for call in message.tool_calls or []):
        return "unreadable_call"
    return None if message.text.strip() or message.tool_calls else "empty"


def _messages(event: ModelEvent) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What the agent's model was given, and what it wrote."""
    told = [chat_message(message, model=event.model) for message in event.input]
    return told, [chat_message(event.output.message)]


def _tokens(events: Mapping[str, ModelEvent], event: ModelEvent) -> dict[str, str] | None:
    found = tokens_of(events, event.output.message.id or "")
    return None if found is None else {"prompt": packed(found.prompt), "written": packed(found.written)}


def _day_of(sample: EvalSample) -> str | None:
    """The day on which a conversation began: what a server's template was told."""
    started = sample.started_at
    return str(started)[:10] if started else None
