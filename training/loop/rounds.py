"""The rounds of a run: talk, select, train, evaluate, again."""

import os
from pathlib import Path
from typing import Any

from training.errors import RunError
from training.launch.trainer_process import Trainer
from training.loop.measures import measured
from training.loop.monitoring import draw_drift
from training.loop.preflight import asks_of_trainer, check_data, check_settings, check_task, check_training
from training.loop.steps import Steps
from training.reporting.tracking import Tracker
from training.rollouts.evals import seconds_of
from training.rollouts.policies import policy
from training.runs.run_folder import Iteration, RunFolder, opened
from training.selection.selecting import SelectionError
from training.settings import MINIATURE, LoopSettings


def train_in_rounds(settings: LoopSettings) -> list[dict[str, Any]]:
    """Run all iterations, or what is left of them.

    Returns:
        The lines of `metrics.jsonl`.

    Raises:
        RunError: The run cannot start or go on; says why.
    """
    check_settings(settings)
    if settings.model_base_url is not None:
        # other roles that the same server plays are not told of it otherwise
        os.environ.setdefault("VLLM_BASE_URL", settings.model_base_url)
    with opened(settings) as folder:
        steps = Steps(folder)
        if not folder.checked:
            _rehearse(steps)
        folder.begin()
        tracker = Tracker(settings, folder.path)
        trainer = Trainer(settings.launcher, stays=not steps.own_process)
        try:
            for number in range(settings.iterations + 1):
                row = _iterate(steps, folder.iteration(number), trainer, last=number == settings.iterations)
                folder.record(row)
                tracker.log(row)
                print(_summary_line(row), flush=True)
        finally:
            trainer.stop()
            steps.processes.end()
            tracker.close()
        _finish(folder)
        return folder.metrics


def _rehearse(steps: Steps) -> None:
    """Look at the task and, if need be, at the trainer, before either costs anything."""
    first = steps.folder.iteration(0)
    check_data(steps.settings)
    check_task(steps.settings, steps.train_arguments(first), steps.heldout_arguments())
    if asks_of_trainer(steps.settings):
        check_training(steps.settings, steps.job(first), steps.train_arguments(first))


def _iterate(steps: Steps, at: Iteration, trainer: Trainer, *, last: bool) -> dict[str, Any]:
    s, folder = steps.settings, steps.folder
    log = None if last else _begin_training(steps, at, trainer)
    heldout = steps.heldout(at)
    steps.diverge(at, heldout)
    seen = steps.watch(at, log)
    steps.finish_training(at, trainer)
    return {
        "iteration": at.number,
        "split": "heldout",
        "checkpoint": policy(s, folder.path, folder.checkpoint_before(at.number)).checkpoint,
        **measured(heldout, s),
        "seconds_heldout": seconds_of(heldout),
        **_trained(steps, at, log),
        "kl_to_base": steps.divergence(at),
        **({} if seen is None else {"monitor": seen}),
    }


def _begin_training(steps: Steps, at: Iteration, trainer: Trainer) -> Path:
    """Roll out and, unless the iteration's checkpoint is there, start to train on what is selected."""
    if not at.checkpoint.exists():
        trainer.prepare()
    log = steps.rollouts(at)
    if at.checkpoint.exists():
        steps.check_trained(at, log)
    else:
        try:
            plan = steps.select(at, log)
        except SelectionError as error:
            raise RunError(str(error)) from None
        print("\n".join(f"    {line}" for line in plan.lines(steps.shown_plan)), flush=True)
        steps.shown_plan = plan
        steps.begin_training(at, trainer)
    return log


def _trained(steps: Steps, at: Iteration, rollouts: Path | None) -> dict[str, Any]:
    """The part of the line on rollouts, selection and training; nulls in the last iteration."""
    if rollouts is None:
        return dict.fromkeys(
            ("n_selected", "n_examples", "train_loss", "seconds_rollout", "seconds_train", "train")
        )
    return {
        **steps.trained(at),
        "seconds_rollout": seconds_of(rollouts),
        "train": measured(rollouts, steps.settings),
    }


def _summary_line(row: dict[str, Any]) -> str:
    """One line for the terminal."""
    cells = [f"iteration {row['iteration']}"]
    for name, title in (
        ("rating_gameable", "rating gameable"),
        ("rating_other", "other"),
        ("harm_gameable", "harm gameable"),
        ("harm_other", "other"),
    ):
        value, low, high = (row[name + end] for end in ("", "_low", "_high"))
        cells.append(
            f"{title} {_two_decimals(value)}" + (f" [{low:.2f}, {high:.2f}]" if low is not None else "")
        )
    cells.append(f"scored {row['n_scored']}/{row['n_conversations']}")
    cells.append(f"KL {_two_decimals(row['kl_to_base'])}")
    frozen = (row.get("monitor") or {}).get("frozen") or {}
    if frozen.get("n"):
        told = ", ".join(f"{k} {_two_decimals(frozen[k])}" for k in ("flagged", "recall"))
        cells.append(f"monitor {told}, AUROC {_two_decimals(frozen['auroc'])}")
    return " | ".join(cells)


def _two_decimals(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _finish(folder: RunFolder) -> None:
    from training.reporting.curves import notes_of
    from training.reporting.report import MONITOR, write_report

    if folder.settings.monitor is not None:
        draw_drift(folder.metrics, folder.path / MONITOR, notes_of([folder.settings.model]))
    try:
        report = write_report(folder.path)
    except ValueError as error:  # of a file that it shows
        raise RunError(f"the run is complete, but the report cannot be written: {error}") from None
    print(f"\n{folder.path}/metrics.jsonl, curves.png and {report.name} hold the results")
    print(f"Look at the conversations:  inspect view --log-dir {folder.path}")
    if folder.settings.model == MINIATURE:
        print("The miniature is a demonstration world: these numbers are no evidence about real models.")
    if folder.settings.push_to_hub:
        from training.reporting.publishing import push

        push(folder.path, folder.settings.push_to_hub)
