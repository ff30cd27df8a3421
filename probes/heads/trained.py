"""Heads that are trained by gradients: their options, and what each of them brings to its training."""

from abc import abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch

from probes.activations import Ragged
from probes.heads.aggregation import Segments
from probes.heads.base import Head, Validation
from probes.heads.checks import Check, cross_entropy


@dataclass(kw_only=True, eq=False, repr=False)
class TrainedHead(Head):
    """A head that is trained by gradients.

    Inputs are standardised and divided by the square root of their number, so that the same learning rate
    does for narrow and wide models. Fitting sets `checks_`, all looks at the validation set, and
    `best_step_`, the step of the weights that were taken.

    Args:
        learning_rate: At the start; falls along a cosine.
        weight_decay: Decoupled, of the weights and not of the bias.
        steps: Batches that it is trained on.
        batch_size: Conversations in a batch, however many are in memory at once.
        patience: Looks at the validation set without a better one after which training ends.
        stop_on: What is better: a higher AUROC (a lower loss where it is the same), or a lower loss. The best
            weights are taken. Without a validation set the last are.
        max_grad_norm: The gradient of a whole batch is cut down to it.
        seed: Of the first weights.
    """

    SEEDED: ClassVar[bool] = True
    FIRST_SCALE: ClassVar[float] = 0.1
    """Standard deviation of the first weights."""

    learning_rate: float = 0.05
    weight_decay: float = 0.1
    steps: int = 500
    batch_size: int = 64
    patience: int = 10
    stop_on: Literal["auroc", "loss"] = "auroc"
    max_grad_norm: float = 1.0
    seed: int = 0

    @abstractmethod
    def aggregate(self, channels: torch.Tensor, segments: Segments) -> torch.Tensor:
        """See `Head`."""

    def losses(
        self, channels: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor, segments: Segments
    ) -> torch.Tensor:
        """[rows, members] from [tokens, channels, members] and masses [rows, members]: cross-entropies."""
        return cross_entropy(self.aggregate(channels, segments), positive, negative)

    def first_weights(self, hidden: int) -> torch.Tensor:
        """[hidden, channels]: drawn by the seed alone."""
        generator = torch.Generator().manual_seed(self.seed)
        return self.FIRST_SCALE * torch.randn(hidden, self.channels, generator=generator)

    def first_bias(self, log_odds: float) -> torch.Tensor:
        """[channels]: with weights of zero every logit is the log odds of the two classes' masses."""
        return torch.full((self.channels,), log_odds / self.channels)

    def set_course(self, checks: list[Check], best_step: int) -> None:
        """Store how training went."""
        self.checks_, self.best_step_ = checks, best_step

    def fit(
        self,
        X: Ragged,  # noqa: N803
        y: Any,
        *,
        sample_weight: Any = None,
        groups: Sequence[str] | None = None,
        validation: Validation | None = None,
    ) -> Self:
        """See `Head.fit`."""
        from probes.heads.training import fit_together  # which knows this class

        del groups
        fit_together([self], X, y, sample_weight=sample_weight, validation=validation)
        return self

    def check_parameters(self) -> None:
        """See `Head`."""
        super().check_parameters()
        for name in ("learning_rate", "max_grad_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        for name in ("steps", "batch_size", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay must be 0 or more, got {self.weight_decay}")
        if self.stop_on not in ("auroc", "loss"):
            raise ValueError(f"stop_on is 'auroc' or 'loss', got {self.stop_on!r}")

    @property
    def recipe(self) -> Hashable:
        """Heads of the same recipe are trained as one."""
        own = ("learning_rate", "weight_decay", "steps", "batch_size", "patience", "stop_on", "max_grad_norm")
        return (self.shape, *(getattr(self, name) for name in own))
