"""The loop's metrics in a tracker: Weights & Biases, trackio or TensorBoard. None of them is needed.

The trainer's own curves go to the same trackers by TRL, one tracked run for each iteration. What stands here
is the run as a whole: a point for each iteration, and a table of conversations.
"""

import hashlib
import importlib
import json
import re
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from analysis.trajectories import Trajectory, read_trajectories
from scenarios.files.whole import write_json
from training.errors import RunError
from training.reporting.conversations import Conversation, finished_log_in, read_conversation, spoken_text
from training.reporting.credentials import without_secrets
from training.settings import LoopSettings

PROJECT = "inspect-influence"

STATE = "tracking.json"
"""In the run folder: the id of the tracked run, and which lines each tracker has already."""

ID = "id"

CONVERSATIONS = 16
"""Conversations of an iteration that are shown, half with the highest and half with the lowest rating."""

COLUMNS = ("topic", "user", "rating", "harm", "conversation", "sample", "epoch", "log")

NEEDED: dict[str, tuple[tuple[str, ...], str]] = {
    "wandb": (("wandb",), "pip install wandb"),
    "trackio": (("trackio",), "pip install 'trackio>=0.43'"),
    "tensorboard": (("torch.utils.tensorboard",), "pip install tensorboard"),
}
"""Tracker -> modules that it needs, and how to get them."""


def check_trackers(names: Sequence[str]) -> None:
    """Load the packages that the named trackers need.

    Raises:
        RunError: One is not installed, or there is no such tracker; says what to do.
    """
    for name in names:
        if name not in NEEDED:
            raise RunError(f"report_to: no tracker {name!r}; there are {', '.join(NEEDED)}")
        modules, command = NEEDED[name]
        for module in modules:
            try:
                importlib.import_module(module)
            except ImportError as error:
                raise RunError(f"report_to: {name} is not installed ({error}); {command}") from error


class Point(NamedTuple):
    """What one iteration gives a tracker."""

    iteration: int
    scalars: dict[str, float]
    conversations: list[tuple[Any, ...]]
    """Rows of `COLUMNS`."""


class Sink(Protocol):
    """One tracker."""

    def write(self, point: Point) -> None:
        """Log an iteration; one that was logged before may come again with more numbers."""
        ...

    def close(self) -> None:
        """Flush and end."""
        ...


class Tracker:
    """Sends lines of `metrics.jsonl` to the trackers of `settings.report_to`.

    The same run folder with the same settings goes on in the same tracked run; lines that a tracker has
    already are not sent again. Nothing is loaded if no tracker is named.

    Args:
        settings: Of the run. They are logged with secrets masked.
        run: Folder of the run.
    """

    def __init__(self, settings: LoopSettings, run: Path) -> None:
        self.run = run
        self.settings = settings
        identity = run_id(run) if settings.report_to else ""
        self._state = _read_state(run) if settings.report_to else {}
        config = without_secrets(settings.model_dump(mode="json"))
        self._sinks: dict[str, Sink] = {
            name: SINKS[name](run, identity, config) for name in dict.fromkeys(settings.report_to)
        }

    def log(self, row: Mapping[str, Any]) -> None:
        """Send one line of `metrics.jsonl` and conversations of the iteration's held-out log."""
        told = hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()
        number = str(row["iteration"])
        waiting = [name for name in self._sinks if self._state.get(name, {}).get(number) != told]
        if not waiting:
            return
        point = Point(row["iteration"], dict(_scalars(row)), self._conversations(row["iteration"]))
        for name in waiting:
            self._sinks[name].write(point)
            self._state.setdefault(name, {})[number] = told
            write_json(self.run / STATE, {ID: run_id(self.run)} | self._state)

    def close(self) -> None:
        """End the tracked run; what is not sent yet is sent."""
        for sink in self._sinks.values():
            sink.close()

    def _conversations(self, iteration: int) -> list[tuple[Any, ...]]:
        log = finished_log_in(self.run / f"iteration_{iteration:02d}" / "heldout")
        if log is None:
            return []
        trajectories = read_trajectories(log, rating=self.settings.score, harm=self.settings.harm_score)
        return [
            _table_row(t, read_conversation(log, t.sample, t.epoch), log.relative_to(self.run))
            for t in _shown(trajectories)
        ]


def run_id(run: Path) -> str:
    """Name of the tracked run: that of the run folder, and chance.

    It is drawn when the folder is first tracked and kept in it. So a run that is taken up again goes on where
    it was, and a new one is another, though its folder has the name of one that is gone, or of one elsewhere.
    """
    known = _state_file(run).get(ID)
    if isinstance(known, str):
        return known
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", run.resolve().name).strip("-") or "run"
    drawn = f"{name[:80]}-{secrets.token_hex(5)}"
    write_json(run / STATE, _state_file(run) | {ID: drawn})
    return drawn


