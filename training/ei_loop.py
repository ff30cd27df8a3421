"""Trains a model on simulated users' feedback, round after round, and watches what that does to people.

    python training/ei_loop.py                                    # the miniature, offline, in minutes
    python training/ei_loop.py --algorithm kto --run logs/kto
    python training/ei_loop.py --config training/configs/therapy_8b.yaml --run logs/therapy \\
        --roles user=vllm/meta-llama/Llama-3.1-8B-Instruct judge=openai/gpt-4.1-mini

Each iteration lets the model talk with users of the train split, selects conversations by the rating that
the user would give, fine-tunes on what the model said in them, and evaluates the model, as it was before, on
held-out users. The run folder (see `training/run_folder.py`) holds everything; the same command again goes on
where it was stopped.

Without --config and --model the miniature is trained with the settings in `training/configs/miniature/`.

Exit status: 0 done, 1 failed, 2 wrong options, 130 stopped.
"""

import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scenarios.command_line import read_settings
from scenarios.located_yaml import ScenarioError
from training.measures import measured
from training.mixing import check_mixing
from training.policies import RunError, check_policy, policy
from training.rollouts import seconds_of
from training.run_folder import Iteration, RunFolder, opened
from training.selection import SelectionError
from training.settings import MINIATURE, Settings
from training.steps import Steps
from training.tracking import Tracker, check_trackers, without_secrets
from training.trainer_process import Trainer

CONFIGS = Path(__file__).parent / "configs"


def settings_of(arguments: Sequence[str]) -> Settings:
    """The settings of a command line; without a config or a model those of the miniature.

    Raises:
        ScenarioError: An option that does not exist or cannot be used.
    """
    given = list(arguments)
    names = {a.split("=")[0] for a in given}
    if not names & {"--config", "--model", "-h", "--help"}:
        algorithm = _value(given, "--algorithm") or "ei"
        preset = CONFIGS / "miniature" / f"{algorithm}.yaml"
        if preset.exists():
            given = ["--config", str(preset), *given]
    return read_settings(Settings, given, __doc__ or "")


def _value(arguments: Sequence[str], name: str) -> str | None:
    for place, argument in enumerate(arguments):
        if argument.startswith(f"{name}="):
            return argument.partition("=")[2]
        if argument == name and place + 1 < len(arguments):
            return arguments[place + 1]
    return None


def train_in_rounds(settings: Settings) -> list[dict[str, Any]]:
    """Run all iterations, or what is left of them.

    Returns:
        The lines of `metrics.jsonl`.

    Raises:
        RunError: The run cannot start or go on; says why.
    """
    check_policy(settings)
    _refuse_secrets(settings)
    check_mixing(settings, settings.algorithm)
    check_trackers(settings.report_to)
    if settings.push_to_hub is not None:
        from training.publish import check_access

        check_access(settings.push_to_hub)
    if settings.model_base_url is not None:
        # other roles that the same server plays are not told of it otherwise
        os.environ.setdefault("VLLM_BASE_URL", settings.model_base_url)
    with opened(settings) as folder:
        steps = Steps(folder)
        tracker = Tracker(settings, folder.path)
        trainer = Trainer(settings.launcher, stays=not steps.own_process)
        try:
            for number in range(settings.iterations + 1):
                row = _iterate(steps, folder.iteration(number), trainer, last=number == settings.iterations)
                folder.record(row)
                tracker.log(row)
                print(_told(row), flush=True)
        finally:
            trainer.stop()
            tracker.close()
        _finish(folder)
        return folder.metrics


def _refuse_secrets(settings: Settings) -> None:
    """The run folder holds the settings, and is shared."""
    told = settings.model_dump(mode="json")
    shown = without_secrets(told)
    if secret := [name for name in told if told[name] != shown[name]]:
        raise RunError(
            f"{', '.join(secret)}: looks like a key or a password, which would be written to config.yaml; "
            "put it into the environment variable that the provider reads"
        )


def _iterate(steps: Steps, at: Iteration, trainer: Trainer, *, last: bool) -> dict[str, Any]:
    s, folder = steps.settings, steps.folder
    log = None if last else _begin_training(steps, at, trainer)
    heldout = steps.heldout(at)
    steps.diverge(at, heldout)
    steps.finish_training(at, trainer)
    return {
        "iteration": at.number,
        "split": "heldout",
        "checkpoint": policy(s, folder.path, folder.checkpoint_before(at.number)).checkpoint,
        **measured(heldout, s),
        "seconds_heldout": seconds_of(heldout),
        **_trained(steps, at, log),
        "kl_to_base": steps.divergence(at),
    }


def _begin_training(steps: Steps, at: Iteration, trainer: Trainer) -> Path:
    """Roll out and, unless the iteration's checkpoint is there, start to train on what is selected."""
    if not at.checkpoint.exists():
        trainer.prepare()
    log = steps.rollouts(at)
    if not at.checkpoint.exists():
        plan = steps.select(at, log)
        print("\n".join(f"    {line}" for line in plan.lines()), flush=True)
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


def _told(row: dict[str, Any]) -> str:
    """One line for the terminal."""
    cells = [f"iteration {row['iteration']}"]
    for name, title in (
        ("rating_gameable", "rating gameable"),
        ("rating_other", "other"),
        ("harm_gameable", "harm gameable"),
        ("harm_other", "other"),
    ):
        value, low, high = (row[name + end] for end in ("", "_low", "_high"))
        cells.append(f"{title} {_number(value)}" + (f" [{low:.2f}, {high:.2f}]" if low is not None else ""))
    cells.append(f"scored {row['n_scored']}/{row['n_conversations']}")
    cells.append(f"KL {_number(row['kl_to_base'])}")
    return " | ".join(cells)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _finish(folder: RunFolder) -> None:
    from training.report import write_report

    report = write_report(folder.path)
    print(f"\n{folder.path}/metrics.jsonl, curves.png and {report.name} hold the results")
    print(f"Look at the conversations:  inspect view --log-dir {folder.path}")
    if folder.settings.model == MINIATURE:
        print("The miniature is a demonstration world: these numbers are no evidence about real models.")
    if folder.settings.push_to_hub:
        from training.publish import push

        push(folder.path, folder.settings.push_to_hub)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    try:
        settings = settings_of(sys.argv[1:] if arguments is None else arguments)
        if settings.model == MINIATURE:
            os.environ.setdefault("OMP_NUM_THREADS", "1")  # more threads are slower for a model this small
        train_in_rounds(settings)
    except ScenarioError as error:
        print(error, file=sys.stderr)
        return 2
    except (RunError, SelectionError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return 130
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print(f"no space left: {error}. Free some; the same command goes on from here", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
