"""What a shard's file must hold, by its sidecar: the promise that `Shard` reads by.

A hash that fits says that a file is what its sidecar was written beside; it does not say that both describe
the same rows. A store may come from elsewhere, and what does not fit would be read as other rows' numbers.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from probes.tokens.roles import ROLES

SIDES: Mapping[str, tuple[torch.dtype, ...]] = {
    "token_ids": (torch.int32,),
    "message": (torch.int8, torch.int16, torch.int32),
    "role": (torch.uint8,),
}
"""What is kept of every token -> types that it may be stored in."""

ROWS = "rows"
"""Name in the file's metadata of the digest of its row keys."""


class Part(NamedTuple):
    """One tensor of a file."""

    dtype: torch.dtype
    shape: list[int]


def rows_digest(keys: Sequence[str]) -> str:
    """SHA-256 of row keys in their order, hex."""
    return hashlib.sha256("\n".join(keys).encode()).hexdigest()


def misfit(
    parts: Mapping[str, Part],
    *,
    layers: Sequence[int],
    hidden: int,
    dtype: torch.dtype,
    tokens: int,
    rows: int,
) -> str | None:
    """Why the tensors of a file are not those that its sidecar tells of; None if they are.

    Args:
        parts: Tensors by name. That each lies in the file and none on another, safetensors has seen.
        layers: That the sidecar names, of `hidden` numbers of `dtype` for each of `tokens` tokens.
        hidden: See `layers`.
        dtype: See `layers`.
        tokens: See `layers`.
        rows: Number of conversations.
    """
    wanted: dict[str, tuple[tuple[torch.dtype, ...], list[int]]] = {
        **{f"layer_{number}": ((dtype,), [tokens, hidden]) for number in layers},
        **{name: (types, [tokens]) for name, types in SIDES.items()},
        "offsets": ((torch.int64,), [rows + 1]),
    }
    if parts.keys() != wanted.keys():
        return f"holds {sorted(parts)}, not the layers that its sidecar names"
    for name, (types, shape) in wanted.items():
        part = parts[name]
        if part.dtype not in types:
            return f"{name} is stored as {part.dtype}, its sidecar says {' or '.join(map(str, types))}"
        if part.shape != shape:
            return f"{name} has the shape {part.shape}, its sidecar says {shape}"
    return None


def wrong_offsets(offsets: np.ndarray, tokens: int) -> str | None:
    """Why `offsets` [rows + 1] cannot be where rows of `tokens` tokens in all begin; None if they can."""
    if int(offsets[0]) != 0 or int(offsets[-1]) != tokens or (np.diff(offsets) < 1).any():
        return f"its offsets do not divide {tokens} tokens among {len(offsets) - 1} rows"
    return None


def unknown_role(codes: np.ndarray) -> str | None:
    """Which code of a role there is no role for; None if there is none."""
    if len(codes) and int(codes.max()) >= len(ROLES):
        return f"role {int(codes.max())} is unknown; codes end at {len(ROLES) - 1}"
    return None
