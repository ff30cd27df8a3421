"""The logs of a training run, iteration by iteration: which monitors are fitted on, and which they watch.

Two kinds are known. A run folder of `training/ei_loop.py` has `iteration_NN/rollouts`, whose topics training
uses, and `iteration_NN/heldout`, of other topics. Any other folder (imported runs, say) has logs whose
samples know their iteration, from the import or from the name of a folder.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from probes.conversations.facts import fitting, read_conditions
from probes.conversations.labels import DataError
from probes.conversations.sources import logs_of, read_conversations
from probes.conversations.table_rows import TableOptions
from probes.fitting.matching import matched

ALL = "conversations"
"""Data set of a folder that is no run folder."""


class Piece(NamedTuple):
    """What is captured at once."""

    source: Path
    """A log, or a folder of logs."""

    name: str
    """Of the data set."""

    adapter: Path | None
    """Whose activations are read; None: the base model's."""


class Series(NamedTuple):
    """What an early warning works with."""

    pieces: list[Piece]
    fitted: list[str]
    """Names of the data sets that monitors are fitted on."""

    fit_where: list[str]
    """Conditions on their rows."""

    watched: dict[int, str]
    """Iteration -> data set, or part of one, that is watched."""


class Choice(NamedTuple):
    """Which conversations of a series."""

    fit_on: Sequence[int]
    """Iterations whose conversations monitors are fitted on."""

    where: Sequence[str]
    """Conditions on those."""

    watch_where: Sequence[str]
    """Conditions on the conversations that are watched."""

    through_adapters: bool
    """Each iteration's own adapter is read, where there is one."""


def is_run_folder(folder: Path) -> bool:
    """Whether `training/ei_loop.py` made it."""
    return any(folder.glob("iteration_*/heldout/*.eval"))


def series_of(folder: Path, choice: Choice, options: TableOptions) -> Series:
    """Which logs are fitted on and watched.

    Raises:
        DataError: No such logs or iterations, or several adapters to fit on.
    """
    return _of_run(folder, choice) if is_run_folder(folder) else _of_logs(folder, choice, options)


def _of_run(folder: Path, choice: Choice) -> Series:
    own = "" if choice.through_adapters else "_base"

    def piece(iteration: int, part: str) -> Piece:
        logs = folder / f"iteration_{iteration:02d}" / part
        if not any(logs.glob("*.eval")):
            raise DataError(f"{logs}: no log; the last iteration of a run has no rollouts")
        adapter = checkpoint(folder, iteration) if choice.through_adapters and iteration > 0 else None
        return Piece(logs, f"{part}_{iteration:02d}{own}", adapter)

    iterations = sorted(
        int(path.name.removeprefix("iteration_"))
        for path in folder.glob("iteration_*")
        if any(path.glob("heldout/*.eval"))
    )
    _check_iterations(folder, choice.fit_on, iterations)
    if choice.through_adapters and len(choice.fit_on) > 1:
        raise DataError(
            f"--fit-on {' '.join(map(str, choice.fit_on))}: the activations of these iterations are of "
            "several adapters; name one iteration, or read all through the base with --reads base"
        )
    fitted = [piece(iteration, "rollouts") for iteration in choice.fit_on]
    heldout = {iteration: piece(iteration, "heldout") for iteration in iterations}
    return Series(
        [*fitted, *heldout.values()],
        [one.name for one in fitted],
        list(choice.where),
        {iteration: one.name for iteration, one in heldout.items()},
    )


def _of_logs(folder: Path, choice: Choice, options: TableOptions) -> Series:
    if not logs_of(str(folder)):
        raise DataError(
            f"{folder}: no folder of a training run (no iteration_00/heldout/*.eval), and it has no logs"
        )
    iterations = sorted({row.iteration for row in _labelled(folder, options) if row.iteration is not None})
    if not iterations:
        raise DataError(
            f"{folder}: no log says which iteration it is of: none is in a folder iteration_NN, or imported"
        )
    _check_iterations(folder, choice.fit_on, iterations)
    watched = [iteration for iteration in iterations if iteration not in choice.fit_on]
    if not watched:
        raise DataError(f"{folder}: nothing is left to watch: all its iterations are fitted on")
    return Series(
        [Piece(folder, ALL, None)],
        [ALL],
        [f"iteration={','.join(map(str, choice.fit_on))}", *choice.where],
        {iteration: f"{ALL}:iteration={iteration}" for iteration in watched},
    )


def _check_iterations(folder: Path, wanted: Sequence[int], there: Sequence[int]) -> None:
    for iteration in wanted:
        if iteration not in there:
            raise DataError(f"{folder}: no iteration {iteration}; there are {', '.join(map(str, there))}")


class _Row(NamedTuple):
    facts: Mapping[str, str]
    group: str
    label: float | None

    @property
    def iteration(self) -> int | None:
        told = self.facts.get("iteration", "")
        return int(told) if told.isdigit() else None


def _labelled(source: Path, options: TableOptions) -> Iterator[_Row]:
    for one in read_conversations(str(source), options, Counter()):
        yield _Row(one.facts, f"{one.facts.get('family', '')}/{one.group}", one.label)


