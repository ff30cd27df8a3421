"""What can be known to be wrong with a run before anybody is paid to talk, and before it has a folder.

First what takes no time, then the data that is mixed in, trackers and the hub, then the task (nobody talks),
and at last the trainer, in its own process, unless the settings ask nothing unusual of it.
"""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inspect_ai.model import get_model

from scenarios.conversations.roles import misspelled_role
from training.algorithms import ALGORITHMS
from training.errors import RunError
from training.examples.mixing import StaticData, check_mixing
from training.job import Job
from training.launch.own_process import ROOT
from training.launch.trainer_process import program
from training.loop.monitoring import check_monitor
from training.loop.rehearsal import check_scores, prompts_of, scores_of
from training.reporting.credentials import credentials_in
from training.reporting.tracking import check_trackers
from training.rollouts.evals import Rollout
from training.rollouts.policies import check_policy
from training.settings import MINIATURE, Choosing, LoopSettings, Tuning

LOADED_HERE = ("local", "vllm", "hf", "sglang", "transformer_lens", "nnterp", "llama-cpp-python", "mlx")
"""Providers that load weights when a model is named, which is left to the eval."""

UNUSUAL = {
    *(
        "trainer_options",
        "lora_targets",
        "attn_implementation",
        "launcher",
        "dtype",
        "gradient_checkpointing",
    ),
}
"""Settings of training for which the trainer is asked, whatever the model."""

OF_SESSIONS = "sequence"
"""Score of tasks in which the same person comes back (`scorers/families/sequence.py`)."""

SHORT = 512
"""Tokens of `max_length` below which the trainer is asked whether anything fits."""


def check_settings(settings: LoopSettings) -> None:
    """Check what takes no more than a moment.

    Raises:
        RunError: Names the option, what is wrong with it, and what to do.
    """
    refuse_credentials(settings)
    check_policy(settings)
    _check_numbers(settings)
    _check_launcher(settings.launcher)
    _check_roles(settings)
    check_mixing(settings, settings.algorithm)
    check_trackers(settings.report_to)
    check_monitor(settings)
    if settings.push_to_hub is not None:
        from training.reporting.publishing import check_access

        check_access(settings.push_to_hub)


def check_data(settings: LoopSettings) -> None:
    """Load the data that is mixed in.

    Raises:
        RunError: It cannot be loaded, or lacks a column or a label.
    """
    if settings.mix is not None:
        StaticData.open(settings, algorithm=settings.algorithm)


def check_task(settings: LoopSettings, rollouts: Mapping[str, Any], heldout: Mapping[str, Any]) -> None:
    """Make the task, for the rollouts and for the evaluation; nobody talks.

    Args:
        settings: Of the run.
        rollouts: Arguments of the task for users of the train split.
        heldout: For the held-out ones.

    Raises:
        RunError: There is no such task, option, topic or score.
    """
    for arguments in (rollouts, heldout):
        names = scores_of(rehearsed(settings, arguments))
        wanted = {"score": settings.score, "harm_score": settings.harm_score}
        if settings.veto_mode != "none":
            wanted["veto_mode"] = "veto"
        # a task of one's own need not judge harm
        missing = settings.harm_score == Choosing.model_fields["harm_score"].default
        check_scores(names, wanted, optional=("harm_score",) if missing else ())
        if ALGORITHMS[settings.algorithm].learns_from == "groups" and OF_SESSIONS in names:
            raise RunError(
                f"algorithm: {settings.algorithm} learns from a conversation as one row of tokens, and in "
                "this task the agent begins each session anew with a note; take ei, kto or dpo, which learn "
                "from every generation"
            )


def asks_of_trainer(settings: LoopSettings) -> bool:
    """The settings ask something of the trainer that it may not be able to do."""
    return (
        settings.model != MINIATURE
        or any(getattr(settings, name) != Tuning.model_fields[name].default for name in UNUSUAL)
        or settings.tuning == "qlora"
        or settings.max_length < SHORT
        or "chat_template" in settings.model_args
    )


def check_training(settings: LoopSettings, job: Job, rollouts: Mapping[str, Any]) -> None:
    """Ask the trainer, in its own process.

    Args:
        settings: Of the run.
        job: As its trainings will be.
        rollouts: Arguments of the task for users of the train split.

    Raises:
        RunError: It cannot do the job; says why.
    """
    from training.trainers.trainer_check import check_trainer

    prompts = prompts_of(rehearsed(settings, rollouts))
    with tempfile.TemporaryDirectory() as folder:
        check_trainer(job, prompts, settings.launcher, Path(folder))


