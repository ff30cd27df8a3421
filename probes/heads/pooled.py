"""Heads that see one vector per conversation: the mean of its tokens, or the last one. Fitted in closed form.

The mean over tokens of w·a + b is w·(mean of a) + b, so all of them give every token a logit too, and what is
read once and pooled is enough to fit any number of them. No seed changes them.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from scipy import linalg
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.linear_model import LogisticRegression

from probes.activations.ragged import Ragged
from probes.heads import aggregation
from probes.heads.aggregation import Segments
from probes.heads.base import Grid, Head, Masses, NotFiniteError, Validation, block_tokens, check_finite

Pooling = Literal["mean", "last"]
Pooled = Callable[[Pooling], torch.Tensor]
"""Gives pooled activations [rows, hidden]."""

SAMPLE_TOKENS = 131072
"""Tokens that means and deviations are estimated from."""


class Scale(NamedTuple):
    """Mean and standard deviation of every direction over tokens."""

    mean: np.ndarray
    """[hidden], float64."""

    deviation: np.ndarray
    """[hidden], float64; 1 where a direction never changes."""


@dataclass(kw_only=True, eq=False, repr=False)
class PooledHead(Head):
    """A linear head on pooled activations."""

    POOLING: ClassVar[Pooling] = "mean"

    def aggregate(self, channels: torch.Tensor, segments: Segments) -> torch.Tensor:
        """The mean of the tokens' logits, or that of the last one."""
        pool = aggregation.mean if self.POOLING == "mean" else aggregation.last
        return pool(channels[:, 0], segments)

    def fit(
        self,
        X: Ragged,  # noqa: N803
        y: Any,
        *,
        sample_weight: Any = None,
        groups: Sequence[str] | None = None,
        validation: Validation | None = None,
    ) -> Self:
        """See `Head.fit`. One read of the activations."""
        del groups, validation
        self.check_parameters()
        masses = self.masses(y, sample_weight)
        return self.fit_pooled(pool(X)[self.POOLING], masses, token_scale(X))

    def fit_pooled(self, features: torch.Tensor, masses: Masses, scale: Scale) -> Self:
        """Fit the head on what was pooled.

        Args:
            features: [rows, hidden].
            masses: Of those rows; rows without any are left out.
            scale: Of the tokens that were pooled.

        Raises:
            NotFiniteError: Names the row.
            ValueError: As many rows as masses are needed.
        """
        if len(features) != len(masses.positive):
            raise ValueError(f"{len(features)} rows but {len(masses.positive)} labels")
        counted = masses.positive + masses.negative > 0
        kept = features[torch.from_numpy(counted)].double().numpy()
        if not np.isfinite(kept).all():
            place = int((~np.isfinite(kept).all(axis=1)).argmax())
            raise NotFiniteError(int(np.flatnonzero(counted)[place]))
        weight, bias = self.solve(kept, Masses(masses.positive[counted], masses.negative[counted]), scale)
        self.set_weights(torch.from_numpy(weight).reshape(-1, 1), torch.tensor([float(bias)]))
        return self

    @abstractmethod
    def solve(self, features: np.ndarray, masses: Masses, scale: Scale) -> tuple[np.ndarray, float]:
        """Weights [hidden] and bias of the logit, for features [rows, hidden] as they are."""


@dataclass(kw_only=True, eq=False, repr=False)
class MeanHead(PooledHead):
    """Mean of the tokens' logits, w and b fitted on conversations by logistic regression.

    The penalty is on weights of standardised tokens, so that all directions of the residual stream are
    penalised alike per token.

    Args:
        C: Inverse strength of the L2 penalty, as in scikit-learn. By default that of 0.03 to 100 which does
            best on data sets that were not fitted on (`benchmarks/probes/stakes.py`).
    """

    NAME: ClassVar[str] = "mean"
    GRID: ClassVar[Grid] = {"C": [0.01, 0.1, 1.0, 10.0, 100.0]}
    C: float = 0.2

    def check_parameters(self) -> None:
        """See `Head`."""
        super().check_parameters()
        if not self.C > 0:
            raise ValueError(f"C must be above 0, got {self.C}")

    def solve(self, features: np.ndarray, masses: Masses, scale: Scale) -> tuple[np.ndarray, float]:
        """See `PooledHead`."""
        return _logistic(features, masses, scale, self.C)


