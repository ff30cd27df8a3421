"""The model under training under its names: weights on disk, and what Inspect calls them."""

import re
from pathlib import Path
from typing import NamedTuple

from training.errors import RunError
from training.job import read_trained
from training.settings import Cast, LoopSettings

PROVIDERS = ("miniature", "local", "vllm")
"""Whose weights can be trained here, and served as checkpoints."""


HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
"""Form of a repository's id on the hub."""


class Policy(NamedTuple):
    """The model at one point of the run, as Inspect is told of it."""

    model: str
    checkpoint: str
    """`base`, or the checkpoint's folder relative to the run folder."""


def check_policy(settings: LoopSettings) -> None:
    """Raise at once what would only show after the first rollouts.

    Raises:
        RunError: A provider whose weights cannot be trained here, or served after training.
    """
    provider, _, name = settings.model.partition("/")
    if provider in PROVIDERS and not name:
        raise RunError(f"model: {settings.model} names no model; say {provider}/<name>")
    if provider not in PROVIDERS:
        raise RunError(
            f"model: the weights of {settings.model} cannot be trained here; name a model of "
            f"{', '.join(PROVIDERS)} (local/<folder>), or export rows to a hosted one (training/export.py)"
        )
    if settings.base is not None:
        _check_folder("base", settings.base)
    elif provider == "local":
        _check_folder("model", name)
    if settings.algorithm == "grpo_online" and settings.control in ("random", "reversed"):
        raise RunError(
            f"control: grpo_online draws its conversations while it trains, so {settings.control} is not "
            "to be had; take algorithm=grpo"
        )
    set_here = [name for name in ("temperature", "reply_tokens") if getattr(settings, name) is not None]
    if settings.algorithm == "grpo_online" and set_here:
        raise RunError(
            f"{' and '.join(set_here)}: grpo_online draws its conversations while it trains; say "
            "temperature and max_completion_length in trainer_options"
        )
    if provider == "vllm" and settings.tuning == "full":
        raise RunError(
            "tuning: a vLLM server has one set of weights and loads adapters beside it; "
            "use tuning=lora, or model=local/... for full fine-tuning"
        )
    if provider == "vllm" and settings.algorithm == "grpo_online" and settings.model_base_url is None:
        raise RunError("model_base_url: name the vLLM server that serves the adapters")


def _check_folder(option: str, told: str) -> None:
    """Weights that lie in a folder must lie there. What may be an id on the hub is looked for there later."""
    if not Path(told).is_dir() and not HUB_ID.fullmatch(told):
        raise RunError(f"{option}: there is no folder {told}, and on the hub an id is a name or user/name")


def base_weights(cast: Cast) -> str:
    """Folder or hub id of the weights that training starts from. The miniature is made first if need be."""
    if cast.base is not None:
        return str(Path(cast.base).resolve()) if Path(cast.base).exists() else cast.base
    if provider_of(cast.model) == "miniature":
        from miniature.checkpoint import base_checkpoint

        return str(base_checkpoint())
    name = cast.model.partition("/")[2]
    return str(Path(name).resolve()) if Path(name).exists() else name


def policy(cast: Cast, run: Path, checkpoint: Path | None) -> Policy:
    """How Inspect gets the model as it is in `checkpoint`; None is the base.

    Args:
        cast: Whose model it is.
        run: Folder of the run.
        checkpoint: Folder of a LoRA adapter or of a full model that `training/trainers/worker.py` made.
    """
    if checkpoint is None:
        return Policy(cast.model, "base")
    provider, name = provider_of(cast.model), str(checkpoint)
    told = checkpoint.relative_to(run).as_posix()
    if provider == "vllm":
        return Policy(f"{cast.model}:{checkpoint.resolve()}", told)
    if provider == "local" and _kind(checkpoint) == "model":
        return Policy(f"local/{name}", told)
    return Policy(f"{cast.model}:{name}", told)


def _kind(checkpoint: Path) -> str:
    try:
        return read_trained(checkpoint).kind
    except (OSError, ValueError) as error:
        told = str(error).partition("\n")[0]
        raise RunError(
            f"{checkpoint} is no whole checkpoint ({told}); delete it, and training/ei_loop.py trains it anew"
        ) from None


def provider_of(model: str) -> str:
    """What a model's name begins with."""
    return model.partition("/")[0]
