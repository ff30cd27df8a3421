"""Fits any number of heads in one pass over the activations at a time.

Heads that see pooled vectors are solved in closed form after one read. The others are trained by AdamW: all
of them, whatever their shape and seed, on the same batches, so that each epoch reads the activations once.
Rows come in an order that depends on the epoch alone; the seed of a head draws its first weights. A head that
is trained beside others on the same rows therefore ends where it would have ended alone, up to rounding.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch

from probes.activations import Block, Ragged
from probes.heads.aggregation import Segments
from probes.heads.base import Head, Masses, Validation, block_tokens, check_finite, checked_labels
from probes.heads.checks import Check, ValidationLabels, cross_entropy
from probes.heads.pooled import PooledHead, Pooling, Scale, pool, token_scale

FLOOR = 0.02
"""Share of the learning rate that is left at the end of its cosine."""

CHECK_EVERY = 25
"""Least number of steps between two looks at the validation set; at least an epoch lies between them too."""

Pooled = Callable[[Pooling], torch.Tensor]
Progress = Callable[[int, int], None]


@dataclass(kw_only=True, eq=False, repr=False)
class TrainedHead(Head):
    """A head that is trained by gradients.

    Inputs are standardised and divided by the square root of their number, so that the same learning rate
    does for narrow and wide models. Fitting sets `checks_`, all looks at the validation set, and `best_step_`,
    the step of the weights that were taken.

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


