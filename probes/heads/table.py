"""All heads by name, and what is tried when their parameters are chosen."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from sklearn.model_selection import ParameterGrid

from probes.heads.attention import AttentionHead, MultiHeadAttention, MultiMaxHead, RollingAttention
from probes.heads.base import Head
from probes.heads.pooled import DifferenceOfMeans, DiscriminantHead, LastHead, LogisticHead, MeanHead
from probes.heads.tokenwise import (
    ExponentialMaxHead,
    MaxHead,
    PerEntryHead,
    RollingMeanHead,
    SlidingMeanHead,
    SoftmaxHead,
    TopMeanHead,
)

PARITY: tuple[type[Head], ...] = (
    MeanHead,
    LastHead,
    MaxHead,
    SoftmaxHead,
    AttentionHead,
    RollingMeanHead,
    PerEntryHead,
    DifferenceOfMeans,
    DiscriminantHead,
    LogisticHead,
)
"""The heads of McKenzie et al. 2025, arXiv:2506.10805."""

BEYOND: tuple[type[Head], ...] = (
    ExponentialMaxHead,
    SlidingMeanHead,
    TopMeanHead,
    MultiMaxHead,
    MultiHeadAttention,
    RollingAttention,
)

HEADS: dict[str, type[Head]] = {head.NAME: head for head in (*PARITY, *BEYOND)}

_TOKEN_PENALTIES: dict[str, Sequence[Any]] = {"C": [0.01, 0.1, 1.0, 10.0, 100.0]}
_DECAYS: dict[str, Sequence[Any]] = {"weight_decay": [0.01, 0.1, 1.0]}

GRIDS: Mapping[str, Mapping[str, Sequence[Any]]] = {
    "mean": _TOKEN_PENALTIES,
    "last": _TOKEN_PENALTIES,
    "logistic": {"C": [1e-4, 1e-3, 1e-2, 0.1, 1.0]},
    "difference_of_means": {},
    "lda": {"shrinkage": ["auto", 0.01, 0.1, 0.5, 0.9]},
    "max": _DECAYS,
    "softmax": {"temperature": [1.0, 5.0], "weight_decay": [0.01, 0.1, 1.0]},
    "max_of_rolling_means": {"window": [10, 40], "weight_decay": [0.1, 1.0]},
    "per_entry": _DECAYS,
    "attention": _DECAYS,
    "ema_max": {"decay": [0.1, 0.5], "weight_decay": [0.1, 1.0]},
    "sliding_mean": {"window": [16, 40], "weight_decay": [0.1, 1.0]},
    "top_k": {"count": [5, 20], "weight_decay": [0.1, 1.0]},
    "multimax": {"heads": [2, 4], "weight_decay": [0.1, 1.0]},
    "multi_head_attention": {"heads": [2, 4], "weight_decay": [0.1, 1.0]},
    "rolling_attention": {"heads": [4, 10], "weight_decay": [0.1, 1.0]},
}
"""Values of parameters that cross-validation chooses among."""


def make_head(name: str, **parameters: Any) -> Head:
    """A head by name, with its defaults for what is not given.

    Raises:
        ValueError: No such head or parameter; names the nearest.
    """
    if name not in HEADS:
        raise ValueError(f"no head {name!r}; {_nearest(name, HEADS)}")
    head = HEADS[name]()
    known = head.get_params()
    for parameter in parameters:
        if parameter not in known:
            raise ValueError(f"head {name} has no parameter {parameter!r}; {_nearest(parameter, known)}")
    head.set_params(**parameters)
    return head


def candidates(name: str, **fixed: Any) -> list[dict[str, Any]]:
    """Sets of parameters that cross-validation compares for a head; what is fixed is not varied."""
    grid = {key: list(values) for key, values in GRIDS[name].items() if key not in fixed}
    return [dict(point) | fixed for point in ParameterGrid(grid)]


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(known))}"
