"""What experiments start from: rows, test sets and monitors beside, checked before anything is computed."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from probes.activations.capture_spec import CaptureSpec
from probes.evaluation.beside.foreign_scores import ForeignScores, read_foreign
from probes.evaluation.evaluation_data import EvaluationSet, read_sets
from probes.evaluation.inputs import read_training
from probes.evaluation.metrics import usable_rows
from probes.evaluation.scored import Named, check_layers, check_monitors, read_monitors
from probes.experiments.cells import digest_of
from probes.experiments.settings import ExperimentSettings
from probes.fitting.fit_data import LabelledRows
from probes.heads.base import Head
from probes.heads.table import HEADS, make_head
from scenarios.mistakes import UserMistake

Made = TypeVar("Made")


class StudyError(UserMistake):
    """Settings or data that an experiment cannot be made with."""


@dataclass(frozen=True)
class Study:
    """Everything that is read; activations are not, before they are used."""

    settings: ExperimentSettings
    train: LabelledRows
    tests: list[EvaluationSet]
    probing: list[EvaluationSet]
    deployment: list[EvaluationSet]
    same_domain: dict[str, EvaluationSet]
    """Name of a test set -> the set of its domain that is learnt from in its place."""

    beside: list[ForeignScores]
    """On tests, then probing, then deployment."""

    saved: list[Named]
    layers: list[int]
    """That choose_layer tries."""

    layer: int
    """That all others read."""

    kept: dict[str, object] = field(default_factory=dict)
    """Fits of this process, by what they are."""

    @property
    def sets(self) -> list[EvaluationSet]:
        """All that monitors are scored on."""
        return [*self.tests, *self.probing, *self.deployment]

    @property
    def data_digest(self) -> str:
        """Of training rows and tests, labels and facts included."""
        return digest_of([rows_digest(self.train), [set_digest(data) for data in self.tests]])

    def make(self, head: str, **parameters: object) -> Head:
        """A head with the study's parameters, as far as it has them."""
        known = make_head(head).get_params()
        given = {k: v for k, v in self.settings.parameters.items() if k in known}
        return make_head(head, **(given | parameters))

    def seeds_of(self, head: str) -> list[int]:
        """Of its fits; one if its fit depends on none."""
        first, count = self.settings.seed, self.settings.seeds
        return list(range(first, first + count)) if HEADS[head].SEEDED else [first]


def open_study(settings: ExperimentSettings) -> Study:
    """Read and check.

    Raises:
        StudyError: No data, a set of one class, a layer that is not stored, heads or parameters that are not
            there, targets that are no tests.
        StoreError, FactError, DataError, LogError, MonitorError: Data, logs or monitors that cannot be read,
            or do not belong together.
    """
    for name, given in (("train", settings.train), ("tests", settings.tests)):
        if not given:
            raise StudyError(
                f"command line: --{name} is missing; it names captured data sets, <store>/<name>"
            )
    _check_heads(settings)
    train = read_training(settings.train)
    assert train is not None
    _check_classes(", ".join(settings.train), train.labels)
    given = [*settings.tests, *settings.probing, *settings.deployment]
    sets = [one.without(train.ties) for one in read_sets(given)]
    for data in sets:
        _check_capture(data.name, data.spec, train.spec)
        _check_classes(data.name, data.labels)
    counts = len(settings.tests), len(settings.probing)
    tests, rest = sets[: counts[0]], sets[counts[0] :]
    probing, deployment = rest[: counts[1]], rest[counts[1] :]
    for option, fact, members in (("probing", "kind", probing), ("deployment", "context", deployment)):
        for data in members:
            if None in data.fact(fact):
                raise StudyError(
                    f"--{option} {data.name}: rows without the fact {fact!r}; capture them with --facts "
                    f"{fact}"
                )
    layers, layer = _layers(settings, train)
    there = [train.entry.layers_of(train.keys), *(data.entry.layers_of(data.keys) for data in sets)]
    for name, stored in zip([", ".join(settings.train), *(data.name for data in sets)], there, strict=True):
        check_layers(name, stored, [layer], "of this experiment")
    saved = read_monitors(settings.monitors) if settings.monitors else []
    check_monitors(saved, sets)
    return Study(
        settings,
        train,
        tests,
        probing,
        deployment,
        _same_domain(settings, tests, train, layer),
        read_foreign(settings.beside, sets),
        saved,
        layers,
        layer,
    )


