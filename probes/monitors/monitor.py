"""A fitted head with all one must know to use it: a folder with `weights.safetensors` and `monitor.json`.

Loading refuses activations that the monitor was not fitted for, and says in what they differ. Nothing in the
folder is ever executed.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from scipy.special import expit

from probes.activations.capture_spec import CaptureSpec
from probes.activations.mapped import Activations
from probes.activations.ragged import Ragged
from probes.activations.whole_files import write_whole
from probes.heads.base import Head
from probes.heads.table import make_head
from scenarios.mistakes import UserMistake
from scenarios.schema import Frozen

WEIGHTS, CARD = "weights.safetensors", "monitor.json"
LIBRARIES = ("torch", "numpy", "scikit-learn", "safetensors")

INESSENTIAL = ("dtype", "max_tokens", "truncation")
"""Parts of a capture that may differ from what a monitor was fitted on: how exactly numbers are stored, and
what becomes of the longest conversations."""


class MonitorError(UserMistake):
    """A monitor that cannot be loaded. Says which file, and what is wrong."""


class MismatchError(MonitorError):
    """Activations that a monitor was not fitted for."""

    def __init__(self, what: str, differences: Sequence[str]) -> None:
        super().__init__(f"{what} was fitted on other activations: {'; '.join(differences)}")
        self.differences = list(differences)


class Threshold(Frozen):
    """From which logit on a conversation is flagged, and how that was chosen."""

    logit: float = Field(allow_inf_nan=False)
    asked_fpr: float = Field(gt=0, lt=1)
    """Upper bound on the false-positive rate."""

    fpr: float = Field(ge=0, le=1)
    """Reached on the validation set; at most what was asked for."""

    recall: float | None = Field(default=None, ge=0, le=1)
    """Reached on the validation set; None if it was chosen from negatives alone."""

    n_negative: int = Field(ge=1)
    """Conversations that the rate is measured on; below 1 / asked_fpr none of them may be flagged."""

    n_positive: int = Field(ge=0)


class Calibration(Frozen):
    """Platt scaling: the log-odds that a logit stands for, as measured on rows that were not fitted on."""

    slope: float = Field(ge=0, allow_inf_nan=False)
    offset: float = Field(allow_inf_nan=False)
    rows: int = Field(ge=1)
    """That it was measured on."""

    def of(self, logits: np.ndarray) -> np.ndarray:
        """[rows], log-odds."""
        return self.slope * logits + self.offset


class Sources(Frozen):
    """Data sets that a monitor was fitted on, or validated on."""

    names: list[str]
    digest: str
    """First 16 hex digits of the SHA-256 of keys and labels of all rows."""

    rows: int = Field(ge=0)
    positive: int = Field(ge=0)
    """Rows with a label above 0.5."""

    groups: int = Field(ge=0)
    excluded: dict[str, int] = {}
    """Reason -> rows that were left out."""

    known: str = ""
    """Digests of its groups and conversations (`grouping.digests_of`), between spaces: evaluations leave them
    out. Empty in cards of earlier monitors."""


class MonitorCard(Frozen):
    """What `monitor.json` holds."""

    format: Literal[1] = 1
    detects: str = Field(min_length=1)
    """What label 1 means, e.g. "high stakes"."""

    head: str
    parameters: dict[str, Any]
    layers: list[int] = Field(min_length=1)
    """Side by side if there are several."""

    hidden: int = Field(ge=1)
    """Numbers per token, of all layers together."""

    spec: CaptureSpec
    """Of the activations that it was fitted on."""

    any_adapter: bool = False
    """It may score the same base model with other adapters, or none."""

    training: Sources
    validation: Sources | None = None
    threshold: Threshold | None = None
    cross_fitted: int | None = None
    """Threshold, calibration and metrics are of the rows that the head was fitted on, as scored by heads that
    were fitted without each of so many parts. None: of rows that were held out."""

    calibration: Calibration | None = None
    """By which it is pooled with others. None in cards of earlier monitors."""

    metrics: dict[str, float | None] = {}
    """On the validation set; ends of intervals are called *_low and *_high."""

    versions: dict[str, str] = {}
    weights_sha256: str = ""

    @property
    def name(self) -> str:
        """Of its folder: head, layers, and the seed where there is one."""
        seed = self.parameters.get("seed")
        return f"{self.head}-layer{'+'.join(map(str, self.layers))}" + (
            "" if seed is None else f"-seed{seed}"
        )

    def differences(self, spec: CaptureSpec, layers: Sequence[int] | None = None) -> list[str]:
        """In what other activations are not those that the monitor takes; empty if it takes them."""
        found = [
            f"{name} {mine!r}, these have {theirs!r}"
            for name, (mine, theirs) in self.spec.differences(spec).items()
            if name not in INESSENTIAL and not (name == "adapter" and self.any_adapter)
        ]
        if layers is not None and list(layers) != self.layers:
            found.append(f"layers {self.layers}, these have {list(layers)}")
        return found


class ScoreTable(NamedTuple):
    """What a monitor says of some conversations."""

    logits: np.ndarray
    """[rows], float64."""

    probabilities: np.ndarray
    """[rows], in 0..1: the logistic function of the logit, as good as the head's loss made it."""

    flagged: np.ndarray | None
    """[rows], bool: logit at or above the threshold; None without a threshold."""

    token_logits: list[np.ndarray] | None
    """For each row [tokens], float32; None if not asked for."""


