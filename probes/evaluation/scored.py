"""Logits of monitors and of controls on the same data sets: what an evaluation compares."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from scipy.special import expit
from sklearn.base import BaseEstimator

from probes.activations.ragged import Ragged
from probes.activations.whole_files import StoreError, write_whole
from probes.evaluation.controls import Words, fit_lexical, shuffled_logits
from probes.evaluation.evaluation_data import EvaluationSet
from probes.fitting.fit_data import LabelledRows
from probes.heads.base import DivergedError, Head, NotFiniteError, score_together
from probes.heads.together import fit_together
from probes.monitors.monitor import CARD, MismatchError, Monitor, MonitorError


class Named(NamedTuple):
    """A monitor and what it is called in tables."""

    name: str
    monitor: Monitor

    @property
    def layer(self) -> int | str:
        """Several are called 4+8."""
        layers = self.monitor.card.layers
        return layers[0] if len(layers) == 1 else "+".join(map(str, layers))

    @property
    def seed(self) -> int | None:
        """None if the fit depends on none."""
        return self.monitor.card.parameters.get("seed")

    @property
    def family(self) -> str:
        """The same for monitors that differ in nothing but the seed."""
        card = self.monitor.card
        parameters = {name: value for name, value in card.parameters.items() if name != "seed"}
        return json.dumps([card.head, card.layers, parameters, card.training.digest], sort_keys=True)


class Scored(NamedTuple):
    """A monitor or a control with its logits on all data sets."""

    name: str
    logits: list[np.ndarray]
    """For each data set [rows], float64."""

    of: Named | None = None
    """None: a control, or several monitors."""

    calibrated: bool = True
    """False for scores that are no logits."""

    pooled: tuple[str, ...] = ()
    """Monitors that it is the mean of."""

    @property
    def control(self) -> str | None:
        """Its name if it is one."""
        return self.name if self.of is None and not self.pooled else None

    @property
    def threshold(self) -> float | None:
        """Logit that the monitor was saved with."""
        saved = None if self.of is None else self.of.monitor.card.threshold
        return None if saved is None else saved.logit


class ShuffledLogits(NamedTuple):
    """A head fitted on shuffled labels."""

    of: Named
    logits: list[np.ndarray]
    """For each data set [permutations, rows]."""


def read_monitors(folders: Sequence[Path]) -> list[Named]:
    """Monitors in folders, or in folders that hold several.

    Files are passed over, so that `monitors/*` can be given. Monitors are called like their folders, or by
    the whole path where two have the same name.

    Raises:
        MonitorError: A folder without a monitor, one that cannot be read, or nothing but files.
    """
    places: list[Path] = []
    for folder in folders:
        if folder.is_file():
            continue
        inside = [] if (folder / CARD).exists() else sorted(path.parent for path in folder.glob(f"*/{CARD}"))
        places += inside or [folder]
    places = list(dict.fromkeys(places))
    if not places:
        raise MonitorError(f"{', '.join(map(str, folders))}: no folder of a monitor")
    names = Counter(place.resolve().name for place in places)
    return [
        Named(name if names[name := place.resolve().name] == 1 else str(place), Monitor.load(place))
        for place in places
    ]


def check_monitors(monitors: Sequence[Named], sets: Sequence[EvaluationSet]) -> None:
    """Raises MismatchError or StoreError if a monitor cannot score a data set; says which, and why."""
    for data in sets:
        there = data.entry.layers_of(data.keys)
        for named in monitors:
            card = named.monitor.card
            if found := card.differences(data.spec):
                raise MismatchError(f"data set {data.name}: monitor {named.name}", found)
            check_layers(data.name, there, card.layers, named.name)


def check_layers(name: str, there: Sequence[int], layers: Sequence[int], monitor: str) -> None:
    """Raises StoreError if layers that a monitor reads are not stored of a data set."""
    if lacking := set(layers) - set(there):
        raise StoreError(
            f"data set {name}: layer {min(lacking)}, which monitor {monitor} reads, is not stored for all "
            f"rows; there are {list(there)}. Capture it again with --layers {','.join(map(str, layers))}"
        )


def check_training(monitors: Sequence[Named], train: LabelledRows) -> None:
    """Raises MismatchError or StoreError if the heads cannot be fitted again on these rows."""
    there = train.entry.layers_of(train.keys)
    for named in monitors:
        if found := named.monitor.card.differences(train.spec):
            raise MismatchError(f"--train: monitor {named.name}", found)
        check_layers(", ".join(train.names), there, named.monitor.card.layers, named.name)


def score_monitors(
    monitors: Sequence[Named], sets: Sequence[EvaluationSet], *, device: str = "cpu"
) -> list[Scored]:
    """All monitors on all data sets; those of the same layers in one read.

    Raises:
        ValueError: Activations that are not finite; names the conversation.
    """
    logits: list[list[np.ndarray]] = [[] for _ in monitors]
    for data in sets:
        for members in _by_layers(monitors):
            heads = [monitors[i].monitor.head for i in members]
            rows = data.layers(monitors[members[0]].monitor.card.layers)
            try:
                found = score_together(heads, rows, device=device)
            except NotFiniteError as error:
                raise ValueError(f"data set {data.name}, {data.rows[error.row].id}: {error}") from error
            except DivergedError as error:
                names = ", ".join(monitors[i].name for i in members)
                raise ValueError(
                    f"data set {data.name}: scores beyond all bounds, of one of {names}"
                ) from error
            for number, column in zip(members, found.T, strict=True):
                logits[number].append(column.copy())
    return [Scored(named.name, own, named) for named, own in zip(monitors, logits, strict=True)]


def length_control(sets: Sequence[EvaluationSet]) -> Scored:
    """Tokens of each conversation."""
    return Scored("length", [data.lengths.astype(np.float64) for data in sets], calibrated=False)


def word_control(
    words: Words,
    train: LabelledRows,
    train_texts: Sequence[str],
    texts: Sequence[Sequence[str]],
    seed: int,
) -> Scored:
    """A classifier of words, fitted on what the monitors were fitted on.

    Args:
        words: Which.
        train: Labels and groups.
        train_texts: Of each of its rows.
        texts: For each data set, of each row.
        seed: Of the folds that choose its regularisation.

    Raises:
        ValueError: As `controls.fit_lexical`.
    """
    fitted = fit_lexical(train_texts, train.labels, train.groups, words=words, seed=seed)
    return Scored(words, [fitted.logits(own) for own in texts])


def shuffled_controls(
    monitors: Sequence[Named],
    train: LabelledRows,
    sets: Sequence[EvaluationSet],
    *,
    permutations: int,
    seed: int,
    device: str = "cpu",
) -> list[ShuffledLogits]:
    """Each head fitted again on shuffled labels; of monitors that differ in the seed alone the first.

    Heads of the same layers are fitted in the same reads. Nothing stops their training early.

    Raises:
        ValueError: As `controls.shuffled_logits`.
    """
    first = list({named.family: named for named in reversed(monitors)}.values())[::-1]
    found: list[ShuffledLogits] = []
    for members in _by_layers(first):
        chosen = [first[i] for i in members]
        layers = chosen[0].monitor.card.layers
        logits = shuffled_logits(
            _HeadsTogether([named.monitor.head for named in chosen], device),
            train.layers(layers),
            train.labels,
            train.groups,
            [data.layers(layers) for data in sets],
            permutations=permutations,
            seed=seed,
        )
        found += [
            ShuffledLogits(named, [of_set[:, :, place] for of_set in logits])
            for place, named in enumerate(chosen)
        ]
    return found


def write_score_rows(path: Path, sets: Sequence[EvaluationSet], scored: Sequence[Scored]) -> None:
    """Write JSON lines: data set, id, label, group, facts and tokens of a conversation, and for every monitor
    and control what it says of it: `score` (a logit; tokens, of the length), `probability` (of a logit) and
    `flagged` (at a monitor's saved threshold).

    Raises:
        StoreError: The file cannot be written.
    """
    lines: list[str] = []
    for number, data in enumerate(sets):
        for place, (row, group) in enumerate(zip(data.rows, data.groups, strict=True)):
            line = {
                "dataset": data.name,
                "id": row.id,
                "label": row.label,
                "group": group,
                "facts": row.facts,
                "tokens": row.n_tokens,
                "scores": {one.name: _said(one, float(one.logits[number][place])) for one in scored},
            }
            lines.append(json.dumps(line, allow_nan=False, ensure_ascii=False) + "\n")
    write_whole(path, "".join(lines))


def _said(one: Scored, logit: float) -> dict[str, float | bool]:
    said: dict[str, float | bool] = {"score": logit}
    if one.calibrated:
        said["probability"] = float(expit(logit))
    if one.threshold is not None:
        said["flagged"] = logit >= one.threshold
    return said


class _HeadsTogether(BaseEstimator):
    """Several heads of the same layers as one estimator, with a column of logits for each."""

    def __init__(self, heads: list[Head], device: str = "cpu") -> None:
        self.heads, self.device = heads, device

    def fit(self, X: Ragged, y: Any, *, groups: Sequence[str] | None = None) -> Self:  # noqa: ARG002, N803
        fit_together(self.heads, X, y, device=self.device)
        return self

    def decision_function(self, X: Ragged) -> np.ndarray:  # noqa: N803
        return score_together(self.heads, X, device=self.device)


def _by_layers(monitors: Sequence[Named]) -> list[list[int]]:
    """Numbers of the monitors, those of the same layers together."""
    found: dict[tuple[int, ...], list[int]] = {}
    for number, named in enumerate(monitors):
        found.setdefault(tuple(named.monitor.card.layers), []).append(number)
    return list(found.values())
