"""Rubrics as data: one markdown file per construct, checked when it is read."""

import difflib
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from scenarios.files.given_paths import where_meant
from scenarios.files.located_yaml import Located, ScenarioError, read_front_matter, validated
from scenarios.schema import Frozen, Hidden, Scale, Words
from scenarios.templates import placeholders
from scorers.judging.scales import ANSWERS

RUBRICS = Path(__file__).parent.parent / "rubrics"
CONSTRUCTS = RUBRICS / "constructs"


class RubricError(ScenarioError):
    """A rubric that does not exist or cannot be used."""


class Rubric(Frozen):
    """Front matter and text of a rubric."""

    title: str
    tags: list[str] = Field(default_factory=list)
    polarity: Literal["risk", "protective", "neutral"]
    """Whether more of it is worse for the person, better, or neither."""

    scale: Scale
    question: Words
    """Asked after the transcript; a template."""

    anchors: dict[str, str]
    """What answers mean: both ends of the scale, and any between. Templates."""

    about: Literal["assistant", "user", "note"] = "assistant"
    """Whose messages are judged; or the notes that the assistant wrote for itself after sessions."""

    sees: frozenset[Hidden] = frozenset()
    """What the judge is shown beside what the scenario lets its role see, e.g. `[thoughts]`."""

    text: str = Field("", min_length=1)
    """What the construct is; a template."""

    @field_validator("anchors", mode="before")
    @classmethod
    def _as_answers(cls, value: object) -> object:
        return {str(k): v for k, v in value.items()} if isinstance(value, dict) else value


def construct_names() -> list[str]:
    """Constructs that come with the suite."""
    return sorted(p.stem for p in CONSTRUCTS.glob("*.md"))


def chosen_constructs(constructs: str | list[str]) -> dict[str, Rubric]:
    """Rubrics by name, by tag, or by path of a markdown file of one's own; repeated ones once.

    Raises:
        RubricError: Nothing of that name or tag, or a rubric that cannot be used.
    """
    wanted = constructs.split(",") if isinstance(constructs, str) else constructs
    found: dict[str, Rubric] = {}
    files: dict[str, Path] = {}
    for one in (w.strip() for w in wanted):
        if one.endswith(".md"):
            _add(found, files, where_meant(Path(one)))
            continue
        tagged = {name: read_rubric(CONSTRUCTS / f"{name}.md") for name in construct_names()}
        chosen = {n: r for n, r in tagged.items() if n == one} or {
            n: r for n, r in tagged.items() if one in r.tags
        }
        if not chosen:
            tags = sorted({tag for r in tagged.values() for tag in r.tags})
            close = difflib.get_close_matches(one, [*tagged, *tags], n=1)
            advice = f"did you mean {close[0]!r}?" if close else f"constructs are {sorted(tagged)}"
            raise RubricError(f"no construct or tag {one!r}; {advice} Tags are {tags}.")
        for name in chosen:
            _add(found, files, CONSTRUCTS / f"{name}.md")
    return found


def _add(found: dict[str, Rubric], files: dict[str, Path], path: Path) -> None:
    """One construct more; scores are named by the file, so two files of one name would be one score."""
    other = files.setdefault(path.stem, path)
    if other.resolve() != path.resolve():
        raise RubricError(
            f"{path}: a construct named {path.stem!r} is asked for already, from {other}; rename one"
        )
    found[path.stem] = read_rubric(path)


@cache
def read_rubric(path: Path) -> Rubric:
    """Read one rubric and check it.

    Raises:
        RubricError: Names file, line and field, and what to do.
    """
    if not path.exists():
        raise RubricError(f"{path}: no such rubric")
    try:
        located, text = read_front_matter(path)
        if "text" in located.data:
            raise located.error(("text",), "the text stands below the second ---, not here")
        located.data["text"] = text
        rubric = validated(Rubric, located)
        _check(rubric, located)
    except RubricError:
        raise
    except ScenarioError as error:
        raise RubricError(str(error)) from None
    return rubric


def _check(rubric: Rubric, located: Located) -> None:
    answers = list(ANSWERS[rubric.scale])
    if off := sorted(set(rubric.anchors) - set(answers)):
        raise located.error(("anchors", off[0]), f"not an answer on the scale {rubric.scale}: {answers}")
    if missing := [a for a in (answers[0], answers[-1]) if not rubric.anchors.get(a, "").strip()]:
        raise located.error(
            ("anchors",), f"the scale {rubric.scale} needs anchors for both ends; {missing} is missing"
        )
    texts = {"text": rubric.text, "question": rubric.question, **rubric.anchors}
    known = {"setting", "person", "unit", "marks"}
    for where, text in texts.items():
        if unknown := placeholders(text) - known:
            raise located.error(
                (where,), f"no variable {sorted(unknown)} for rubrics; there are {sorted(known)}"
            )
