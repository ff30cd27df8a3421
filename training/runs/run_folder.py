"""What a run leaves on disk, and how the same command goes on with it.

    <run>/config.yaml               resolved settings; a changed one is refused
    <run>/metrics.jsonl             one line per iteration
    <run>/curves.png, report.html
    <run>/iteration_00/heldout/     log of the evaluation of this iteration's model, on held-out users
                      /rollouts/    log of its conversations with the users of the train split
                      /selection.jsonl, plan.json, examples.jsonl
                      /checkpoint/  what training on them gave; the model of iteration_01
                      /divergence.json, whole.json (what each file was when it was written)
                      /refitted.json, monitor/  a monitor fitted on rollouts/, and what it saw of heldout/
                      /adapter_check.json   does the server heed this iteration's adapter (vllm/)

A file that is there is complete: each is written under another name and renamed.
"""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from scenarios.files.strict_json import read_jsonl
from scenarios.files.whole import write_jsonl, write_text
from training.errors import RunError
from training.launch.run_lock import LOCK, locked
from training.runs.resumption import check_changes, has_begun, read_config
from training.settings import LoopSettings

CONFIG = "config.yaml"
METRICS = "metrics.jsonl"

_MEASURES = ("mean_rating", "rating_gameable", "rating_other", "mean_harm", "harm_gameable", "harm_other")
NUMBERS = (
    *(name + end for name in _MEASURES for end in ("", "_low", "_high")),
    *("n_conversations", "n_scored", "n_unscored", "n_vetoed", "n_selected", "n_examples"),
    *("train_loss", "kl_to_base", "seconds_rollout", "seconds_train"),
)
"""Of what a line of `metrics.jsonl` holds: numbers, or null."""


class Iteration(NamedTuple):
    """Where the parts of one iteration lie."""

    number: int
    folder: Path

    @property
    def heldout(self) -> Path:
        """Folder of the evaluation's log."""
        return self.folder / "heldout"

    @property
    def rollouts(self) -> Path:
        """Folder of the training conversations' log."""
        return self.folder / "rollouts"

    @property
    def selection(self) -> Path:
        """Table of what was selected."""
        return self.folder / "selection.jsonl"

    @property
    def plan(self) -> Path:
        """The arithmetic of the data set."""
        return self.folder / "plan.json"

    @property
    def examples(self) -> Path:
        """Rows that are trained on."""
        return self.folder / "examples.jsonl"

    @property
    def checkpoint(self) -> Path:
        """Weights that training gave."""
        return self.folder / "checkpoint"

    @property
    def divergence(self) -> Path:
        """How far this iteration's model is from the base."""
        return self.folder / "divergence.json"

    @property
    def refitted(self) -> Path:
        """What a monitor that was fitted on the rollouts saw of the evaluation."""
        return self.folder / "refitted.json"

    @property
    def monitor(self) -> Path:
        """Folder of that monitor."""
        return self.folder / "monitor"

    @property
    def scratch(self) -> Path:
        """Of the trainer; gone when it is done."""
        return self.folder / "scratch"

    @property
    def job(self) -> Path:
        """What the trainer is told; gone when it is done."""
        return self.folder / "job.json"

    @property
    def whole(self) -> Path:
        """Digests of what training was given and gave, see `training/runs/integrity.py`."""
        return self.folder / "whole.json"


