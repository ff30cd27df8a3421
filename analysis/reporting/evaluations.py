"""What was measured together: evaluations, the iterations of runs, and runs that differ in their seed alone.

An evaluation is one model on one task under one set of circumstances: the logs of one eval with its retries
and copies. Nothing is averaged over two of them, but for means over seeds, which say so.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from analysis.logs.copies import Copies
from analysis.logs.finding import LogFile, role_models
from analysis.reporting.reading import LogContent, Read
from analysis.score_tables.columns import ScoreRow

HELD_OUT, TRAINED_ON = "held out", "trained on"
PHASES = {"heldout": HELD_OUT, "rollouts": TRAINED_ON}
"""Folder of a training run's log -> whose conversations are in it."""

_PLACE = re.compile(r"(?P<run>.+)/iteration_(?P<number>\d+)/(?P<phase>heldout|rollouts)/[^/]+")

PLACES = {"run_id", "log_dir", "seed", "run", "sample_id"}
"""Options that are no circumstance: where logs lie, and the draw."""


@dataclass
class Evaluation:
    """One model on one task."""

    name: str
    """As short as tells it from the others."""

    task: str
    model: str
    run: str | None
    """Name of the run whose iteration it is; None of an eval by itself."""

    iteration: int | None
    phase: str
    """`held out` or `trained on` in a training run, else empty."""

    seed: str
    logs: list[int]
    """Numbers of its logs."""

    conditions: dict[str, str]
    """Circumstances: models by role, modes of judging, options of the task."""

    conversations: list[Read] = field(default_factory=list)
    invalidated: int = 0
    elsewhere: int = 0
    """Conversations of its logs that are used from another log."""

    @property
    def rows(self) -> list[ScoreRow]:
        """The conversations as tables have them."""
        return [one.row for one in self.conversations]

    @property
    def order(self) -> tuple[str, str, str, int]:
        """By which evaluations are sorted."""
        return (self.task, self.run or "", self.phase, -1 if self.iteration is None else self.iteration)


class Run(NamedTuple):
    """The iterations of one run, on one task and with one kind of users."""

    name: str
    task: str
    phase: str
    iterations: list[Evaluation]
    """By number."""

    @property
    def title(self) -> str:
        """What curves of it are called."""
        return ", ".join(filter(None, (self.name, self.phase)))


class _Origin(NamedTuple):
    """Where a log comes from."""

    run: str | None
    """Folder of the run and, of imported ones, the task."""

    iteration: int | None
    phase: str


def origin(log: LogFile) -> _Origin:
    """The run and iteration of a log: by its place in the folder of a training run, or as it was imported."""
    if place := _PLACE.fullmatch(str(log.path.resolve())):
        return _Origin(place["run"], int(place["number"]), PHASES[place["phase"]])
    number = (log.header.eval.metadata or {}).get("iteration")
    if isinstance(number, int) and not isinstance(number, bool):
        return _Origin(f"{log.path.resolve().parent}/{log.header.eval.task}", number, "")
    return _Origin(None, None, "")


def evaluations(
    logs: Sequence[LogFile], contents: Mapping[int, LogContent], copies: Copies
) -> list[Evaluation]:
    """The evaluations in some logs, by task, run and iteration.

    Args:
        logs: Those of the report.
        contents: Number of a log -> what was read of it.
        copies: Which conversations are used from another log.
    """
    origins = {n: origin(logs[n]) for n in contents}
    names = short_names({o.run for o in origins.values() if o.run})
    found: dict[tuple[Any, ...], Evaluation] = {}
    for number in contents:
        log, place, content = logs[number], origins[number], contents[number]
        spec = log.header.eval
        # a run's logs of one iteration belong together also where its eval was begun again
        own = (place.run, place.iteration, place.phase) if place.run else (spec.task_id,)
        key = (*own, _task(log), "" if place.run else log.model)
        if key not in found:
            found[key] = Evaluation(
                name="",
                task=_task(log),
                model=log.model,
                run=names.get(place.run or ""),
                iteration=place.iteration,
                phase=place.phase,
                seed=_seed(log, place),
                logs=[],
                conditions={},
            )
        _extend(found[key], log, number, content, copies)
    listed = sorted(found.values(), key=lambda e: (*e.order, e.model, min(logs[n].created for n in e.logs)))
    _name(listed, logs)
    return listed


def _extend(one: Evaluation, log: LogFile, number: int, content: LogContent, copies: Copies) -> None:
    one.logs.append(number)
    for name, value in _conditions(log, content).items():
        known = one.conditions.get(name)
        one.conditions[name] = value if known in (None, value) else f"{known} and {value}"
    for conversation in content.conversations:
        if not copies.uses(log, conversation.version.unit):
            one.elsewhere += 1
        elif conversation.version.invalidated:
            one.invalidated += 1
        else:
            one.conversations.append(conversation)


