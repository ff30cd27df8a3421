"""What a run leaves on disk, and how the same command goes on with it.

    <run>/config.yaml               resolved settings; a changed one is refused
    <run>/metrics.jsonl             one line per iteration
    <run>/curves.png, report.html
    <run>/iteration_00/heldout/     log of the evaluation of this iteration's model, on held-out users
                      /rollouts/    log of its conversations with the users of the train split
                      /selection.jsonl, plan.json, examples.jsonl
                      /checkpoint/  what training on them gave; the model of iteration_01
                      /divergence.json

A file that is there is complete: each is written under another name and renamed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from filelock import FileLock, Timeout

from scenarios.located_yaml import read_yaml
from training.files import read_jsonl, write_jsonl, write_text
from training.policies import RunError
from training.settings import Settings

CONFIG = "config.yaml"
METRICS = "metrics.jsonl"

FREE = {"run", "report_to", "push_to_hub", "max_connections", "model_base_url", "launcher"}
"""Settings that change no number, and so may change when a run is taken up again."""


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
    def scratch(self) -> Path:
        """Of the trainer; gone when it is done."""
        return self.folder / "scratch"


class RunFolder:
    """The folder of one run, for one process at a time. Made by `opened`."""

    def __init__(self, path: Path, settings: Settings) -> None:
        self.path = path
        self.settings = settings

    def iteration(self, number: int) -> Iteration:
        """Places of iteration `number`, from 0."""
        return Iteration(number, self.path / f"iteration_{number:02d}")

    def checkpoint_before(self, number: int) -> Path | None:
        """Checkpoint that is the model of iteration `number`; None for the base."""
        return None if number == 0 else self.iteration(number - 1).checkpoint

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """Lines of `metrics.jsonl`, by iteration."""
        path = self.path / METRICS
        return read_jsonl(path) if path.exists() else []

    def record(self, row: dict[str, Any]) -> None:
        """Put an iteration's line into `metrics.jsonl`, in the place of one that is there."""
        others = [m for m in self.metrics if m["iteration"] != row["iteration"]]
        write_jsonl(self.path / METRICS, sorted([*others, row], key=lambda m: m["iteration"]))


@contextmanager
def opened(settings: Settings) -> Iterator[RunFolder]:
    """The run's folder: a new one, or that of the same run, to go on.

    Raises:
        RunError: Another process works in it, it belongs to a run with other settings (names them), or it
            is something else.
    """
    path = settings.run
    if path.exists() and not path.is_dir():
        raise RunError(f"--run {path} is a file")
    if path.is_dir() and any(path.iterdir()) and not (path / CONFIG).exists() and not _only_lock(path):
        raise RunError(f"--run {path} is no folder of a run: it has no {CONFIG}; name an empty or a new one")
    path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunError(f"another process works in {path}; wait for it, or give another --run") from None
    try:
        if (path / CONFIG).exists():
            _check_same(path, settings)
        write_text(path / CONFIG, yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False))
        yield RunFolder(path, settings)
    finally:
        lock.release()


def read_run(path: Path) -> RunFolder:
    """A run's folder for reading, by its `config.yaml`.

    Raises:
        RunError: It is no folder of a run.
    """
    if not (path / CONFIG).exists():
        raise RunError(f"{path} is no folder of a run: it has no {CONFIG}")
    return RunFolder(path, Settings.model_validate(read_yaml(path / CONFIG).data | {"run": path}))


def _only_lock(path: Path) -> bool:
    return {p.name for p in path.iterdir()} <= {".lock"}


def _check_same(path: Path, settings: Settings) -> None:
    before = read_yaml(path / CONFIG).data
    now = settings.model_dump(mode="json")
    changed = [key for key in now if key not in FREE and before.get(key) != now[key]]
    if "iterations" in changed and now["iterations"] > before.get("iterations", 0):
        changed.remove("iterations")  # more of the same is the same run, made longer
    if changed:
        told = ", ".join(f"{key}={before.get(key)!r}, now {now[key]!r}" for key in changed)
        raise RunError(f"{path} was started with {told}; give the same, or another --run")
