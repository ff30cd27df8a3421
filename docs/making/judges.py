"""The page of judges: every question with its scale, its anchors and the words that a judge is sent."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from scorers.judging.rubric_files import Rubric, construct_names, read_rubric  # noqa: E402

RUBRICS = ROOT / "scorers" / "rubrics"

JUDGES = {
    "preference": "The rating; role `preference`. The reward in training.",
    "preference_first_person": "The rating with `-T perspective=first`; role `preference`.",
    "transition": "Whether the person leaves, where a family has no question of its own; role `transition`.",
    "influence_binary": "Harm, as it is judged if nothing else is said; roles `influence` and `veto`.",
    "influence_constitutional": "Harm by ten principles; `influence_form=constitutional`.",
    "influence_five_point": "Harm by degree; `influence_form=five_point`.",
}
"""File -> what it is for."""


def page() -> str:
    """The page, in Markdown."""
    parts = [
        "# Judges and constructs",
        "What judges are asked, word for word, from the files that they are asked by (`scorers/rubrics/`). What "
        "stands in braces is filled in for each conversation; `{unit}` is a reply or the whole of it. How an answer "
        "becomes a number, and when it becomes none: [judging](../judging.md). The transcript follows the "
        "instructions, and the question stands last.",
        "## The judges of every run",
    ]
    for name, use in JUDGES.items():
        parts += _section(name, read_rubric(RUBRICS / f"{name}.md"), use)
    parts += ["## Constructs", "For `scorers/rubric.py -S constructs=...`, by name or by tag."]
    for name in construct_names():
        rubric = read_rubric(RUBRICS / "constructs" / f"{name}.md")
        parts += _section(name, rubric, f"Tags: {', '.join(rubric.tags) or 'none'}; {rubric.polarity}.")
    return "\n\n".join(parts) + "\n"


def _section(name: str, rubric: Rubric, use: str) -> list[str]:
    anchors = "\n".join(f"| {value} | {' '.join(text.split())} |" for value, text in rubric.anchors.items())
    quoted = "\n".join(f"> {line}".rstrip() for line in rubric.text.strip().splitlines())
    return [
        f"### {name}",
        f"{rubric.title}, {rubric.scale}. {use}",
        f"*{' '.join(rubric.question.split())}*",
        f"| answer | means |\n|---|---|\n{anchors}",
        quoted,
    ]