def rows_digest(rows: LabelledRows) -> str:
    """Of what is captured, labels, groups and facts."""
    lines = sorted(
        f"{key} {label!r} {tie.group} {sorted(facts.items())}"
        for key, label, tie, facts in zip(rows.keys, rows.labels.tolist(), rows.ties, rows.facts, strict=True)
    )
    return _digest([rows.spec.key, *lines])


def set_digest(data: EvaluationSet) -> str:
    """The same of a test set, with its name and the order of its rows."""
    lines = [f"{row.id} {row.key} {row.label!r} {row.group} {sorted(row.facts.items())}" for row in data.rows]
    return _digest([data.name, data.spec.key, *lines])


def file_digest(path: str | Path) -> str:
    """Of a file's bytes."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def rows_of(data: EvaluationSet) -> LabelledRows:
    """A test set as rows that heads are fitted on."""
    return LabelledRows(
        data.entry,
        data.keys,
        data.labels,
        data.ties,
        [row.facts for row in data.rows],
        [f"{data.name}:{row.id}" for row in data.rows],
        [str(data.path)],
        {},
    )


def _digest(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _check_heads(settings: ExperimentSettings) -> None:
    heads = list(dict.fromkeys([*settings.heads, settings.head]))
    for name in heads:
        make_head(name)
    for option, value in settings.parameters.items():
        takers = [name for name in heads if option in make_head(name).get_params()]
        if not takers:
            raise StudyError(f"--parameters {option}: none of {', '.join(heads)} has such a parameter")
        for name in takers:
            make_head(name, **{option: value}).check_parameters()


def _check_classes(name: str, labels: np.ndarray) -> None:
    usable = usable_rows(labels)
    if not usable.both_classes:
        raise StudyError(
            f"data set {name}: {usable.n_positive} positive and {usable.n_negative} negative rows; nothing "
            "can be ranked there, leave it out or name a part with both"
        )


def _check_capture(name: str, own: CaptureSpec, of_train: CaptureSpec) -> None:
    if differing := of_train.differences(own):
        parts = "; ".join(f"{k} {a!r} and {b!r}" for k, (a, b) in differing.items())
        raise StudyError(f"data set {name} is of another capture than --train: {parts}")


def _layers(settings: ExperimentSettings, train: LabelledRows) -> tuple[list[int], int]:
    stored = list(train.entry.layers_of(train.keys))
    layers = stored if settings.layers == ["all"] else [int(one) for one in settings.layers]
    for number in [*layers, *([] if settings.layer is None else [settings.layer])]:
        if number not in stored:
            raise StudyError(f"layer {number} is not stored for all training rows; there are {stored}")
    return layers, settings.layer if settings.layer is not None else layers[len(layers) // 2]


def _same_domain(
    settings: ExperimentSettings, tests: Sequence[EvaluationSet], train: LabelledRows, layer: int
) -> dict[str, EvaluationSet]:
    names = [data.name for data in tests]
    for option, wanted in (("targets", settings.targets), ("same-domain", settings.same_domain)):
        for name in wanted:
            if name not in names:
                raise StudyError(f"--{option} {name}: no such test set; there are {', '.join(names)}")
    found = {}
    for target, given in settings.same_domain.items():
        data = read_sets([given])[0]
        _check_capture(data.name, data.spec, train.spec)
        _check_classes(data.name, data.labels)
        check_layers(data.name, data.entry.layers_of(data.keys), [layer], "of this experiment")
        found[target] = data
    return found


def once(study: Study, name: str, make: Callable[[], Made]) -> Made:
    """What was made under this name in this process, or is made now."""
    if name not in study.kept:
        study.kept[name] = make()
    return study.kept[name]  # pyright: ignore[reportReturnType]
