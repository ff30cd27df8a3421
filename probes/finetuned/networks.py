"""The networks of baselines: classifiers by all weights or LoRA, and the last block with a head."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModel, AutoModelForSequenceClassification, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils import logging

from probes.activations.forward import transformer_blocks
from probes.activations.weights import WeightsError
from probes.finetuned.settings import FitSettings, Kind
from providers.causal_models import loading_bar

NEARLY = 1e-3
"""Share of their spread by which states of the last block alone may differ from those of the whole model."""

BLOCK_WEIGHTS = "last_block.safetensors"


class LastBlock(nn.Module):
    """The last block of a model with what comes after it, and a linear head on the last token.

    Args:
        model: Without head.
        alone: It is given the states before its last block, and has no other; else it is given token ids, and
            runs whole.
    """

    def __init__(self, model: PreTrainedModel, *, alone: bool) -> None:
        super().__init__()
        self.model, self.alone = model, alone
        hidden = int(model.config.get_text_config().hidden_size)
        self.head = nn.Linear(hidden, 1, dtype=next(model.parameters()).dtype)

    def forward(
        self,
        attention_mask: torch.Tensor,
        input_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
    ) -> SequenceClassifierOutput:
        """Logits [rows, 1] and the loss.

        Args:
            attention_mask: [rows, tokens]; padding is on the right.
            input_ids: [rows, tokens].
            inputs_embeds: [rows, tokens, hidden], states before the last block.
            labels: [rows, 1], 0 or 1.
        """
        given = {"inputs_embeds": inputs_embeds} if self.alone else {"input_ids": input_ids}
        states = self.model(attention_mask=attention_mask, **given).last_hidden_state
        last = attention_mask.sum(1) - 1
        logits = self.head(states[torch.arange(len(last), device=last.device), last])
        loss = None
        if labels is not None:
            loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), labels.float())
        return SequenceClassifierOutput(loss=cast(Any, loss), logits=cast(Any, logits))

    def trained(self) -> dict[str, torch.Tensor]:
        """The weights that are fitted, by name."""
        return {name: weight for name, weight in self.named_parameters() if weight.requires_grad}


class Network(NamedTuple):
    """What is fitted, and what it is given."""

    model: Any
    states: list[torch.Tensor] | None
    """[rows][tokens, hidden] that it is given in place of tokens; None: it is given tokens."""


def classifier(settings: FitSettings, pad: int) -> Any:
    """A model for sequence classification, all of whose weights, or whose adapters, are fitted.

    Args:
        settings: See there.
        pad: Token that no row has: the classifier takes the last other token.

    Raises:
        WeightsError: transformers has no sequence classification for this model; LoRA does not fit it.
    """
    from peft import LoraConfig, TaskType, get_peft_model

    model = _load(AutoModelForSequenceClassification, settings, num_labels=1)
    model.config.pad_token_id = pad
    model.config.get_text_config().pad_token_id = pad
    model.config.problem_type = "multi_label_classification"  # of one label: a logit with cross-entropy
    if settings.kind == "full":
        return model
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules="all-linear",
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise WeightsError(f"--kind lora: {settings.model}: {error}") from error


def last_block(settings: FitSettings) -> LastBlock:
    """A model whose last block, norm and head are fitted, and all else is as it was."""
    model = _load(AutoModel, settings)
    model.config.get_text_config().use_cache = False  # it has a place for every block, and one may be left
    model.requires_grad_(False)
    blocks = transformer_blocks(model)
    blocks[-1].requires_grad_(True)
    for name, module in model.named_children():
        # what comes after the blocks: the final norm
        if module is not blocks and "norm" in name.lower():
            module.requires_grad_(True)
    return LastBlock(model, alone=False)


def block_alone(network: LastBlock, rows: Sequence[np.ndarray], device: torch.device) -> bool:
    """Reduce a network to its last block, if that then does what it did in the whole; else leave it as it is.

    A model that adds positions or scales to what it is given does not.

    Args:
        network: Whole; it is changed.
        rows: Token ids of one or two rows, by which it is tried.
        device: Of the model.
    """
    model = network.model
    network.eval()
    before = states_before_last(network, rows, device)
    with torch.inference_mode():
        whole = [_final(model, device, input_ids=torch.from_numpy(ids).long()[None]) for ids in rows]
    blocks = transformer_blocks(model)
    kept, config = list(blocks), model.config.get_text_config()
    was = {name: getattr(config, name, None) for name in ("num_hidden_layers", "layer_types")}
    del blocks[:-1]
    config.num_hidden_layers = 1
    if was["layer_types"] is not None:
        config.layer_types = was["layer_types"][-1:]
    try:
        with torch.inference_mode():
            alone = [_final(model, device, inputs_embeds=states[None].to(device)) for states in before]
        same = all(
            float((a - b).abs().max()) <= NEARLY * float(a.float().std())
            for a, b in zip(whole, alone, strict=True)
        )
    except (IndexError, KeyError, RuntimeError, TypeError, ValueError):
        same = False
    if not same:
        for place, block in enumerate(kept[:-1]):
            blocks.insert(place, block)
        for name, value in was.items():
            if value is not None:
                setattr(config, name, value)
    network.alone = same
    return same


def states_before_last(
    network: LastBlock, rows: Sequence[np.ndarray], device: torch.device, *, autocast: bool = False
) -> list[torch.Tensor]:
    """[rows][tokens, hidden] on the CPU: what the last block is given of each row. The network is whole."""
    held: list[torch.Tensor] = []

    def take(block: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        del block
        held.append((given[0] if given else named["hidden_states"])[0].cpu().clone())

    hook = transformer_blocks(network.model)[-1].register_forward_pre_hook(take, with_kwargs=True)
    try:
        # not inference mode: these states are trained on
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            for ids in rows:
                _final(network.model, device, input_ids=torch.from_numpy(ids).long()[None])
    finally:
        hook.remove()
    return held


def load_trained(kind: Kind, folder: Path, settings: FitSettings, pad: int) -> Any:
    """A network as it was saved.

    Raises:
        WeightsError: Weights that do not fit the model.
    """
    if kind == "full":
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=getattr(torch, settings.dtype)
        )
        return model.eval()
    if kind == "lora":
        from peft import PeftModel

        base = _load(AutoModelForSequenceClassification, settings, num_labels=1)
        base.config.pad_token_id = pad
        base.config.get_text_config().pad_token_id = pad
        return PeftModel.from_pretrained(base, str(folder)).eval()
    network = last_block(settings)
    saved, own = load_file(folder / BLOCK_WEIGHTS), network.trained()
    if set(saved) != set(own) or any(saved[name].shape != own[name].shape for name in own):
        raise WeightsError(f"{folder / BLOCK_WEIGHTS} does not fit {settings.model}: it is of another model")
    network.load_state_dict(saved, strict=False)
    return network.eval()


def _final(model: Any, device: torch.device, **given: torch.Tensor) -> torch.Tensor:
    (first,) = given.values()
    mask = torch.ones(first.shape[:2], dtype=torch.long, device=device)
    given = {name: value.to(device) for name, value in given.items()}
    return model(attention_mask=mask, **given).last_hidden_state


def _load(loader: Any, settings: FitSettings, **more: Any) -> Any:
    shown = logging.get_verbosity()
    logging.set_verbosity_error()  # that the head is new is meant
    try:
        with loading_bar(shown=False):
            return loader.from_pretrained(
                settings.model, revision=settings.revision, dtype=getattr(torch, settings.dtype), **more
            )
    except (OSError, ValueError) as error:
        raise WeightsError(f"--model {settings.model}: {str(error).splitlines()[0]}") from error
    finally:
        logging.set_verbosity(shown)
