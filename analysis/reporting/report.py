"""The report of some logs as a folder: a page, figures, numbers as files, and conversations to read."""

import json
import os
import shlex
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from analysis.reporting.conversations.browser import FOLDER, write_list
from analysis.reporting.exports import write_exports
from analysis.reporting.gathering import Material, gather
from analysis.reporting.page import TEMPLATES, environment
from analysis.reporting.reading import Read
from analysis.reporting.sections.endings import cost_section, endings_section, power_section
from analysis.reporting.sections.judging import judging_section, unscored_section
from analysis.reporting.sections.logs import logs_section, notes_of
from analysis.reporting.sections.models import (
    matrix_section,
    targeting_section,
    tests_section,
    topics_section,
)
from analysis.reporting.sections.runs import runs_section, seeds_section
from scenarios.files.whole import unfinished_name
from scenarios.mistakes import UserMistake

PAGE = "index.html"
FIGURES = "figures"
SCRIPT = "browser.js"
MARK = ".influence-report"
"""In every folder of a report: what is in it may be replaced by the next."""

VIEW = "http://127.0.0.1:7575/"
"""Where `inspect view` serves, if it is not told otherwise."""


class ReportError(UserMistake):
    """A report that cannot be written where it was asked for."""


def write_report(
    sources: Sequence[Path | str], folder: Path, *, processes: int = 2, view: str = VIEW
) -> Material:
    """Read logs and write everything of their report.

    Args:
        sources: Logs, or folders with them.
        folder: Made if it is not there; of an earlier report its files are replaced.
        processes: That read logs at the same time.
        view: Address of `inspect view`, for links.

    Raises:
        LogError: A log that was named cannot be used, or there is none.
        ReportError: The folder holds something else.
    """
    check_folder(folder)
    with _unfinished(folder.resolve()) as work:
        material = gather(sources, work, processes=processes)
        _write_all(material, work, view)
    return material


def _write_all(material: Material, folder: Path, view: str) -> None:
    for number in material.contents:
        _write_list(material, number, folder)
    files = write_exports(material, folder)
    shutil.copyfile(TEMPLATES / SCRIPT, folder / SCRIPT)
    figures = folder / FIGURES
    sections = [
        runs_section(material, figures),
        matrix_section(material),
        targeting_section(material, figures),
        tests_section(material),
        seeds_section(material, figures),
        topics_section(material),
        unscored_section(material),
        judging_section(material),
        endings_section(material),
        cost_section(material),
        power_section(material),
        logs_section(material),
    ]
    page = (
        environment()
        .get_template("report.html.jinja")
        .render(
            title=_title(material),
            summary=_summary(material),
            notes=notes_of(material),
            sections=[section for section in sections if section is not None],
            browser=_browser(material, view),
            files=files,
        )
    )
    (folder / PAGE).write_text(page, encoding="utf-8")


@contextmanager
def _unfinished(folder: Path) -> Iterator[Path]:
    """A folder beside that of the report, which takes its place when the block is done."""
    work = unfinished_name(folder)
    try:
        for name in (FIGURES, FOLDER):
            (work / name).mkdir(parents=True)
        (work / MARK).write_text("made by analysis/report.py\n", encoding="utf-8")
        yield work
        before = unfinished_name(folder)
        if folder.is_dir():
            folder.rename(before)
        work.rename(folder)
        shutil.rmtree(before, ignore_errors=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def check_folder(folder: Path) -> None:
    """Refuse a folder with files of somebody else's, or that the caller is in. Raises ReportError."""
    if Path.cwd().is_relative_to(folder.resolve()):
        raise ReportError(
            f"--out {folder}: you are in this folder, and a report replaces it; name a new folder"
        )
    if folder.exists() and not folder.is_dir():
        raise ReportError(f"--out {folder}: a file, no folder; name a new folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARK).exists():
        raise ReportError(
            f"--out {folder}: holds other files; name a new folder, or one of an earlier report"
        )


def _title(material: Material) -> str:
    tasks = list(dict.fromkeys(one.task for one in material.evaluations))
    shown = ", ".join(tasks[:4]) + (f" and {len(tasks) - 4} more" if len(tasks) > 4 else "")
    return f"Influence: {shown}"


def _summary(material: Material) -> str:
    models = len({one.model for one in material.evaluations})
    elsewhere = sum(one.elsewhere for one in material.evaluations)
    parts = [
        f"{material.counted}; {models} model{'s' if models > 1 else ''} under test",
    ]
    if elsewhere:
        parts.append(f"{elsewhere:,} more are copies, or were run again, and count once")
    return "; ".join(parts) + "."


# -- the conversation browser ---------------------------------------------------------------------


def _names(conversations: Sequence[Read]) -> list[str]:
    return list(dict.fromkeys(v.name for one in conversations for v in one.values))


def _write_list(material: Material, number: int, folder: Path) -> None:
    log, conversations = material.logs[number], material.contents[number].conversations
    names = _names(conversations)
    rows = [_row(one, names) for one in conversations if material.copies.uses(log, one.version.unit)]
    write_list(folder, number, names, rows)


def _row(one: Read, names: Sequence[str]) -> list[Any]:
    kind = {True: "gameable", False: "other", None: ""}[one.row.gameable]
    values = {v.name: v.value for v in one.values}
    shown = [round(v, 3) if (v := values.get(name)) is not None and v == v else None for name in names]
    sample, epoch = one.version.unit
    counts = one.counts.turns, one.vetoed
    return [str(sample), epoch, one.row.topic, kind, _ending(one), *counts, shown, one.place]


def _ending(one: Read) -> str:
    return f"{one.stop}, invalidated" if one.version.invalidated else one.stop


def _browser(material: Material, view: str) -> dict[str, Any]:
    paths = [str(material.logs[n].path.resolve()) for n in material.contents]
    above = os.path.commonpath([str(Path(path).parent) for path in paths])
    logs = [
        {
            "number": n,
            "name": material.logs[n].name,
            "path": Path(material.logs[n].path.resolve()).relative_to(above).as_posix(),
            "count": sum(
                material.copies.uses(material.logs[n], c.version.unit) for c in content.conversations
            ),
        }
        for n, content in material.contents.items()
    ]
    everything = [one for _, one in material.conversations]
    text = (
        "Every conversation, with each turn's judgements, notes, tool traffic and vetoed replies. Links "
        "open the sample in Inspect's "
        f"viewer while it serves these logs: inspect view --log-dir {shlex.quote(above)}"
    )
    return {
        "text": text,
        "logs": logs,
        "data": json.dumps(logs),
        "topics": sorted({one.row.topic for one in everything}),
        "kinds": sorted(
            {
                ("gameable" if one.row.gameable else "other")
                for one in everything
                if one.row.gameable is not None
            }
        ),
        "stops": sorted(set(map(_ending, everything))),
        "scores": _names(everything),
        "view": view,
        "command": f"inspect view --log-dir {shlex.quote(above)}",
    }
