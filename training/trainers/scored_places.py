"""Which places of a row TRL scores against the vocabulary."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def only_labelled_places() -> Iterator[None]:
    """Score only what is learnt while this lasts, on every device.

    TRL 1.16 does so on GPUs. Elsewhere it scores the prompts too and throws the results away, because some
    accelerators compile anew for each number of places. A CPU does not, and there the prompts' scores are two
    thirds of a training step of the miniature. Losses and gradients are the same.
    """
    utils: Any = importlib.import_module("trl.trainer.utils")
    chosen = getattr(utils, "_use_triton", None)
    if chosen is None:
        yield
        return
    utils._use_triton = lambda device: device.type == "cpu" or chosen(device)
    try:
        yield
    finally:
        utils._use_triton = chosen
