"""DPO: best against worst conversations of one initial state (Rafailov et al. 2023, arXiv:2305.18290)."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from training.examples.example import Example
from training.examples.pairs import Reply, pairs_of
from training.job import Job, Trained
from training.trainers.base_models import CannotTrain, load_policy, load_tokenizer
from training.trainers.fitting import Prepared, configuration, fit
from training.trainers.kto import refer_to_base, reference_model
from training.trainers.rows import TokenRow, as_text, token_rows, train_on_tokens


def train(job: Job, rows: Sequence[Example]) -> Trained:
    """Fine-tune on pairs of replies, and save the checkpoint.

    Raises:
        CannotTrain: No pair, or something else that the message tells.
    """
    return fit(prepare(job, rows), job)


def prepare(job: Job, rows: Sequence[Example]) -> Prepared:
    """The trainer with its data. Raises as `train`."""
    labelled = [row for row in rows if row["label"] is not None]
    left_out = Counter(unlabelled=len(rows) - len(labelled))
    tokenizer = load_tokenizer(job)
    pairs = pairs_of(map(reply_in_tokens, token_rows(labelled, tokenizer, job, left_out)), left_out)
    if not pairs:
        raise CannotTrain(
            f"{job.examples}: no best and worst reply to the same prompt: {dict(left_out)}; "
            "select with select_per=state, and with more epochs than one"
        )
    config = configuration(
        DPOConfig, job, examples=len(pairs), max_length=job.tuning.max_length, beta=job.tuning.beta
    )
    model, adapter = load_policy(job)
    trainer = DPOTrainer(
        model=model,
        ref_model=reference_model(job),
        args=config,
        train_dataset=Dataset.from_list([_trl_row(chosen, rejected) for chosen, rejected in pairs]),
        processing_class=tokenizer,
        peft_config=adapter,
    )
    train_on_tokens(
        trainer,
        {
            "prompt_ids": [chosen.prompt for chosen, _ in pairs],
            "chosen_ids": [chosen.completion for chosen, _ in pairs],
            "rejected_ids": [rejected.completion for _, rejected in pairs],
        },
    )
    refer_to_base(trainer, job)
    return Prepared(trainer, tokenizer, len(pairs), left_out)


def reply_in_tokens(row: TokenRow) -> Reply[TokenRow]:
    """A row by its tokens, which are what is trained on."""
    tools = json.dumps(row.example["tools"], sort_keys=True)
    return Reply(row, row.example, (tuple(row.prompt), tools), tuple(row.completion))


def _trl_row(chosen: TokenRow, rejected: TokenRow) -> dict[str, Any]:
    best, worst = as_text(chosen), as_text(rejected)
    return {
        "prompt": best["prompt"],
        "chosen": best["completion"],
        "rejected": worst["completion"],
        "chat_template_kwargs": best["chat_template_kwargs"],
    }
