"""Filled sheets into the log: ratings by people as scores, with where they came from."""

import difflib
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from inspect_ai.log import (
    EvalLog,
    EvalMetric,
    EvalSample,
    EvalScore,
    MetadataEdit,
    ProvenanceData,
    edit_eval_log,
    edit_score,
    read_eval_log,
    write_eval_log,
)
from inspect_ai.scorer import SampleScore, Score, ScoreEdit

from analysis.logs.finding import open_log
from scenarios.conversations.dialogue import Dialogue
from scenarios.files.whole import whole_file
from scenarios.mistakes import UserMistake
from scenarios.schema import Scale
from scorers.judging.rubric_files import construct_names
from scorers.judging.scales import ANSWERS
from scorers.judging.transcript import Reply, replies
from scorers.metrics import values_of
from scorers.people.raters import HUMAN
from scorers.people.rating_sheet import Rating, Sheet, Talk, read_sheet, sheet_hash
from scorers.people.ratings import conversation_digest

NAME = re.compile(r"[\w.-]+")
"""What constructs and raters may be called."""


class HumanError(UserMistake):
    """Something in the way of a sheet or its import. The message says what to do."""


class Imported(NamedTuple):
    """What an import did."""

    path: Path
    score: str
    changed: bool
    """False if the same sheet was there already."""

    rated: int
    not_rated: int
    """Conversations in the sheet without a value."""

    def __str__(self) -> str:
        if not self.changed:
            return f"{self.path}: {self.score} is there already, from the same sheet; nothing written"
        return f"{self.path}: {self.score}: {self.rated} conversations rated, {self.not_rated} left empty"


def import_ratings(
    log_path: Path,
    sheet_path: Path,
    rater: str,
    *,
    construct: str | None = None,
    out: Path | None = None,
    in_place: bool = False,
    replace: bool = False,
    own: bool = False,
    scale: Scale | None = None,
    encoding: str | None = None,
) -> Imported:
    """Write a filled sheet into a log as the score `human/<construct>/<rater>`.

    Replies that were rated one by one make the mean over them. Conversations left empty are unscored
    with the reason `not_rated`; those that are not in the sheet get no score. Rater, file, SHA-256, row
    and comment are kept in the score's metadata and in Inspect's history of it.

    The log is written whole or not at all. The same sheet again changes nothing.

    Args:
        log_path: The log that the sheet was made from.
        sheet_path: The filled sheet.
        rater: Who rated.
        construct: What must have been rated; None: what the sheet says.
        out: The copy; None: `<log>_rated`. One that is there is added to.
        in_place: Write into the log itself.
        replace: Allow another sheet to take the place of what this rater rated before.
        own: The construct is one of the rater's own, though its name is like that of another.
        scale: Of rows that do not say it any more; that of the log's own score of the construct if not given.
        encoding: Of the sheet; told from its bytes if not given.

    Raises:
        SheetError: Something in the sheet is wrong, or it is not filled.
        HumanError: A name cannot be used, or is like that of another construct; the log cannot be read; `out`
            is the log itself; the copy belongs to another log; or there are other ratings of this rater and
            `replace` was not given.
        WriteError: The copy cannot be written; it is as it was.
    """
    check_name(rater)
    if construct is not None:
        check_name(construct)
    if out is not None and out.resolve() == log_path.resolve():
        raise HumanError(f"--out {out} is the log itself; say --in-place to write into it")
    target = log_path if in_place else out or log_path.with_stem(f"{log_path.stem}_rated")
    source = target if target.exists() else log_path
    _check_copy(log_path, target)
    if known := _imported_before(source, sheet_path, rater, construct):
        return Imported(target, known, False, 0, 0)
    log = _whole(source)
    sheet = read_sheet(
        sheet_path, _talks(log), construct, scale=scale, scales=_scales(log), encoding=encoding
    )
    check_name(sheet.construct)
    check_construct(sheet.construct, log, own=own)
    score = f"{HUMAN}/{sheet.construct}/{rater}"
    if not replace and any(score in (s.scores or {}) for s in log.samples or []):
        raise HumanError(
            f"{source}: {score} is there, from another sheet; --replace puts this one in its place"
        )
    rated, not_rated = _rate(log, sheet, rater, score)
    facts = {"file": sheet.file, "sha256": sheet.sha256, "rated": rated, "not_rated": not_rated}
    provenance = _provenance(rater, sheet, {})
    log = edit_eval_log(log, [MetadataEdit(metadata_set={score: facts})], provenance)
    _write_whole(log, target)
    return Imported(target, score, True, rated, not_rated)


