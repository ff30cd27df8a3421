"""The page for `docs/`: the table, what is left out or refused and why, and totals."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import ascii_lowercase
from typing import NamedTuple

from benchmarks.providers.real_templates.outcomes import Outcome, worst
from benchmarks.providers.real_templates.packages import pinned
from benchmarks.providers.real_templates.running import CHECKS, Result

COMMAND = "python benchmarks/providers/chat_templates.py"
KINDS = {"right": "right", "letter": "right but for a letter", "refused": "refused", "WRONG": "WRONG"}

ANOTHER = "use a model that was trained on tools, or a template that has them (`chat_template=<file.jinja>`)"
COUNTED = "counted as `not_in_template`; what `local/` generated is learnt from its own tokens instead"
ONE = "nothing: models of the family call one tool at a time; a sample in which one calls two fails with this"
PLAIN = "render such conversations with `--template plain`"
INSTEAD: Mapping[str, str] = {
    "does not show the model": ANOTHER,
    "does not write calls": ANOTHER,
    "writes calls in another turn": ANOTHER,
    "refuses calls": ANOTHER,
    "does not write": COUNTED,
    "single tool-calls": ONE,
    "leaves out the call": "nothing: a call ends a generation of these models",
    "no place for words": "nothing: models of the family do not write both",
    "mixes the words": PLAIN,
    "cannot write": PLAIN,
    "has no switch": "name the variable and its value (`template_options`)",
    "is undefined": "use a template without variables of its own (`chat_template=<file.jinja>`)",
}
"""What a user does instead, by words of the reason; the first that fits."""


class Note(NamedTuple):
    """A reason that is told below the table."""

    status: str
    case: str
    reason: str


def page(results: Sequence[Result]) -> str:
    """The whole page, as Markdown."""
    intro = Path(__file__).with_suffix(".md").read_text(encoding="utf-8")
    intro = intro.format(families=len(results), command=COMMAND, packages=", ".join(pinned()))
    notes = _notes(results)
    lines = [*_table(results, notes), "", *_list(notes), "", "## Totals", "", *totals(results)]
    return intro + "\n".join(lines) + "\n"


def totals(results: Sequence[Result]) -> list[str]:
    """Lines that count."""
    lines = [f"| | {' | '.join(KINDS.values())} |", "| --- " + "| --: " * len(KINDS) + "|"]
    for column in CHECKS:
        kinds = [kind(r.cells[column]) for r in results]
        lines.append(f"| {column} | {' | '.join(str(kinds.count(k)) for k in KINDS)} |")
    cases = sum(len(outcomes) for r in results for outcomes in r.cells.values())
    plain, wrong = sum(r.plain for r in results), sum(len(r.wrong) for r in results)
    return [
        *lines,
        "",
        f"Plain dialogue is right in all columns for {plain} of {len(results)} templates (tools right, or",
        f"refused for a true reason). {cases} cases were tried; {wrong} are wrong.",
    ]


def kind(outcomes: Sequence[Outcome]) -> str:
    """What a cell says, of `KINDS`."""
    found = worst(outcomes)
    if found in ("right", "WRONG"):
        return found
    return "letter" if any(o.status == "right" for o in outcomes) else "refused"


def _table(results: Sequence[Result], notes: Mapping[Note, str]) -> Iterable[str]:
    yield f"| template | {' | '.join(CHECKS)} |"
    yield "| --- " * (len(CHECKS) + 1) + "|"
    for result in results:
        cells = [_cell(result.cells[column], notes) for column in CHECKS]
        yield f"| {result.family.name} | {' | '.join(cells)} |"


def _cell(outcomes: Sequence[Outcome], notes: Mapping[Note, str]) -> str:
    if wrong := [o.case for o in outcomes if o.status == "WRONG"]:
        return f"**WRONG**: {', '.join(dict.fromkeys(wrong))}"
    letters = {notes[note] for note in map(_note, outcomes) if note is not None}
    told = " ".join(sorted(letters, key=lambda letter: (len(letter), letter)))
    return {"right": "right", "letter": f"right, {told}", "refused": f"refused, {told}"}[kind(outcomes)]


def _notes(results: Sequence[Result]) -> dict[Note, str]:
    """Reasons and their letters, in the order of the table."""
    found: dict[Note, str] = {}
    for outcome in (o for result in results for outcomes in result.cells.values() for o in outcomes):
        note = _note(outcome)
        if note is not None and note not in found:
            found[note] = _letter(len(found))
    return found


def _note(outcome: Outcome) -> Note | None:
    if outcome.status not in ("left out", "refused"):
        return None
    reason = re.sub(r"^the chat template of the model ", "the template ", outcome.told)
    reason = re.sub(r"refuses \[[^\]]*\]|(refuses calls of tools): \[[^\]]*\]", r"\1", reason)
    reason = re.sub(r"^the template :", "the template refuses it:", reason).partition(";")[0]
    return Note(
        outcome.status, outcome.case, re.sub(r"the call with \w+", "the call after the first", reason)
    )


def _letter(number: int) -> str:
    first, second = divmod(number, len(ascii_lowercase))
    return (ascii_lowercase[first - 1] if first else "") + ascii_lowercase[second]


def _list(notes: Mapping[Note, str]) -> Iterable[str]:
    yield "## Left out and refused"
    yield ""
    yield "| | what | how | why | instead |"
    yield "| --- | --- | --- | --- | --- |"
    for note, letter in notes.items():
        reason = note.reason.replace("|", "\\|").replace("<", "&lt;")
        instead = next((told for words, told in INSTEAD.items() if words in note.reason), "")
        yield f"| {letter} | {note.case} | {note.status} | {reason} | {instead} |"