@dataclass(kw_only=True, eq=False, repr=False)
class LastHead(MeanHead):
    """Logit of the last token, fitted as `MeanHead`."""

    NAME: ClassVar[str] = "last"
    GRID: ClassVar[Grid] = {"C": [0.01, 0.1, 1.0, 10.0, 100.0]}
    POOLING: ClassVar[Pooling] = "last"


@dataclass(kw_only=True, eq=False, repr=False)
class LogisticHead(MeanHead):
    """Logistic regression on the mean of the tokens, standardised over conversations.

    Differs from `MeanHead` in what is penalised alike: directions as they vary from one conversation's mean
    to the next.

    Source: McKenzie et al. 2025, arXiv:2506.10805; C is 0.02, there 0.001, with which data sets that
    were not fitted on are ranked worse (`benchmarks/probes/stakes.py`). Differs too: the intercept is fitted.
    """

    NAME: ClassVar[str] = "logistic"
    GRID: ClassVar[Grid] = {"C": [1e-4, 1e-3, 1e-2, 0.1, 1.0]}
    C: float = 0.02

    def solve(self, features: np.ndarray, masses: Masses, scale: Scale) -> tuple[np.ndarray, float]:
        """See `PooledHead`."""
        del scale
        deviation = features.std(axis=0)
        own = Scale(features.mean(axis=0), np.where(deviation > 0, deviation, 1.0))
        return _logistic(features, masses, own, self.C)


@dataclass(kw_only=True, eq=False, repr=False)
class DifferenceOfMeans(PooledHead):
    """Projection on the difference of the classes' means; zero half way between them.

    Args:
        calibrate: Stretch and shift the projection so that its logistic function is a probability. False:
            the projection as it is, whose probabilities are almost always 0 or 1.
    """

    NAME: ClassVar[str] = "difference_of_means"
    GRID: ClassVar[Grid] = {}
    calibrate: bool = True

    def solve(self, features: np.ndarray, masses: Masses, scale: Scale) -> tuple[np.ndarray, float]:
        """See `PooledHead`."""
        del scale
        above, below = _means(features, masses)
        weight = above - below
        bias = -0.5 * float((above + below) @ weight)
        return _calibrated(features, masses, weight, bias) if self.calibrate else (weight, bias)


@dataclass(kw_only=True, eq=False, repr=False)
class DiscriminantHead(PooledHead):
    """Linear discriminant analysis of the mean of the tokens, with a shrunk covariance.

    The weights are C⁻¹(μ₁ - μ₀), with C the classes' covariances averaged by the classes' shares. Equal to
    scikit-learn's `LinearDiscriminantAnalysis(solver="lsqr")`, and takes soft labels and weights too.

    Args:
        shrinkage: "auto" chooses it by Ledoit and Wolf 2004 (J. Multivariate Analysis 88(2)) on the rows of
            each class, whatever their weights; a number in [0, 1] is the share of the mean variance.
    """

    NAME: ClassVar[str] = "lda"
    GRID: ClassVar[Grid] = {"shrinkage": ["auto", 0.01, 0.1, 0.5, 0.9]}
    shrinkage: float | Literal["auto"] = "auto"

    def check_parameters(self) -> None:
        """See `Head`."""
        super().check_parameters()
        if self.shrinkage != "auto" and not (
            isinstance(self.shrinkage, int | float) and 0 <= self.shrinkage <= 1
        ):
            raise ValueError(f"shrinkage is 'auto' or a number in [0, 1], got {self.shrinkage!r}")

    def solve(self, features: np.ndarray, masses: Masses, scale: Scale) -> tuple[np.ndarray, float]:
        """See `PooledHead`."""
        del scale
        above, below = _means(features, masses)
        one, zero = masses.positive.sum(), masses.negative.sum()
        mostly = masses.positive > masses.negative
        covariance = one * self._covariance(features, masses.positive, above, mostly)
        covariance += zero * self._covariance(features, masses.negative, below, ~mostly)
        weight = _solved(covariance / (one + zero), above - below)
        return weight, float(-0.5 * (above + below) @ weight + np.log(one / zero))

    def _covariance(
        self, features: np.ndarray, weights: np.ndarray, mean: np.ndarray, rows: np.ndarray
    ) -> np.ndarray:
        counted = weights > 0
        centred = features[counted] - mean
        share = weights[counted] / weights.sum()
        covariance = (centred * share[:, None]).T @ centred
        if self.shrinkage != "auto":
            return _shrunk(covariance, float(self.shrinkage))
        deviation = np.sqrt(np.diag(covariance))
        deviation = np.where(deviation > 0, deviation, 1.0)
        of_class = (features[rows] - mean) / deviation
        amount = float(ledoit_wolf_shrinkage(of_class)) if len(of_class) > 1 else 1.0
        correlation = _shrunk(covariance / np.outer(deviation, deviation), amount)
        return correlation * np.outer(deviation, deviation)