def check_name(name: str) -> None:
    """Refuse what cannot be a part of `human/<construct>/<rater>`.

    Raises:
        HumanError: Anything but letters, digits, '.', '_' and '-'.
    """
    if not NAME.fullmatch(name):
        raise HumanError(f"{name!r} cannot be part of a score's name; letters, digits, '.', '_' and '-' can")


def check_construct(name: str, log: EvalLog, *, own: bool) -> None:
    """Refuse what is nearly, but not quite, the name of a construct: it would be compared with nothing.

    Args:
        name: What is rated.
        log: Its scores are constructs too, beside those of the suite.
        own: It is meant.

    Raises:
        HumanError: Names the construct that it is like.
    """
    scored = {part for score in _scorers(log) for part in score.split("/")[:2]}
    known = sorted({*construct_names(), *scored} - {HUMAN})
    if own or name in known:
        return
    if close := difflib.get_close_matches(name, known, n=1, cutoff=0.75):
        raise HumanError(
            f"construct {name!r}: did you mean {close[0]!r}? If it is one of your own, say --own-construct"
        )


def _whole(path: Path) -> EvalLog:
    """A log with its samples, all in memory.

    Raises:
        LogError: It is no log, or is damaged.
    """
    open_log(path)
    try:
        return read_eval_log(str(path))
    except Exception as error:  # whatever is wrong with a sample
        told = " ".join(str(error).split())[:200] or type(error).__name__
        raise HumanError(f"{path}: a sample cannot be read ({told}); copy the log again") from error


def _scales(log: EvalLog) -> dict[str, Scale]:
    """Construct -> scale of the log's scores of it."""
    found: dict[str, Scale] = {}
    for sample in log.samples or []:
        for name, score in (sample.scores or {}).items():
            facts = score.metadata or {}
            named = {str(facts.get("construct", name)): facts.get("scale")} | (facts.get("scales") or {})
            found |= {key: scale for key, scale in named.items() if scale in ANSWERS}
    return found


def _check_copy(log_path: Path, target: Path) -> None:
    if target == log_path or not target.exists():
        return
    log, copy = open_log(log_path).header, open_log(target).header
    if log.eval.eval_id != copy.eval.eval_id:
        raise HumanError(f"{target} is not a copy of {log_path}; give another --out")
    if lost := _scorers(log) - _scorers(copy):
        raise HumanError(
            f"{target} is an older copy, without {', '.join(sorted(lost))}; give another --out, or --in-place"
        )


def _scorers(log: EvalLog) -> set[str]:
    return {score.scorer for score in log.results.scores} if log.results else set()


def _imported_before(path: Path, sheet_path: Path, rater: str, construct: str | None) -> str | None:
    """Name of the score that came of the same file, from the header alone."""
    digest, header = sheet_hash(sheet_path), open_log(path).header
    for name, facts in header.metadata.items():
        kind, *rest = name.split("/")
        there = header.results is None or name in _scorers(header)
        if kind != HUMAN or not there or not isinstance(facts, dict) or facts.get("sha256") != digest:
            continue
        if rest[-1] == rater and construct in (None, rest[0]):
            return name
    return None


def spoken_replies(sample: EvalSample, *, from_the_first: bool = True) -> list[Reply]:
    """The agent's replies in a sample of a log; see `replies`."""
    dialogue = sample.store_as(Dialogue)
    return replies(sample.messages, dialogue.turns, dialogue.sessions, from_the_first=from_the_first)


