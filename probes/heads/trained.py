"""Heads that are trained by gradients: their options, what each brings to its training, and the training.

Rows come in an order that depends on the epoch alone; the seed of a head draws its first weights. A head that
is trained beside others on the same rows therefore ends where it would have ended alone, up to rounding.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch

from probes.activations.ragged import Block, Ragged
from probes.heads.aggregation import Segments
from probes.heads.base import Head, Masses, NotFiniteError, Validation, block_tokens, check_finite, mapped
from probes.heads.checks import Check, ValidationLabels, cross_entropy
from probes.heads.pooled import Scale, token_scale

FLOOR = 0.02
"""Share of the learning rate that is left at the end of its cosine."""

CHECK_EVERY = 25
"""Least number of steps between two looks at the validation set; at least an epoch lies between them too."""

SMALL = 2**16
"""Multiplications per token up to which one thread trains and another reads. More threads would spend most of
their time waiting for each other, and on a busy machine many times as much."""

Progress = Callable[[int, int], None]


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

    def start_from(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """Let the next fits begin at these weights, [hidden, channels] and [channels], not at drawn ones.

        They are of activations as they are, as `state` gives them.
        """
        self._start = (weight.detach().float().clone(), bias.detach().float().clone())

    @property
    def start(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """What `start_from` was given."""
        return getattr(self, "_start", None)

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
        self.check_parameters()
        train([(self, self.masses(y, sample_weight))], X, token_scale(X), validation)
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


def train(
    members: "Sequence[tuple[TrainedHead, Masses]]",
    X: Ragged,  # noqa: N803
    scale: Scale,
    validation: Validation | None = None,
    *,
    device: str = "cpu",
    progress: Progress | None = None,
) -> None:
    """Train heads of one batch size on the same batches, in place.

    Args:
        members: Heads with the masses of their rows, [rows]; rows without any are left out.
        X: Activations, one row a conversation.
        scale: Of their tokens.
        validation: Activations and labels that training is stopped by.
        device: Where the heads are trained.
        progress: Told (steps done, of how many).

    Raises:
        NotFiniteError: Names the row.
        ValueError: Not as many masses as rows.
    """
    for _, masses in members:
        if len(masses.positive) != len(X):
            raise ValueError(f"{len(X)} rows of activations but {len(masses.positive)} labels")
    trainer = _Trainer(members, X, scale, members[0][0].batch_size, device)
    with _threads(X.hidden * sum(head.channels for head, _ in members)):
        trainer.run(validation, progress)


class _Group:
    """Heads of one recipe, trained as one tensor."""

    def __init__(self, members: Sequence[tuple[TrainedHead, Masses]], scale: Scale, device: str) -> None:
        self.heads = [head for head, _ in members]
        self.first = self.heads[0]
        hidden = len(scale.mean)
        self.positive = torch.from_numpy(np.stack([m.positive for _, m in members], axis=1)).float()
        self.negative = torch.from_numpy(np.stack([m.negative for _, m in members], axis=1)).float()
        mean = torch.from_numpy(scale.mean).float()
        unit = torch.from_numpy(1 / (scale.deviation * math.sqrt(hidden))).float()
        odds = torch.log(self.positive.sum(dim=0) / self.negative.sum(dim=0)).tolist()
        first: list[tuple[torch.Tensor, torch.Tensor]] = []
        for head, value in zip(self.heads, odds, strict=True):
            if head.start is None:
                first.append((head.first_weights(hidden), head.first_bias(value)))
            else:
                weight, bias = head.start
                first.append((weight / unit[:, None], bias + mean @ weight))
        self.weight = torch.nn.Parameter(torch.stack([weight for weight, _ in first], dim=2).to(device))
        self.bias = torch.nn.Parameter(torch.stack([bias for _, bias in first], dim=1).to(device))
        self.mean, self.unit = mean.to(device), unit.to(device)
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
        active, step = list(self.groups), 0
        with closing(_ahead(self._pieces())) as pieces:
            for piece in pieces:
                self._learn(active, piece)
                if not piece.ends_batch:
                    continue
                self._step(active)
                step += 1
                if validation is not None and labels is not None:
                    self._look([g for g in active if g.is_due(piece.ends_epoch)], validation[0], labels)
                active = [group for group in active if not group.done]
                if progress is not None:
                    progress(step if active else most, most)
                if not active:
                    break
        for group in self.groups:
            group.finish()

    def _pieces(self) -> Iterator["_Piece"]:
        """Batches without end, each in as many blocks as memory asks for."""
        epoch = 0
        while True:
            order = np.random.default_rng(epoch).permutation(self.rows)
            for start in range(0, len(order), self.batch_size):
                batch = order[start : start + self.batch_size]
                read = 0
                for block in self.x.blocks(block_tokens(self.x.hidden), [int(row) for row in batch]):
                    read += len(block.rows)
                    ends = read == len(batch)
                    yield _Piece(batch, block, ends, ends and start + self.batch_size >= len(order))
            epoch += 1

    def _learn(self, active: Sequence[_Group], piece: "_Piece") -> None:
        """Add a block's part to the gradient of its batch."""
        parts, segments = self._channels(active, piece.block)
        loss = torch.zeros((), device=self.device)
        for group, channels in zip(active, parts, strict=True):
            count = ((group.positive[piece.batch] + group.negative[piece.batch]) > 0).sum(dim=0).clamp(min=1)
            positive, negative = (
                mass[piece.block.rows].to(self.device) for mass in (group.positive, group.negative)
            )
            losses = group.first.losses(channels, positive, negative, segments)
            loss = loss + (losses.sum(dim=0) / count.to(self.device)).sum()
        loss.backward()

    def _step(self, active: Sequence[_Group]) -> None:
        # the optimizer keeps the settings of two tensors per group, in the groups' order
        for number, group in enumerate(self.groups):
            if group in active:
                group.clip()
                for settings in self.optimizer.param_groups[2 * number : 2 * number + 2]:
                    settings["lr"] = group.schedule()
                group.step += 1
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _channels(self, active: Sequence[_Group], block: Block) -> tuple[list[torch.Tensor], Segments]:
        """For each group [tokens, channels, members], in one product for all of them."""
        folded = [group.folded() for group in active]
        weight = torch.cat([part for part, _ in folded], dim=1)
        bias = torch.cat([part for _, part in folded])
        found = mapped(block.values.to(self.device), weight, bias)
        check_finite(found.detach(), block)
        widths = [len(part) for _, part in folded]
        return [
            part.unflatten(1, (group.first.channels, len(group.heads)))
            for group, part in zip(active, found.split(widths, dim=1), strict=True)
        ], Segments(block.offsets.to(self.device))

    @torch.no_grad()
    def _look(self, due: Sequence[_Group], x: Ragged, labels: ValidationLabels) -> None:
        """Show heads the validation set."""
        if not due:
            return
        logits = [np.empty((len(x), len(group.heads))) for group in due]
        try:
            for block in x.blocks(block_tokens(x.hidden)):
                parts, segments = self._channels(due, block)
                for found, group, channels in zip(logits, due, parts, strict=True):
                    found[block.rows] = group.first.aggregate(channels, segments).double().cpu().numpy()
        except NotFiniteError as error:
            raise NotFiniteError(error.row, of_validation=True) from error
        for found, group in zip(logits, due, strict=True):
            group.looked = group.step
            for member, head in enumerate(group.heads):
                group.look(member, labels.check(group.step, head, found[:, member]))


class _Piece(NamedTuple):
    """A block of a batch."""

    batch: np.ndarray
    """[rows], numbers of all rows of the batch."""

    block: Block
    ends_batch: bool
    ends_epoch: bool


def _ahead(pieces: Iterator[_Piece]) -> Generator[_Piece]:
    """The same pieces; the next one is read while one is worked on."""
    with ThreadPoolExecutor(1) as reader:
        waiting = reader.submit(next, pieces)
        while True:
            piece = waiting.result()
            waiting = reader.submit(next, pieces)
            yield piece


@contextmanager
def _threads(products: int) -> Iterator[None]:
    """One thread for small work, as many as before for the rest.

    Args:
        products: Multiplications per token.
    """
    before = torch.get_num_threads()
    if products <= SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
