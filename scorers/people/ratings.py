"""The ratings in one or more logs, by rater."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

from inspect_ai.log import EvalLog, EvalSample

from analysis.logs.copies import Copies, conversation_key, used_once
from analysis.logs.finding import LogFile, find_logs, role_models, unfinished_note
from analysis.logs.samples import SampleRecord, ScoreRecord, SpokenRecord, read_records, records_of
from analysis.logs.scores import base_name, form_of, judges_of, number_of
from analysis.scales import scale_of
from analysis.values import cluster_of
from scorers.people.raters import HUMAN, Asked, Judged, Rater, RatingsError, Unit

_Key = Callable[[LogFile, SampleRecord], Unit]

_REDUCTION = {"judging", "judges", "role", "over", "reward"}
"""Options that change who answers or how turns are put together, not what is asked."""


class _Rating(NamedTuple):
    """One number of one score."""

    name: str
    asked: Asked
    models: tuple[str, ...]
    human: bool
    whole: bool
    value: float


def read_judged(sources: Sequence[Path | str], *, between_epochs: bool = False) -> Judged:
    """All ratings in some logs: copies of one that were judged apart, the iterations of a run, or both.

    One sample is in memory at a time; only numbers are kept. A conversation that several logs hold counts
    once, and a rating that stands in several of them unchanged is one rating.

    Args:
        sources: Logs, or folders with them.

    Args:
        sources: Logs, or folders with them.
        between_epochs: Each epoch of a score is a rater of its own, of the conversations that all have.

    Raises:
        LogError: One is not there or cannot be read.
        RatingsError: There are no scores; of epochs, their conversations differ.
    """
    if not sources:
        raise RatingsError("no log was given")
    logs = find_logs(sources)
    key = _sample_key if between_epochs else conversation_key
    if between_epochs:
        for log in logs:
            _check_same_in_all_epochs(log)
    units: dict[Unit, str] = {}
    raters: list[Rater] = []
    notes: list[str] = []
    copies = used_once(logs)  # one that the newest copy declares invalid is judged by none
    for log in logs:
        raters = _joined(raters, _read_log(log, units, notes, key, between_epochs=between_epochs))
    for unit in _declared_invalid(logs, copies, key) & units.keys():
        del units[unit]
        for rater in raters:
            rater.values.pop(unit, None)
    if not raters:
        raise RatingsError(f"{', '.join(map(str, sources))}: no scores; run `inspect score` first")
    tasks = dict.fromkeys(f"{log.header.eval.task} | {log.model}" for log in logs)
    title = f"{'; '.join(tasks)} | {len(units)} conversations, {len(set(units.values()))} initial states"
    return Judged(title=title, units=units, raters=raters, notes=notes)


def _sample_key(log: LogFile, record: SampleRecord) -> Unit:
    """What all epochs of a sample have in common."""
    return (log.header.eval.task_id, str(record.id))


def _check_same_in_all_epochs(log: LogFile) -> None:
    """Refuse epochs in which something else was said: a judge who rates them is not asked twice."""
    before: dict[str, list[Any]] = {}
    for record in records_of(log, SpokenRecord):
        if record.error is not None:
            continue
        said = [[m.get(part) for part in ("role", "content", "tool_calls")] for m in record.messages]
        if before.setdefault(str(record.id), said) != said:
            raise RatingsError(
                f"{log.path}: sample {record.id} is another conversation in epoch {record.epoch}; epochs are "
                "compared of conversations that are judged as they are, e.g. by tasks/stakes_label.py"
            )


def _declared_invalid(logs: Sequence[LogFile], copies: Copies, key: _Key) -> set[Unit]:
    return {
        key(log, record)
        for log in logs
        if log.header.invalidated
        for record in read_records(log)
        if record.invalidated and copies.uses(log, record.unit)
    }


def _read_log(
    log: LogFile, units: dict[Unit, str], notes: list[str], key: _Key, *, between_epochs: bool
) -> list[Rater]:
    options = _options(log.header)
    ratings: dict[tuple[str, int | None], list[tuple[Unit, _Rating]]] = {}
    left_out: Counter[str] = Counter()
    for record in read_records(log):
        if record.invalidated or record.error is not None:
            left_out["are declared invalid" if record.invalidated else "ended in an error"] += 1
            continue
        unit = key(log, record)
        epoch = record.epoch if between_epochs else None
        units.setdefault(unit, "/".join(map(str, cluster_of(record.metadata, record.id))))
        for name, score in (record.scores or {}).items():
            for rating in _ratings(name, score, options):
                ratings.setdefault((rating.name, epoch), []).append((unit, rating))
    if note := unfinished_note(log):
        notes.append(note)
    notes += [f"{log.path}: {n} conversations {why}, and are left out" for why, n in left_out.items()]
    found: list[Rater] = []
    for (name, epoch), given in ratings.items():
        of_name = _raters_of_name(name, given, log)
        if epoch is not None:
            of_name = [
                r.model_copy(update={"name": f"{r.name}, epoch {epoch}", "epoch": epoch}) for r in of_name
            ]
        found += of_name
    return _joined([], found)


def _raters_of_name(name: str, given: Sequence[tuple[Unit, _Rating]], log: LogFile) -> list[Rater]:
    """One rater, or several whom the log calls by one name.

    A score without a number may not say what was asked; it counts with what most numbers of its name say.
    """
    counts: Counter[tuple[Asked, tuple[str, ...]]] = Counter()
    for _, rating in given:
        counts[rating.asked, rating.models] += not math.isnan(rating.value)
    served = tuple(role_models(log.header).get(name, ()))
    raters: dict[tuple[Asked, tuple[str, ...]], Rater] = {}
    for unit, rating in given:
        asked, models = _completed(rating, counts)
        known = raters.setdefault(
            (asked, models),
            Rater(
                name=name,
                log=log.name,
                asked=asked,
                human=rating.human,
                models=list(models or served),
            ),
        )
        known.values[unit] = rating.value
        known.whole = known.whole and rating.whole
    if len(raters) == 1:
        return list(raters.values())
    return [r.model_copy(update={"name": f"{name} ({_told_apart(r)})"}) for r in raters.values()]


def _completed(
    rating: _Rating, counts: Counter[tuple[Asked, tuple[str, ...]]]
) -> tuple[Asked, tuple[str, ...]]:
    own = (rating.asked, rating.models)
    if counts[own] and rating.models:
        return own
    fitting = [
        (asked, models)
        for asked, models in counts
        if counts[asked, models]
        and rating.models in ((), models)
        and (asked == rating.asked or (math.isnan(rating.value) and rating.asked.scale is None))
    ]
    return max(fitting, key=lambda one: counts[one], default=own)


def _told_apart(rater: Rater) -> str:
    parts = [rater.asked.form, rater.asked.scale or "no scale named", "+".join(rater.models)]
    return "; ".join(part for part in parts if part)


def _joined(known: Sequence[Rater], found: Sequence[Rater]) -> list[Rater]:
    """Raters of several logs: who rated other conversations with the same question is one rater.

    So is one whose ratings a copy of the log repeats. Two with ratings of the same conversation that differ,
    or that stand in one log, are two.
    """
    joined = [rater.model_copy(update={"values": dict(rater.values)}) for rater in known]
    for rater in found:
        same = next((other for other in joined if _is_same(other, rater)), None)
        if same is None:
            joined.append(rater)
            continue
        same.values |= rater.values
        if rater.log not in same.log.split(", "):
            same.log += f", {rater.log}"
    return joined


def _is_same(one: Rater, other: Rater) -> bool:
    alike = base_name(one.name.partition(" (")[0]) == base_name(other.name.partition(" (")[0])
    if not alike or one.epoch != other.epoch:
        return False
    if (one.asked, one.models, one.human) != (other.asked, other.models, other.human):
        return False
    if one.values.keys().isdisjoint(other.values):
        return True
    repeated = one.name == other.name and one.log != other.log
    return repeated and all(
        one.values[unit] == value or (math.isnan(one.values[unit]) and math.isnan(value))
        for unit, value in other.values.items()
        if unit in one.values
    )


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
        found[name] = (scorer.name, _form(kept))
    return found


def _form(options: Mapping[str, Any]) -> str:
    """A single option `form` by its value, as scores name it; others as JSON."""
    if set(options) == {"form"}:
        return str(options["form"])
    return json.dumps(options, sort_keys=True, default=str) if options else ""


def _defaults(scorer: str) -> dict[str, Any]:
    """Options that one of our scorers takes when they are not given: the log holds only those given."""
    if not scorer.isidentifier() or find_spec(f"scorers.{scorer}") is None:
        return {}
    made = getattr(import_module(f"scorers.{scorer}"), scorer, None)
    known = signature(made).parameters.values() if made else []
    return {p.name: p.default for p in known if p.default is not p.empty}


def _ratings(name: str, score: ScoreRecord, options: Mapping[str, tuple[str, str]]) -> Iterator[_Rating]:
    facts = score.metadata or {}
    if isinstance(score.value, Mapping):
        for key, value in score.value.items():
            yield from _key_ratings(f"{name}.{key}", key, value, facts)
        return
    if (value := number_of(score.value)) is None:
        return  # a text or a list rates nothing
    if name.startswith(f"{HUMAN}/"):
        asked = Asked(str(facts.get("construct", name)), scale_of(facts))
        yield _Rating(name, asked, (str(facts.get("rater", name)),), True, True, value)
        return
    scorer, form = options.get(name, (base_name(name) if base_name(name) in options else name, ""))
    form = form_of(name, facts) or form
    yield _Rating(
        name, Asked(scorer, scale_of(facts), form, facts.get("over")), judges_of(facts), False, True, value
    )


def _key_ratings(name: str, key: str, value: object, facts: Mapping[str, Any]) -> Iterator[_Rating]:
    if (number := number_of(value)) is None:
        return
    asked = Asked(key, scale_of(facts, key), "", facts.get("over"))
    judges = (facts.get("judges") or {}).get(key) or {}
    alone = len(judges) < 2
    yield _Rating(name, asked, tuple(judges), False, alone, number)
    if not alone:
        for model, own in judges.items():
            single = number_of(own)
            yield _Rating(
                f"{name}@{model}", asked, (model,), False, True, math.nan if single is None else single
            )
