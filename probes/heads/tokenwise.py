"""Heads that give every token one logit w·a + b, and differ in how a conversation's is made of them."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from probes.heads import aggregation
from probes.heads.aggregation import Segments
from probes.heads.base import Grid
from probes.heads.checks import cross_entropy
from probes.heads.trained import TrainedHead


@dataclass(kw_only=True, eq=False, repr=False)
class MaxHead(TrainedHead):
    """The largest logit of a token."""

    NAME: ClassVar[str] = "max"
    GRID: ClassVar[Grid] = {"weight_decay": [0.01, 0.1, 1.0]}

    def aggregate(self, channels: torch.Tensor, segments: Segments) -> torch.Tensor:
        """See `Head`."""
        return aggregation.maximum(channels[:, 0], segments)


@dataclass(kw_only=True, eq=False, repr=False)
class SoftmaxHead(TrainedHead):
    """Mean of the tokens' logits z with weights softmax(z / temperature).

    Source: McKenzie et al. 2025, arXiv:2506.10805.

    Args:
        temperature: Towards 0 the largest logit, towards infinity their mean.
    """

    NAME: ClassVar[str] = "softmax"
    GRID: ClassVar[Grid] = {"temperature": [1.0, 5.0], "weight_decay": [0.01, 0.1, 1.0]}
    SHAPE: ClassVar[tuple[str, ...]] = ("temperature",)
    temperature: float = 5.0

    def check_parameters(self) -> None:
        """See `Head`."""
        super().check_parameters()
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}")

    def aggregate(self, channels: torch.Tensor, segments: Segments) -> torch.Tensor:
        """See `Head`."""
        logits = channels[:, 0]
        return aggregation.attended(logits / self.temperature, logits, segments)


@dataclass(kw_only=True, eq=False, repr=False)
class WindowHead(TrainedHead):
    """A head with a window of tokens.

    Args:
        window: Tokens. A conversation that is shorter is one window.
    """

    SHAPE: ClassVar[tuple[str, ...]] = ("window",)
    window: int = 40

    def check_parameters(self) -> None:
        """See `Head`."""
        super().check_parameters()
        if self.window < 1:
            raise ValueError(f"window must be at least 1, got {self.window}")

    def aggregate(self, channels: torch.Tensor, segments: Segments) -> torch.Tensor:
        """See `Head`."""
        means = aggregation.rolling_means(channels[:, 0], self.window, segments)
        return aggregation.of_whole_windows(means, self.window, segments)


@dataclass(kw_only=True, eq=False, repr=False)
class RollingMeanHead(WindowHead):
    """The largest mean over a window of tokens' logits.

    Source: McKenzie et al. 2025, arXiv:2506.10805. Differs: windows never reach beyond a conversation.
    """

    NAME: ClassVar[str] = "max_of_rolling_means"
    GRID: ClassVar[Grid] = {"window": [10, 40], "weight_decay": [0.1, 1.0]}


@dataclass(kw_only=True, eq=False, repr=False)
class PerEntryHead(TrainedHead):
    """Mean of the tokens' logits, trained on tokens: each is an example with its conversation's label.

    For the same w and b its score is that of `MeanHead`, and equal to w·(mean of a) + b. What differs is the
    loss: the mean of the tokens' cross-entropies, not the cross-entropy of their mean. Each token's logit is
    then a judgement of its own, and long and short conversations count alike.
    """

    NAME: ClassVar[str] = "per_entry"
    GRID: ClassVar[Grid] = {"weight_decay": [0.01, 0.1, 1.0]}

    def aggregate(self, channels: torch.Tensor, segments: Segments) -> torch.Tensor:
        """See `Head`."""
        return aggregation.mean(channels[:, 0], segments)

    def losses(
        self, channels: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor, segments: Segments
    ) -> torch.Tensor:
        """See `TrainedHead`."""
        rows = segments.rows
        return aggregation.mean(cross_entropy(channels[:, 0], positive[rows], negative[rows]), segments)


@dataclass(kw_only=True, eq=False, repr=False)
class ExponentialMaxHead(TrainedHead):
    """The largest exponential mean of the tokens' logits.

    Source: the cheap monitors of Anthropic's alignment blog, June 2025; decay as there. Differs: the weights
    of an exponential mean add up to 1 from the first token on, and training sees the maximum too.

    Args:
        decay: Weight of the latest token, in (0, 1]; 1 is the largest logit.
    """

    NAME: ClassVar[str] = "ema_max"
    GRID: ClassVar[Grid] = {"decay": [0.1, 0.5], "weight_decay": [0.1, 1.0]}
    SHAPE: ClassVar[tuple[str, ...]] = ("decay",)
    decay: float = 0.5

    def check_parameters(self) -> None:
        """See `Head`."""
        super().check_parameters()
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay must lie in (0, 1], got {self.decay}")

    def aggregate(self, channels: torch.Tensor, segments: Segments) -> torch.Tensor:
        """See `Head`."""
        return aggregation.maximum(
            aggregation.exponential_means(channels[:, 0], self.decay, segments), segments
        )


@dataclass(kw_only=True, eq=False, repr=False)
class SlidingMeanHead(WindowHead):
    """Trained on means over a sliding window, read out as the largest exponential mean.

    The loss is that of every window's mean logit m, weighted by softmax(m / temperature) over the windows of
    a conversation: windows that would raise the alarm count most, and more than one is trained. Read out, the
    window is replaced by an exponential mean of the same mean age, decay 2 / (window + 1), which needs no
    memory of past tokens.

    Source: Constitutional Classifiers++, arXiv:2601.04603, window and temperature as there. Differs: the
    exponential mean is that of `ExponentialMaxHead`.

    Args:
        temperature: Of the weights of windows in the loss.
    """

    NAME: ClassVar[str] = "sliding_mean"
    GRID: ClassVar[Grid] = {"window": [16, 40], "weight_decay": [0.1, 1.0]}
    SHAPE: ClassVar[tuple[str, ...]] = ("window", "temperature")
    window: int = 16
    temperature: float = 1.0

    def check_parameters(self) -> None:
        """See `Head`."""
        super().check_parameters()
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}")

    def aggregate(self, channels: torch.Tensor, segments: Segments) -> torch.Tensor:
        """See `Head`."""
        means = aggregation.exponential_means(channels[:, 0], 2 / (self.window + 1), segments)
        return aggregation.of_whole_windows(means, self.window, segments)

    def losses(
        self, channels: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor, segments: Segments
    ) -> torch.Tensor:
        """See `TrainedHead`."""
        means = aggregation.rolling_means(channels[:, 0], self.window, segments)
        whole = segments.places + 1 >= segments.lengths.clamp(max=self.window)[segments.rows]
        rows = segments.rows
        scores = torch.where(whole[:, None], means / self.temperature, -torch.inf)
        return aggregation.attended(scores, cross_entropy(means, positive[rows], negative[rows]), segments)


@dataclass(kw_only=True, eq=False, repr=False)
class TopMeanHead(TrainedHead):
    """Mean of the largest logits of tokens.

    Args:
        count: How many; all if a conversation has fewer.
    """

    NAME: ClassVar[str] = "top_k"
    GRID: ClassVar[Grid] = {"count": [5, 20], "weight_decay": [0.1, 1.0]}
    SHAPE: ClassVar[tuple[str, ...]] = ("count",)
    count: int = 5

    def check_parameters(self) -> None:
        """See `Head`."""
        super().check_parameters()
        if self.count < 1:
            raise ValueError(f"count must be at least 1, got {self.count}")

    def aggregate(self, channels: torch.Tensor, segments: Segments) -> torch.Tensor:
        """See `Head`."""
        return aggregation.top_mean(channels[:, 0], self.count, segments)