def _shown(trajectories: Sequence[Trajectory]) -> list[Trajectory]:
    """Those with the highest and the lowest rating."""
    rated = sorted(
        (t for t in trajectories if t.rating == t.rating), key=lambda t: (-t.rating, t.sample, t.epoch)
    )
    if len(rated) <= CONVERSATIONS:
        return rated
    return rated[: CONVERSATIONS // 2] + rated[-CONVERSATIONS // 2 :]


def _table_row(trajectory: Trajectory, conversation: Conversation, log: Path) -> tuple[Any, ...]:
    return (
        trajectory.topic,
        "gameable" if trajectory.gameable else "other",
        round(trajectory.rating, 3),
        round(trajectory.harm, 3) if trajectory.harm == trajectory.harm else "unscored",
        spoken_text(conversation.messages),
        trajectory.sample,
        trajectory.epoch,
        log.as_posix(),
    )


def _scalars(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Numbers of a line; those of a nested part as `part/name`. What is null is left out."""
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from _scalars(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{name}", float(value)


def _read_state(run: Path) -> dict[str, dict[str, str]]:
    """Tracker -> iteration -> digest of the line that it has."""
    return {name: sent for name, sent in _state_file(run).items() if isinstance(sent, dict)}


def _state_file(run: Path) -> dict[str, Any]:
    """What is known of the tracked run; nothing if the file is damaged, so that all is sent again."""
    try:
        found = json.loads((run / STATE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        print(f"{run / STATE} is damaged; the trackers get a new run with all of it", file=sys.stderr)
        return {}
    return found if isinstance(found, dict) else {}


class _Wandb:
    """Offline with WANDB_MODE=offline; then `wandb sync` sends what lies in the run folder."""

    def __init__(self, run: Path, identity: str, config: Mapping[str, Any]) -> None:
        import wandb  # pyright: ignore[reportMissingImports]

        self._wandb: Any = wandb
        self._run: Any = wandb.init(
            project=PROJECT,
            id=identity,
            name=run.name,
            resume="allow",
            config=dict(config),
            dir=str(run),
            # the command line and the console may hold what the settings mask
            settings=wandb.Settings(console="off", disable_git=True, save_code=False, x_disable_meta=True),
        )
        self._run.define_metric("iteration")
        self._run.define_metric("*", step_metric="iteration")

    def write(self, point: Point) -> None:
        values: dict[str, Any] = dict(point.scalars)
        if point.conversations:
            values["conversations"] = self._wandb.Table(
                columns=list(COLUMNS), data=[[str(cell) for cell in row] for row in point.conversations]
            )
        self._run.log(values)

    def close(self) -> None:
        self._run.finish()


class _Trackio:
    """Local unless TRACKIO_SPACE_ID or TRACKIO_SERVER_URL says otherwise."""

    def __init__(self, run: Path, identity: str, config: Mapping[str, Any]) -> None:
        del run
        import trackio  # pyright: ignore[reportMissingImports]

        self._trackio: Any = trackio
        self._run: Any = trackio.init(
            project=PROJECT, name=identity, resume="allow", config=dict(config), embed=False
        )

    def write(self, point: Point) -> None:
        values: dict[str, Any] = dict(point.scalars)
        if point.conversations:
            values["conversations"] = self._trackio.Table(
                columns=list(COLUMNS), data=[list(row) for row in point.conversations]
            )
        self._run.log(values, step=point.iteration)

    def close(self) -> None:
        self._run.finish()


class _TensorBoard:
    """Event files in `<run>/tensorboard/<id>`."""

    def __init__(self, run: Path, identity: str, config: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        folder = run / "tensorboard" / identity
        begun = folder.exists()
        self._writer: Any = SummaryWriter(log_dir=str(folder))
        if not begun:
            told = json.dumps(config, indent=1, ensure_ascii=False)
            self._writer.add_text("config", _as_code(told), 0)

    def write(self, point: Point) -> None:
        for name, value in point.scalars.items():
            self._writer.add_scalar(name, value, point.iteration)
        for place, row in enumerate(point.conversations):
            facts = "\n".join(f"{name}: {value}" for name, value in zip(COLUMNS, row, strict=True))
            self._writer.add_text(f"conversations/{place:02d}", _as_code(facts), point.iteration)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


SINKS: dict[str, Any] = {"wandb": _Wandb, "trackio": _Trackio, "tensorboard": _TensorBoard}


def _as_code(text: str) -> str:
    """Markdown that shows the text as it stands: what models wrote is not to be rendered."""
    return "\n".join(f"    {line}" for line in text.splitlines())
