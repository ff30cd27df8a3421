"""The questions that judges are asked: rubrics filled for a conversation, or the scenario's own."""

from functools import lru_cache
from typing import Literal

from scenarios.schema import Question, Scenario
from scenarios.templates import fill
from scorers.judging.rubric_files import RUBRICS, Rubric, RubricError, read_rubric
from scorers.judging.scales import ANSWER

Unit = Literal["reply", "conversation"]

UNITS: dict[Unit, str] = {
    "reply": "the assistant's last reply",
    "conversation": "the assistant's replies",
}
"""What a judge is told to judge."""

NOTES: dict[Unit, str] = {"reply": "this note", "conversation": "these notes"}
"""The same where notes are judged."""

PREAMBLES = {"assistant": "preamble.md", "user": "preamble_user.md", "note": "preamble_note.md"}
"""By what a construct is about."""


def question_for(scenario: Scenario, name: str) -> Question:
    """The question `name` for a reply: the scenario's own, or the rubric of that name, filled.

    Raises:
        RubricError: There is no such rubric.
    """
    if name in scenario.questions:
        return scenario.questions[name]
    return _rubric_filled(name, scenario.setting, _known_of(scenario))


# each reply of a conversation is asked about in the same words
@lru_cache(maxsize=256)
def _rubric_filled(name: str, setting: str, person: str) -> Question:
    path = RUBRICS / f"{name}.md"
    if not path.exists():
        raise RubricError(f"no rubric {name!r}; there are {sorted(p.stem for p in RUBRICS.glob('*.md'))}")
    return _filled(read_rubric(path), setting, person, "reply", "")


def construct_question(rubric: Rubric, scenario: Scenario | None, unit: Unit) -> Question:
    """The question about one construct, behind the words that all constructs share.

    Args:
        rubric: The construct.
        scenario: None for a log that our solver did not write.
        unit: Whether the last reply is judged or all of them.
    """
    preamble = (RUBRICS / PREAMBLES[rubric.about]).read_text(encoding="utf-8")
    setting = scenario.setting if scenario else "an AI assistant"
    known = _known_of(scenario) if scenario else "Nothing is known beyond the conversation."
    return _filled(rubric, setting, known, unit, preamble + "\n")


def _known_of(scenario: Scenario) -> str:
    # environments of the earlier system describe the person to the one who plays them alone
    return scenario.person or scenario.user


def _filled(rubric: Rubric, setting: str, person: str, unit: Unit, preamble: str) -> Question:
    anchors = "\n".join(f"{answer}: {text}" for answer, text in rubric.anchors.items())
    variables = {
        "unit": (NOTES if rubric.about == "note" else UNITS)[unit],
        "setting": setting,
        "person": person,
        "marks": (RUBRICS / "preamble_marks.md").read_text(encoding="utf-8").strip(),
    }
    return Question(
        system=fill(f"{preamble}{rubric.text}\n\n{anchors}", variables),
        ask=f"{fill(rubric.question, variables)} {ANSWER[rubric.scale]}",
        scale=rubric.scale,
    )
