"""Who rated the conversations of one or more logs, and how: every number of every score, by rater."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

from inspect_ai.log import (
    EvalLog,
    EvalSample,
    read_eval_log,
    read_eval_log_sample_summaries,
    read_eval_log_samples_by_id,
)
from inspect_ai.scorer import Score
from pydantic import BaseModel, Field
from rich.console import Console
from rich.progress import track

from analysis.values import cluster_of
from scenarios.schema import Scale
from scorers.judging.scales import ANSWERS

HUMAN = "human"
"""First part of the names of people's scores: `human/<construct>/<rater>`."""

CHUNK = 100
"""Conversations in memory at a time."""

_UNREAD = {"events", "attachments", "events_data", "output", "store", "timelines"}

_REDUCTION = {"judging", "judges", "role", "over", "reward"}
"""Options that change who answers or how turns are put together, not what is asked."""

Unit = tuple[str, int]
"""A conversation: sample id and epoch."""


class RatingsError(ValueError):
    """Ratings that cannot be compared. The message says which, and what to do."""


class Asked(NamedTuple):
    """What a rater answered; raters with the same are compared when none is named."""

    what: str
    """Name of the scorer or of the construct."""

    scale: Scale | None
    options: str = ""
    """Options of the scorer that change the question."""

    over: str | None = None
    """How turns became one number. None for people, who are compared with either."""


class Rater(BaseModel):
    """One judge or person, with all their ratings in one log."""

    name: str
    """Of the score; `score.key` for one number of several; `...@model` for one of several judges in it."""

    log: str
    asked: Asked
    human: bool = False
    whole: bool = True
    """False if the number is the mean of several judges who are also here by themselves."""

    conflict: str | None = None
    """Why the numbers cannot stand beside each other."""

    models: list[str] = Field(default_factory=list)
    """Models that judged (for people, their name); empty if the log does not say."""

    values: dict[Unit, float] = Field(default_factory=dict)
    """NaN if unscored; conversations without this score are not there."""


class Judged(BaseModel):
    """Raters over the same conversations."""

    title: str
    units: dict[Unit, str]
    """Conversation -> its initial state."""

    raters: list[Rater]


class _Conversations(NamedTuple):
    states: dict[Unit, str]
    digests: dict[Unit, str]


def read_judged(paths: Sequence[str]) -> Judged:
    """All ratings in some logs that hold the same conversations.

    Reads 100 conversations at a time; only numbers are kept.

    Raises:
        RatingsError: No logs or no scores; two logs have different words under one sample id and epoch.
    """
    if not paths:
        raise RatingsError("no log was given")
    headers = [read_eval_log(path, header_only=True) for path in paths]
    units: dict[Unit, str] = {}
    digests: dict[Unit, tuple[str, str]] = {}
    raters: list[Rater] = []
    for path, header, label in zip(paths, headers, _labels(paths), strict=True):
        found, talks = _read_log(path, header, label, several=len(paths) > 1)
        raters += found
        units = talks.states | units
        _check_same(path, talks.digests, digests)
    if not raters:
        raise RatingsError(f"{', '.join(paths)}: no scores; run `inspect score` first")
    first = headers[0].eval
    states = len(set(units.values()))
    title = f"{first.task} | {first.model} | {len(units)} conversations, {states} initial states"
    return Judged(title=title, units=units, raters=raters)


def _labels(paths: Sequence[str]) -> list[str]:
    stems = [Path(path).stem for path in paths]
    return stems if len(set(stems)) == len(stems) else list(paths)


def _check_same(path: str, found: Mapping[Unit, str], known: dict[Unit, tuple[str, str]]) -> None:
    for unit, digest in found.items():
        where, before = known.setdefault(unit, (path, digest))
        if before != digest:
            raise RatingsError(
                f"{path}: sample {unit[0]} epoch {unit[1]} is another conversation than in {where}; "
                "judges are compared on the same conversations, so give copies of one log"
            )


