"""Heads with several numbers per token: queries that say where to look, and values that say what is seen.

In all of them a query or value is a linear map of a token; the 1/√hidden of attention is part of the query.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from probes.heads import aggregation
from probes.heads.aggregation import Segments
from probes.heads.base import Grid
from probes.heads.trained import TrainedHead


@dataclass(kw_only=True, eq=False, repr=False)
class AttentionHead(TrainedHead):
    """Sum over attention heads of the mean of the values, weighted by softmax(queries) over the tokens.

    Source: McKenzie et al. 2025, arXiv:2506.10805, with one head; Kramár et al. 2026, arXiv:2601.11516,
    section 3.1, with several. Differs from the latter: no perceptron before it.

    Args:
        heads: Number of attention heads.
    """

    NAME: ClassVar[str] = "attention"
    GRID: ClassVar[Grid] = {"weight_decay": [0.01, 0.1, 1.0]}
    SHAPE: ClassVar[tuple[str, ...]] = ("heads",)
    heads: int = 1

    @property
    def channels(self) -> int:
        """Queries, then values."""
        return 2 * self.heads

    def check_parameters(self) -> None:
        """See `Head`."""
        super().check_parameters()
        if self.heads < 1:
            raise ValueError(f"heads must be at least 1, got {self.heads}")

    def first_bias(self, log_odds: float) -> torch.Tensor:
        """See `TrainedHead`; a bias of queries has no effect."""
        return torch.tensor([0.0] * self.heads + [log_odds / self.heads] * self.heads)

    def aggregate(self, channels: torch.Tensor, segments: Segments) -> torch.Tensor:
        """See `Head`."""
        queries, values = channels.split(self.heads, dim=1)
        return aggregation.attended(queries, values, segments).sum(dim=1)

    def token_logits(self, channels: torch.Tensor) -> torch.Tensor:
        """See `Head`."""
        return channels[:, self.heads :].sum(dim=1)


@dataclass(kw_only=True, eq=False, repr=False)
class MultiHeadAttention(AttentionHead):
    """`AttentionHead` with several heads."""

    NAME: ClassVar[str] = "multi_head_attention"
    GRID: ClassVar[Grid] = {"heads": [2, 4], "weight_decay": [0.1, 1.0]}
    heads: int = 4


@dataclass(kw_only=True, eq=False, repr=False)
class RollingAttention(AttentionHead):
    """Sum over attention heads of the largest attention-weighted mean of the values within a window.

    Source: Kramár et al. 2026, arXiv:2601.11516, section 3.2.2; window and number of heads as there. Differs:
    no perceptron before it, and windows never reach beyond a conversation.

    Args:
        window: Tokens. A conversation that is shorter is one window.
    """

    NAME: ClassVar[str] = "rolling_attention"
    GRID: ClassVar[Grid] = {"heads": [4, 10], "weight_decay": [0.1, 1.0]}
    SHAPE: ClassVar[tuple[str, ...]] = ("heads", "window")
    heads: int = 10
    window: int = 10

    def check_parameters(self) -> None:
        """See `Head`."""
        super().check_parameters()
        if self.window < 1:
            raise ValueError(f"window must be at least 1, got {self.window}")

    def aggregate(self, channels: torch.Tensor, segments: Segments) -> torch.Tensor:
        """See `Head`."""
        queries, values = channels.split(self.heads, dim=1)
        means = aggregation.rolling_attended(queries, values, self.window, segments)
        return aggregation.of_whole_windows(means, self.window, segments).sum(dim=1)


@dataclass(kw_only=True, eq=False, repr=False)
class MultiMaxHead(TrainedHead):
    """Sum over heads of each head's largest value among the tokens.

    A few words in a long conversation count as much as in a short one.

    Source: Kramár et al. 2026, arXiv:2601.11516, section 3.2.1. Differs: no perceptron before it, and the
    maximum is there in training too.

    Args:
        heads: Number of values per token.
    """

    NAME: ClassVar[str] = "multimax"
    GRID: ClassVar[Grid] = {"heads": [2, 4], "weight_decay": [0.1, 1.0]}
    SHAPE: ClassVar[tuple[str, ...]] = ("heads",)
    heads: int = 4

    @property
    def channels(self) -> int:
        """Values."""
        return self.heads

    def check_parameters(self) -> None:
        """See `Head`."""
        super().check_parameters()
        if self.heads < 1:
            raise ValueError(f"heads must be at least 1, got {self.heads}")

    def aggregate(self, channels: torch.Tensor, segments: Segments) -> torch.Tensor:
        """See `Head`."""
        return aggregation.maximum(channels, segments).sum(dim=1)

    def token_logits(self, channels: torch.Tensor) -> torch.Tensor:
        """See `Head`."""
        return channels.sum(dim=1)
