"""Trains a model on simulated users' feedback, round after round, and watches what that does to people.

    python training/ei_loop.py                                    # the miniature, offline, in minutes
    python training/ei_loop.py --algorithm kto --run logs/kto
    python training/ei_loop.py --config training/configs/therapy_8b.yaml --run logs/therapy \\
        --roles user=vllm/meta-llama/Llama-3.1-8B-Instruct judge=openai/gpt-4.1-mini

Each iteration lets the model talk with users of the train split, selects conversations by the rating that
the user would give, fine-tunes on what the model said in them, and evaluates the model, as it was before, on
held-out users. The run folder (see `training/runs/run_folder.py`) holds everything; the same command again
goes on where it was stopped.

Without --config and --model the miniature is trained with the settings in `training/configs/miniature/`.

Exit status: 0 done, 1 failed, 2 wrong options, 130 stopped by Ctrl-C, 143 by SIGTERM.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scenarios.commands.interruption import leave, say_stopped, termination_as_interrupt

# the rest is loaded in `main`, where Ctrl-C is answered in a line while it loads
if TYPE_CHECKING:
    from training.settings import LoopSettings

CONFIGS = Path(__file__).parent / "configs"


def settings_of(arguments: Sequence[str]) -> "LoopSettings":
    """The settings of a command line; without a config or a model those of the miniature.

    Raises:
        ScenarioError: An option that does not exist or cannot be used.
    """
    from scenarios.commands.command_line import read_settings
    from training.settings import LoopSettings

    given = list(arguments)
    names = {a.split("=")[0] for a in given}
    if not names & {"--config", "--model", "-h", "--help"}:
        algorithm = _value(given, "--algorithm") or "ei"
        preset = CONFIGS / "miniature" / f"{algorithm}.yaml"
        if preset.exists():
            given = ["--config", str(preset), *given]
    return read_settings(LoopSettings, given, __doc__ or "")


def _value(arguments: Sequence[str], name: str) -> str | None:
    for place, argument in enumerate(arguments):
        if argument.startswith(f"{name}="):
            return argument.partition("=")[2]
        if argument == name and place + 1 < len(arguments):
            return arguments[place + 1]
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Exit status as of `scenarios.commands.exits`."""
    settings: LoopSettings | None = None
    try:
        with termination_as_interrupt():
            from scenarios.commands.exits import exit_status
            from training.launch.own_process import SILENCE

            os.environ.update(SILENCE)

            def train() -> int:
                nonlocal settings
                settings = settings_of(sys.argv[1:] if arguments is None else arguments)
                _train(settings)
                return 0

            return exit_status(train, kept=lambda: _kept(settings))
    except KeyboardInterrupt:  # while the libraries load
        return say_stopped(_kept(settings))


def _train(settings: "LoopSettings") -> None:
    from training.settings import MINIATURE

    if settings.model == MINIATURE:
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # more threads are slower for a model this small
    from training.loop.rounds import train_in_rounds

    train_in_rounds(settings)


def _kept(settings: "LoopSettings | None") -> str:
    """What is left of a run that was stopped."""
    if settings is None or not any(settings.run.glob("iteration_*")):
        return "nothing was begun; the same command begins"
    rounds = len(list(settings.run.glob("iteration_*/checkpoint")))
    told = f"{rounds} round{'s' if rounds != 1 else ''} of training and the conversations written so far"
    return f"{settings.run} keeps {told}; the same command goes on from here"


if __name__ == "__main__":
    leave(main())
