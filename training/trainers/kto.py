"""KTO: the best conversations are desirable, the worst not (Ethayarajh et al. 2024, arXiv:2402.01306)."""

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from trl.trainer.kto_config import KTOConfig
from trl.trainer.kto_trainer import KTOTrainer

from training.examples.example import Example
from training.job import Job, Trained
from training.trainers.base_models import (
    CannotTrain,
    divided_batch,
    load_full,
    load_policy,
    load_tokenizer,
    processes,
)
from training.trainers.fitting import Prepared, configuration, fit
from training.trainers.rows import TokenRow, as_text, token_rows, train_on_tokens


def train(job: Job, rows: Sequence[Example]) -> Trained:
    """Fine-tune on labelled rows, and save the checkpoint.

    A desirable row weighs 1, an undesirable one desirable / (undesirable * `target_ratio`), both counted in
    rows. The reference policy is the checkpoint that the job starts from (`reference=moving`, as in
    Williams et al. 2024, arXiv:2411.02306) or the base.

    Raises:
        CannotTrain: One of the labels is missing, a device's batch is too small for the estimate of the
            divergence, or something else that the message tells.
    """
    return fit(prepare(job, rows), job)


def prepare(job: Job, rows: Sequence[Example]) -> Prepared:
    """The trainer with its data. Raises as `train`."""
    device_batch, _ = divided_batch(job)
    if device_batch < 2:
        raise CannotTrain(
            f"kto estimates the divergence within a device's batch, which needs at least 2 examples and has "
            f"{device_batch}; raise batch_size or device_batch_size"
        )
    labelled = [row for row in rows if row["label"] is not None]
    left_out = Counter(unlabelled=len(rows) - len(labelled))
    tokenizer = load_tokenizer(job)
    kept = token_rows(labelled, tokenizer, job, left_out)
    desirable = sum(row.example["label"] is True for row in kept)
    undesirable = len(kept) - desirable
    if not desirable or not undesirable:
        raise CannotTrain(
            f"{job.examples}: kto needs rows of both labels, and has {desirable} desirable and {undesirable} "
            f"undesirable ones that can be trained on; left out: {dict(left_out)}"
        )
    drops = _drops_last(len(kept), device_batch)
    _count_dropped(len(kept), device_batch, drops, job, left_out)
    config = configuration(
        KTOConfig,
        job,
        examples=len(kept),
        max_length=job.tuning.max_length,
        beta=job.tuning.beta,
        undesirable_weight=desirable / (undesirable * job.tuning.target_ratio),
        train_sampling_strategy="sequential",
        dataloader_drop_last=drops,
    )
    model, adapter = load_policy(job)
    ordered = mixed(kept, job.seed)
    trainer = KTOTrainer(
        model=model,
        ref_model=reference_model(job),
        args=config,
        train_dataset=Dataset.from_list([_trl_row(row) for row in ordered]),
        processing_class=tokenizer,
        peft_config=adapter,
    )
    train_on_tokens(trainer, _columns(ordered, device_batch, trainer.train_dataset.column_names))
    refer_to_base(trainer, job)
    return Prepared(trainer, tokenizer, len(kept) - left_out["last_batch"], left_out)


def mixed(rows: Sequence[TokenRow], seed: int) -> list[TokenRow]:
    """Rows in a random order in which every stretch holds about as much of either label as the whole.

    The trainer takes them in this order, because it estimates the divergence from neighbours.
    """
    rng = random.Random(f"{seed}:order")
    placed = []
    for label in (True, False):
        own = [row for row in rows if row.example["label"] is label]
        rng.shuffle(own)
        placed += [((place + rng.random()) / len(own), row) for place, row in enumerate(own)]
    return [row for _, row in sorted(placed, key=lambda pair: pair[0])]


def reference_model(job: Job) -> Any:
    """The reference policy where all weights move; an adapter keeps its own, and None is returned."""
    if job.tuning.tuning != "full":
        return None
    return load_full(job, str(job.start if job.tuning.reference == "moving" and job.start else job.base))


def refer_to_base(trainer: Any, job: Job) -> None:
    """Drop TRL's copy of the adapter, so that the reference is the model without one."""
    if job.tuning.reference == "base" and "ref" in getattr(trainer.model, "peft_config", {}):
        trainer.model.delete_adapter("ref")


def _columns(rows: Sequence[TokenRow], device_batch: int, names: Sequence[str]) -> dict[str, list[list[int]]]:
    """Tokens as TRL keeps them; for its estimate of the divergence each prompt has the reply before it in its
    batch.
    """
    columns = {"prompt_ids": [r.prompt for r in rows], "completion_ids": [r.completion for r in rows]}
    if "KL_completion_ids" not in names:
        return columns
    others: list[list[int]] = []
    for first in range(0, len(rows), device_batch):
        batch = columns["completion_ids"][first : first + device_batch]
        others += [batch[-1], *batch[:-1]]
    return {**columns, "KL_completion_ids": others}


def _trl_row(row: TokenRow) -> dict[str, Any]:
    return as_text(row) | {"label": row.example["label"]}


def _drops_last(count: int, device_batch: int) -> bool:
    """A last batch of one row would be paired with itself; several processes need full ones."""
    return processes() > 1 or count % device_batch == 1


def _count_dropped(count: int, device_batch: int, drops: bool, job: Job, left_out: Counter[str]) -> None:
    at_once = device_batch * processes()
    dropped = count % at_once if drops else 0
    if dropped == count:
        raise CannotTrain(
            f"{job.examples}: {count} rows do not fill one batch of {at_once} over {processes()} processes; "
            "lower batch_size"
        )
    if dropped:
        left_out["last_batch"] = dropped