class Monitor:
    """A fitted head and its card.

    Args:
        head: Fitted.
        card: Of that head.
    """

    def __init__(self, head: Head, card: MonitorCard) -> None:
        self.head, self.card = head, card

    def save(self, folder: Path | str) -> Path:
        """Write both files; the card, which knows the digest of the weights, last. Returns the folder.

        Raises:
            StoreError: The disk is full or the folder cannot be written.
        """
        folder = Path(folder)
        weights = save(self.head.state())
        card = self.card.model_copy(
            update={"weights_sha256": hashlib.sha256(weights).hexdigest(), "versions": _versions()}
        )
        write_whole(folder / WEIGHTS, weights)
        write_whole(folder / CARD, json.dumps(card.model_dump(mode="json"), indent=1, allow_nan=False) + "\n")
        self.card = card
        return folder

    @classmethod
    def load(
        cls, folder: Path | str, expect: CaptureSpec | None = None, layers: Sequence[int] | None = None
    ) -> "Monitor":
        """Read a monitor.

        Args:
            folder: Where `save` wrote it.
            expect: What the activations that it will score are of; not checked if not given.
            layers: Which layers they have, side by side; not checked if not given.

        Raises:
            MismatchError: It was fitted on another model, adapter, template, capture point, token rule or
                layer; names what differs.
            MonitorError: No monitor in this folder, or files that are damaged or do not belong together.
        """
        folder = Path(folder)
        card = read_card(folder)
        if expect is not None and (found := card.differences(expect, layers)):
            raise MismatchError(f"monitor {folder}", found)
        return cls(_read_head(folder, card), card)

    def check(self, spec: CaptureSpec, layers: Sequence[int] | None = None) -> None:
        """Raises MismatchError if the monitor does not take activations of this capture."""
        if found := self.card.differences(spec, layers):
            raise MismatchError(f"monitor {self.card.name}", found)

    def score(self, activations: Ragged | Activations, *, tokens: bool = False) -> ScoreTable:
        """Score conversations.

        Args:
            activations: Of the monitor's layers side by side, or stored ones that have them.
            tokens: Score every token too.

        Raises:
            NotFiniteError: Names the row.
            ValueError: Another number of directions, or a layer that is not stored.
        """
        rows = activations if isinstance(activations, Ragged) else activations.layers(self.card.layers)
        logits, of_tokens = self.head.read_out(rows) if tokens else (self.head.decision_function(rows), None)
        threshold = self.card.threshold
        flagged = None if threshold is None else logits >= threshold.logit
        return ScoreTable(logits, expit(logits), flagged, of_tokens)


def read_card(folder: Path | str) -> MonitorCard:
    """The card of a monitor, without its weights.

    Raises:
        MonitorError: There is none, or it cannot be read.
    """
    path = Path(folder) / CARD
    try:
        return MonitorCard.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise MonitorError(f"{folder} is no monitor: it has no {CARD}") from None
    except (OSError, ValidationError) as error:
        raise MonitorError(f"{path} cannot be read: {error}") from error


def parameters_of(head: Head) -> dict[str, Any]:
    """Parameters of a head as a card keeps them."""
    return {name: _plain(value) for name, value in head.get_params().items()}


def _read_head(folder: Path, card: MonitorCard) -> Head:
    path = folder / WEIGHTS
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MonitorError(f"{path} cannot be read: {error.strerror or error}") from error
    if hashlib.sha256(data).hexdigest() != card.weights_sha256:
        raise MonitorError(f"{path} is damaged, or not the one that {CARD} belongs to; fit the monitor again")
    try:
        head = make_head(card.head, **_with_classes(card.parameters))
        head.check_parameters()
        head.load_state(load(data))
    except (SafetensorError, ValueError) as error:
        raise MonitorError(f"{folder}: {error}") from error
    if head.n_features_in_ != card.hidden:
        raise MonitorError(
            f"{folder}: {CARD} says {card.hidden} numbers per token, the weights have {head.n_features_in_}"
        )
    return head


def _with_classes(parameters: dict[str, Any]) -> dict[str, Any]:
    """JSON has no numbers as keys."""
    weight = parameters.get("class_weight")
    return parameters | (
        {"class_weight": {int(label): value for label, value in weight.items()}}
        if isinstance(weight, dict)
        else {}
    )


def _plain(value: Any) -> Any:
    """As JSON gives it back."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return value.item() if isinstance(value, np.generic) else value


def _versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in (*LIBRARIES, "inspect-influence"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