class RunFolder:
    """The folder of one run, for one process at a time. Made by `opened`.

    Args:
        path: Where it lies.
        settings: Of the run.
        checked: Conversations were held with these very settings, so that they are known to work.
    """

    def __init__(self, path: Path, settings: LoopSettings, *, checked: bool = False) -> None:
        self.path = path
        self.settings = settings
        self.checked = checked

    def iteration(self, number: int) -> Iteration:
        """Places of iteration `number`, from 0."""
        return Iteration(number, self.path / f"iteration_{number:02d}")

    def checkpoint_before(self, number: int) -> Path | None:
        """Checkpoint that is the model of iteration `number`; None for the base."""
        return None if number == 0 else self.iteration(number - 1).checkpoint

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """Lines of `metrics.jsonl`, by iteration.

        Raises:
            RunError: It is damaged; names the line.
        """
        return read_metrics(self.path / METRICS)

    def begin(self) -> None:
        """Write down the settings, and clear away what a killed process left half done."""
        text = yaml.safe_dump(self.settings.model_dump(mode="json"), sort_keys=False)
        write_text(self.path / CONFIG, text)
        _drop_unfinished(self.path)
        for number in range(self.settings.iterations + 1):
            _sweep(self.iteration(number))

    def record(self, row: dict[str, Any]) -> None:
        """Put an iteration's line into `metrics.jsonl`, in the place of one that is there.

        Of a damaged file nothing is kept, as every line is made again from the logs.
        """
        try:
            others = [m for m in self.metrics if m["iteration"] != row["iteration"]]
        except RunError as error:
            print(f"{error}: it is made again from the logs", file=sys.stderr, flush=True)
            others = []
        write_jsonl(self.path / METRICS, sorted([*others, row], key=lambda m: m["iteration"]))


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """Lines of a `metrics.jsonl`; none if it is not there.

    Raises:
        RunError: A line is not one of ours.
    """
    if not file.exists():
        return []
    try:
        rows = read_jsonl(file)
    except ValueError as error:  # of JSON, or of the encoding
        told = str(error)
        raise RunError(told if told.startswith(str(file)) else f"{file}: {told}") from None
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict) or not isinstance(row.get("iteration"), int):
            raise RunError(f"{file}:{number}: expected an object with the number of an iteration")
        train = row.get("train")
        if not isinstance(train, dict | None):
            raise RunError(f"{file}:{number}: train: expected an object or null, got {train!r}")
        for name in NUMBERS:
            for part in (row, train or {}):
                if not isinstance(part.get(name), int | float | None):
                    raise RunError(f"{file}:{number}: {name}: expected a number or null, got {part[name]!r}")
    return rows


@contextmanager
def opened(settings: LoopSettings) -> Iterator[RunFolder]:
    """The run's folder: a new one, or that of the same run, to go on. Nothing is in a new one until `begin`.

    Raises:
        RunError: Another process works in it, it belongs to a run with other settings (names them), or it
            is something else.
    """
    path = settings.run
    if path.exists() and not path.is_dir():
        raise RunError(f"--run {path} is a file")
    if path.is_dir() and any(path.iterdir()) and not (path / CONFIG).exists() and not _only_lock(path):
        raise RunError(f"--run {path} is no folder of a run: it has no {CONFIG}; name an empty or a new one")
    with locked(path):
        changes = check_changes(path / CONFIG, settings) if (path / CONFIG).exists() else []
        if changes:
            print(f"{path}: {', '.join(changes)}; nothing done so far depends on it", flush=True)
        yield RunFolder(path, settings, checked=not changes and has_begun(path))


def read_run(path: Path) -> RunFolder:
    """A run's folder for reading, by its `config.yaml`.

    Raises:
        RunError: It is no folder of a run, or the file is damaged.
    """
    if not (path / CONFIG).exists():
        raise RunError(f"{path} is no folder of a run: it has no {CONFIG}")
    return RunFolder(path, read_config(path / CONFIG))


def _sweep(at: Iteration) -> None:
    """Remove what only a process that was killed leaves.

    The trainer's own state stays while there is no checkpoint, because training goes on from it.
    """
    _drop_unfinished(at.folder)
    shutil.rmtree(at.checkpoint.with_name(f"{at.checkpoint.name}.unfinished"), ignore_errors=True)
    for order in (at.job, at.heldout.with_suffix(".json"), at.rollouts.with_suffix(".json")):
        order.unlink(missing_ok=True)
    for file in (at.divergence.with_suffix(".question.json"), at.folder / "replies.jsonl"):
        file.unlink(missing_ok=True)
    at.refitted.with_suffix(".request.json").unlink(missing_ok=True)
    for folder in (*at.folder.glob(".again-*"), *at.folder.glob("activations-*")):
        shutil.rmtree(folder, ignore_errors=True)
    if at.checkpoint.exists():
        shutil.rmtree(at.scratch, ignore_errors=True)


def _drop_unfinished(folder: Path) -> None:
    for file in folder.glob(".*.unfinished"):
        file.unlink(missing_ok=True)


def _only_lock(path: Path) -> bool:
    return {p.name for p in path.iterdir()} <= {LOCK}
