"""What all heads have in common: a linear map of every token, and a rule that makes one number of a row.

A head follows scikit-learn's conventions: parameters are given by name and only stored, `fit` sets attributes
that end in `_`, `get_params`, `set_params` and `clone` work. The map is folded: what was standardised in
training is part of `weight_` and `bias_`, which take activations as they are stored.
"""

from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from probes.activations.ragged import Block, Ragged
from probes.heads.aggregation import Segments

BLOCK_BYTES = 16 * 2**20
"""Of a block of activations in memory. Large allocations are given back to the system each time, and to get
them anew costs more than to read the activations."""

ClassWeight = Literal["balanced"] | Mapping[int, float] | None
Validation = tuple[Ragged, Any]
Grid = Mapping[str, Sequence[Any]]
"""Values by the name of a parameter."""


class NotFiniteError(ValueError):
    """Activations with NaN or infinite values.

    Args:
        row: Number of the row.
        of_validation: It is one of the validation set.
    """

    def __init__(self, row: int, *, of_validation: bool = False) -> None:
        where = f"row {row} of the validation set" if of_validation else f"row {row}"
        super().__init__(
            f"{where} has activations that are NaN or infinite (beyond the range of float16?); capture it "
            "again with another --dtype, or leave it out"
        )
        self.row, self.of_validation = row, of_validation


class DivergedError(ValueError):
    """Scores that are not finite of activations that are: the weights of a head grew beyond all bounds."""

    def __init__(self) -> None:
        super().__init__("the weights of a head grew beyond all bounds; lower its learning rate")


class Masses(NamedTuple):
    """How much each row counts as positive and as negative. A soft label splits a row between the two.

    Over all rows they add up to the number of rows that count at all.
    """

    positive: np.ndarray
    """[rows], float64, at least 0."""

    negative: np.ndarray


