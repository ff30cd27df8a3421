"""What a sample of a log says of its conversation, by name: label, group and facts, as columns do.

`task`, `model`, `epoch`, `iteration`, `turns` (replies of the agent); scores (`influence`; `rubric.deception`
of one with several values); metadata of the sample (`topic`; `columns.harm` of a mapping). A name that two of
them have is the first one's; `score:NAME` and `metadata:NAME` say which is meant.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from inspect_ai.log import EvalSample
from inspect_ai.model import ChatMessageAssistant

from analysis.logs.finding import LogFile
from analysis.logs.samples import read_records
from analysis.logs.scores import AnyScore
from probes.conversations.labels import DataError, LabelOptions, LeftOut, is_missing, row_label, score_label
from scenarios.files.tables import no_column

ITERATION = re.compile(r"iteration[_-]?(\d+)")
OF_SAMPLES = ("family", "topic", "gameable", "split", "temperament")
"""Of a sample's metadata, facts in any case."""

OF_LOGS = ("task", "model", "epoch", "iteration", "turns")

SCORE, METADATA = "score:", "metadata:"


class LogColumns:
    """Names of what the samples of some logs say.

    Args:
        logs: See `analysis/logs/finding.py`.
    """

    def __init__(self, logs: Sequence[LogFile]) -> None:
        self.names: set[str] = set(OF_LOGS)
        for log in logs:
            for record in read_records(log):
                self.names.update(_metadata(record.metadata), _scores(record.scores))

    def check(self, wanted: Sequence[str], where: str) -> None:
        """Raises DataError for a name that no sample has; names the nearest."""
        for name in wanted:
            plain = name.removeprefix(SCORE).removeprefix(METADATA)
            if plain not in self.names:
                shown = {n for n in self.names if "." not in n or n.startswith(plain.partition(".")[0])}
                raise DataError(f"{where}: {no_column(name, sorted(shown))}")


def columns_of(log: LogFile, sample: EvalSample) -> dict[str, Any]:
    """Everything that a sample says of its conversation, by name."""
    scores, metadata = _scores(sample.scores), _metadata(sample.metadata)
    return {
        **{METADATA + name: value for name, value in metadata.items()},
        **{SCORE + name: value for name, value in scores.items()},
        **metadata,
        **scores,
        **_of_log(log, sample),
    }


def facts_of(columns: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, str]:
    """Facts that all conversations of logs have, where the sample says them, and those that are asked for."""
    names = dict.fromkeys((*OF_LOGS, *OF_SAMPLES, *wanted))
    return {name: _text(columns[name]) for name in names if not is_missing(columns.get(name))}


def group_of(columns: Mapping[str, Any], sample: EvalSample, wanted: str | None, where: str) -> str:
    """The initial state, or what is asked for.

    Raises:
        DataError: The sample says nothing by this name.
    """
    if wanted is None:
        return str(sample.metadata.get("initial_state", sample.id))
    if is_missing(columns.get(wanted)):
        raise DataError(
            f"{where}: {no_column(wanted, [name for name in columns if ':' not in name and '.' not in name])}"
        )
    return _text(columns[wanted])


def label_of(columns: Mapping[str, Any], options: LabelOptions, where: str) -> float | None:
    """By a score and a threshold, or as of a table: by named values, or by a rating on a scale.

    A sample without the value that is asked for is left out, and counted; one whose score was not given has
    no label.

    Raises:
        LeftOut, DataError: As `labels.row_label` and `labels.score_label`.
    """
    if options.label_score is None:
        for column, reason in ((options.label_column, "no label"), (options.scale_column, "no rating")):
            if column is not None and is_missing(columns.get(column)):
                raise LeftOut(reason)
        return row_label(columns, options, where)
    scores = {name[len(SCORE) :]: value for name, value in columns.items() if name.startswith(SCORE)}
    return score_label(scores, options, where)


def _of_log(log: LogFile, sample: EvalSample) -> dict[str, Any]:
    spec = log.header.eval
    found: dict[str, Any] = {
        "task": spec.task.rpartition("/")[2],
        "model": log.model,
        "epoch": sample.epoch,
        "turns": _turns(sample),
    }
    imported = (spec.metadata or {}).get("imported")
    iterations = ITERATION.findall(str(log.path.absolute().parent))
    if isinstance(imported, dict) and imported.get("iteration") is not None:
        found["iteration"] = imported["iteration"]
    elif iterations:
        found["iteration"] = int(iterations[-1])
    return found


def _turns(sample: EvalSample) -> int:
    """Replies of the agent that were generated; of all its messages, where a log does not tell those."""
    replies = [m for m in sample.messages if isinstance(m, ChatMessageAssistant) and not m.tool_calls]
    return sum(reply.source == "generate" for reply in replies) or len(replies)


def _scores(scores: Mapping[str, AnyScore] | None) -> dict[str, Any]:
    return dict(_flat((name, score.value) for name, score in (scores or {}).items()))


def _metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return dict(_flat(metadata.items()))


def _flat(items: Any) -> Iterator[tuple[str, Any]]:
    """A mapping gives its parts too, as `name.part`."""
    for name, value in items:
        yield str(name), value
        if isinstance(value, Mapping):
            yield from _flat((f"{name}.{part}", inner) for part, inner in value.items())


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
