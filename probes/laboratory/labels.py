"""Labels of stakes out of logs: what judges and people said of each row."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from analysis.logs.copies import Copies, used_once
from analysis.logs.finding import LogFile, find_logs
from analysis.logs.samples import SampleRecord, read_records
from probes.laboratory.rows import Rating
from scenarios.stakes.ratings import CONFIDENCE, RATING, SCORE, mean_of

ONCE = Copies({})
"""Of logs that have no sample in common."""

HUMAN = f"human/{RATING}/"
"""Beginning of the names of people's scores, see `scorers/human.py`."""


class Answered(NamedTuple):
    """What one judge said of one row in one epoch."""

    row: str
    content: str
    """Digest of the row, see `StakesRow.digest`: under the same id another text may have been rated."""

    judge: str
    rubric: str
    rating: float | None
    confidence: float | None
    problem: str | None
    """Why there is no rating."""

    @property
    def asked(self) -> tuple[str, str]:
        """Judge and rubric."""
        return self.judge, self.rubric


def read_answers(log: LogFile, copies: Copies = ONCE) -> list[Answered]:
    """All ratings in a log, unusable answers among them; none if it is not a log of ratings.

    Scores are found by their name, also where Inspect has numbered a second judge's. Samples that failed
    have none.

    Args:
        log: Any log.
        copies: Which samples are used from another log.

    Raises:
        LogError: The log holds no samples, or is damaged.
    """
    records = (r for r in read_records(log) if r.error is None and copies.uses(log, r.unit))
    return [answer for record in records for answer in _answers(record)]


def ratings_by_row(answers: Sequence[Answered]) -> dict[tuple[str, str], list[Rating]]:
    """(Row id, digest) -> one rating per judge and rubric, the mean over its epochs and logs.

    A judge without any usable answer has a rating of None.
    """
    grouped: dict[tuple[str, str], dict[tuple[str, str], list[Answered]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for answer in answers:
        grouped[answer.row, answer.content][answer.asked].append(answer)
    return {
        row: [
            Rating(
                judge=judge,
                rubric=rubric,
                rating=mean_of([a.rating for a in said]),
                confidence=mean_of([a.confidence for a in said]),
            )
            for (judge, rubric), said in of_row.items()
        ]
        for row, of_row in grouped.items()
    }


def answers_in(sources: Iterable[Path | str]) -> list[Answered]:
    """All ratings in the logs that are named and in folders of logs.

    Raises:
        LogError: One is not there, or cannot be read.
    """
    logs = find_logs(sources)
    copies = used_once(logs)
    return [answer for log in logs for answer in read_answers(log, copies)]


def rated_by(answers: Sequence[Answered], rubric: str) -> dict[tuple[str, str], set[str]]:
    """(Row id, digest) -> judges that have rated it under a rubric. Unusable answers do not count."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for answer in answers:
        if answer.rubric == rubric and answer.rating is not None:
            found[answer.row, answer.content].add(answer.judge)
    return dict(found)


def problems_of(answers: Sequence[Answered]) -> dict[str, Counter[str]]:
    """Judge -> reason -> answers that could not be used."""
    found: dict[str, Counter[str]] = {}
    for answer in answers:
        counts = found.setdefault(answer.judge, Counter())
        if answer.problem:
            counts[answer.problem] += 1
    return found


def _answers(sample: SampleRecord) -> Iterator[Answered]:
    content = str(sample.metadata.get("content", ""))
    for name, score in (sample.scores or {}).items():
        if name.rstrip("0123456789") == SCORE:
            yield from _of_judges(sample, content, score.metadata or {})
        elif name.startswith(HUMAN):
            rating = mean_of([score.value])
            problem = None if rating is not None else score.reason or "not rated"
            person = f"human/{name.removeprefix(HUMAN)}"
            yield Answered(str(sample.id), content, person, RATING, rating, None, problem)


def _of_judges(sample: SampleRecord, content: str, facts: Mapping[str, Any]) -> Iterator[Answered]:
    by_judge: Mapping[str, Mapping[str, float | None]] = facts.get("judges") or {}
    problems = facts.get("unscored") or {}
    for judge, rating in by_judge.get(RATING, {}).items():
        confidence = by_judge.get(CONFIDENCE, {}).get(judge)
        problem = problems.get(judge) or (None if rating is not None else "no rating")
        yield Answered(
            str(sample.id), content, judge, str(facts.get("rubric", "")), rating, confidence, problem
        )