def fit_together(
    heads: Sequence[Head],
    X: Ragged,  # noqa: N803
    y: Any,
    *,
    sample_weight: Any = None,
    rows: Sequence[np.ndarray | None] | None = None,
    validation: Validation | None = None,
    pooled: Pooled | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> None:
    """Fit heads of any kind on the same activations.

    Args:
        heads: Each is fitted in place.
        X: Activations, one row a conversation.
        y: [rows], in 0..1; between them a soft label.
        sample_weight: [rows], at least 0; 1 if not given.
        rows: For each head [rows], bool: those it is fitted on, e.g. the training rows of a fold. None: all.
        validation: Activations and labels that training is stopped by.
        pooled: Gives the pooled activations of X if they are kept somewhere; computed in one read if not.
        device: Where heads are trained.
        progress: Told (steps done, of how many).

    Raises:
        NotFiniteError: Names the row.
        ValueError: No rows, labels outside 0..1 or of one class only, or a parameter out of range.
    """
    labels = checked_labels(y)
    if len(labels) != len(X):
        raise ValueError(f"{len(X)} rows of activations but {len(labels)} labels")
    weights = np.ones_like(labels) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    masses: list[Masses] = []
    for head, chosen in zip(heads, rows or [None] * len(heads), strict=True):
        head.check_parameters()
        masses.append(head.masses(labels, weights if chosen is None else weights * chosen))
    scale = token_scale(X)
    kept: dict[Pooling, torch.Tensor] = {}
    for head, mass in zip(heads, masses, strict=True):
        if isinstance(head, PooledHead):
            if head.POOLING not in kept:
                kept |= pool(X) if pooled is None else {head.POOLING: pooled(head.POOLING)}
            head.fit_pooled(kept[head.POOLING], mass, scale)
    kept.clear()
    by_batch: dict[int, list[tuple[TrainedHead, Masses]]] = {}
    for head, mass in zip(heads, masses, strict=True):
        if isinstance(head, TrainedHead):
            by_batch.setdefault(head.batch_size, []).append((head, mass))
    for batch_size, members in by_batch.items():
        trainer = _Trainer(members, X, scale, batch_size, device)
        trainer.run(validation, progress)


class _Group:
    """Heads of one recipe, trained as one tensor."""

    def __init__(self, members: Sequence[tuple[TrainedHead, Masses]], scale: Scale, device: str) -> None:
        self.heads = [head for head, _ in members]
        self.first = self.heads[0]
        hidden = len(scale.mean)
        self.positive = torch.from_numpy(np.stack([m.positive for _, m in members], axis=1)).float()
        self.negative = torch.from_numpy(np.stack([m.negative for _, m in members], axis=1)).float()
        first = torch.stack([head.first_weights(hidden) for head in self.heads], dim=2)
        self.weight = torch.nn.Parameter(first.to(device))
        self.bias = torch.nn.Parameter(torch.zeros(first.shape[1:], device=device))
        self.mean = torch.from_numpy(scale.mean).float().to(device)
        self.unit = torch.from_numpy(1 / (scale.deviation * math.sqrt(hidden))).float().to(device)
        self.step, self.looked = 0, 0
        self.best: list[tuple[Check, torch.Tensor, torch.Tensor] | None] = [None] * len(self.heads)
        self.waited = [0] * len(self.heads)
        self.checks: list[list[Check]] = [[] for _ in self.heads]

    @property
    def done(self) -> bool:
        """No member is trained any more."""
        return self.step >= self.first.steps or all(w >= self.first.patience for w in self.waited)

    def is_due(self, ends_epoch: bool) -> bool:
        """A look at the validation set is."""
        return self.step >= self.first.steps or (ends_epoch and self.step - self.looked >= CHECK_EVERY)

    def folded(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight [hidden, channels x members] and bias for activations as they are."""
        weight = (self.weight * self.unit[:, None, None]).flatten(1)
        return weight, self.bias.flatten() - self.mean @ weight

    def schedule(self) -> float:
        """Learning rate of the next step."""
        half = 0.5 * (1 + math.cos(math.pi * self.step / self.first.steps))
        return self.first.learning_rate * (FLOOR + (1 - FLOOR) * half)

    def clip(self) -> None:
        """Cut the gradient of each member down to its bound."""
        weight, bias = self.weight.grad, self.bias.grad
        if weight is None or bias is None:
            return
        norms = torch.sqrt(weight.square().sum(dim=(0, 1)) + bias.square().sum(dim=0))
        factor = (self.first.max_grad_norm / (norms + 1e-12)).clamp(max=1.0)
        weight *= factor
        bias *= factor

    def look(self, member: int, check: Check) -> None:
        """Remember a member's weights if they are its best so far."""
        if self.waited[member] >= self.first.patience:
            return
        self.checks[member].append(check)
        best = self.best[member]
        if best is None or check.is_better(best[0], self.first.stop_on):
            weight, bias = (part.detach().clone() for part in self.folded())
            shape = (self.first.channels, len(self.heads))
            self.best[member] = (
                check,
                weight.unflatten(1, shape)[:, :, member].clone(),
                bias.unflatten(0, shape)[:, member].clone(),
            )
            self.waited[member] = 0
        else:
            self.waited[member] += 1

    def finish(self) -> None:
        """Give the heads their weights: the best, or the last if there was no validation set."""
        weight, bias = self.folded()
        shape = (self.first.channels, len(self.heads))
        weight, bias = weight.unflatten(1, shape), bias.unflatten(0, shape)
        for member, head in enumerate(self.heads):
            best = self.best[member]
            if best is None:
                head.set_weights(weight[:, :, member].cpu(), bias[:, member].cpu())
            else:
                head.set_weights(best[1].cpu(), best[2].cpu())
            head.set_course(self.checks[member], self.step if best is None else best[0].step)


class _Trainer:
    """Trains groups of heads on the same batches."""

    def __init__(
        self,
        members: Sequence[tuple[TrainedHead, Masses]],
        X: Ragged,  # noqa: N803
        scale: Scale,
        batch_size: int,
        device: str,
    ) -> None:
        self.x, self.batch_size, self.device = X, batch_size, device
        recipes: dict[Hashable, list[tuple[TrainedHead, Masses]]] = {}
        for member in members:
            recipes.setdefault(member[0].recipe, []).append(member)
        self.groups = [_Group(of, scale, device) for of in recipes.values()]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [part], "weight_decay": decay}
                for group in self.groups
                for part, decay in ((group.weight, group.first.weight_decay), (group.bias, 0.0))
            ]
        )
        counts = np.zeros(len(X))
        for _, mass in members:
            counts += mass.positive + mass.negative
        self.rows = np.flatnonzero(counts)

    def run(self, validation: Validation | None, progress: Progress | None) -> None:
        """Train until every group is done, and give the heads their weights."""
        labels = None
        if validation is not None:
            labels = ValidationLabels(*validation, [group.first.stop_on for group in self.groups])
        most = max(group.first.steps for group in self.groups)
        for step, (batch, ends_epoch) in enumerate(self._batches(), start=1):
            active = [group for group in self.groups if not group.done]
            if not active:
                break
            self._step(active, batch)
            if progress is not None:
                progress(step, most)
            due = [group for group in active if group.is_due(ends_epoch)]
            if validation is not None and labels is not None and due:
                self._look(due, validation[0], labels)
        for group in self.groups:
            group.finish()

    def _batches(self) -> Iterator[tuple[np.ndarray, bool]]:
        epoch = 0
        while True:
            order = np.random.default_rng(epoch).permutation(self.rows)
            for start in range(0, len(order), self.batch_size):
                yield order[start : start + self.batch_size], start + self.batch_size >= len(order)
            epoch += 1

    def _step(self, active: Sequence[_Group], batch: np.ndarray) -> None:
        """One step on a batch, whose gradient is put together from as many blocks as memory asks for."""
        self.optimizer.zero_grad(set_to_none=True)
        masses = [(g.positive[batch], g.negative[batch]) for g in active]
        counts = [((p + n) > 0).sum(dim=0).clamp(min=1) for p, n in masses]
        place = {int(row): i for i, row in enumerate(batch)}
        for block in self.x.blocks(block_tokens(self.x.hidden), [int(row) for row in batch]):
            of_block = [place[int(row)] for row in block.rows]
            parts, segments = self._channels(active, block)
            loss = torch.zeros((), device=self.device)
            for group, channels, (positive, negative), count in zip(
                active, parts, masses, counts, strict=True
            ):
                losses = group.first.losses(
                    channels, positive[of_block].to(self.device), negative[of_block].to(self.device), segments
                )
                loss = loss + (losses.sum(dim=0) / count.to(self.device)).sum()
            loss.backward()
        # the optimizer keeps the settings of two tensors per group, in the groups' order
        for number, group in enumerate(self.groups):
            if group in active:
                group.clip()
                for settings in self.optimizer.param_groups[2 * number : 2 * number + 2]:
                    settings["lr"] = group.schedule()
                group.step += 1
        self.optimizer.step()

    def _channels(self, active: Sequence[_Group], block: Block) -> tuple[list[torch.Tensor], Segments]:
        """For each group [tokens, channels, members], in one product for all of them."""
        folded = [group.folded() for group in active]
        weight = torch.cat([part for part, _ in folded], dim=1)
        bias = torch.cat([part for _, part in folded])
        found = torch.addmm(bias, block.values.to(self.device), weight)
        check_finite(found.detach(), block)
        widths = [len(part) for _, part in folded]
        return [
            part.unflatten(1, (group.first.channels, len(group.heads)))
            for group, part in zip(active, found.split(widths, dim=1), strict=True)
        ], Segments(block.offsets.to(self.device))

    @torch.no_grad()
    def _look(self, active: Sequence[_Group], x: Ragged, labels: ValidationLabels) -> None:
        logits = [np.empty((len(x), len(group.heads))) for group in active]
        for block in x.blocks(block_tokens(x.hidden)):
            parts, segments = self._channels(active, block)
            for found, group, channels in zip(logits, active, parts, strict=True):
                found[block.rows] = group.first.aggregate(channels, segments).double().cpu().numpy()
        for found, group in zip(logits, active, strict=True):
            group.looked = group.step
            for member, head in enumerate(group.heads):
                group.look(member, labels.check(group.step, head, found[:, member]))
