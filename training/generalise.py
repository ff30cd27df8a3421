"""Does what training taught show elsewhere? Base and checkpoints of a run, in every family and on benchmarks.

    python training/generalise.py RUN
    python training/generalise.py RUN --families therapy farewell --checkpoints first 3 best last --states 16
    python training/generalise.py RUN --benchmarks sycophancy strong_reject --judge openai/gpt-4.1-mini

Held-out users of each family, gameable ones and others, half of each, the same for all checkpoints. Public
benchmarks come from `inspect_evals` where it is installed; each is run without a person in context, with a
gameable one and with another one of the run's own family.

RUN/generalise/ gets generalise.json, generalise.png and the logs. The same command goes on where it was
stopped.

Exit status: 0 done, 1 something could not be run, 2 wrong options, 130 stopped by Ctrl-C, 143 by SIGTERM.
"""

from scenarios.commands import starting  # noqa: F401

# isort: split

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from inspect_ai import list_tasks

from analysis.comparing.contrasts import Group, change, groups_in, mean_of
from scenarios.commands.exits import exit_status
from scenarios.commands.interruption import leave, termination_as_interrupt
from scenarios.commands.parsers import CommandParser
from scenarios.commands.usage import UsageMistake
from scenarios.files.whole import write_json
from training.errors import RunError
from training.generalisation.checkpoints import Checkpoint, check_same_weights, chosen_checkpoints
from training.generalisation.cross_matrix import (
    Measured,
    draw_matrix,
    fields,
    rows_of,
    table_lines,
    told,
)
from training.generalisation.public_benchmarks import (
    BENCHMARKS,
    BenchmarkRun,
    Context,
    Unavailable,
    check_available,
    persons_in,
    read_benchmark,
    run_benchmark,
)
from training.launch.own_process import ROOT, SILENCE
from training.launch.run_lock import locked
from training.loop.rehearsal import users_of
from training.reporting.conversations import finished_log_in
from training.reporting.curves import notes_of
from training.rollouts.evals import Rollout
from training.rollouts.policies import policy
from training.rollouts.processes import RolloutProcesses
from training.runs.run_folder import RunFolder, read_run
from training.settings import MINIATURE

RATING, HARM = "preference", "influence"
"""Scores that every family has."""

CONTEXTS: tuple[Context, ...] = ("none", "gameable", "other")

INHERITED = ("judging", "perspective", "influence_form", "reward", "length_penalty")
"""Task arguments of the run that say how conversations are judged; they hold in the other families too."""


class Wanted(NamedTuple):
    """What is to be run."""

    out: Path
    families: list[str]
    checkpoints: list[Checkpoint]
    states: int | None
    benchmarks: list[str]
    samples: int
    judge: str | None
    display: str


def family_names() -> list[str]:
    """Families of the suite that have a task of their own."""
    return sorted(t.name for t in list_tasks(root_dir=ROOT / "tasks") if t.name != "custom")


def generalise(folder: RunFolder, wanted: Wanted) -> dict[str, Any]:
    """Run what is not there yet, and write `generalise.json` and `generalise.png`.

    One process at a time works in the folder.

    Returns:
        What is in `generalise.json`: `rows`, `benchmarks`, and what was `skipped` or has `failed`, with why.
    """
    with locked(wanted.out):
        return _generalise(folder, wanted)


def _generalise(folder: RunFolder, wanted: Wanted) -> dict[str, Any]:
    failed: dict[str, str] = {}
    processes = RolloutProcesses(users_of, own_process=folder.settings.model != MINIATURE)
    try:
        measured = list(_families(folder, wanted, processes, failed))
    finally:
        processes.end()
    skipped = _unavailable(folder, wanted)
    found = {
        "rows": rows_of(measured),
        "benchmarks": list(_benchmarks(folder, wanted, skipped, failed)),
        "skipped": skipped,
        "failed": failed,
    }
    write_json(wanted.out / "generalise.json", found)
    if found["rows"]:
        title = f"Beyond the training family: {_own_family(folder)} | {folder.settings.model}"
        note = notes_of([folder.settings.model, *folder.settings.roles.values()])
        draw_matrix(found["rows"], wanted.out / "generalise.png", title=title, note=note)
    return found


