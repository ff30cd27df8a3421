"""A run as one HTML file that needs nothing else.

What was run, what came of it with intervals, the arithmetic of every round, and conversations to read, each
with its log. A run that was stopped, or still goes on, is reported as far as it came.
"""

import base64
import json
import math
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from analysis.comparing.contrasts import best_of, change, groups_in
from analysis.intervals import Interval
from analysis.reporting.page import environment
from scenarios.files.whole import write_text
from training.job import REPORT as TRAINED
from training.reporting.conversations import Conversation, finished_log_in, read_conversation
from training.reporting.curves import CURVES, draw_curves, notes_of, title_of
from training.reporting.tracking import without_secrets
from training.runs.run_folder import Iteration, RunFolder, read_run
from training.selection.selecting import Choice, read_table

REPORT = "report.html"
TEMPLATE = "report.html.jinja"

MONITOR = "monitor.png"
"""What a monitor saw of the run, if one read along; in the run folder."""

FIGURES = ("rating_gameable", "rating_other", "harm_gameable", "harm_other")


class Shown(NamedTuple):
    """A conversation with its place."""

    heading: str
    choice: Choice
    conversation: Conversation
    href: str
    """Relative to the report."""

    command: str


class Change(NamedTuple):
    """How far one number moved from the first to the last evaluation."""

    name: str
    interval: Interval | None


def write_report(run: Path) -> Path:
    """Write `curves.png` and `report.html` into a run's folder.

    Raises:
        RunError: It is no folder of a run.
    """
    folder = read_run(run)
    metrics = folder.metrics
    note = notes_of([folder.settings.model, *folder.settings.roles.values()])
    if metrics:
        draw_curves(metrics, run / CURVES, title=title_of(folder.settings), note=note)
    rounds = list(_iterations(folder))
    selected = next((at for at in reversed(rounds) if at.selection.exists()), None)
    choices = [] if selected is None else list(read_table(selected.selection).choices)
    page = (
        environment(Path(__file__).parent)
        .get_template(TEMPLATE)
        .render(
            title=title_of(folder.settings),
            run=run.resolve().name,
            settings=folder.settings,
            config=list(_flat(without_secrets(folder.settings.model_dump(mode="json")))),
            state=_state(folder, metrics),
            note=note,
            metrics=metrics,
            figures=FIGURES,
            headline=_headline(metrics),
            changes=_changes(folder, metrics),
            picture=_picture(run / CURVES) if metrics else None,
            monitored=_monitored(metrics),
            alarms=_alarms(metrics),
            monitor_picture=_picture(run / MONITOR) if (run / MONITOR).exists() else None,
            arithmetic=_arithmetic(rounds),
            planned=[at.number for at in rounds if at.plan.exists()],
            selected=selected,
            selection=_selection(choices),
            reasons=sorted({c.dropped for c in choices if c.dropped}),
            topics=_topics(run, selected, choices),
            view=_command(run),
        )
    )
    write_text(run / REPORT, page)
    return run / REPORT


