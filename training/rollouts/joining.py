"""Logs of one eval's shares, joined as the one log that the eval would have written in one process."""

import json
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inspect_ai.log import EvalError, EvalSample, EvalStats, recompute_metrics, write_eval_log
from inspect_ai.model import ModelUsage
from inspect_ai.scorer import Score

from analysis.logs.finding import open_log
from analysis.logs.samples import SampleRecord, records_of
from scenarios.files.whole import whole_file
from training.errors import RunError

SAMPLES, SUMMARIES, JOURNALED = "samples/", "summaries.json", "_journal/summaries/1.json"
"""Members of an `.eval` file, which is a zip archive."""

OF_THE_WHOLE = ("_journal/start.json", "reductions.json", "header.json")
"""Members that tell of all samples; Inspect looks for the header at the end."""


class _Scored(SampleRecord):
    """What metrics are computed from."""

    scores: dict[str, Score] | None = None  # pyright: ignore[reportIncompatibleVariableOverride]

    def sample(self) -> EvalSample:
        """A sample of the scores alone."""
        error = None if self.error is None else EvalError.model_validate(self.error)
        told = {"scores": self.scores, "metadata": self.metadata, "error": error}
        return EvalSample(id=self.id, epoch=self.epoch, input="", target="", **told)


def join(shares: Sequence[Path], users: Sequence[str], out: Path, *, config: Mapping[str, Any]) -> None:
    """Write the log of all samples. Those of the shares stand in it byte for byte; metrics are computed anew.

    Args:
        shares: Finished `.eval` logs of the same eval on different samples.
        users: Ids of all samples, in the order of the data set.
        out: `.eval` file, whole or not there.
        config: What the eval was told where each share was told something of its own; fields of `EvalConfig`.

    Raises:
        LogError: A share is damaged.
        RunError: The shares do not hold each user once per epoch.
    """
    logs = [open_log(share) for share in shares]
    whole = logs[0].header.model_copy(deep=True)
    whole.eval.config = whole.eval.config.model_copy(update=config)
    whole.stats = _added([log.header.stats for log in logs])
    places = {name: place for place, name in enumerate(users)}
    samples = [record.sample() for log in logs for record in records_of(log, _Scored)]
    epochs = whole.eval.config.epochs or 1
    _check_users([(str(sample.id), sample.epoch) for sample in samples], users, epochs, out.parent)
    named = {str(sample.id): sample.id for sample in samples}  # a number or a text, as the data set has it
    whole.eval.dataset.samples, whole.eval.dataset.sample_ids = len(users), [named[name] for name in users]
    whole.samples = sorted(samples, key=lambda sample: (sample.epoch, places[str(sample.id)]))
    recompute_metrics(whole)
    if whole.results is not None:
        whole.results.total_samples = len(users) * epochs
    whole.samples = []  # those of the shares are whole
    # unfinished it must not end in .eval: Inspect lists hidden files, too
    with tempfile.TemporaryDirectory() as folder, whole_file(out) as unfinished:
        told = Path(folder) / "whole.eval"
        write_eval_log(whole, str(told))
        _compose(shares, told, places, unfinished)


def _check_users(held: Sequence[tuple[str, int]], users: Sequence[str], epochs: int, folder: Path) -> None:
    wanted = {(user, epoch) for user in users for epoch in range(1, epochs + 1)}
    if len(held) == len(wanted) and set(held) == wanted:
        return
    missing, others = len(wanted - set(held)), len(held) - len(wanted & set(held))
    raise RunError(
        f"{folder}: its shares lack {missing} conversations of the task and hold {others} of other users, or "
        "twice: has the task changed since they began? put it back as it was, or delete the folder"
    )


def _compose(shares: Sequence[Path], told: Path, places: dict[str, int], out: Path) -> None:
    summaries: list[Any] = []
    with zipfile.ZipFile(told) as of_all, zipfile.ZipFile(out, "w") as target:
        for share in shares:
            with zipfile.ZipFile(share) as source:
                summaries += json.loads(source.read(SUMMARIES))
                for name in dict.fromkeys(n for n in source.namelist() if n.startswith(SAMPLES)):
                    _put(target, source.getinfo(name), source.read(name))
        summaries.sort(key=lambda one: (one["epoch"], places[str(one["id"])]))
        like = of_all.getinfo("header.json")
        for name in (JOURNALED, SUMMARIES):
            _put(target, zipfile.ZipInfo(name, like.date_time), json.dumps(summaries).encode(), like)
        for name in OF_THE_WHOLE:
            if name in of_all.namelist():
                _put(target, of_all.getinfo(name), of_all.read(name))


def _put(
    target: zipfile.ZipFile, info: zipfile.ZipInfo, data: bytes, like: zipfile.ZipInfo | None = None
) -> None:
    target.writestr(info, data, compress_type=(like or info).compress_type)


def _added(found: Sequence[EvalStats]) -> EvalStats:
    """From the first beginning to the last end, with what all of them used.

    Shares that had ended when another began are of an earlier try, whose time an eval that was continued
    does not count.
    """
    last = max(one.started_at for one in found)
    return EvalStats(
        started_at=min(one.started_at for one in found if one.completed_at >= last),
        completed_at=max(one.completed_at for one in found),
        model_usage=_usage([one.model_usage for one in found]),
        role_usage=_usage([one.role_usage for one in found]),
    )


def _usage(found: Sequence[dict[str, ModelUsage]]) -> dict[str, ModelUsage]:
    added: dict[str, ModelUsage] = {}
    for usage in found:
        for name, one in usage.items():
            added[name] = added[name] + one if name in added else one
    return added