def _read_log(path: str, header: EvalLog, label: str, *, several: bool) -> tuple[list[Rater], _Conversations]:
    raters: dict[str, Rater] = {}
    talks = _Conversations({}, {})
    options = _options(header)
    for sample in read_samples(path, _UNREAD if several else _UNREAD | {"messages"}):
        unit = (str(sample.id), sample.epoch)
        talks.states[unit] = "/".join(map(str, cluster_of(sample.metadata, sample.id)))
        if several:
            talks.digests[unit] = conversation_digest(sample)
        for name, score in (sample.scores or {}).items():
            for rater, value in _ratings(name, score, options):
                known = raters.get(rater.name) or rater.model_copy(update={"log": label, "values": {}})
                known.values[unit] = value
                raters[rater.name] = _merged(known, rater)
    served = {role: model for role, model in _served(header).items() if role in raters}
    for name, model in served.items():
        raters[name].models = raters[name].models or [model]
    return list(raters.values()), talks


def _served(header: EvalLog) -> dict[str, str]:
    """Role -> model of the run, for scores that do not say themselves who judged."""
    roles = header.eval.model_roles or {}
    return {
        role: ", ".join(c.model for c in (bound if isinstance(bound, list) else [bound]))
        for role, bound in roles.items()
    }


def _merged(known: Rater, found: Rater) -> Rater:
    """What two samples say of one rater; a score without a number may not say what was asked."""
    asked, conflict = known.asked, known.conflict
    if asked.scale is None and asked.over is None:
        asked = found.asked
    elif found.asked.scale is not None and found.asked != asked:
        conflict = f"{_said(asked)} in some conversations, {_said(found.asked)} in others"
    models = list(dict.fromkeys([*known.models, *found.models]))
    whole = known.whole and found.whole
    return known.model_copy(update={"asked": asked, "conflict": conflict, "models": models, "whole": whole})


def _said(asked: Asked) -> str:
    over = f" over {asked.over}" if asked.over else ""
    return f"{asked.what} on {asked.scale}{over}"


def read_samples(
    path: str, excluded: set[str], units: Sequence[tuple[str | int, int]] | None = None
) -> Iterator[EvalSample]:
    """The samples of a log, a hundred in memory at a time, with a progress bar for large logs.

    Args:
        path: A log.
        excluded: Fields that are not read.
        units: Sample ids and epochs, in the order in which they are wanted; None: all, as in the log.
    """
    wanted = units if units is not None else [(s.id, s.epoch) for s in read_eval_log_sample_summaries(path)]
    chunks = [wanted[i : i + CHUNK] for i in range(0, len(wanted), CHUNK)]
    bar = Console(stderr=True)
    for chunk in track(
        chunks, f"reading {Path(path).name}", console=bar, transient=True, disable=len(chunks) < 3
    ):
        yield from read_eval_log_samples_by_id(path, chunk, exclude_fields=excluded)


