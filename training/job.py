"""What the trainer, a process of its own, is told: one JSON file; and what it leaves beside the weights."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from training.settings import Tuning

REPORT = "training.json"
"""In the checkpoint's folder: what `Trained` holds."""


class Job(BaseModel):
    """One fine-tuning. Paths are absolute."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str
    """Folder or hub id of the weights that everything started from."""

    revision: str | None = None
    start: Path | None = None
    """Checkpoint of the iteration before: a LoRA adapter's folder, or a full model's. None: the base."""

    chat_template: Path | None = None
    """Jinja file with the chat template that the rollouts used. None: the base's own."""

    thinking: bool | None = None
    """Thoughts were turned on or off in the rollouts. None: as the template has them."""

    template_options: dict[str, Any] = {}
    """Other variables of the template in the rollouts."""

    examples: Path
    """JSONL, see `training/examples/from_logs.py`."""

    out: Path
    """Folder of the checkpoint. Renamed into place when complete; one that is there is never written to."""

    scratch: Path
    """For the trainer's own checkpoints and caches; may be deleted after success."""

    tuning: Tuning
    """`learning_rate` is that of this iteration, the decay applied."""

    seed: int
    report_to: list[str] = []
    run_name: str = ""
    online: dict[str, Any] | None = None
    """grpo_online alone: how to roll out, see `training/trainers/online.py`."""


class Trained(BaseModel):
    """What came of a job."""

    train_loss: float | None
    """Mean over the steps; None if there was no step."""

    steps: int
    examples: int
    """Rows that were trained on."""

    left_out: dict[str, int] = {}
    """Reason -> rows that were not, e.g. `too_long`."""

    seconds: float
    """Of training alone, loading left out."""

    tokens: int | None = None
    """Tokens that went through the model, if the trainer counted them."""

    peak_memory_mb: float | None = None
    """Of the device; of the process on a CPU."""

    processes: int = 1
    history: list[dict[str, Any]] = []
    """The trainer's own log, one entry per logged step."""

    kind: Literal["adapter", "model"]


def read_trained(checkpoint: Path) -> Trained:
    """What came of the job that made a checkpoint.

    Raises:
        FileNotFoundError: It is no checkpoint of ours.
    """
    return Trained.model_validate(json.loads((checkpoint / REPORT).read_text(encoding="utf-8")))
