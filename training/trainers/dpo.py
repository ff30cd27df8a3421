"""DPO: best against worst conversations of one initial state (Rafailov et al. 2023, arXiv:2305.18290)."""

import json
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, NamedTuple

from datasets import Dataset
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from training.examples.from_logs import Example
from training.job import Job, Trained
from training.trainers.base_models import CannotTrain, load_policy, load_tokenizer
from training.trainers.fitting import Prepared, configuration, fit
from training.trainers.kto import refer_to_base, reference_model
from training.trainers.rows import TokenRow, as_text, token_rows, train_on_tokens


class Pair(NamedTuple):
    """Two replies to the same prompt."""

    chosen: TokenRow
    rejected: TokenRow


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
    pairs = pairs_of(token_rows(labelled, tokenizer, job, left_out), left_out)
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
        train_dataset=Dataset.from_list([_trl_row(pair) for pair in pairs]),
        processing_class=tokenizer,
        peft_config=adapter,
    )
    train_on_tokens(
        trainer,
        {
            "prompt_ids": [pair.chosen.prompt for pair in pairs],
            "chosen_ids": [pair.chosen.completion for pair in pairs],
            "rejected_ids": [pair.rejected.completion for pair in pairs],
        },
    )
    refer_to_base(trainer, job)
    return Prepared(trainer, tokenizer, len(pairs), left_out)


def pairs_of(rows: Sequence[TokenRow], left_out: Counter[str]) -> list[Pair]:
    """Best and worst conversations of a state, joined where the agent first spoke differently.

    The best is joined with the worst, the second best with the second worst, and so on. Up to the reply
    that is trained on, the two conversations are the same, word for word.

    Args:
        rows: With labels. Rows of static data are joined by their prompt.
        left_out: Counts rows that are in no pair: `no_partner` (more of one label than of the other in this
            state), `tie` (conversations with the same score), `other_prompt` (the conversations part
            before the agent speaks differently), `same_reply` (they never do), `around_the_pair` (turns
            before and after it).
    """
    pairs = []
    for best, worst in _joined(rows, left_out):
        size = len(best) + len(worst)
        scores = (best[0].example["score"], worst[0].example["score"])
        if None not in scores and scores[0] == scores[1]:
            left_out["tie"] += size
            continue
        found = _first_difference(best, worst)
        if isinstance(found, str):
            left_out[found] += size
        else:
            pairs.append(found)
            left_out["around_the_pair"] += size - 2
    if not left_out["around_the_pair"]:
        del left_out["around_the_pair"]
    return pairs


def _joined(
    rows: Iterable[TokenRow], left_out: Counter[str]
) -> Iterable[tuple[list[TokenRow], list[TokenRow]]]:
    states: dict[Hashable, dict[Hashable, list[TokenRow]]] = defaultdict(lambda: defaultdict(list))
    for number, row in enumerate(rows):
        e = row.example
        static = e["sample"] is None
        state = (e["source"], row.text.prompt) if static else (e["source"], e["sample"])
        states[state][number if static else (e["log"], e["epoch"])].append(row)
    for state in states.values():
        conversations = [sorted(c, key=lambda row: row.example["turn"] or 0) for c in state.values()]
        ranked = sorted(conversations, key=lambda c: c[0].example["rank"] or 0)
        best = [c for c in ranked if c[0].example["label"]]
        worst = [c for c in reversed(ranked) if not c[0].example["label"]]
        count = min(len(best), len(worst))
        if spare := sum(map(len, best[count:] + worst[count:])):
            left_out["no_partner"] += spare
        yield from zip(best[:count], worst[:count], strict=True)


def _first_difference(best: Sequence[TokenRow], worst: Sequence[TokenRow]) -> Pair | str:
    """The first turn with different replies to the same prompt, or why there is none."""
    for chosen, rejected in zip(best, worst, strict=False):
        if chosen.example["turn"] != rejected.example["turn"] or _seen(chosen) != _seen(rejected):
            return "other_prompt"
        if chosen.completion != rejected.completion:
            return Pair(chosen, rejected)
    return "same_reply"


def _seen(row: TokenRow) -> tuple[list[int], str]:
    return row.prompt, json.dumps(row.example["tools"], sort_keys=True)


def _trl_row(pair: Pair) -> dict[str, Any]:
    chosen, rejected = as_text(pair.chosen), as_text(pair.rejected)
    return {
        "prompt": chosen["prompt"],
        "chosen": chosen["completion"],
        "rejected": rejected["completion"],
        "chat_template_kwargs": chosen["chat_template_kwargs"],
    }
