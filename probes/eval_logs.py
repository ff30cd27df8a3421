"""Conversations from Inspect logs: every sample in every epoch, as the agent's transcript ended."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from inspect_ai.event import ModelEvent
from inspect_ai.log import (
    EvalLog,
    EvalSample,
    list_eval_logs,
    read_eval_log,
    read_eval_log_sample,
    read_eval_log_sample_summaries,
)
from inspect_ai.model import ChatMessage, ChatMessageAssistant, ChatMessageTool, ContentReasoning, ContentText
from inspect_ai.tool import ToolInfo

from probes.conversations import Conversation
from probes.labels import DataError, LabelOptions, LeftOut, score_label

ITERATION = re.compile(r"iteration[_-]?(\d+)")
FACTS = ("family", "topic", "gameable", "split")
"""Of a sample's metadata."""

OPENAI_STYLE = frozenset(
    {"azureai", "fireworks", "groq", "openai", "openai-api", "openrouter", "sglang", "together", "vllm"}
)
"""Providers that tell a model of a tool's error as `Error: ...`."""


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


def log_conversations(log: LogFile, options: LabelOptions, left_out: Counter[str]) -> Iterator[Conversation]:
    """The conversations of a log, one sample in memory at a time.

    Events are read of the first sample alone if it was offered no tools, and otherwise of every sample:
    nothing else in a log tells which tools the model saw. Ids are `<log>:<sample>:<epoch>`, groups the
    initial states.

    Args:
        log: See `find_logs`.
        options: Which score is the label.
        left_out: Counts what is not captured, by reason.

    Raises:
        DataError: The log has no such score.
    """
    summaries = read_eval_log_sample_summaries(log.path)
    _check_score(log, [set(s.scores or {}) for s in summaries], options)
    with_tools = False
    for number, summary in enumerate(summaries):
        if summary.error is not None:
            left_out["the run of the sample failed"] += 1
            continue
        where = f"{log.path}: sample {summary.id!r}, epoch {summary.epoch}"
        sample = _sample(log, summary.id, summary.epoch, events=number == 0 or with_tools)
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
    left = None if events else {"events", "events_data", "store"}
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
    log: LogFile, sample: EvalSample, tools: Sequence[ToolInfo], options: LabelOptions, where: str
) -> Conversation:
    model = log.header.eval.model
    messages = [chat_message(m, model) for m in sample.messages]
    if not any(m["content"].strip() or m.get("tool_calls") for m in messages):
        raise LeftOut("nothing was said")
    identity = f"{log.name}:{sample.id}:{sample.epoch}"
    scores = {name: score.value for name, score in (sample.scores or {}).items()}
    return Conversation(
        id=identity,
        messages=messages,
        tools=[tool_schema(t) for t in tools] or None,
        label=score_label(scores, options, where),
        group=str(sample.metadata.get("initial_state", sample.id)),
        facts=_facts(log, sample),
    )


def _facts(log: LogFile, sample: EvalSample) -> dict[str, str]:
    spec = log.header.eval
    facts = {"task": spec.task.rpartition("/")[2], "model": spec.model, "epoch": str(sample.epoch)}
    for name in FACTS:
        if (value := sample.metadata.get(name)) is not None:
            facts[name] = str(value).lower() if isinstance(value, bool) else str(value)
    imported = (spec.metadata or {}).get("imported")
    iterations = ITERATION.findall(str(Path(log.path).absolute().parent))
    if isinstance(imported, dict) and imported.get("iteration") is not None:
        facts["iteration"] = str(imported["iteration"])
    elif iterations:
        facts["iteration"] = str(int(iterations[-1]))
    return facts


def chat_message(message: ChatMessage, model: str) -> dict[str, Any]:
    """A message as chat templates take it, as `model` was told it.

    Raises:
        LeftOut: It holds something else than text.
    """
    parts = [] if isinstance(message.content, str) else message.content
    if any(not isinstance(part, ContentText | ContentReasoning) for part in parts):
        raise LeftOut("a message holds something else than text")
    told: dict[str, Any] = {"role": message.role, "content": message.text}
    thoughts = [p.reasoning for p in parts if isinstance(p, ContentReasoning) and not p.redacted]
    if thoughts:
        told["reasoning_content"] = "\n".join(thoughts)
    if isinstance(message, ChatMessageAssistant) and message.tool_calls:
        told["tool_calls"] = [
            {"type": "function", "id": c.id, "function": {"name": c.function, "arguments": c.arguments}}
            for c in message.tool_calls
        ]
    if isinstance(message, ChatMessageTool):
        if message.error is not None:
            prefix = "Error: " if model.partition("/")[0] in OPENAI_STYLE else ""
            told["content"] = prefix + message.error.message
        told |= {"name": message.function, "tool_call_id": message.tool_call_id}
    return told


def tool_schema(tool: ToolInfo) -> dict[str, Any]:
    """A tool as chat templates take it."""
    parameters = tool.parameters.model_dump(exclude_none=True)
    function = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}