class Found(NamedTuple):
    """What the logs say before anything is captured."""

    harmful: int
    harmless: int
    harmful_groups: int
    """Initial states with a harmful conversation."""

    harmless_groups: int
    by_iteration: dict[int, tuple[int, int]]
    """Iteration -> harmful conversations and all that are labelled, of all that could be fitted on."""


def count_labels(
    folder: Path, series: Series, choice: Choice, options: TableOptions, match: str | None, seed: int
) -> Found:
    """Labels of what would be fitted on, as they stand in the logs.

    Args:
        folder: That `series` is of.
        series: What would be fitted on and watched.
        choice: By which it was made.
        options: Which score is the label.
        match: Fact that negatives are matched by; None: not at all.
        seed: Of the matching.

    Raises:
        DataError: A score that is not there.
        FactError: A condition that cannot be read.
    """
    by_iteration: Counter[int] = Counter()
    harmful_in: Counter[int] = Counter()
    rows: list[_Row] = []
    sources = [piece.source for piece in series.pieces if piece.name in series.fitted]
    if is_run_folder(folder):
        sources = sorted({path.parent for path in folder.glob("iteration_*/rollouts/*.eval")})
    conditions = read_conditions(choice.where)
    for source in sources:
        found = [row for row in _labelled(source, options) if row.label is not None]
        fits = fitting([row.facts for row in found], conditions)
        for row, fit in zip(found, fits, strict=True):
            if fit and row.iteration is not None:
                by_iteration[row.iteration] += 1
                harmful_in[row.iteration] += (row.label or 0.0) >= 0.5
                rows += [row] if row.iteration in choice.fit_on else []
    labels = np.array([row.label for row in rows], dtype=np.float64)
    if match is not None and len(rows):
        kept = matched(labels, [row.facts.get(match) for row in rows], seed)
        rows = [row for row, keep in zip(rows, kept, strict=True) if keep]
        labels = labels[kept]
    groups = {True: set[str](), False: set[str]()}
    for row, label in zip(rows, labels, strict=True):
        groups[bool(label >= 0.5)].add(row.group)
    return Found(
        int((labels >= 0.5).sum()),
        int((labels < 0.5).sum()),
        len(groups[True]),
        len(groups[False]),
        {iteration: (harmful_in[iteration], count) for iteration, count in sorted(by_iteration.items())},
    )


def check_labels(found: Found, choice: Choice, match: str | None, share: float) -> None:
    """Refuse what no monitor can be fitted on, with the iterations that have more.

    Both classes are needed on both sides: among what is fitted on and among what sets the threshold.

    Args:
        found: See `count_labels`.
        choice: What is fitted on.
        match: As of `count_labels`.
        share: Of the rows that set the threshold.

    Raises:
        DataError: Too few initial states of a class.
    """
    needed = max(2, round(1 / share))
    if min(found.harmful_groups, found.harmless_groups) >= needed:
        return
    of = f", as many of each class in every {match}" if match is not None else ""
    told = ", ".join(f"{i} ({harmful} of {n})" for i, (harmful, n) in found.by_iteration.items())
    way = " or --match none" if match is not None else ""
    raise DataError(
        f"--fit-on {' '.join(map(str, choice.fit_on))}: {found.harmful} harmful conversations in "
        f"{found.harmful_groups} initial states and {found.harmless} harmless in {found.harmless_groups}"
        f"{of}; at least {needed} states of each are needed. Harmful by iteration: {told or 'none'}. Say "
        f"--fit-on with other or more iterations{way}"
    )


def usable_share(found: Found) -> float:
    """A fifth of the rows for the threshold; more where a class has fewer than five initial states."""
    return 1 / max(2, min(5, found.harmful_groups, found.harmless_groups))


def usable_folds(found: Found, wanted: int, share: float) -> int:
    """As many folds as initial states of the rarer class allow, less those that are held out; 0 for none."""
    left = math.floor(min(found.harmful_groups, found.harmless_groups) * (1 - share))
    folds = min(wanted, left)
    return folds if folds >= 2 else 0


def checkpoint(run: Path, iteration: int) -> Path:
    """Adapter of the iteration's model, which the one before it trained."""
    return run / f"iteration_{iteration - 1:02d}" / "checkpoint"


def base_of(run: Path) -> str:
    """Base weights that a run's first adapter names.

    Raises:
        DataError: It names none.
    """
    path = checkpoint(run, 1) / "adapter_config.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError):
        raise DataError(f"{path} does not name the base weights; give them with --model") from None


def as_it_ran(run: Path) -> dict[str, Any]:
    """Revision, type and chat template of a run, as its settings name them; empty for other logs."""
    try:
        told = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return {}
    if not isinstance(told, dict):
        return {}
    args = told.get("model_args") or {}
    found = {
        "revision": told.get("revision"),
        "compute_dtype": told.get("dtype"),
        "attn_implementation": told.get("attn_implementation"),
        "template": args.get("chat_template"),
        "template_options": args.get("template_options"),
        "thinking": args.get("thinking"),
    }
    return {name: value for name, value in found.items() if value is not None}
