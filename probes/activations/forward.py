"""Activations of whole rows: one pass for all layers, up to the last one, without head and cache."""

import inspect
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedModel

from probes.activations.capture_spec import Point
from probes.activations.weights import ADAPTER_WEIGHTS, WeightsError
from providers.causal_models import loader_of, loading_bar

INPUT_NORMS = (
    "input_layernorm",
    "ln_1",
    "self_attn_layer_norm",
    "attention_norm",
    "norm_1",
    "layernorm_before",
)
"""What architectures call the norm between the residual stream and a block's attention."""

MAX_PADDING = 0.1


class ActivationError(ValueError):
    """Activations that cannot be stored.

    Attributes:
        row: Number of the row in its batch.
    """

    def __init__(self, row: int, message: str) -> None:
        super().__init__(message)
        self.row = row


class TokenRow(NamedTuple):
    """What goes through the model, and of which tokens the activations are kept."""

    token_ids: np.ndarray
    """[tokens], int32."""

    kept: np.ndarray
    """[kept], int64: positions, ascending, at least one."""


class LoadOptions(NamedTuple):
    """How a model is loaded."""

    revision: str | None = None
    adapter: Path | None = None
    dtype: torch.dtype = torch.float32
    device_map: str | dict[str, Any] | None = None
    attn_implementation: str | None = None


class _Enough(Exception):
    """Raised in the last block that is needed."""


def load_model(source: str, options: LoadOptions) -> PreTrainedModel:
    """A model without its head, with the LoRA adapter in it if there is one.

    Args:
        source: Hub id or folder.
        options: See there.

    Raises:
        WeightsError: The adapter does not fit the model, or is none that lies in the weights.
    """
    arguments: dict[str, Any] = {"dtype": options.dtype, "revision": options.revision}
    if options.device_map is not None:
        arguments["device_map"] = options.device_map
    if options.attn_implementation is not None:
        arguments["attn_implementation"] = options.attn_implementation
    with loading_bar():
        if options.adapter is None:
            model = AutoModel.from_pretrained(source, **arguments)
        else:
            # adapters are saved for the model with its head
            loader = loader_of(AutoConfig.from_pretrained(source, revision=options.revision), source)
            model = _with_adapter(loader.from_pretrained(source, **arguments), options.adapter)
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    return model.eval().requires_grad_(False)


def transformer_blocks(model: PreTrainedModel) -> nn.ModuleList:
    """The blocks of a model, of its language part if it has several.

    Raises:
        WeightsError: Not one list of modules that is as long as the configuration says.
    """
    config = model.config.get_text_config()
    wanted = getattr(config, "num_hidden_layers", None)
    lists = {n: m for n, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m) == wanted}
    outermost = {
        name: blocks
        for name, blocks in lists.items()
        if not any(name.startswith(f"{other}.") for other in lists)
        and not any(part in name for part in ("vision", "visual", "audio"))
    }
    if len(outermost) != 1:
        found = ", ".join(outermost) or "none"
        raise WeightsError(
            f"{type(model).__name__}: its {wanted} blocks were not found (lists of that length: {found}); "
            "activations can be taken of models whose blocks lie in one list"
        )
    return next(iter(outermost.values()))


