"""What the miniature's optimizer is worth: Adam, torch's Muon and ours on the same dialogues.

    OMP_NUM_THREADS=2 python benchmarks/miniature/pretraining.py [--dialogues 1600]

Loss is in nats per token of the agent's words, on 200 dialogues that were not trained on.
"""

import argparse
import math
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import DataCollatorForSeq2Seq

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from miniature.corpus import dialogues
from miniature.optimizer import Muon
from miniature.pretrain import BATCH, LEARNING_RATE, MATRIX_LEARNING_RATE, _model, _rows, _tokenizer

WARM_UP = 30
ADAM: dict[str, Any] = {"betas": (0.9, 0.98), "weight_decay": 0.01}

Make = Callable[[list[torch.Tensor], list[torch.Tensor]], list[torch.optim.Optimizer]]

OPTIMIZERS: dict[str, Make] = {
    "Adam, 5e-3": lambda m, o: [torch.optim.AdamW([*m, *o], lr=5e-3, **ADAM)],
    "Adam, 1.5e-2": lambda m, o: [torch.optim.AdamW([*m, *o], lr=1.5e-2, **ADAM)],
    "torch.optim.Muon": lambda m, o: [
        torch.optim.Muon(m, lr=MATRIX_LEARNING_RATE, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(o, lr=LEARNING_RATE, **ADAM),
    ],
    "ours, five steps": lambda m, o: [
        Muon(
            m,
            o,
            lr=MATRIX_LEARNING_RATE,
            adam_lr=LEARNING_RATE,
            weight_decay=0.01,
            coefficients=[(3.4445, -4.7750, 2.0315)] * 5,  # Muon's own
        )
    ],
    "ours": lambda m, o: [Muon(m, o, lr=MATRIX_LEARNING_RATE, adam_lr=LEARNING_RATE, weight_decay=0.01)],
}


def main() -> None:
    """Print a line for each optimizer."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dialogues", type=int, default=1600)
    options = parser.parse_args()
    corpus = dialogues(options.dialogues, seed=0)
    tokenizer = _tokenizer(corpus)
    collate = DataCollatorForSeq2Seq(tokenizer)
    batches = _batches(_rows(corpus, tokenizer))
    unseen = _batches(_rows(dialogues(200, seed=99), tokenizer))
    print(f"{len(corpus)} dialogues, {len(batches)} steps of {BATCH}, {torch.get_num_threads()} threads")
    print(f"{'optimizer':<20}{'loss':>8}{'seconds':>10}")
    for name, make in OPTIMIZERS.items():
        torch.manual_seed(0)
        model = _model(tokenizer)
        started = time.monotonic()
        _train(model, make, batches, collate)
        seconds = time.monotonic() - started
        with torch.inference_mode():
            losses = [_loss(model, collate(batch), "sum") for batch in unseen]
        tokens = sum(label != -100 for batch in unseen for row in batch for label in row["labels"])
        print(f"{name:<20}{sum(map(float, losses)) / tokens:>8.3f}{seconds:>10.1f}", flush=True)


def _batches(rows: Sequence[dict[str, list[int]]]) -> list[list[dict[str, list[int]]]]:
    ordered = sorted(rows, key=lambda row: len(row["input_ids"]))
    batches = [ordered[i : i + BATCH] for i in range(0, len(ordered), BATCH)]
    random.Random(0).shuffle(batches)
    return batches


def _train(model: Any, make: Make, batches: Sequence[Any], collate: Any) -> None:
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    inner = {id(p) for p in matrices}
    optimizers = make(matrices, [p for p in model.parameters() if id(p) not in inner])
    highest = [[group["lr"] for group in o.param_groups] for o in optimizers]
    for step, batch in enumerate(batches):
        share = min(1, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / len(batches)))
        _loss(model, collate(batch), "mean").backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, rates in zip(optimizers, highest, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * share
            optimizer.step()
            optimizer.zero_grad()


def _loss(model: Any, batch: Any, reduction: str) -> torch.Tensor:
    hidden = model.model(input_ids=batch["input_ids"], use_cache=False).last_hidden_state[:, :-1]
    wanted = batch["labels"][:, 1:]
    there = wanted != -100
    return torch.nn.functional.cross_entropy(model.lm_head(hidden[there]), wanted[there], reduction=reduction)


if __name__ == "__main__":
    main()
