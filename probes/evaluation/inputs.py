"""What an evaluation starts from: monitors, data sets and training rows, all checked before it computes."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from probes.activations.whole_files import StoreError
from probes.evaluation.comparisons import MEAN
from probes.evaluation.evaluate_settings import EvaluateSettings
from probes.evaluation.evaluation_data import EvaluationSet, read_set, read_sets
from probes.evaluation.pages.token_texts import read_tokenizer
from probes.evaluation.pooled import members_of, notes_of
from probes.evaluation.results import LENGTH, SHUFFLED
from probes.evaluation.scored import Named, check_monitors, check_training, read_monitors
from probes.fitting.fit_data import LabelledRows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WORDS = ("bag_of_words", "tfidf")
"""Controls that need the words of the conversations."""


class EvaluationInputs(NamedTuple):
    """What is evaluated, and what controls are fitted on."""

    monitors: list[Named]
    sets: list[EvaluationSet]
    train: LabelledRows | None
    tokenizer: "PreTrainedTokenizerBase | None"
    """None if nothing needs words."""

    pools: dict[str, list[Named]]
    """Name -> monitors whose mean is evaluated too."""

    notes: list[str]
    """What a reader of the results must know."""


def read_inputs(settings: EvaluateSettings) -> EvaluationInputs:
    """Read and check everything that can be checked before anything is computed.

    Raises:
        MonitorError: A folder without a monitor; a monitor for other activations than a data set has.
        StoreError: Data sets that cannot be read, or that lack a layer.
        ValueError: A reference, fact or monitor to show that does not exist; a tokenizer that is not there.
    """
    monitors = read_monitors(settings.monitors)
    names = [named.name for named in monitors]
    sets = read_sets(settings.data, settings.where)
    pools = members_of(settings.pool, monitors)
    if any(data.name == MEAN for data in sets):
        raise ValueError(f"a data set called {MEAN!r} cannot be told from the mean over data sets")
    wanted = settings.wanted_controls
    for name in settings.show:
        if name not in names:
            raise ValueError(f"--show {name}: no such monitor; there are {', '.join(names)}")
    compared = [*names, *pools, *(control for control in wanted if control != SHUFFLED)]
    if settings.reference is not None and settings.reference not in compared:
        raise ValueError(f"--reference {settings.reference}: there are {', '.join(compared)}")
    if taken := [name for name, count in Counter(compared).items() if count > 1]:
        raise ValueError(
            f"two monitors, pools or controls are called {taken[0]}; rename the folder, or the pool"
        )
    _check_facts("--by", settings.by, sets)
    _check_facts("--within", settings.within, sets)
    train = read_training(settings.train)
    if train is not None:
        sets = [data.without(train.ties) for data in sets]
    sources = [s for named in monitors for s in (named.monitor.card.training, named.monitor.card.validation)]
    known = {digest for source in sources if source is not None for digest in source.known.split()}
    sets = [data.unknown_to(known) for data in sets]
    check_monitors(monitors, sets)
    notes = _doubts(monitors, sets, settings.train) + notes_of(pools)
    if settings.where:
        notes.append(f"Only conversations with {' and '.join(settings.where)}.")
    if train is not None:
        if SHUFFLED in wanted:
            check_training(monitors, train)
        notes += _other_training(monitors, train)
    tokenizer = None
    if settings.token_rows or set(WORDS) & set(wanted):
        tokenizer = read_tokenizer(sets[0].spec, settings.tokenizer)
    return EvaluationInputs(monitors, sets, train, tokenizer, pools, notes)


def read_training(given: Sequence[str]) -> LabelledRows | None:
    """Rows of several data sets of one capture, as of --train; None if none are given.

    Raises:
        StoreError: Data sets of different captures or stores, or that cannot be read.
    """
    if not given:
        return None
    parts = [read_set(one) for one in given]
    for part in parts[1:]:
        if differing := parts[0].spec.differences(part.spec):
            told = "; ".join(f"{name} {mine!r} and {theirs!r}" for name, (mine, theirs) in differing.items())
            raise StoreError(f"--train {part.name} is of another capture than {parts[0].name}: {told}")
        if part.entry.folder.resolve() != parts[0].entry.folder.resolve():
            raise StoreError(f"--train: {part.path} and {parts[0].path} lie in different stores")
    whole = EvaluationSet(
        ", ".join(part.name for part in parts),
        parts[0].path,
        parts[0].entry,
        [row for part in parts for row in part.rows],
        {},
        {},
        parts[0].source,
    )
    ids = [f"{part.name}:{row.id}" for part in parts for row in part.rows]
    ties = [tie for part in parts for tie in part.ties]
    paths = [str(part.path) for part in parts]
    facts = [row.facts for row in whole.rows]
    return LabelledRows(whole.entry, whole.keys, whole.labels, ties, facts, ids, paths, {})


def _check_facts(option: str, facts: Sequence[str], sets: Sequence[EvaluationSet]) -> None:
    known = {fact for data in sets for row in data.rows for fact in row.facts}
    for fact in facts:
        if fact not in known:
            there = ", ".join(sorted(known)) or "none; name columns with --facts when you capture"
            raise ValueError(f"{option} {fact}: no data set has such a fact; there are {there}")
    if LENGTH in facts:
        raise ValueError(f"{option} {LENGTH}: results are broken down by length in any case")


def _doubts(monitors: Sequence[Named], sets: Sequence[EvaluationSet], train: Sequence[str]) -> list[str]:
    """Data sets that monitors may have seen, as far as their cards tell."""
    named = {str(read_set(one).path.resolve()) for one in train}
    notes = []
    for data in sets:
        seen = [
            one.name
            for one in monitors
            for sources in (one.monitor.card.training, one.monitor.card.validation)
            if sources is not None
            and not sources.known
            and str(data.path.resolve()) in {str(Path(n).resolve()) for n in sources.names}
        ]
        if seen and str(data.path.resolve()) not in named:
            notes.append(
                f"{data.name}: {len(set(seen))} of {len(monitors)} monitors were fitted or "
                "validated on rows of this data set, perhaps on these. `--train` leaves out the rows that it "
                "names."
            )
    return notes


def _other_training(monitors: Sequence[Named], train: LabelledRows) -> list[str]:
    paths = {str(Path(name).resolve()) for name in train.names}
    others = [
        named.name
        for named in monitors
        if {str(Path(name).resolve()) for name in named.monitor.card.training.names} != paths
    ]
    if not others:
        return []
    told = ", ".join(others[:3]) + (" and others" if len(others) > 3 else "")
    return [f"The cards of {told} name other training data than `--train`, which the controls are fitted on."]