class LayerReader:
    """Reads the activations of some layers, and drops the blocks above the last of them.

    Rows are padded on the right, where no earlier token sees the padding and no position moves.

    Args:
        model: Without head; it is changed.
        layers: `residual`: 0 is the input of the first block (the embeddings), L the output of block L.
            `normed`: the same stream after the input norm of the block that follows, so L is at most the
            number of blocks - 1.
        point: Which of the two.
        dtype: As the activations are returned.

    Raises:
        WeightsError: A layer that the model does not have, or no input norm (post-norm models).
    """

    def __init__(
        self, model: PreTrainedModel, layers: Sequence[int], point: Point, dtype: torch.dtype
    ) -> None:
        self.model = model
        self.layers = sorted(set(layers))
        self.dtype = dtype
        self.hidden = int(model.config.get_text_config().hidden_size)
        blocks = transformer_blocks(model)
        check_layers(self.layers, len(blocks), point)
        self._norms = {n: input_norm(model, blocks[n]) for n in self.layers} if point == "normed" else {}
        self._embeddings = cast(nn.Embedding, model.get_input_embeddings())
        self._pad = model.config.get_text_config().pad_token_id or 0
        self._read: dict[int, torch.Tensor] = {}
        self._kept = torch.empty(0)
        self._shape: tuple[int, ...] = ()
        accepted = inspect.signature(model.forward).parameters
        self._arguments = {"use_cache": False} if "use_cache" in accepted else {}
        del blocks[max(self.layers[-1], 1) :]
        if self.layers[0] == 0:
            next(iter(blocks)).register_forward_pre_hook(self._before_first, with_kwargs=True)
        for number, block in enumerate(blocks, start=1):
            if number in self.layers:
                block.register_forward_hook(self._after(number))

    @torch.inference_mode()
    def read(self, rows: Sequence[TokenRow]) -> list[dict[int, torch.Tensor]]:
        """Layer -> [kept, hidden] on the CPU for each row, which all go through the model at once.

        Raises:
            ActivationError: NaN or infinite activations, or too large ones for the type; names the layer.
            WeightsError: A token that the model has no embedding for.
        """
        self._check_vocabulary(rows)
        device = self._embeddings.weight.device
        longest = max(len(row.token_ids) for row in rows)
        ids = torch.full((len(rows), longest), self._pad, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, : len(row.token_ids)] = torch.from_numpy(row.token_ids)
            mask[number, : len(row.token_ids)] = 1
        self._read, self._shape = {}, (*ids.shape, self.hidden)
        self._kept = torch.from_numpy(np.concatenate([row.kept + i * longest for i, row in enumerate(rows)]))
        with suppress(_Enough):
            self.model(input_ids=ids.to(device), attention_mask=mask.to(device), **self._arguments)
        lengths = [len(row.kept) for row in rows]
        split = {n: values.split(lengths) for n, values in self._finite(lengths).items()}
        return [{n: split[n][i] for n in self.layers} for i in range(len(rows))]

    def _before_first(self, block: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        del block
        self._take(0, given[0] if given else named["hidden_states"])

    def _after(self, number: int) -> Any:
        def hook(block: nn.Module, given: Any, output: Any) -> None:
            del block, given
            self._take(number, output[0] if isinstance(output, tuple) else output)

        return hook

    def _take(self, number: int, stream: torch.Tensor) -> None:
        if tuple(stream.shape) != self._shape:
            raise WeightsError(
                f"{type(self.model).__name__}: layer {number} gives {tuple(stream.shape)} for {self._shape} "
                "(rows, tokens, hidden); try --attn-implementation eager"
            )
        kept = stream.flatten(0, 1).index_select(0, self._kept.to(stream.device))
        self._read[number] = self._norms[number](kept) if self._norms else kept
        if number == self.layers[-1]:
            raise _Enough

    def _finite(self, lengths: Sequence[int]) -> dict[int, torch.Tensor]:
        """What was read, in the type asked for and on the CPU."""
        told: dict[int, torch.Tensor] = {}
        for number, values in self._read.items():
            stored = values.to(self.dtype)
            fine = torch.isfinite(stored).all(1)
            if not bool(fine.all()):
                token = int((~fine).nonzero()[0])
                row = int(np.searchsorted(np.cumsum(lengths), token, side="right"))
                raise ActivationError(row, _not_finite(number, values[token], self.dtype))
            told[number] = stored.cpu()
        self._read = {}
        return told

    def _check_vocabulary(self, rows: Sequence[TokenRow]) -> None:
        known = self._embeddings.weight.shape[0]
        largest = max(int(row.token_ids.max()) for row in rows)
        if largest >= known:
            raise WeightsError(
                f"token {largest}, but the model has embeddings for {known}: the tokenizer is another model's"
            )


def check_layers(layers: Sequence[int], blocks: int, point: Point) -> None:
    """Raises WeightsError for a layer that a model with so many blocks does not have."""
    last = blocks if point == "residual" else blocks - 1
    wrong = [number for number in layers if not 0 <= number <= last]
    if wrong or not layers:
        told = f"no layer {wrong[0]}" if wrong else "no layers were named"
        raise WeightsError(
            f"{told}; the model has {blocks} blocks, so layers at point {point} are 0 to {last}"
        )


def batches(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Rows that go through the model together: of like length, the longest first.

    A batch has at most `max_tokens` tokens with its padding (one row at least); at most 10 % are padding.

    Args:
        lengths: Tokens of each row.
        max_tokens: Bound of a batch.

    Yields:
        Numbers of rows.
    """
    batch: list[int] = []
    held = 0
    for number in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        padded = lengths[batch[0]] * (len(batch) + 1) if batch else 0
        if batch and (padded > max_tokens or held + lengths[number] < (1 - MAX_PADDING) * padded):
            yield batch
            batch, held = [], 0
        batch.append(number)
        held += lengths[number]
    if batch:
        yield batch


def _with_adapter(base: PreTrainedModel, folder: Path) -> PreTrainedModel:
    from peft import PeftConfig, PeftModel
    from peft.utils import get_peft_model_state_dict
    from safetensors import safe_open

    if PeftConfig.from_pretrained(str(folder)).is_prompt_learning:
        raise WeightsError(
            f"{folder}: prompts that are learned do not lie in the weights; name a LoRA adapter"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of one library to another
            model = PeftModel.from_pretrained(base, str(folder))
    except (RuntimeError, TypeError, ValueError) as error:
        raise WeightsError(f"{folder}: the adapter does not fit {base.name_or_path}: {error}") from error
    with safe_open(folder / ADAPTER_WEIGHTS, framework="pt") as file:
        saved = set(file.keys())
    # what does not fit is only warned of, and the rest would be the base's
    if differing := saved ^ set(get_peft_model_state_dict(model, save_embedding_layers=False)):
        raise WeightsError(
            f"{folder}: the adapter does not fit {base.name_or_path}: {len(differing)} weights have no "
            f"counterpart, e.g. {min(differing)}"
        )
    return model.get_base_model().base_model  # pyright: ignore[reportReturnType, reportCallIssue]


def input_norm(model: PreTrainedModel, block: nn.Module) -> nn.Module:
    """The norm before a block's attention.

    Raises:
        WeightsError: It has none (post-norm models).
    """
    norm = next((getattr(block, name) for name in INPUT_NORMS if hasattr(block, name)), None)
    if norm is None or not getattr(model.config, "do_layer_norm_before", True):
        raise WeightsError(
            f"{type(model).__name__}: its blocks have no norm before the attention; use --point residual"
        )
    return norm


def _not_finite(layer: int, values: torch.Tensor, dtype: torch.dtype) -> str:
    if not bool(torch.isfinite(values).all()):
        return f"layer {layer} has NaN or infinite activations; compute in another type with --compute-dtype"
    return (
        f"layer {layer} has activations up to {float(values.abs().max()):.0f}, beyond the range of "
        f"{str(dtype).removeprefix('torch.')}; store --dtype bfloat16 or float32"
    )