def _families(
    folder: RunFolder, wanted: Wanted, processes: RolloutProcesses, failed: dict[str, str]
) -> Iterator[Measured]:
    """Measures of each checkpoint in each family; what broke off joins `failed`."""
    for checkpoint in wanted.checkpoints:
        check_same_weights(folder, wanted.out, checkpoint)
        for family in wanted.families:
            print(f"{checkpoint.label} in {family}", flush=True)
            try:
                log = processes.roll_out(
                    _rollout(folder, wanted, checkpoint, family), folder.settings.processes
                )
            except RunError as error:
                failed[f"{checkpoint.label} in {family}"] = str(error)
                continue
            groups = groups_in(log, rating=RATING, harm=HARM)
            yield Measured(checkpoint.label, family, groups, _place(log, wanted.out))


def _rollout(folder: RunFolder, wanted: Wanted, checkpoint: Checkpoint, family: str) -> Rollout:
    s = folder.settings
    task = s.task if family == _own_family(folder) else f"tasks/{family}.py"
    arguments = {k: v for k, v in s.task_args.items() if task == s.task or k in INHERITED}
    arguments |= {"split": "heldout", "seed": s.seed}
    if wanted.states is not None:
        arguments["states"] = wanted.states
    return Rollout(
        folder=wanted.out / "logs" / str(checkpoint.rounds) / family,
        task=task,
        task_args=arguments,
        model=policy(s, folder.path, folder.checkpoint_before(checkpoint.rounds)).model,
        model_args=s.model_args,
        model_base_url=s.model_base_url,
        roles=s.roles,
        seed=s.seed,
        max_connections=s.max_connections,
        temperature=s.temperature,
        reply_tokens=s.reply_tokens,
        display=wanted.display,
    )


def _own_family(folder: RunFolder) -> str:
    """Name of the family that the run was trained in."""
    s = folder.settings
    scenario = s.task_args.get("scenario")
    return Path(scenario).stem if scenario else Path(s.task.partition("@")[0]).stem


def _unavailable(folder: RunFolder, wanted: Wanted) -> dict[str, str]:
    """Benchmark -> why it cannot be run."""
    skipped: dict[str, str] = {}
    for name in wanted.benchmarks:
        try:
            check_available(name, wanted.judge, folder.settings.model)
        except Unavailable as error:
            skipped[name] = str(error)
    return skipped


def _benchmarks(
    folder: RunFolder, wanted: Wanted, skipped: dict[str, str], failed: dict[str, str]
) -> Iterator[dict[str, Any]]:
    """Rows of the benchmarks; what cannot be loaded joins `skipped`, what broke off joins `failed`."""
    names = [n for n in wanted.benchmarks if n not in skipped]
    persons = _persons(folder) if names else {}
    for name in names:
        bases: dict[tuple[Context, str], Group] = {}
        for checkpoint in wanted.checkpoints:
            for context in CONTEXTS:
                where = f"{checkpoint.label} on {name}, person: {context}"
                print(where, flush=True)
                run = _benchmark_run(folder, wanted, checkpoint, name, context, persons[context])
                try:
                    log = run_benchmark(run, own_process=True)
                except Unavailable as error:
                    skipped[name] = str(error)
                    break
                except RunError as error:
                    failed[where] = str(error)
                    continue
                for measure, group in read_benchmark(log, name).items():
                    if checkpoint.rounds == 0:
                        bases[context, measure] = group
                    base = bases.get((context, measure)) if checkpoint.rounds else None
                    yield {
                        "checkpoint": checkpoint.label,
                        "benchmark": name,
                        "context": context,
                        "measure": measure,
                        **fields("value", mean_of(group)),
                        **fields("value_change", None if base is None else change(group, base)),
                        "n": len(group.values.values),
                        "n_unscored": group.unscored,
                        "log": _place(log, wanted.out),
                    }
            if name in skipped:
                break


def _persons(folder: RunFolder) -> dict[Context, dict[str, str]]:
    """Context -> people of the run's own held-out users and their words."""
    log = finished_log_in(folder.iteration(0).heldout)
    if log is None:
        raise RunError(f"{folder.iteration(0).heldout} holds no finished log to take people from")
    persons: dict[Context, dict[str, str]] = {"none": {}}
    for context in CONTEXTS[1:]:
        persons[context] = persons_in(log, gameable=context == "gameable")
        if not persons[context]:
            raise RunError(f"{log} has no {context} users to put into context")
    return persons


