"""Conversations from Inspect logs: every sample in every epoch, as the agent's transcript ended."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from inspect_ai.event import ModelEvent
from inspect_ai.log import EvalSample
from inspect_ai.tool import ToolInfo

from analysis.logs.copies import Copies
from analysis.logs.finding import LogFile
from analysis.logs.samples import SampleRecord, Unit, read_records, read_samples
from analysis.logs.scores import numbers_in
from probes.conversations.conversation import Conversation
from probes.conversations.labels import DataError, LeftOut
from probes.conversations.log_columns import columns_of, facts_of, group_of, label_of
from probes.conversations.table_rows import TableOptions
from providers.chat.errors import NotTextError
from providers.chat.messages import chat_message, is_served, tool_schemas
from scenarios.conversations.dialogue import Dialogue
from scenarios.schema import Scale, ends_of


def log_conversations(
    log: LogFile, options: TableOptions, left_out: Counter[str], copies: Copies | None = None
) -> Iterator[Conversation]:
    """The conversations of a log, some in memory at a time.

    Events are read of every sample: nothing else in a log tells which tools the model saw. Ids are
    `<log>:<sample>:<epoch>`, groups the initial states.

    Args:
        log: See `analysis/logs/finding.py`.
        options: What is label, group and fact, see `probes/conversations/log_columns.py`.
        left_out: Counts what is not captured, by reason.
        copies: Which conversations are used from another log.

    Raises:
        DataError: The log has no such score, or the threshold is not on the score's scale; or people come
            back in it, of whose sessions the model never read one text.
        LogError: The log has no samples, or is damaged.
    """
    units: list[Unit] = []
    scores: set[str] = set()
    scales: Counter[Scale] = Counter()
    for record in read_records(log):
        _check_one_text(log, record)
        scores.update(record.scores or {})
        if (reason := _unusable(log, record, copies or Copies({}))) is not None:
            left_out[reason] += 1
            continue
        units.append(record.unit)
        named = (n for n in numbers_in(record.scores).numbers if n.name == options.label_score)
        scales.update(n.scale for n in named if n.scale is not None and n.value == n.value)
    if units:
        _check_score(log, scores, scales, options)
    for sample in read_samples(log, units, attachments=True):
        where = f"{log.path}: sample {sample.id!r}, epoch {sample.epoch}"
        try:
            yield _conversation(log, sample, options, where)
        except LeftOut as reason:
            left_out[str(reason)] += 1


def _check_one_text(log: LogFile, record: SampleRecord) -> None:
    if len(record.store.get(f"{Dialogue.__name__}:sessions") or []) > 1:
        raise DataError(
            f"{log.path}: sample {record.id!r}, epoch {record.epoch}: several sessions with one person, each "
            "of which began anew for the model, so it never read them as one text; take logs of another task"
        )


def _unusable(log: LogFile, record: SampleRecord, copies: Copies) -> str | None:
    if not copies.uses(log, record.unit):
        return f"used from {copies.elsewhere[log.path][record.unit]}, which scored it last"
    if record.invalidated:
        return "the sample is declared invalid"
    return "the run of the sample failed" if record.error is not None else None


def model_of(log: LogFile) -> tuple[str, str | None]:
    """The model of a log without its provider, and the adapter that was named with it."""
    return split_model(log.model)


def split_model(model: str) -> tuple[str, str | None]:
    """A model as logs name it -> the model without its provider, and the adapter that was named with it."""
    provider, _, name = model.partition("/")
    name = name or model
    if provider not in ("local", "miniature", "vllm") or Path(name).exists():
        return name, None
    base, colon, adapter = name.rpartition(":")
    return (base, adapter) if colon else (name, None)


def _check_score(log: LogFile, known: set[str], scales: Counter[Scale], options: TableOptions) -> None:
    name = options.label_score
    if name is None:
        return
    if name.partition(".")[0] not in known:
        there = ", ".join(sorted(known)) or "none"
        raise DataError(f"{log.path}: no score {name!r} in this log; there are {there}")
    if len(scales) > 1:
        told = ", ".join(f"{scale} in {count} conversations" for scale, count in scales.most_common())
        raise DataError(
            f"{log.path}: {name} is on several scales ({told}), so one threshold fits none; "
            "score the log anew"
        )
    for scale in scales:
        low, high = ends_of(scale)
        if not low < options.label_threshold <= high:
            raise DataError(
                f"{log.path}: {name} is on the scale {scale}, where a threshold of "
                f"{options.label_threshold:g} tells nothing apart; give "
                f"--label-threshold above {low:g} and up to {high:g}"
            )


def _offered(sample: EvalSample, log: LogFile) -> list[ToolInfo]:
    """Tools of the agent's last call of its model."""
    role = log.agent_role
    calls = [
        event
        for event in sample.events or []
        if isinstance(event, ModelEvent)
        and event.role == role
        and (role is not None or event.model == log.model)
    ]
    return next((list(event.tools) for event in reversed(calls)), [])


def _conversation(log: LogFile, sample: EvalSample, options: TableOptions, where: str) -> Conversation:
    model = log.model
    try:
        messages = [chat_message(m, model=model) for m in sample.messages]
    except NotTextError:
        raise LeftOut("a message holds something else than text") from None
    if not any(m["content"].strip() or m.get("tool_calls") for m in messages):
        raise LeftOut("nothing was said")
    identity = f"{log.name}:{sample.id}:{sample.epoch}"
    columns = columns_of(log, sample)
    return Conversation(
        id=identity,
        messages=messages,
        tools=tool_schemas(_offered(sample, log)),
        label=label_of(columns, options, where),
        group=group_of(columns, sample, options.group_column, where),
        facts=facts_of(columns, options.facts),
        day=day_of(sample),
        served=is_served(model),
    )


def day_of(sample: EvalSample) -> str | None:
    """The day (ISO) that the agent's template was told: by its provider, else when the sample began."""
    told = (sample.output.metadata or {}).get("clock")
    if isinstance(told, str):
        return told
    return str(sample.started_at)[:10] if sample.started_at else None