def rehearsed(settings: LoopSettings, arguments: Mapping[str, Any]) -> Rollout:
    """A rollout of the task that is held nowhere."""
    return Rollout(
        folder=Path("none"),
        task=settings.task,
        task_args={**settings.task_args, **arguments},
        model="none",
        seed=settings.seed,
    )


def refuse_credentials(settings: LoopSettings) -> None:
    """The run folder holds the settings, and is shared.

    Raises:
        RunError: Keys or passwords are among them. Names the options and where they belong, never a key.
    """
    found = credentials_in(settings.model_dump(mode="json"))
    if found:
        told = "; ".join(f"{c.option}: {_variable(c.option, c.variable, settings)}" for c in found)
        raise RunError(
            "a key or a password would be written into config.yaml, reports and trackers; take it out and "
            f"put it into the environment variable named here. {told}"
        )


def _variable(option: str, known: str | None, settings: LoopSettings) -> str:
    """The environment variable that serves for an option."""
    if known is not None:
        return known
    top, _, rest = option.partition(".")
    model = settings.roles.get(rest, settings.model) if top == "roles" else settings.model
    provider = model.partition("/")[0].upper().replace("-", "_")
    if top == "model_base_url":
        return f"{provider}_BASE_URL, and a key into {provider}_API_KEY"
    if top in ("model_args", "roles", "model") and provider not in ("MINIATURE", "LOCAL"):
        return f"{provider}_API_KEY"
    if top in ("base", "mix", "trainer_options", "push_to_hub", "model_args", "model"):
        return "HF_TOKEN"
    return "the one that its reader looks for (what the loop starts has the loop's environment)"


def _check_numbers(settings: LoopSettings) -> None:
    s = settings
    if s.threshold is not None and not abs(s.threshold) < float("inf"):
        raise RunError(f"threshold: {s.threshold} is no rating; name a number on the scale of {s.score}")
    given = s.device_batch_size
    if s.launcher is None and given is not None and s.batch_size % given:
        nearest = max(1, round(s.batch_size / given)) * given
        raise RunError(
            f"device_batch_size: a batch of {s.batch_size} cannot be made of batches of {given}; take "
            f"batch_size={nearest}, or another device_batch_size"
        )
    if s.algorithm == "kto" and s.launcher is None and (given or s.batch_size) < 2:
        raise RunError(
            "batch_size: kto compares the examples that are on a device at once, so there must be at least 2"
        )
    compares = s.algorithm == "grpo" or (ALGORITHMS[s.algorithm].learns_from == "pairs" and s.mix is None)
    if s.epochs == 1 and compares:
        raise RunError(
            f"epochs: {s.algorithm} compares conversations of one initial state, and with epochs=1 there is "
            "one of each; raise epochs"
        )


def _check_launcher(launcher: str | None) -> None:
    if launcher is None:
        return
    try:
        name = program(launcher)
    except ValueError as error:
        raise RunError(f"launcher: {launcher!r} cannot be read as a command: {error}") from None
    if not name:
        raise RunError(
            "launcher: empty; name a command such as 'torchrun --nproc_per_node 8', or leave it out"
        )
    if shutil.which(name) is None:
        raise RunError(f"launcher: there is no program {name!r} here; install it, or name its path")


def _check_roles(settings: LoopSettings) -> None:
    """Roles that the suite's tasks know, played by models that Inspect can find."""
    own = (ROOT / settings.task.partition("@")[0]).resolve().is_relative_to(ROOT / "tasks")
    if own and (mistake := misspelled_role(settings.roles, all_known=True)):
        raise RunError(f"roles: {mistake}")
    for role, name in settings.roles.items():
        provider, mark, model = name.partition("/")
        if not mark or not model:
            raise RunError(f"roles: {role}={name}: expected <provider>/<model>, e.g. openai/gpt-4.1-mini")
        if provider in LOADED_HERE or name.startswith(MINIATURE):
            continue
        try:
            get_model(name, memoize=False)
        except Exception as error:  # of any provider
            told = " ".join(str(error).split())
            raise RunError(f"roles: {role}={name}: {told}") from None