def _benchmark_run(
    folder: RunFolder,
    wanted: Wanted,
    checkpoint: Checkpoint,
    name: str,
    context: Context,
    persons: dict[str, str],
) -> BenchmarkRun:
    s = folder.settings
    return BenchmarkRun(
        folder=wanted.out / "logs" / str(checkpoint.rounds) / f"{name}-{context}",
        benchmark=name,
        context=context,
        persons=persons,
        samples=wanted.samples,
        seed=s.seed,
        judge=wanted.judge if BENCHMARKS[name].judge is not None else None,
        model=policy(s, folder.path, folder.checkpoint_before(checkpoint.rounds)).model,
        model_args=s.model_args,
        model_base_url=s.model_base_url,
        max_connections=s.max_connections,
        display=wanted.display,
    )


def _place(log: Path, out: Path) -> str:
    return log.resolve().relative_to(out.resolve()).as_posix()


def lines_of(found: dict[str, Any]) -> list[str]:
    """What was found, for the terminal."""
    lines = table_lines(found["rows"]) if found["rows"] else []
    if found["benchmarks"]:
        lines += ["", "public benchmarks: value, change from the base in the same context, scored / unscored"]
    for row in found["benchmarks"]:
        where = f"{row['benchmark']}, {row['measure']}"
        value, moved = told(row, "value"), told(row, "value_change", signed=True)
        lines.append(
            f"  {where:<44}{row['checkpoint']:<18}person: {row['context']:<10}{value:<22}{moved:<26}"
            f"{row['n']} / {row['n_unscored']}"
        )
    lines += [
        "",
        "Means with 95 % intervals, clustered by initial state. Unscored: no usable answer; never 0.",
    ]
    lines += [f"skipped {name}: {why}" for name, why in found["skipped"].items()]
    lines += [f"failed {what}: {why}" for what, why in found["failed"].items()]
    return lines


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--families", nargs="+", default=["all"], help="by default all of the suite")
    parser.add_argument(
        "--checkpoints",
        nargs="+",
        default=["first", "last", "best"],
        help="first, last, best or rounds of training; the base is always there",
    )
    parser.add_argument(
        "--states", type=int, help="initial states per topic; each family's own default if not given"
    )
    parser.add_argument(
        "--benchmarks",
        nargs="*",
        choices=list(BENCHMARKS),
        default=list(BENCHMARKS),
        help="of inspect_evals; without a name: none",
    )
    parser.add_argument("--samples", type=int, default=200, help="samples of a benchmark at most")
    parser.add_argument("--judge", help="of the benchmarks; by default the run's judge or influence judge")
    parser.add_argument("--out", type=Path, help="RUN/generalise by default")
    parser.add_argument("--display", default="none", help="of Inspect: none, plain, rich, full")
    return parser.parse_args(arguments)


def _wanted(folder: RunFolder, options: argparse.Namespace) -> Wanted:
    own, there = _own_family(folder), family_names()
    known = [own, *(f for f in there if f != own)]
    families = known if options.families == ["all"] else list(dict.fromkeys(options.families))
    if unknown := [f for f in families if f not in known]:
        raise UsageMistake(f"no families {', '.join(unknown)}; there are {', '.join(known)}")
    roles = folder.settings.roles
    return Wanted(
        out=options.out or folder.path / "generalise",
        families=families,
        checkpoints=chosen_checkpoints(folder, options.checkpoints),
        states=options.states,
        benchmarks=options.benchmarks,
        samples=options.samples,
        judge=options.judge or roles.get("judge") or roles.get("influence"),
        display=options.display,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Exit status as of `scenarios.commands.exits`; 1 if a part failed."""
    with termination_as_interrupt():
        return exit_status(
            lambda: _measure_and_print(_options(arguments)),
            kept="the logs that are finished are kept; the same command goes on from here",
        )


def _measure_and_print(options: argparse.Namespace) -> int:
    os.environ.update(SILENCE)
    folder = read_run(options.run)
    wanted = _wanted(folder, options)
    found = generalise(folder, wanted)
    print("\n".join(lines_of(found)))
    if (note := notes_of([folder.settings.model, *folder.settings.roles.values()])) is not None:
        print(note)
    print(f"{wanted.out}/generalise.json and generalise.png hold the results")
    return 1 if found["failed"] else 0


if __name__ == "__main__":
    leave(main())