def _talks(log: EvalLog) -> dict[str, Talk]:
    return {conversation_digest(s): Talk(s.id, s.epoch, len(spoken_replies(s))) for s in log.samples or []}


def _rate(log: EvalLog, sheet: Sheet, rater: str, score: str) -> tuple[int, int]:
    by_talk: dict[tuple[str | int, int], list[Rating]] = defaultdict(list)
    for rating in sheet.ratings:
        by_talk[rating.talk.sample_id, rating.talk.epoch].append(rating)
    edits = {unit: _edit(ratings, sheet, rater) for unit, ratings in by_talk.items()}
    for sample in log.samples or []:
        unit = (sample.id, sample.epoch)
        if score in (sample.scores or {}) and unit not in edits:
            edits[unit] = _edit([], sheet, rater)  # an earlier sheet had it
    for (sample_id, epoch), edit in edits.items():
        edit_score(log, sample_id, score, edit, recompute_metrics=False, epoch=epoch)
    if log.results is not None:
        others = [s for s in log.results.scores if s.name != score]
        log.results.scores = [*others, _result(log, score)]
    not_rated = sum(edit.reason == "not_rated" for edit in edits.values())
    return len(edits) - not_rated, not_rated


def _edit(ratings: Sequence[Rating], sheet: Sheet, rater: str) -> ScoreEdit:
    """The score of one conversation from its rows."""
    values = [r.value for r in ratings if r.value is not None]
    by_turn = [r for r in ratings if r.turn is not None]
    source: dict[str, Any] = {"file": sheet.file, "sha256": sheet.sha256, "rows": [r.row for r in ratings]}
    metadata = {
        "scale": sheet.scale,
        "construct": sheet.construct,
        "over": "mean" if by_turn else "conversation",
        "rater": rater,
        "comment": "\n".join(r.comment for r in ratings if r.comment),
        **source,
    }
    if by_turn:
        metadata["turns"] = [
            {"turn": r.turn, "value": r.value, "row": r.row, "comment": r.comment} for r in by_turn
        ]
        metadata["turns_unscored"] = sum(r.value is None for r in by_turn)
    return ScoreEdit(
        value=round(math.fsum(values) / len(values), 4) if values else math.nan,
        explanation=metadata["comment"] or None,
        reason=None if values else "not_rated",
        metadata=metadata,
        provenance=_provenance(rater, sheet, source),
    )


def _provenance(rater: str, sheet: Sheet, source: dict[str, Any]) -> ProvenanceData:
    return ProvenanceData(author=rater, reason=f"human rating, from {sheet.file}", metadata=source)


def _result(log: EvalLog, name: str) -> EvalScore:
    """What the log's header shows of the score; the others stay as they are."""
    scored, unscored = [], 0
    for sample, score in _scores(log, name):
        if math.isnan(score.as_float()):
            unscored += 1
        else:
            scored.append(SampleScore(score=score, sample_id=sample.id, sample_metadata=sample.metadata))
    figures: dict[str, float] = {}
    if scored:
        found = values_of(scored).interval()
        figures = {"mean": found.mean, "mean_low": found.low, "mean_high": found.high}
    metrics = {k: EvalMetric(name=k, value=v) for k, v in figures.items() if not math.isnan(v)}
    return EvalScore(
        name=name, scorer=name, scored_samples=len(scored), unscored_samples=unscored, metrics=metrics
    )


def _scores(log: EvalLog, name: str) -> Iterator[tuple[EvalSample, Score]]:
    for sample in log.samples or []:
        if sample.scores and name in sample.scores:
            yield sample, sample.scores[name]


def _write_whole(log: EvalLog, target: Path) -> None:
    with whole_file(target) as unfinished:
        write_eval_log(log, str(unfinished), format="json" if target.suffix == ".json" else "eval")