@dataclass(kw_only=True, eq=False, repr=False)
class Head(ClassifierMixin, BaseEstimator):
    """A monitor's head: activations of a conversation in, one logit out.

    Args:
        class_weight: "balanced" lets both classes weigh the same; a dict gives the weights of 0 and 1.
        base_rate: Share that positives are to have of the whole weight, e.g. what is expected where the
            monitor is used, in (0, 1). Not together with `class_weight`.
    """

    NAME: ClassVar[str]
    """In commands and files."""

    SHAPE: ClassVar[tuple[str, ...]] = ()
    """Parameters that the logit depends on, beside the weights."""

    GRID: ClassVar[Grid] = {}
    """What cross-validation chooses among."""

    SEEDED: ClassVar[bool] = False
    """True if the fit depends on a seed."""

    class_weight: ClassWeight = None
    base_rate: float | None = None

    @property
    def channels(self) -> int:
        """Numbers that the linear map makes of a token."""
        return 1

    @abstractmethod
    def aggregate(self, channels: torch.Tensor, segments: Segments) -> torch.Tensor:
        """Logits [rows, members] from [tokens, channels, members]; members are heads of the same shape."""

    def token_logits(self, channels: torch.Tensor) -> torch.Tensor:
        """[tokens, members] from [tokens, channels, members]: logits of conversations of that token alone."""
        return channels[:, 0]

    @abstractmethod
    def fit(
        self,
        X: Ragged,  # noqa: N803
        y: Any,
        *,
        sample_weight: Any = None,
        groups: Sequence[str] | None = None,
        validation: Validation | None = None,
    ) -> Self:
        """Fit the head.

        Args:
            X: Activations, one row a conversation.
            y: [rows], in 0..1; between them a soft label.
            sample_weight: [rows], at least 0; 1 if not given.
            groups: Not used; heads and splitters take the same arguments.
            validation: Activations and labels that training is stopped by, in heads trained by gradients.

        Raises:
            NotFiniteError: Names the row.
            ValueError: No rows, labels outside 0..1 or of one class only, or a parameter out of range.
        """

    def decision_function(self, X: Ragged) -> np.ndarray:  # noqa: N803
        """[rows], float64: logits."""
        return score_together([self], X)[:, 0]

    def predict_proba(self, X: Ragged) -> np.ndarray:  # noqa: N803
        """[rows, 2], probabilities of 0 and 1."""
        positive = expit(self.decision_function(X))
        return np.stack([1 - positive, positive], axis=1)

    def predict(self, X: Ragged) -> np.ndarray:  # noqa: N803
        """[rows], 0 or 1: whether the logit is above 0. A monitor has a threshold of its own."""
        return (self.decision_function(X) > 0).astype(np.int64)

    def token_scores(self, X: Ragged) -> list[np.ndarray]:  # noqa: N803
        """For each row [tokens], float32: the logit that a conversation of that token alone would have."""
        return self.read_out(X)[1]

    def read_out(self, X: Ragged) -> tuple[np.ndarray, list[np.ndarray]]:  # noqa: N803
        """What `decision_function` and `token_scores` give, in one read of the activations."""
        logits = np.empty(len(X))
        scores: list[np.ndarray] = [np.empty(0, dtype=np.float32)] * len(X)
        for block in read(X, self):
            channels = self.channels_of(block.values)
            check_finite(channels, block)
            found = self.aggregate(channels[:, :, None], Segments(block.offsets))
            logits[block.rows] = found[:, 0].double().numpy()
            tokens = self.token_logits(channels[:, :, None])[:, 0].numpy()
            for place, row in enumerate(block.rows):
                scores[row] = tokens[block.offsets[place] : block.offsets[place + 1]].copy()
        return logits, scores

    def channels_of(self, values: torch.Tensor) -> torch.Tensor:
        """[tokens, channels] from activations [tokens, hidden]."""
        return mapped(values, self.weight_, self.bias_)

    def state(self) -> dict[str, torch.Tensor]:
        """Everything that was fitted: weight [hidden, channels] and bias [channels], float32."""
        check_is_fitted(self, "weight_")
        return {"weight": self.weight_.clone(), "bias": self.bias_.clone()}

    def load_state(self, state: Mapping[str, torch.Tensor]) -> Self:
        """Take what `state` gave.

        Raises:
            ValueError: Tensors that are missing, of another shape, or not finite.
        """
        if set(state) != {"weight", "bias"}:
            raise ValueError(f"a head has the tensors weight and bias, got {sorted(state)}")
        weight, bias = state["weight"].float(), state["bias"].float()
        if weight.dim() != 2 or weight.shape[1] != self.channels or bias.shape != (self.channels,):
            raise ValueError(
                f"head {self.NAME}: weight must be [hidden, {self.channels}] and bias [{self.channels}], "
                f"got {list(weight.shape)} and {list(bias.shape)}"
            )
        if not (weight.isfinite().all() and bias.isfinite().all()):
            raise ValueError(f"head {self.NAME}: weights that are NaN or infinite")
        self.set_weights(weight, bias)
        return self

    def set_weights(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """Store fitted weights: [hidden, channels] and [channels]."""
        self.weight_ = weight.detach().float().contiguous().clone()
        self.bias_ = bias.detach().float().contiguous().clone()
        self.n_features_in_ = len(weight)
        self.classes_ = np.array([0, 1])

    def check_parameters(self) -> None:
        """Raises ValueError if a parameter is out of range."""
        if self.base_rate is not None:
            if self.class_weight is not None:
                raise ValueError("class_weight and base_rate exclude each other; give one")
            if not 0 < self.base_rate < 1:
                raise ValueError(f"base_rate must lie between 0 and 1, got {self.base_rate}")

    @property
    def shape(self) -> Hashable:
        """Heads of the same shape can be computed together."""
        return (type(self), *(getattr(self, name) for name in self.SHAPE))

    def masses(self, y: Any, sample_weight: Any = None) -> Masses:
        """How much each row counts for both classes.

        Raises:
            ValueError: No rows, labels outside 0..1 or missing, negative weights, or one class only.
        """
        labels = checked_labels(y)
        weights = (
            np.ones_like(labels) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        )
        if weights.shape != labels.shape:
            raise ValueError(f"{len(labels)} labels but sample weights of shape {weights.shape}")
        if not np.isfinite(weights).all() or weights.min() < 0:
            raise ValueError("sample weights must be 0 or more")
        positive, negative = weights * labels, weights * (1 - labels)
        if positive.sum() == 0 or negative.sum() == 0:
            raise ValueError(
                f"the labels of the {np.count_nonzero(weights)} rows are of one class only; a head needs both"
            )
        zero, one = self._class_weights(positive.sum(), negative.sum())
        positive, negative = positive * one, negative * zero
        unit = np.count_nonzero(positive + negative) / (positive.sum() + negative.sum())
        return Masses(positive * unit, negative * unit)

    def _class_weights(self, positive: float, negative: float) -> tuple[float, float]:
        if isinstance(self.class_weight, Mapping):
            if set(self.class_weight) != {0, 1} or min(self.class_weight.values()) <= 0:
                raise ValueError(f"class_weight gives positive weights of 0 and 1, got {self.class_weight}")
            return self.class_weight[0], self.class_weight[1]
        if self.class_weight not in (None, "balanced"):
            raise ValueError(f"class_weight is 'balanced', a dict or None, got {self.class_weight!r}")
        rate = 0.5 if self.class_weight == "balanced" else self.base_rate
        return (1.0, 1.0) if rate is None else ((1 - rate) / negative, rate / positive)


def checked_labels(y: Any) -> np.ndarray:
    """[rows], float64.

    Raises:
        ValueError: None, missing, or outside 0..1; names the row.
    """
    labels = np.asarray(y, dtype=np.float64)
    if labels.ndim != 1 or not len(labels):
        raise ValueError(f"labels must be one number per row, and some rows; got shape {labels.shape}")
    wrong = ~((labels >= 0) & (labels <= 1))
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(f"labels must lie between 0 and 1; row {row} has {labels[row]}")
    return labels


def block_tokens(hidden: int) -> int:
    """Tokens that are read at once."""
    return max(512, min(65536, BLOCK_BYTES // (4 * max(hidden, 1))))


def read(X: Ragged, *heads: Head, order: Sequence[int] | np.ndarray | None = None):  # noqa: ANN201, N803
    """Blocks of the rows, checked against what the heads were fitted on.

    Raises:
        NotFittedError: A head was not fitted.
        ValueError: Activations of another width.
    """
    for head in heads:
        if not hasattr(head, "weight_"):
            raise NotFittedError(f"head {head.NAME} is not fitted yet")
        if len(X) and X.hidden != head.n_features_in_:
            raise ValueError(
                f"head {head.NAME} was fitted on vectors of {head.n_features_in_} numbers, "
                f"these have {X.hidden}"
            )
    return X.blocks(block_tokens(X.hidden), None if order is None else [int(i) for i in order])


def mapped(values: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """values @ weight + bias, [tokens, channels], with the weights laid out so that few channels are fast."""
    return torch.nn.functional.linear(values, weight.t().contiguous(), bias)


def check_finite(channels: torch.Tensor, block: Block) -> None:
    """Raises NotFiniteError if activations are not finite, DivergedError if only `channels` are not."""
    if bool(torch.isfinite(channels).all()):
        return
    broken = ~torch.isfinite(block.values).all(dim=1).cpu()
    if not broken.any():
        raise DivergedError
    token = int(broken.nonzero()[0])
    raise NotFiniteError(int(block.rows[int(torch.searchsorted(block.offsets, token, right=True)) - 1]))


def by_shape(heads: Sequence[Head]) -> list[list[int]]:
    """Numbers of the heads, those of the same shape together."""
    found: dict[Hashable, list[int]] = {}
    for number, head in enumerate(heads):
        found.setdefault(head.shape, []).append(number)
    return list(found.values())


def score_together(heads: Sequence[Head], X: Ragged, *, device: str = "cpu") -> np.ndarray:  # noqa: N803
    """Logits [rows, heads], float64, of many heads in one read of the activations.

    Raises:
        NotFiniteError: Names the row.
        NotFittedError: A head was not fitted.
        ValueError: Activations of another width.
    """
    together = by_shape(heads)
    blocks = read(X, *heads)
    order = [number for members in together for number in members]
    weight = torch.cat([heads[number].weight_ for number in order], dim=1).to(device)
    bias = torch.cat([heads[number].bias_ for number in order]).to(device)
    logits = np.empty((len(X), len(heads)))
    for block in blocks:
        values, segments = block.values.to(device), Segments(block.offsets.to(device))
        channels = mapped(values, weight, bias)
        check_finite(channels, block)
        start = 0
        for members in together:
            width = heads[members[0]].channels * len(members)
            part = channels[:, start : start + width].reshape(len(values), len(members), -1)
            found = heads[members[0]].aggregate(part.transpose(1, 2), segments)
            logits[block.rows[:, None], members] = found.double().cpu().numpy()
            start += width
    return logits
