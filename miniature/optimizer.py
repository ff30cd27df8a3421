"""Muon for the miniature: momentum whose matrices are made orthogonal before each step.

Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks", with the scale of
Liu et al. 2025, arXiv:2502.16982, section 2.2. It needs about half the dialogues that Adam does. Not
`torch.optim.Muon`, which multiplies in bfloat16 and is five times slower on a CPU than the whole
training step; here it is float32, and matrices of one shape go through one batched product.
"""

import math
from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim import AdamW

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration, from the source."""

ITERATIONS = 5
MOMENTUM = 0.95
ADAMS_RMS = 0.2
"""Root mean square of an update of Adam, which the orthogonal updates are scaled to."""


class Muon(AdamW):
    """AdamW, with orthogonal momentum for the matrices inside the layers.

    Args:
        matrices: Parameters of two dimensions, but embeddings and output.
        others: All other parameters; AdamW takes them.
        lr: Of the matrices.
        adam_lr: Of the others.
        weight_decay: Of all.
    """

    def __init__(
        self,
        matrices: Iterable[Tensor],
        others: Iterable[Tensor],
        *,
        lr: float,
        adam_lr: float,
        weight_decay: float,
    ) -> None:
        groups = [
            {"params": list(others), "lr": adam_lr, "matrices": False},
            {"params": list(matrices), "lr": lr, "matrices": True},
        ]
        super().__init__(groups, lr=adam_lr, betas=(0.9, 0.98), weight_decay=weight_decay)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step of both."""
        matrices = self.param_groups.pop()
        super().step(closure)
        self.param_groups.append(matrices)
        for parameters in _by_shape(matrices["params"]):
            updates = orthogonal(torch.stack([self._momentum(p) for p in parameters]))
            scale = ADAMS_RMS * math.sqrt(max(parameters[0].shape))
            for parameter, update in zip(parameters, updates, strict=True):
                parameter.mul_(1 - matrices["lr"] * matrices["weight_decay"])
                parameter.sub_(update, alpha=matrices["lr"] * scale)

    def _momentum(self, parameter: Tensor) -> Tensor:
        """Nesterov's, as in the source."""
        assert parameter.grad is not None
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(parameter.grad, 1 - MOMENTUM)
        return parameter.grad.lerp(state["momentum"], MOMENTUM)


def _by_shape(parameters: Iterable[Tensor]) -> Iterable[list[Tensor]]:
    groups: dict[torch.Size, list[Tensor]] = defaultdict(list)
    for parameter in parameters:
        if parameter.grad is not None:
            groups[parameter.shape].append(parameter)
    return groups.values()


def orthogonal(matrices: Tensor) -> Tensor:
    """About the nearest matrices with singular values of 1, after Newton and Schulz; [n, rows, columns]."""
    a, b, c = COEFFICIENTS
    tall = matrices.size(1) > matrices.size(2)
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x
