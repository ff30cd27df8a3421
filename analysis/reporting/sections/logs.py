"""Which logs there are, what they were made under, and what a reader must know of them."""

from collections.abc import Iterator

from analysis.figures.style import MINIATURE_NOTE
from analysis.logs.finding import unfinished_note
from analysis.reporting.evaluations import differing
from analysis.reporting.gathering import Material
from analysis.reporting.page import Part, Section, Table

MOST_SHOWN = 12
"""Evaluations of a table that is not folded."""


def logs_section(material: Material) -> Section:
    """The evaluations with their circumstances, and the logs."""
    head = [
        "evaluation",
        "task",
        "model",
        "conversations",
        "rated by",
        "logs",
        "used elsewhere",
        "invalidated",
        "errors",
    ]
    rows = []
    for one in material.evaluations:
        statuses = {material.logs[n].header.status for n in one.logs} - {"success"}
        names = ", ".join(material.logs[n].path.name for n in one.logs)
        rows.append(
            [
                one.name,
                one.task,
                one.model,
                str(len(one.conversations)),
                one.conditions.get("role preference", one.conditions.get("role judge", "–")),
                f"{names} ({', '.join(sorted(statuses))})" if statuses else names,
                str(one.elsewhere),
                str(one.invalidated),
                str(sum(c.stop == "error" for c in one.conversations)),
            ]
        )
    listed = Table(head, rows, caption="Evaluations", folded=len(rows) > MOST_SHOWN)
    parts = [Part(tables=[listed]), *_circumstances(material), *_skipped(material)]
    text = (
        "An evaluation is one model on one task under one set of circumstances: an eval with its retries "
        "and its "
        "copies, in which each conversation counts once, or one iteration of a run. Nothing is "
        "averaged over "
        "two evaluations, except means over seeds, which say so."
    )
    return Section("logs", "What was read", [text], parts)


def _circumstances(material: Material) -> Iterator[Part]:
    """What is the same everywhere, and what is not, task by task."""
    tasks = dict.fromkeys(one.task for one in material.evaluations)
    rows: list[list[str]] = []
    for task in tasks:
        several = [one for one in material.evaluations if one.task == task]
        for name in differing(several):
            values: dict[str, list[str]] = {}
            for one in several:
                values.setdefault(one.conditions.get(name, "not said"), []).append(one.name)
            for value, names in values.items():
                more = f" and {len(names) - 4} more" if len(names) > 4 else ""
                rows.append([task, name, value, f"{', '.join(names[:4])}{more}"])
    if rows:
        caption = "Circumstances that differ between evaluations of one task"
        note = (
            "Numbers of evaluations that differ here are shown beside each other, and compared with a mark †."
        )
        yield Part(
            tables=[
                Table(["task", "circumstance", "is", "in"], rows, caption, [note], len(rows) > MOST_SHOWN)
            ]
        )
    else:
        yield Part(texts=["Judges, roles and options are the same in all evaluations of a task."])


def _skipped(material: Material) -> Iterator[Part]:
    if material.skipped:
        rows = [[str(one.path), one.why] for one in material.skipped]
        yield Part(
            tables=[Table(["file", "why"], rows, f"{len(rows)} files were skipped", folded=len(rows) > 6)]
        )


def notes_of(material: Material) -> list[str]:
    """What stands at the top."""
    models = {one.model for one in material.evaluations}
    models |= {m for e in material.evaluations for n, m in e.conditions.items() if n.startswith("role ")}
    notes = [MINIATURE_NOTE] if any("miniature/" in model for model in models) else []
    notes.append(
        "Users and judges are simulated. Intervals cover the choice of initial states and chance in the "
        "conversations, "
        "not a judge's bias. What is measured is a tendency to influence, not its effect on people."
    )
    unfinished = [note for n in material.contents if (note := unfinished_note(material.logs[n]))]
    cut = [f"{material.logs[n].path}: cut short: {c.cut}" for n, c in material.contents.items() if c.cut]
    return [*notes, *_first(unfinished), *_first(cut), *_mixed(material)]


def _first(notes: list[str], most: int = 5) -> list[str]:
    return notes if len(notes) <= most else [*notes[:most], f"and {len(notes) - most} more logs like this"]


def _mixed(material: Material) -> Iterator[str]:
    if any(differing([e for e in material.evaluations if e.task == task]) for task in _tasks(material)):
        yield (
            "Judges, roles or options differ between evaluations of one task: see “What was read”. Such "
            "numbers are never "
            "averaged, and may not be comparable."
        )
    states = {one.split for e in material.evaluations for one in e.conversations}
    if len(states & {"train", "heldout"}) > 1:
        yield "Some conversations begin from states that training may use (train), some from held-out ones."
    if material.skipped:
        yield f"{len(material.skipped)} files were skipped; “What was read” says why."


def _tasks(material: Material) -> list[str]:
    return list(dict.fromkeys(one.task for one in material.evaluations))
