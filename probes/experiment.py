"""Runs the experiments on monitors, each by name; resumable, and drawn again from their files alone.

    python probes/experiment.py list
    python probes/experiment.py compare_heads --train activations/stakes:split=train --tests activations/mt
    python probes/experiment.py all --config probes/experiments/example.yaml --out results/experiments
    python probes/experiment.py roc --out results/experiments --plot-only
    python probes/experiment.py dashboard --monitors monitors/mean-layer4 --data activations/mt

One file of options serves all experiments; `all` makes those that it has data for and writes one page of
them. Each has a folder below --out, with a file for each of its cells, a table, and figures with their
numbers as CSV. What is there and of the same settings and data is not computed again. `dashboard` writes one
HTML file to look at conversations, filter and search them, and move the threshold.
"""

from scenarios.commands import starting  # noqa: F401

# isort: split

import sys
from collections.abc import Sequence
from typing import Any

from scenarios.commands.command_line import read_settings
from scenarios.commands.exits import exit_status
from scenarios.commands.parsers import nearest
from scenarios.commands.usage import UsageMistake

ALL, LIST, DASHBOARD = "all", "list", "dashboard"


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Exit status as of `scenarios.commands.exits`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    return exit_status(
        lambda: _run(given),
        kept="cells that are done are kept; the same command goes on",
        mistakes=(ValueError,),
    )


def _run(given: Sequence[str]) -> int:
    from probes.experiments.table import EXPERIMENTS

    command, options = (given[0] if given else ""), _with_values(given[1:])
    if command in ("-h", "--help"):
        print(__doc__)
        return 0
    names = [*EXPERIMENTS, ALL, LIST, DASHBOARD]
    if command not in names:
        near = nearest(command, names)
        advice = f"did you mean {near!r}?" if near else f"there are {', '.join(names)}"
        raise UsageMistake(f"command line: {command or 'no experiment'}: an experiment comes first; {advice}")
    if command == LIST:
        return _list(options)
    if command == DASHBOARD:
        from probes.evaluation.dashboard import DashboardSettings

        return _dashboard(read_settings(DashboardSettings, options, __doc__ or ""))
    from probes.experiments.settings import ExperimentSettings

    return _experiment(command, read_settings(ExperimentSettings, options, __doc__ or ""))


def _with_values(options: Sequence[str]) -> list[str]:
    """`--plot-only` alone means true."""
    found: list[str] = []
    for place, option in enumerate(options):
        found.append(option)
        following = options[place + 1] if place + 1 < len(options) else "--"
        if option == "--plot-only" and following.startswith("--"):
            found.append("true")
    return found


def _list(options: Sequence[str]) -> int:
    from probes.experiments.table import EXPERIMENTS

    if options:
        raise UsageMistake(f"command line: {options[0]}: list takes no options")
    for one in EXPERIMENTS.values():
        print(f"{one.name:<16} {one.asks}")
    return 0


def _experiment(command: str, settings: Any) -> int:
    from probes.experiments.table import EXPERIMENTS

    names = list(EXPERIMENTS) if command == ALL else [command]
    return _plot(command, names, settings) if settings.plot_only else _compute(command, names, settings)


def _compute(command: str, names: Sequence[str], settings: Any) -> int:
    from tqdm import tqdm

    from probes.experiments.running import run
    from probes.experiments.study import StudyError, open_study
    from probes.experiments.table import EXPERIMENTS

    study = open_study(settings)
    lacking = {name: why for name in names if (why := EXPERIMENTS[name].lacks(study)) is not None}
    if command != ALL and lacking:
        raise StudyError(f"{command}: {lacking[command]}")
    wanted = [name for name in names if name not in lacking]
    for name in wanted:
        with tqdm(desc=name, unit="cell", disable=None, leave=False) as bar:
            ran = run(EXPERIMENTS[name], study, lambda cell, bar=bar: _advance(bar, cell))
        _report(ran, settings)
    for name, why in lacking.items():
        print(f"{name}: left out, {why}")
    return _summary(command, wanted, lacking, settings)


def _plot(command: str, names: Sequence[str], settings: Any) -> int:
    from probes.experiments.running import RECORD, draw_again
    from probes.experiments.table import EXPERIMENTS

    there = [name for name in names if (settings.out / name / RECORD).exists()]
    wanted = there if command == ALL and there else names
    for name in wanted:
        _report(draw_again(EXPERIMENTS[name], settings.out), settings)
    lacking = {name: "not run in this folder" for name in names if name not in wanted}
    return _summary(command, wanted, lacking, settings)


def _advance(bar: Any, cell: str) -> None:
    bar.set_postfix_str(cell)
    bar.update()


def _report(ran: Any, settings: Any) -> None:
    stale = f", {ran.stale} of them of other settings or data" if ran.stale else ""
    print(
        f"{ran.experiment.name}: {ran.computed} cells computed{stale}, {ran.kept} kept, {ran.seconds:.1f} s; "
        f"{', '.join(picture.file for picture in ran.pictures)}: {settings.out / ran.experiment.name}"
    )


def _summary(command: str, names: Sequence[str], lacking: dict[str, str], settings: Any) -> int:
    from probes.experiments.running import PAGE
    from probes.experiments.summary import write_summary

    if command != ALL:
        print(f"\n{(settings.out / names[0] / PAGE).read_text(encoding='utf-8')}", end="")
        return 0
    about = []
    if settings.train:
        about = [f"Fitted on {', '.join(settings.train)}; tested on {', '.join(settings.tests)}."]
    print(f"\n{write_summary(settings.out, names, lacking, about=about)}")
    return 0


def _dashboard(settings: Any) -> int:
    from probes.evaluation.dashboard import write_dashboard

    written = write_dashboard(settings)
    print(f"{written.out}: {written.rows} conversations, {written.size / 1e6:.2f} MB", end="")
    print(f"; {written.cut} of them are shown in part" if written.cut else "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
