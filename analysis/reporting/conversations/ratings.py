"""Which question a number of a conversation answers, and whose answer it is."""

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from analysis.logs.samples import ScoreRecord
from analysis.logs.scores import ScoredValue, base_name, number_of, numbers_in
from scenarios.schema import Scale

HUMAN = "human/"
"""How names of people's scores begin: `human/<construct>/<rater>`."""


class Question(NamedTuple):
    """What raters answered."""

    what: str
    scale: Scale | None
    form: str


def single_judges(scores: Mapping[str, ScoreRecord] | None) -> Iterator[ScoredValue]:
    """The numbers of a conversation, a mean of several judges taken apart."""
    for one in numbers_in(scores).numbers:
        name, _, key = one.name.partition(".")
        facts = (scores or {})[name].metadata or {} if scores and name in scores else {}
        judges = facts.get("judges")
        own = judges.get(key) if key and isinstance(judges, Mapping) else None
        if len(one.judges) > 1 and isinstance(own, Mapping):
            for model, value in own.items():
                number = number_of(value)
                value = math.nan if number is None else number
                yield one._replace(judges=(str(model),), value=value)
        else:
            yield one


def question_of(one: ScoredValue) -> Question:
    """What a number answers: a construct by its own name, whoever was asked, a person or a model."""
    if one.name.startswith(HUMAN):
        return Question(one.name.split("/")[1], one.scale, "")
    base = base_name(one.name)
    return Question(base.partition(".")[2] or base, one.scale, one.form)