def pool(X: Ragged) -> dict[Pooling, torch.Tensor]:  # noqa: N803
    """Mean and last token of every row, [rows, hidden] float32, in one read."""
    found: dict[Pooling, torch.Tensor] = {
        "mean": torch.empty(len(X), X.hidden),
        "last": torch.empty(len(X), X.hidden),
    }
    for block in X.blocks(block_tokens(X.hidden)):
        rows, segments = torch.from_numpy(block.rows), Segments(block.offsets)
        found["mean"][rows] = aggregation.mean(block.values, segments)
        found["last"][rows] = aggregation.last(block.values, segments)
    return found


def token_scale(X: Ragged) -> Scale:  # noqa: N803
    """Mean and standard deviation over the tokens of rows that lie evenly apart; always the same rows.

    Raises:
        NotFiniteError: Names the row.
    """
    apart = max(1, -(-X.tokens // SAMPLE_TOKENS))
    count, sums, squares = 0, torch.zeros(X.hidden).double(), torch.zeros(X.hidden).double()
    near = torch.zeros(X.hidden)
    for block in X.blocks(block_tokens(X.hidden), range(0, len(X), apart)):
        if not count:
            near = block.values[0].clone()
        # seen from one of them, so that a large mean does not drown small deviations
        moved = block.values - near
        sums += moved.sum(dim=0)
        squares += (moved * moved).sum(dim=0)
        count += len(moved)
        check_finite(sums, block)
    mean = (sums / count).numpy()
    variance = (squares / count).numpy() - mean**2
    # what remains of a constant is rounding
    changes = variance > 1e-10 * (mean**2 + 1e-20)
    return Scale(mean + near.double().numpy(), np.sqrt(np.where(changes, variance, 1.0)))


def _logistic(features: np.ndarray, masses: Masses, scale: Scale, c: float) -> tuple[np.ndarray, float]:
    """L2-penalised logistic regression; a row of a soft label counts as a positive and as a negative one."""
    standard = (features - scale.mean) / scale.deviation
    one, zero = masses.positive > 0, masses.negative > 0
    rows = np.concatenate([standard[one], standard[zero]])
    labels = np.repeat([1, 0], [one.sum(), zero.sum()])
    weights = np.concatenate([masses.positive[one], masses.negative[zero]])
    fitted = LogisticRegression(C=c, max_iter=1000).fit(rows, labels, sample_weight=weights)
    weight = fitted.coef_[0] / scale.deviation
    return weight, float(fitted.intercept_[0] - weight @ scale.mean)


def _calibrated(
    features: np.ndarray, masses: Masses, weight: np.ndarray, bias: float
) -> tuple[np.ndarray, float]:
    """Platt scaling of a projection, which keeps its direction."""
    projected = features @ weight + bias
    spread = projected.std()
    if not spread > 0:
        return weight, bias
    own = Scale(np.array([projected.mean()]), np.array([spread]))
    slope, shift = _logistic(projected[:, None], masses, own, 1.0)
    return weight * slope[0], float(bias * slope[0] + shift)


def _means(features: np.ndarray, masses: Masses) -> tuple[np.ndarray, np.ndarray]:
    above = masses.positive @ features / masses.positive.sum()
    return above, masses.negative @ features / masses.negative.sum()


def _shrunk(covariance: np.ndarray, amount: float) -> np.ndarray:
    """(1 - amount) covariance + amount times the mean variance on the diagonal."""
    shrunk = (1 - amount) * covariance
    shrunk.flat[:: len(covariance) + 1] += amount * np.trace(covariance) / len(covariance)
    return shrunk


def _solved(covariance: np.ndarray, difference: np.ndarray) -> np.ndarray:
    if not np.trace(covariance) > 0:
        # nothing varies within the classes: every direction counts alike
        return difference
    try:
        return linalg.solve(covariance, difference, assume_a="pos")
    except linalg.LinAlgError:
        # fewer rows than directions and no shrinkage
        return np.linalg.lstsq(covariance, difference, rcond=None)[0]
