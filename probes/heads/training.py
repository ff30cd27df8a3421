"""Fits any number of heads in one pass over the activations at a time.

Heads that see pooled vectors are solved in closed form after one read. The others are trained by AdamW: all
of them, whatever their shape and seed, on the same batches, so that each epoch reads the activations once.
Rows come in an order that depends on the epoch alone; the seed of a head draws its first weights. A head that
is trained beside others on the same rows therefore ends where it would have ended alone, up to rounding.
"""

import math
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch

from probes.activations import Block, Ragged
from probes.heads.aggregation import Segments
from probes.heads.base import (
    Head,
    Masses,
    NotFiniteError,
    Validation,
    block_tokens,
    check_finite,
    checked_labels,
    mapped,
)
from probes.heads.checks import Check, ValidationLabels
from probes.heads.pooled import Pooled, PooledHead, Pooling, Scale, pool, token_scale
from probes.heads.trained import TrainedHead

FLOOR = 0.02
"""Share of the learning rate that is left at the end of its cosine."""

CHECK_EVERY = 25
"""Least number of steps between two looks at the validation set; at least an epoch lies between them too."""

SMALL = 2**16
"""Multiplications per token up to which one thread trains and another reads. More threads would spend most of
their time waiting for each other, and on a busy machine many times as much."""

Progress = Callable[[int, int], None]


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
        first = torch.stack([head.first_weights(hidden) for head in self.heads], dim=2)
        self.weight = torch.nn.Parameter(first.to(device))
        odds = torch.log(self.positive.sum(dim=0) / self.negative.sum(dim=0)).tolist()
        biases = [head.first_bias(value) for head, value in zip(self.heads, odds, strict=True)]
        self.bias = torch.nn.Parameter(torch.stack(biases, dim=1).to(device))
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