def _headline(metrics: Sequence[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """First, best and last evaluation, each named."""
    if not metrics:
        return []
    best = best_of(metrics)
    rows = [("first", metrics[0])]
    if best is not None:
        rows.append(("best on the users trained on", best))
    if len(metrics) > 1:
        rows.append(("last", metrics[-1]))
    return rows


def _monitored(metrics: Sequence[Mapping[str, Any]]) -> list[tuple[str, int, Mapping[str, Any]]]:
    """Which monitor, iteration, what it saw; of one that could not be fitted again `why_not`."""
    return [
        (name, row["iteration"], seen)
        for name in ("frozen", "refitted")
        for row in metrics
        if (seen := (row.get("monitor") or {}).get(name))
    ]


def _alarms(metrics: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Of the frozen monitor over the whole run, as of the last evaluation."""
    found = [((row.get("monitor") or {}).get("frozen") or {}).get("alarms") for row in metrics]
    return next((alarms for alarms in reversed(found) if alarms), None)


def _changes(folder: RunFolder, metrics: Sequence[Mapping[str, Any]]) -> list[Change]:
    """Last evaluation less first, from the logs; empty if there is only one, or a log is missing."""
    if len(metrics) < 2:
        return []
    logs = [finished_log_in(folder.iteration(m["iteration"]).heldout) for m in (metrics[0], metrics[-1])]
    if logs[0] is None or logs[1] is None:
        return []
    s = folder.settings
    first, last = (groups_in(log, rating=s.score, harm=s.harm_score) for log in logs if log is not None)
    return [Change(f"{m}_{users}", change(last[m, users], first[m, users])) for m, users in first]


def _state(folder: RunFolder, metrics: Sequence[Mapping[str, Any]]) -> str:
    """How far the run came."""
    wanted = folder.settings.iterations
    rounds = f"{wanted} round{'s' if wanted != 1 else ''}"
    done = sum((at.checkpoint / TRAINED).exists() for at in _iterations(folder))
    evaluated = len(metrics)
    if evaluated == wanted + 1:
        return f"complete: {rounds} of training, {evaluated} evaluations"
    told = f"{done} of {rounds} trained, {evaluated} of {wanted + 1} evaluations"
    return f"not complete: {told}; the same command goes on"


def _iterations(folder: RunFolder) -> Iterator[Iteration]:
    """Those that have been begun."""
    for number in range(folder.settings.iterations + 1):
        at = folder.iteration(number)
        if at.folder.is_dir():
            yield at


def _arithmetic(rounds: Sequence[Iteration]) -> dict[str, dict[str, dict[int, Any]]]:
    """Part of `plan.json` (`` for what is not nested) -> name -> iteration -> value."""
    parts: dict[str, dict[str, dict[int, Any]]] = {"": {}}
    for at in rounds:
        if at.plan.exists():
            for name, value in _flat(json.loads(at.plan.read_text(encoding="utf-8"))):
                part, _, rest = name.partition(" / ")
                table = parts.setdefault(part if rest else "", {})
                table.setdefault(rest or part, {})[at.number] = value
    return {part: table for part, table in parts.items() if table}


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of a nested value with their names; a list of plain values is one leaf."""
    for name, inner in value.items():
        told = f"{prefix}{name}"
        if isinstance(inner, Mapping) and inner:
            yield from _flat(inner, f"{told} / ")
        elif isinstance(inner, list) and any(isinstance(v, Mapping) for v in inner):
            for place, part in enumerate(inner, start=1):
                yield from _flat(part if isinstance(part, Mapping) else {"": part}, f"{told} {place} / ")
        else:
            yield told, inner


def _selection(choices: Sequence[Choice]) -> dict[tuple[str, bool], Counter[str]]:
    """(topic, gameable) -> what -> conversations."""
    table: dict[tuple[str, bool], Counter[str]] = defaultdict(Counter)
    for choice in choices:
        what = choice.dropped or {True: "best", False: "worst", None: "unlabelled"}[choice.label]
        facts = choice.trajectory
        table[facts.topic, facts.gameable].update(["all", what])
    return dict(sorted(table.items(), key=lambda item: (item[0][0], not item[0][1])))


def _topics(run: Path, at: Iteration | None, choices: Sequence[Choice]) -> dict[str, list[Shown]]:
    """Topic -> its best and its worst rated conversation. Empty if the log is not there."""
    log = None if at is None else finished_log_in(at.rollouts)
    if log is None:
        return {}
    found: dict[str, list[Shown]] = {}
    for topic in sorted({c.trajectory.topic for c in choices}):
        rated = [c for c in choices if c.trajectory.topic == topic and not math.isnan(c.trajectory.rating)]
        if rated:
            best = max(rated, key=lambda c: c.trajectory.rating)
            worst = min(rated, key=lambda c: c.trajectory.rating)
            ends = (
                [("best rated", best), ("worst rated", worst)] if best is not worst else [("only one", best)]
            )
            found[topic] = [_shown(run, log, heading, choice) for heading, choice in ends]
    return found


def _shown(run: Path, log: Path, heading: str, choice: Choice) -> Shown:
    facts = choice.trajectory
    return Shown(
        heading=heading,
        choice=choice,
        conversation=read_conversation(log, facts.sample, facts.epoch),
        href=quote(log.resolve().relative_to(run.resolve()).as_posix()),
        command=_command(log.parent),
    )


def _command(folder: Path) -> str:
    return f"inspect view --log-dir {shlex.quote(str(folder))}"


def _picture(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
