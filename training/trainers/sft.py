"""Expert iteration: supervised fine-tuning on the best (Anthony et al. 2017, arXiv:1705.08439)."""

from collections import Counter
from collections.abc import Sequence

from datasets import Dataset
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from training.examples.example import Example
from training.job import Job, Trained
from training.trainers.base_models import CannotTrain, load_policy, load_tokenizer
from training.trainers.fitting import Prepared, configuration, fit
from training.trainers.rows import TokenRow, token_rows

IGNORED = -100
"""Label of a token that the loss is not on."""


def train(job: Job, rows: Sequence[Example]) -> Trained:
    """Fine-tune on the rows whose label is True, and save the checkpoint.

    The loss is the mean over all tokens of a step that the agent wrote.

    Raises:
        CannotTrain: No such row, or something else that the message tells.
    """
    return fit(prepare(job, rows), job)


def prepare(job: Job, rows: Sequence[Example]) -> Prepared:
    """The trainer with its data. Raises as `train`."""
    best = [row for row in rows if row["label"] is True]
    if not best:
        raise CannotTrain(
            f"{job.examples}: ei trains on rows with label true, and none of {len(rows)} has it"
        )
    left_out = Counter(not_best=len(rows) - len(best))
    tokenizer = load_tokenizer(job)
    kept = token_rows(best, tokenizer, job, left_out)
    # before the model is loaded: see load_policy
    config = configuration(SFTConfig, job, examples=len(kept), max_length=job.tuning.max_length)
    model, adapter = load_policy(job)
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list([_labelled(row) for row in kept]),
        processing_class=tokenizer,
        peft_config=adapter,
    )
    return Prepared(trainer, tokenizer, len(kept), left_out)


def _labelled(row: TokenRow) -> dict[str, list[int]]:
    return {
        "input_ids": row.prompt + row.completion,
        "labels": [IGNORED] * len(row.prompt) + row.completion,
    }
