"""Activations of conversations that come in one by one: in common batches, on one copy of the weights."""

import copy
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

import anyio.to_thread
import numpy as np
import torch
from transformers import PreTrainedModel

from probes.activations.capture_spec import Point
from probes.activations.forward import (
    ActivationError,
    LayerReader,
    LoadOptions,
    TokenRow,
    batches,
    load_model,
)
from probes.activations.weights import WeightsError

BATCH_TOKENS = 16384

_loaded: dict[tuple[str, LoadOptions], PreTrainedModel] = {}
_loading = threading.Lock()


class _Asked(NamedTuple):
    """A row on its way."""

    row: TokenRow
    answer: "Future[torch.Tensor]"


class SecondPass:
    """Reads the activations of rows that are asked for one by one, as many at once as wait.

    Args:
        model: Makes the model, when the first row comes; without its head, and not used elsewhere.
        layers: Side by side, in this order.
        point: Where in the model.
    """

    def __init__(self, model: Callable[[], PreTrainedModel], layers: Sequence[int], point: Point) -> None:
        self._model, self._layers = model, list(layers)
        self._point: Point = point
        self._reader: LayerReader | None = None
        self._lock = threading.Lock()
        self._waiting: SimpleQueue[_Asked] = SimpleQueue()

    async def read(self, token_ids: np.ndarray, kept: np.ndarray) -> torch.Tensor:
        """[kept, hidden], float32, of all layers side by side.

        Args:
            token_ids: [tokens], int32.
            kept: [kept], int64: positions, ascending, at least one.

        Raises:
            ActivationError: NaN or infinite activations in this row.
            WeightsError: The model does not have the layers or a token.
        """
        asked = _Asked(TokenRow(token_ids, kept), Future())
        self._waiting.put(asked)
        # whoever comes while a pass runs waits for the lock, and what has gathered then goes together
        await anyio.to_thread.run_sync(self._serve)
        return asked.answer.result()

    def _serve(self) -> None:
        with self._lock:
            asked = self._all_waiting()
            try:
                lengths = [len(a.row.token_ids) for a in asked]
                for batch in batches(lengths, BATCH_TOKENS):
                    self._forward([asked[i] for i in batch])
            except BaseException as error:
                for one in asked:
                    if not one.answer.done():
                        one.answer.set_exception(error)

    def _all_waiting(self) -> list[_Asked]:
        found: list[_Asked] = []
        while True:
            try:
                found.append(self._waiting.get_nowait())
            except Empty:
                return found

    def _forward(self, asked: Sequence[_Asked]) -> None:
        if self._reader is None:
            self._reader = LayerReader(self._model(), self._layers, self._point, torch.float32)
        try:
            found = self._reader.read([a.row for a in asked])
        except ActivationError as error:
            if len(asked) == 1:
                asked[0].answer.set_exception(error)
            else:  # the others of its batch must not suffer
                for one in asked:
                    self._forward([one])
            return
        for one, layers in zip(asked, found, strict=True):
            one.answer.set_result(torch.cat([layers[number] for number in self._layers], dim=-1))


def loaded_once(source: str, options: LoadOptions) -> PreTrainedModel:
    """A model that may be changed; all that are asked for with the same options share their weights."""
    with _loading:
        if (source, options) not in _loaded:
            _loaded[source, options] = load_model(source, options)
        return sharing_copy(_loaded[source, options])


def without_head(model: Any, adapter: str | None) -> PreTrainedModel:
    """The part below the head of a causal model, as a copy that shares its weights.

    Args:
        model: Bare or in PEFT's wrapper.
        adapter: Name of the adapter that is to be active; None for the base.

    Raises:
        WeightsError: Weights that are not in memory, and so cannot be shared.
    """
    copied = sharing_copy(model)
    if hasattr(copied, "get_base_model"):
        if adapter is None:
            copied.base_model.disable_adapter_layers()
        else:
            copied.set_adapter(adapter)
        copied = copied.get_base_model()
    return copied.base_model.eval().requires_grad_(False)


def sharing_copy(model: Any) -> Any:
    """A copy of a model's modules, without their hooks, on the same tensors.

    Raises:
        WeightsError: Weights that are not in memory, and so cannot be shared.
    """
    tensors = [*model.parameters(), *model.buffers()]
    if any(tensor.is_meta for tensor in tensors):
        raise WeightsError("part of the model is not in memory (offloaded); use a smaller one or more memory")
    copied = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
    for module in copied.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    return copied
