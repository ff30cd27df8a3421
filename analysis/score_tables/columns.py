"""The lines of a table: which numbers of several conversations are answers to one question on one scale."""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from itertools import combinations
from typing import NamedTuple

from analysis.logs.scores import ScoredConversation, ScoredValue, base_name
from analysis.values import Values, cluster_of, plain
from scenarios.schema import Scale

TITLES = {
    "preference": "rating",
    "influence": "harm",
    "awareness": "test awareness",
    "simulator": "user flaws",
    "stay": "replies",
}


MONITOR = "stakes"
"""Score of a monitor, whatever it was fitted to detect."""


class Asked(NamedTuple):
    """What was asked, of whom: numbers with the same may stand in one mean."""

    name: str
    """Of the score, without the number of one that comes again, unless one conversation has both."""

    scale: Scale | None
    form: str
    judges: tuple[str, ...]


class Column(NamedTuple):
    """A score as it was asked: a line of the table."""

    asked: Asked
    title: str
    instead: tuple[Asked, ...]
    """What one name of the log stands for, this among it, where no conversation has two of them: a score that
    is on one scale in some conversations and on another in others."""


class ScoreRow(NamedTuple):
    """One conversation, as far as a table needs it."""

    state: Hashable
    """What intervals take conversations as dependent by."""

    topic: str
    gameable: bool | None
    """None if the log does not say."""

    scores: dict[Asked, ScoredValue]
    temperament: str = "-"
    """Of the simulated user; `-` if the log does not say."""


def row_of(conversation: ScoredConversation) -> tuple[ScoreRow, list[ScoredValue]]:
    """A row without its scores, and these."""
    facts = conversation.record.metadata
    flag = facts.get("gameable")
    row = ScoreRow(
        state=cluster_of(facts, conversation.record.id),
        topic=str(plain(facts.get("topic", "-"))),
        gameable=flag if isinstance(flag, bool) else None,
        scores={},
        temperament=str(plain(facts.get("temperament") or "-")),
    )
    return row, conversation.values


def arrange(rows: Sequence[tuple[ScoreRow, list[ScoredValue]]]) -> list[Column]:
    """Put the numbers of rows where they belong, and tell which columns there are.

    What is unscored may not say what was asked; it counts with what most numbers of its name say.

    Args:
        rows: Of one log, or of those that are compared; their `scores` are filled.
    """
    names = {one.name for _, values in rows for one in values}
    counts: dict[Asked, Counter[str]] = {}
    for _, values in rows:
        for one in values:
            counts.setdefault(_asked(one, names), Counter())[one.name] += not math.isnan(one.value)
    known = _Known(counts)
    repeated = _repeated(rows, names, known)
    shown: dict[Asked, Counter[str]] = {}
    for row, values in rows:
        for one in values:
            asked = known.meant(_asked(one, names), one)
            if asked in repeated:
                asked = asked._replace(name=one.name)
            row.scores[asked] = one
            shown.setdefault(asked, Counter())[one.name] += 1
    together = {frozenset(pair) for row, _ in rows for pair in combinations(row.scores, 2)}
    return _titled(shown, together)


def values_of(rows: Iterable[ScoreRow], column: Column) -> Values:
    """The numbers of a column."""
    scored = [(row.scores[column.asked].value, row.state) for row in rows if is_scored(row, column)]
    return Values([value for value, _ in scored], [state for _, state in scored], column.asked.scale)


def is_scored(row: ScoreRow, column: Column) -> bool:
    """Whether a conversation has a number in a column."""
    one = row.scores.get(column.asked)
    return one is not None and not math.isnan(one.value)


def belonging(rows: Iterable[ScoreRow], column: Column) -> list[ScoreRow]:
    """The conversations that a column is about: with a number, or where one is missing.

    Of columns that stand instead of each other, what has no number at all is missing in the first alone.
    """

    def belongs(row: ScoreRow) -> bool:
        if column.asked in row.scores:
            return True
        return column.asked == column.instead[0] and not any(other in row.scores for other in column.instead)

    return [row for row in rows if belongs(row)]