def conversation_digest(sample: EvalSample) -> str:
    """16 hexadecimal digits that stand for a sample's id, epoch and words."""
    words = [[m.role, m.text] for m in sample.messages]
    content = json.dumps([str(sample.id), sample.epoch, words], ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _options(header: EvalLog) -> dict[str, tuple[str, str]]:
    """Name of a score -> its scorer, and the options of it that change the question.

    The header lists scorers by their own name in the order they ran, and Inspect numbers those that
    come again.
    """
    found: dict[str, tuple[str, str]] = {}
    for scorer in header.eval.scorers or []:
        name, number = scorer.name, 0
        while name in found:
            number += 1
            name = f"{scorer.name}{number}"
        given = _defaults(scorer.name) | (scorer.options or {})
        kept = {k: v for k, v in given.items() if k not in _REDUCTION}
        found[name] = (scorer.name, json.dumps(kept, sort_keys=True, default=str) if kept else "")
    return found


def _defaults(scorer: str) -> dict[str, Any]:
    """Options that one of our scorers takes when they are not given: the log holds only those given."""
    if not scorer.isidentifier() or find_spec(f"scorers.{scorer}") is None:
        return {}
    made = getattr(import_module(f"scorers.{scorer}"), scorer, None)
    known = signature(made).parameters.values() if made else []
    return {p.name: p.default for p in known if p.default is not p.empty}


def _ratings(
    name: str, score: Score, options: Mapping[str, tuple[str, str]]
) -> Iterator[tuple[Rater, float]]:
    facts = score.metadata or {}
    if isinstance(score.value, Mapping):
        for key, value in score.value.items():
            yield from _key_ratings(f"{name}.{key}", key, value, facts)
        return
    if name.startswith(f"{HUMAN}/"):
        asked = Asked(str(facts.get("construct", name)), _scale(facts.get("scale")))
        person = [str(facts.get("rater", name))]
        yield Rater(name=name, log="", asked=asked, human=True, models=person), _number(score.value)
        return
    scorer, kept = options.get(name, (name, ""))
    asked = Asked(scorer, _scale(facts.get("scale")), kept, facts.get("over"))
    yield Rater(name=name, log="", asked=asked, models=_models(facts.get("turns"))), _number(score.value)


def _key_ratings(
    name: str, key: str, value: object, facts: Mapping[str, Any]
) -> Iterator[tuple[Rater, float]]:
    asked = Asked(key, _scale((facts.get("scales") or {}).get(key)), "", facts.get("over"))
    judges: Mapping[str, float | None] = (facts.get("judges") or {}).get(key) or {}
    alone = len(judges) < 2
    yield Rater(name=name, log="", asked=asked, models=list(judges), whole=alone), _number(value)
    if not alone:
        for model, own in judges.items():
            yield Rater(name=f"{name}@{model}", log="", asked=asked, models=[model]), _number(own)


def _models(turns: object) -> list[str]:
    if not isinstance(turns, list):
        return []
    return list(dict.fromkeys(str(t["model"]) for t in turns if isinstance(t, dict) and "model" in t))


def _scale(name: object) -> Scale | None:
    return next((scale for scale in ANSWERS if scale == name), None)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


# -- which of them are compared -------------------------------------------------------------------


def named(raters: Sequence[Rater], names: Sequence[str]) -> list[Rater]:
    """The raters of these names, in all logs; `human/anna` finds `human/<construct>/anna`.

    Raises:
        RatingsError: There is none of a name, several constructs fit it, only one rater is left, or one
            was not asked the same throughout.
    """
    found: list[Rater] = []
    for name in names:
        fits = [r for r in raters if r.name == name] or [r for r in raters if _is_person(r, name)]
        if not fits:
            there = ", ".join(dict.fromkeys(r.name for r in raters))
            raise RatingsError(f"no score {name!r}; there are {there}")
        if len({r.name for r in fits}) > 1:
            raise RatingsError(f"{name!r} may be any of {', '.join(r.name for r in fits)}; write it out")
        found += [r for r in fits if r not in found]
    if len(found) < 2:
        raise RatingsError(f"{', '.join(names)}: agreement needs two raters or more")
    for rater in found:
        if rater.conflict:
            raise RatingsError(
                f"{rater.name} was asked {rater.conflict}; score the log anew with one of them"
            )
    return found


def _is_person(rater: Rater, name: str) -> bool:
    parts = rater.name.split("/")
    return rater.human and name == f"{HUMAN}/{parts[-1]}"


def comparable(raters: Sequence[Rater]) -> list[list[Rater]]:
    """Every set of two raters or more that were asked the same; people join the judges of their construct."""
    sets: dict[Asked, list[Rater]] = {}
    for rater in raters:
        if rater.whole and not rater.human and not rater.conflict:
            sets.setdefault(rater.asked, []).append(rater)
    for rater in raters:
        if rater.human:
            fits = [s for s in sets if (s.what, s.scale) == (rater.asked.what, rater.asked.scale)]
            for asked in fits or [rater.asked]:
                sets.setdefault(asked, []).append(rater)
    return [group for group in sets.values() if len(group) > 1]
