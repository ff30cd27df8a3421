"""The questions that judges are asked: rubrics as data, and where a scenario brings its own."""

from functools import cache
from pathlib import Path

import yaml

from scenarios.schema import Question, Scenario
from scenarios.templates import fill

RUBRICS = Path(__file__).parent / "rubrics"


class RubricError(ValueError):
    """A rubric that does not exist or cannot be used."""


def question_for(scenario: Scenario, name: str) -> Question:
    """The question `name` for a conversation: the scenario's own, or the rubric of that name, filled.

    Raises:
        RubricError: There is no such rubric, or it asks for a variable that the scenario has not.
    """
    if name in scenario.questions:
        return scenario.questions[name]
    rubric = _rubric(name)
    variables = scenario.variables | {"setting": scenario.setting, "person": scenario.person}
    try:
        return Question(
            system=fill(rubric.system, variables), ask=fill(rubric.ask, variables), scale=rubric.scale
        )
    except ValueError as error:
        raise RubricError(f"{RUBRICS / name}.md: {error}") from None


@cache
def _rubric(name: str) -> Question:
    path = RUBRICS / f"{name}.md"
    if not path.exists():
        raise RubricError(f"no rubric {name!r}; there are {sorted(p.stem for p in RUBRICS.glob('*.md'))}")
    _, front, body = path.read_text(encoding="utf-8").split("---\n", 2)
    head = yaml.safe_load(front)
    return Question(system=body.strip(), ask=head["ask"], scale=head["scale"])