def _asked(one: ScoredValue, names: set[str]) -> Asked:
    base = base_name(one.name)
    return Asked(base if base in names else one.name, one.scale, one.form, one.judges)


class _Known:
    """What was asked by the numbers of some rows; it completes what the others leave open."""

    def __init__(self, counts: dict[Asked, Counter[str]]) -> None:
        self._numbers = {asked: names for asked, names in counts.items() if names.total()}
        self._meant: dict[tuple[Asked, str, bool], Asked] = {}

    def meant(self, asked: Asked, one: ScoredValue) -> Asked:
        """What a number answers: what it says itself, completed by what others of its name say."""
        key = (asked, one.name, math.isnan(one.value))
        if key not in self._meant:
            fitting = [other for other in self._numbers if self._fits(other, *key)]
            self._meant[key] = max(
                fitting,
                key=lambda other: (self._numbers[other][one.name], self._numbers[other].total()),
                default=asked,
            )
        return self._meant[key]

    def _fits(self, other: Asked, asked: Asked, name: str, unscored: bool) -> bool:
        if asked in self._numbers and (unscored or (asked.form and asked.judges)):
            return other == asked
        same_scale = other.scale == asked.scale or (unscored and asked.scale is None)
        said = (
            other.name == asked.name
            and asked.form in ("", other.form)
            and asked.judges in ((), other.judges)
            and same_scale
        )
        return said and (unscored or name in self._numbers[other])


def _repeated(
    rows: Sequence[tuple[ScoreRow, list[ScoredValue]]], names: set[str], known: _Known
) -> set[Asked]:
    """What one conversation has two answers to, which only their names tell apart."""
    repeated: set[Asked] = set()
    for _, values in rows:
        counts = Counter(known.meant(_asked(one, names), one) for one in values)
        repeated |= {asked for asked, count in counts.items() if count > 1}
    return repeated


def _titled(shown: dict[Asked, Counter[str]], together: set[frozenset[Asked]]) -> list[Column]:
    """The columns.

    Args:
        shown: What was asked, with the names that its numbers have in the log.
        together: Pairs of which one conversation has both.
    """
    titles = {asked: _title(asked, {a.name for a in shown}) for asked in shown}
    usual = {asked: names.most_common(1)[0][0] for asked, names in shown.items()}
    columns: list[Column] = []
    for asked in shown:
        alike = [other for other, title in titles.items() if title == titles[asked]]
        instead = [
            other
            for other in shown
            if other == asked or (usual[other] == usual[asked] and frozenset((other, asked)) not in together)
        ]
        columns.append(Column(asked, titles[asked] + _difference(asked, alike), tuple(instead)))
    twice = {title for title, count in Counter(c.title for c in columns).items() if count > 1}
    return [c._replace(title=f"{c.title}, {usual[c.asked]}") if c.title in twice else c for c in columns]


def _title(asked: Asked, names: set[str]) -> str:
    """The title of a score, unless another score has that name; of a monitor's, what it detects."""
    title = TITLES.get(asked.name, asked.name)
    if asked.name == MONITOR and asked.form:
        title = f"{asked.form}, by monitor"
    return asked.name if title in names else title


def _difference(asked: Asked, alike: Sequence[Asked]) -> str:
    """In what columns of one title differ: form, judges, scale."""
    parts: list[str] = []
    if len({other.form for other in alike}) > 1:
        parts.append(asked.form or "form not said")
    if len({other.judges for other in alike}) > 1:
        parts.append(", ".join(asked.judges) or "judge not said")
    if len({other.scale for other in alike}) > 1:
        parts.append(asked.scale or "no scale named")
    return f" ({'; '.join(parts)})" if parts else ""
