"""All heads by name. A new one is a class and an entry here."""

import difflib
from collections.abc import Mapping
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
    grid = {key: list(values) for key, values in HEADS[name].GRID.items() if key not in fixed}
    return [dict(point) | fixed for point in ParameterGrid(grid)]


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(known))}"