def _task(log: LogFile) -> str:
    family = (log.header.eval.metadata or {}).get("family")
    return str(family) if isinstance(family, str) and family else log.header.eval.task.rpartition("/")[2]


def _seed(log: LogFile, place: _Origin) -> str:
    """Of a training run, its settings' seed; else the seeds of the eval's draw and of the models."""
    config = Path(place.run or "") / "config.yaml"
    text = config.read_text(encoding="utf-8") if place.run and config.is_file() else ""
    if line := re.search(r"^seed: (-?\d+)\s*$", text, re.MULTILINE):
        return line[1]
    options = _options(log)
    drawn, model = options.get("seed"), log.header.eval.model_generate_config.seed
    return " and ".join(str(s) for s in (drawn, model) if s is not None)


def _options(log: LogFile) -> dict[str, Any]:
    told = (log.header.eval.metadata or {}).get("options")
    return dict(log.header.eval.task_args or {}) | (dict(told) if isinstance(told, Mapping) else {})


def _conditions(log: LogFile, content: LogContent) -> dict[str, str]:
    found = {f"role {role}": ", ".join(sorted(models)) for role, models in content.cast.items()}
    for role, models in role_models(log.header).items():
        found.setdefault(f"role {role}", ", ".join(models))
    found |= {f"judging of {role}": ", ".join(sorted(modes)) for role, modes in content.modes.items()}
    for name, value in _options(log).items():
        if name not in PLACES and value is not None:
            found[f"option {name}"] = value if isinstance(value, str) else json.dumps(value, default=str)
    imported = (log.header.eval.metadata or {}).get("imported")
    if isinstance(imported, Mapping):
        found["imported from"] = str(imported.get("source", "a file"))
    return found


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """Folder -> its name, with as many folders above it as tell it from the others."""
    whole = {path: Path(path).parts for path in paths}
    names: dict[str, str] = {}
    for path, parts in whole.items():
        lengths = range(1, len(parts) + 1)
        alone = (n for n in lengths if sum(p[-n:] == parts[-n:] for p in whole.values()) == 1)
        names[path] = "/".join(parts[-next(alone, len(parts)) :])
    return names


def _name(listed: Sequence[Evaluation], logs: Sequence[LogFile]) -> None:
    """Model and task, or run and iteration; where two are alike, what they differ in, else their log."""
    for one in listed:
        if one.run is not None:
            what = f"{one.run}, iteration {one.iteration}"
            one.name = f"{what}, {one.phase}" if one.phase else what
            if sum(o.run == one.run and o.order == one.order for o in listed) > 1:
                one.name += f", {one.task}"
        else:
            one.name = one.model
    alike: dict[tuple[str, str], list[Evaluation]] = defaultdict(list)
    for one in listed:
        alike[one.task, one.name].append(one)
    stems = short_names(str(logs[o.logs[0]].path.resolve()) for o in listed)
    for several in alike.values():
        if len(several) == 1:
            continue
        told = differing(several)
        for one in several:
            parts = [f"{n.partition(' ')[2] or n}={one.conditions.get(n, 'none')}" for n in told[:3]]
            if len({o.seed for o in several}) > 1:
                parts.append(f"seed {one.seed or 'not said'}")
            one.name += f" ({', '.join(parts)})" if parts else ""
    counts = Counter((one.task, one.name) for one in listed)
    for one in listed:
        if counts[one.task, one.name] > 1:
            one.name += f" ({stems[str(logs[one.logs[0]].path.resolve())]})"


def differing(several: Sequence[Evaluation]) -> list[str]:
    """Circumstances that are not the same in all of them."""
    names = dict.fromkeys(name for one in several for name in one.conditions)
    return [name for name in names if len({one.conditions.get(name) for one in several}) > 1]


def runs_of(listed: Sequence[Evaluation]) -> list[Run]:
    """The runs among the evaluations; one of a single iteration is a run too."""
    found: dict[tuple[str, str, str], list[Evaluation]] = defaultdict(list)
    for one in listed:
        if one.run is not None and one.iteration is not None:
            found[one.run, one.task, one.phase].append(one)
    return [Run(*key, sorted(group, key=lambda e: e.iteration or 0)) for key, group in found.items()]


def same_but_seed(listed: Sequence[Evaluation]) -> list[list[Evaluation]]:
    """Evaluations that differ in nothing but the seed, two or more of them together.

    Those of training runs are compared by iteration; the paths of their checkpoints differ, and count as one.
    """
    found: dict[tuple[Any, ...], list[Evaluation]] = defaultdict(list)
    for one in listed:
        model = one.model.rpartition(":")[0] if one.run and one.iteration else one.model
        key = (one.task, one.phase, one.iteration, model or one.model, tuple(sorted(one.conditions.items())))
        found[key].append(one)
    return [
        group
        for group in found.values()
        if len(group) > 1 and len({one.seed for one in group}) == len(group) and all(o.seed for o in group)
    ]
