"""A capture of activations, and steps of LoRA training, as the commands do them."""

import json
import time
import warnings
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import datasets
import torch
from transformers import TrainerCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from benchmarks.providers.on_device.limits import wait
from benchmarks.providers.on_device.random_model import Work, texts
from probes.activations.capture_settings import CaptureSettings
from probes.activations.forward import LoadOptions, load_model
from probes.capture import capture
from training.examples.example import Example
from training.job import Job
from training.settings import Tuning
from training.trainers.scored_places import only_labelled_places
from training.trainers.sft import prepare

BATCH_TOKENS = 8192
STEPS = 4
"""Of training; the first is not counted."""


class Captured(NamedTuple):
    """What a capture took, loading left out."""

    seconds: float
    tokens: int
    rows: int


class Trained(NamedTuple):
    """What a step of training took."""

    seconds: float
    tokens: int
    learnt: int
    """Tokens that the loss is on."""

    rows: int


def captured(folder: Path, model: Path, work: Work) -> Captured:
    """Activations of two layers of made-up conversations."""
    rows = [
        {"id": n, "messages": [{"role": "user", "content": said}, {"role": "assistant", "content": replied}]}
        for n, (said, replied) in enumerate(_pairs(work.captured, work.words))
    ]
    data = folder / "captured.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    layers = work.config["num_hidden_layers"]
    settings = CaptureSettings.model_validate(
        {"model": str(model), "data": str(data), "out": folder / "store", "layers": [layers // 2, layers],
         "batch_tokens": BATCH_TOKENS}
    )  # fmt: skip
    started = time.perf_counter()
    load_model(str(model), LoadOptions())
    loading = time.perf_counter() - started
    started = time.perf_counter()
    done = capture(settings)
    return Captured(time.perf_counter() - started - loading, done.tokens, done.computed)


def lora_step(folder: Path, model: Path, work: Work) -> Trained:
    """Median of some optimizer steps of `training/trainers/sft.py`."""
    pairs = _pairs(work.trained * STEPS, work.words)
    rows = [_example(said, replied) for said, replied in pairs]
    examples = folder / "examples.jsonl"
    examples.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    tuning = Tuning.model_validate({"batch_size": work.trained, "max_length": 4096})
    job = Job(
        base=str(model),
        examples=examples,
        out=folder / "adapter",
        scratch=folder / "scratch",
        tuning=tuning,
        seed=0,
    )
    datasets.disable_progress_bars()
    with warnings.catch_warnings(), only_labelled_places():
        warnings.simplefilter("ignore", FutureWarning)
        prepared = prepare(job, rows)
        steps = _Steps(prepared.trainer.model.device)
        prepared.trainer.add_callback(steps)
        for told in (PrinterCallback, ProgressCallback):
            prepared.trainer.remove_callback(told)
        prepared.trainer.train()
    kept = prepared.trainer.train_dataset
    tokens = sum(len(ids) for ids in kept["input_ids"])
    learnt = sum(label >= 0 for labels in kept["labels"] for label in labels)
    return Trained(median(steps.seconds[1:]), tokens // STEPS, learnt // STEPS, work.trained)


class _Steps(TrainerCallback):
    """Seconds of each."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: list[float] = []
        self._device = device
        self._started = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        wait(self._device)
        self._started = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        wait(self._device)
        self.seconds.append(time.perf_counter() - self._started)


def _pairs(count: int, words: int) -> list[tuple[str, str]]:
    return list(zip(texts(count, words, seed=1), texts(count, words, seed=2), strict=True))


def _example(said: str, replied: str) -> Example:
    nothing: dict[str, Any] = dict.fromkeys(
        ("tools", "log", "sample", "epoch", "turn", "score", "rank", "group", "checkpoint")
    )
    return Example(
        prompt=[{"role": "user", "content": said}],
        completion=[{"role": "assistant", "content": replied}],
        label=True,
        source="made up",
        **nothing,
    )
