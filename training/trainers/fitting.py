"""Running one of TRL's trainers: its configuration, resuming, and what came of it."""

import contextlib
import dataclasses
import difflib
import hashlib
import json
import math
import resource
import shutil
import sys
import time
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from peft import PeftModel
from pydantic import ConfigDict, TypeAdapter, ValidationError
from transformers import PreTrainedTokenizerBase, TrainerCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from scenarios.files.whole import write_text
from training.job import Job, Trained
from training.trainers.base_models import CannotTrain, common_arguments, processes, save
from training.trainers.scored_places import only_labelled_places

OURS = {
    "output_dir": "scratch",
    "seed": "seed",
    "max_length": "max_length",
    "num_train_epochs": "passes",
    "learning_rate": "learning_rate",
    "lr_scheduler_type": "schedule",
    "max_grad_norm": "max_grad_norm",
    "per_device_train_batch_size": "device_batch_size",
    "gradient_accumulation_steps": "batch_size and device_batch_size",
    "gradient_checkpointing": "gradient_checkpointing",
    "beta": "beta",
    "undesirable_weight": "target_ratio",
    "num_generations": "generations",
    "report_to": "report_to",
}
"""TRL's options that have a name of their own here."""

Config = TypeVar("Config")


class Prepared(NamedTuple):
    """All that is needed before the first step."""

    trainer: Any
    """One of TRL's, with its data."""

    tokenizer: PreTrainedTokenizerBase
    examples: int
    """Rows, or pairs, that are trained on."""

    left_out: Mapping[str, int]
    """Reason -> rows that are not."""

    recount: Callable[[], tuple[int, Mapping[str, int]]] | None = None
    """`examples` and `left_out` as they turned out, where rows come into being while it trains."""


def configuration(kind: type[Config], job: Job, *, examples: int | None, **own: Any) -> Config:
    """A trainer's configuration: what all share, what the algorithm sets, then `trainer_options`.

    Args:
        kind: TRL's class, e.g. `SFTConfig`.
        job: What is to be trained.
        examples: See `common_arguments`.
        own: Options of the algorithm.

    Raises:
        CannotTrain: A trainer option that does not exist (names the nearest), that has another name here, or
            whose value is of the wrong type.
    """
    fields = {f.name for f in dataclasses.fields(kind)}  # pyright: ignore[reportArgumentType]
    hints = typing.get_type_hints(kind)
    given = {}
    for name, value in job.tuning.trainer_options.items():
        if name in OURS:
            raise CannotTrain(f"trainer_options: {name} is called {OURS[name]} here; set that")
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            told = f"did you mean {near[0]!r}?" if near else "see TRL's documentation"
            raise CannotTrain(f"trainer_options: {kind.__name__} has no option {name!r}; {told}")
        given[name] = _typed(name, value, hints[name])
    quiet = {"disable_tqdm": not sys.stderr.isatty()}
    try:
        return kind(**common_arguments(job, examples=examples) | quiet | own | given)
    except (ValueError, TypeError) as error:
        raise CannotTrain(f"{kind.__name__} refuses its options: {error}") from error


def fit(prepared: Prepared, job: Job) -> Trained:
    """Train, from the trainer's own last checkpoint if there is a whole one, and save.

    Raises:
        CannotTrain: The loss is no longer a number, or the checkpoint cannot be written.
    """
    trainer = prepared.trainer
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    if not trainer.args.disable_tqdm:
        trainer.add_callback(_Bar)
    trainer.add_callback(_Numbers)
    begun = time.perf_counter()
    with trainer.accelerator.main_process_first():
        resumed = last_whole(job)
    with only_labelled_places():
        trainer.train(resume_from_checkpoint=resumed)
    seconds = time.perf_counter() - begun
    history = [_finite(entry) for entry in trainer.state.log_history]
    counted = (prepared.examples, prepared.left_out)
    examples, left_out = prepared.recount() if prepared.recount else counted
    trained = Trained(
        train_loss=_mean_loss(history),
        steps=trainer.state.global_step,
        examples=examples,
        left_out=dict(left_out),
        seconds=seconds,
        tokens=_tokens(history),
        peak_memory_mb=_peak_memory(),
        processes=trainer.accelerator.num_processes,
        history=history,
        kind="adapter" if isinstance(trainer.accelerator.unwrap_model(trainer.model), PeftModel) else "model",
    )
    save(trainer, prepared.tokenizer, job, trained)
    return trained


def last_whole(job: Job) -> str | None:
    """The trainer's own last checkpoint of this very job that was written to its end.

    What another job, or this one on other rows, left in the scratch folder is removed.
    """
    folder = job.scratch / "trainer"
    told = f"{job.model_dump_json()}\n{processes()}\n{hashlib.sha256(job.examples.read_bytes()).hexdigest()}"
    mark = job.scratch / "trainer.job"
    if not mark.exists() or mark.read_text(encoding="utf-8") != told:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)
        write_text(mark, told)
    whole = [c for c in folder.glob("checkpoint-*") if _is_whole(c)]
    return str(max(whole, key=lambda c: int(c.name.rpartition("-")[2]))) if whole else None


def _is_whole(checkpoint: Path) -> bool:
    """The trainer writes its state last."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def _typed(name: str, value: Any, hint: Any) -> Any:
    """A value from the command line is text; TRL's annotations say what it is meant to be."""
    try:
        return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value)
    except ValidationError as error:
        raise CannotTrain(f"trainer_options: {name}={value!r}: {error.errors()[0]['msg']}") from error


class _Bar(ProgressCallback):
    """The progress bar without a line for every step."""

    def on_log(self, *_: Any, **__: Any) -> None:
        pass


class _Numbers(TrainerCallback):
    """Stops at the first loss that is no number, before more time goes into it."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        del control
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            raise CannotTrain(
                f"the loss is {loss} at step {state.global_step}; lower learning_rate "
                f"(now {args.learning_rate:g}) or max_grad_norm, or take dtype=float32"
            )


def _finite(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in entry.items()}


def _mean_loss(history: list[dict[str, Any]]) -> float | None:
    """Mean over the steps: each logged loss is that of the steps since the last one."""
    total, last = 0.0, 0
    for entry in history:
        if entry.get("loss") is not None:
            total += entry["loss"] * (entry["step"] - last)
            last = entry["step"]
    return total / last if last else None


def _tokens(history: list[dict[str, Any]]) -> int | None:
    """Sum over the parts of a training that was resumed; the trainer counts from 0 in each."""
    counts = [entry["num_tokens"] for entry in history if entry.get("num_tokens") is not None]
    ends = [a for a, b in zip(counts, [*counts[1:], 0.0], strict=True) if b < a]
    return int(sum(ends)) if counts else None


def _peak_memory() -> float:
    """In MB, of the device, or of the process where there is none."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
