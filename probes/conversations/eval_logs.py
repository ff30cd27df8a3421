"""Conversations from Inspect logs: every sample in every epoch, as the agent's transcript ended."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from inspect_ai.event import ModelEvent
from inspect_ai.log import (
    EvalLog,
    EvalSample,
    list_eval_logs,
    read_eval_log,
    read_eval_log_sample,
    read_eval_log_sample_summaries,
)
from inspect_ai.model import ChatMessageTool
from inspect_ai.tool import ToolInfo

from probes.conversations.conversation import Conversation
from probes.conversations.labels import DataError, LabelOptions, LeftOut
from probes.conversations.log_columns import columns_of, facts_of, group_of, label_of
from probes.conversations.table_rows import TableOptions
from providers.chat.errors import NotTextError
from providers.chat.messages import chat_message, is_served, tool_schemas


class LogFile(NamedTuple):
    """A log and the start of its conversations' ids."""

    path: str
    name: str
    header: EvalLog


def find_logs(source: Path) -> list[LogFile]:
    """The log that is named, or all logs in a folder and its subfolders, by name.

    Raises:
        DataError: A log that cannot be read; or none.
    """
    if source.is_dir():
        found = sorted(info.name.removeprefix("file://") for info in list_eval_logs(str(source)))
        names = {path: str(Path(path).relative_to(source.absolute()).with_suffix("")) for path in found}
    else:
        names = {str(source): source.stem}
    if not names:
        raise DataError(f"{source}: no logs in this folder")
    return [LogFile(path, name, _header(path)) for path, name in names.items()]


def log_conversations(log: LogFile, options: TableOptions, left_out: Counter[str]) -> Iterator[Conversation]:
    """The conversations of a log, one sample in memory at a time.

    Events are read of the first whole sample alone if it was offered no tools, and otherwise of every sample:
    nothing else in a log tells which tools the model saw. Ids are `<log>:<sample>:<epoch>`, groups the
    initial states.

    Args:
        log: See `find_logs`.
        options: What is label, group and fact, see `probes/conversations/log_columns.py`.
        left_out: Counts what is not captured, by reason.

    Raises:
        DataError: The log has no such score.
    """
    summaries = read_eval_log_sample_summaries(log.path)
    _check_score(log, [set(s.scores or {}) for s in summaries], options)
    with_tools: bool | None = None
    for summary in summaries:
        if summary.error is not None:
            left_out["the run of the sample failed"] += 1
            continue
        where = f"{log.path}: sample {summary.id!r}, epoch {summary.epoch}"
        sample = _sample(log, summary.id, summary.epoch, events=with_tools is not False)
        tools = _offered(sample, log.header.eval.model)
        with_tools = with_tools or bool(tools)
        if not with_tools and _uses_tools(sample):
            with_tools = True
            sample = _sample(log, summary.id, summary.epoch, events=True)
            tools = _offered(sample, log.header.eval.model)
        try:
            yield _conversation(log, sample, tools, options, where)
        except LeftOut as reason:
            left_out[str(reason)] += 1


def model_of(log: LogFile) -> tuple[str, str | None]:
    """The model of a log without its provider, and the adapter that was named with it."""
    return split_model(log.header.eval.model)


def split_model(model: str) -> tuple[str, str | None]:
    """A model as logs name it -> the model without its provider, and the adapter that was named with it."""
    provider, _, name = model.partition("/")
    name = name or model
    if provider not in ("local", "miniature", "vllm") or Path(name).exists():
        return name, None
    base, colon, adapter = name.rpartition(":")
    return (base, adapter) if colon else (name, None)


def _header(path: str) -> EvalLog:
    try:
        return read_eval_log(path, header_only=True)
    except Exception as error:  # whatever is wrong with the file
        raise DataError(f"{path}: not a readable Inspect log ({error})") from error


def _check_score(log: LogFile, scores: Sequence[set[str]], options: LabelOptions) -> None:
    if options.label_score is None or not scores:
        return
    known = set().union(*scores)
    if options.label_score.partition(".")[0] not in known:
        there = ", ".join(sorted(known)) or "none"
        raise DataError(f"{log.path}: no score {options.label_score!r} in this log; there are {there}")


def _sample(log: LogFile, name: int | str, epoch: int, *, events: bool) -> EvalSample:
    left = None if events else {"events", "events_data", "timelines", "store"}
    return read_eval_log_sample(log.path, name, epoch, resolve_attachments=True, exclude_fields=left)


def _offered(sample: EvalSample, model: str) -> list[ToolInfo]:
    """Tools of the agent's last call of its model."""
    calls = [
        e for e in sample.events or [] if isinstance(e, ModelEvent) and e.role is None and e.model == model
    ]
    return next((list(e.tools) for e in reversed(calls)), [])


def _uses_tools(sample: EvalSample) -> bool:
    return any(isinstance(m, ChatMessageTool) or getattr(m, "tool_calls", None) for m in sample.messages)


def _conversation(
    log: LogFile, sample: EvalSample, tools: Sequence[ToolInfo], options: TableOptions, where: str
) -> Conversation:
    model = log.header.eval.model
    try:
        messages = [chat_message(m, model=model) for m in sample.messages]
    except NotTextError:
        raise LeftOut("a message holds something else than text") from None
    if not any(m["content"].strip() or m.get("tool_calls") for m in messages):
        raise LeftOut("nothing was said")
    identity = f"{log.name}:{sample.id}:{sample.epoch}"
    columns = columns_of(log.path, log.header.eval, sample)
    return Conversation(
        id=identity,
        messages=messages,
        tools=tool_schemas(tools),
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
