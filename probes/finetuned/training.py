"""Fits and scores baselines, with transformers' Trainer."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import PrinterCallback, Trainer, TrainingArguments
from transformers.trainer_utils import set_seed

from probes.activations.forward import batches
from probes.finetuned.rows import TokenizedSet
from probes.finetuned.settings import FitSettings


class Fitted(NamedTuple):
    """How a fit went."""

    loss: float
    """Mean over the steps, nats."""

    steps: int
    seconds: float


class _Rows(Dataset[dict[str, Any]]):
    """Rows as the collator takes them: tokens, or states, with a label."""

    def __init__(self, inputs: Sequence[Any], labels: np.ndarray) -> None:
        self._inputs, self._labels = inputs, labels

    def __len__(self) -> int:
        return len(self._inputs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"inputs": self._inputs[index], "labels": float(self._labels[index])}


class Collator:
    """Puts rows side by side, padded on the right.

    Args:
        pad: Token of the padding.
    """

    def __init__(self, pad: int) -> None:
        self.pad = pad

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """`input_ids` [rows, tokens] or `inputs_embeds` [rows, tokens, hidden], mask, labels [rows, 1]."""
        batch = self.inputs([row["inputs"] for row in rows])
        return batch | {"labels": torch.tensor([[row["labels"]] for row in rows])}

    def inputs(self, rows: Sequence[Any]) -> dict[str, torch.Tensor]:
        """The same without labels."""
        longest = max(len(row) for row in rows)
        mask = torch.zeros(len(rows), longest, dtype=torch.long)
        for place, row in enumerate(rows):
            mask[place, : len(row)] = 1
        if isinstance(rows[0], torch.Tensor):
            states = rows[0].new_zeros(len(rows), longest, rows[0].shape[1])
            for place, row in enumerate(rows):
                states[place, : len(row)] = row
            return {"inputs_embeds": states, "attention_mask": mask}
        ids = torch.full((len(rows), longest), self.pad, dtype=torch.long)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = torch.from_numpy(row).long()
        return {"input_ids": ids, "attention_mask": mask}


def train(
    model: Any, inputs: Sequence[Any], labels: np.ndarray, settings: FitSettings, pad: int, *, progress: bool
) -> Fitted:
    """Fit all weights of a network that are free.

    Args:
        model: The network, changed.
        inputs: [rows]: token ids [tokens], or states [tokens, hidden].
        labels: [rows], 0 or 1.
        settings: Of the training.
        pad: Token of the padding.
        progress: Show a bar.
    """
    started = time.monotonic()
    arguments = TrainingArguments(
        output_dir=str(settings.out / "trainer"),
        num_train_epochs=settings.epochs,
        learning_rate=settings.rate,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation,
        warmup_steps=settings.warmup,
        weight_decay=settings.weight_decay,
        seed=settings.seed,
        data_seed=settings.seed,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        remove_unused_columns=False,
        label_names=["labels"],
        disable_tqdm=not progress,
        use_cpu=device_called(settings.device).type == "cpu",
        bf16=settings.autocast,
        dataloader_pin_memory=False,
    )
    trainer = Trainer(
        model=model, args=arguments, train_dataset=_Rows(inputs, labels), data_collator=Collator(pad)
    )
    trainer.remove_callback(PrinterCallback)  # it writes to stdout
    done = trainer.train()
    return Fitted(done.training_loss, done.global_step, time.monotonic() - started)


@torch.inference_mode()
def logits_of(
    model: Any,
    data: TokenizedSet,
    inputs: Sequence[Any],
    pad: int,
    batch_tokens: int,
    *,
    autocast: bool = False,
) -> tuple[np.ndarray, float]:
    """[rows], float64, and the seconds that it took. Rows of like length go through it together."""
    device = next(model.parameters()).device
    collate, logits = Collator(pad), np.zeros(len(data.rows))
    model.eval()
    started = time.monotonic()
    for places in batches([len(own) for own in inputs], batch_tokens):
        batch = collate.inputs([inputs[place] for place in places])
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            output = model(**{name: value.to(device) for name, value in batch.items()})
        logits[places] = output.logits[:, 0].double().cpu().numpy()
    return logits, time.monotonic() - started


def padding_token(rows: Iterator[np.ndarray] | Sequence[np.ndarray], own: int | None, vocabulary: int) -> int:
    """The tokenizer's own, or else another token that no row has.

    A classifier takes the last token that is no padding; a padding that ends turns too would hide them.

    Args:
        rows: Token ids.
        own: The tokenizer's; None if it has none.
        vocabulary: Tokens that there are.

    Raises:
        ValueError: The rows have every token.
    """
    used = {int(token) for ids in rows for token in np.unique(ids)}
    if own is not None and own not in used:
        return own
    free = next((token for token in range(vocabulary) if token not in used), None)
    if free is None:
        raise ValueError("no token is left for padding: the rows have all of them")
    return free


def device_called(name: str) -> torch.device:
    """The device of this name; `auto` the best there is."""
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def slow_autocast(settings: FitSettings) -> str | None:
    """Why products in bfloat16 will be slow; None if they are not asked for, or the device has them."""
    # private, and the same on every kind of CPU; should it be gone, nobody is warned
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    if not settings.autocast or device_called(settings.device).type != "cpu" or supported():
        return None
    return (
        "--autocast: this CPU has no bfloat16 arithmetic and imitates it, which took fifty times as long as "
        "float32 on one; leave the option out here"
    )


def seeded(seed: int) -> None:
    """New weights, order and dropout follow from the seed."""
    set_seed(seed)


def trainer_folder(out: Path) -> Path:
    """What the Trainer writes to on its way; nothing of it is kept."""
    return out / "trainer"
