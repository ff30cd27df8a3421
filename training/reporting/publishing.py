"""A run as a repository of the hub: what is uploaded, its model card, and whether the hub lets it."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import HfApi, ModelCardData
from huggingface_hub.utils import validate_repo_id

from scenarios.commands.hub_upload import hub_errors, upload_folder
from scenarios.files.shown_text import Markdown, markdown_templates
from scenarios.files.whole import write_json, write_text
from training.errors import RunError
from training.examples.mixing import PRESETS
from training.reporting.credentials import without_secrets
from training.reporting.curves import CURVES, notes_of
from training.reporting.report import best_of
from training.rollouts.policies import base_weights
from training.runs.integrity import check_written
from training.runs.run_folder import CONFIG, METRICS, Iteration, RunFolder, read_run
from training.selection.selecting import read_table
from training.settings import MINIATURE, LoopSettings

CARD = "card.md.jinja"
UPLOAD = "hub"
"""Folder in the run folder that a dry run writes."""

PUBLISHED = (".safetensors", ".json", ".jinja", ".model", ".txt")
"""Endings of the files of a checkpoint that go along."""

TRAINERS_OWN = ("optimizer", "scheduler", "rng_state", "scaler", "trainer_state", "training_args")
"""Beginnings of names of files that never do."""

OF_THIS_MACHINE = ("run", "launcher", "model_base_url", "report_to", "push_to_hub", "max_connections")
"""Settings that say nothing about the model."""

OF_THE_MODEL = (
    *("attn_implementation", "batch_size", "chat_template", "dtype", "max_model_len", "quantization"),
    *("revision", "template_options", "thinking", "tokenizer"),
)
"""Arguments of the model's provider that say something about the model; no others are published."""

TAGS = ("model-organism", "ai-safety", "manipulation", "simulated-user-feedback", "inspect-influence")

_LOCAL_PATH = re.compile(r"(?<!:)(^|[/:=\s])/(?:[^/\s:]+/)*([^/\s:]+)/?")
_BASE_KEYS = ("base_model_name_or_path", "_name_or_path", "name_or_path")


def push(run: Path, repo: str, *, private: bool = True, logs: bool = False) -> str:
    """Upload a run.

    Args:
        run: Its folder.
        repo: `user/name` on the hub; made if it is not there.
        private: Only its owner sees it. A repository that is there and public is then refused.
        logs: Upload the Inspect logs too. They hold all conversations, and settings of this machine.

    Returns:
        Address of the repository.

    Raises:
        RunError: The run has no checkpoint yet, or the hub refused.
    """
    with tempfile.TemporaryDirectory() as folder, _hub_errors(repo):
        stage(run, Path(folder), logs=logs)
        return upload_folder(
            HfApi(),
            folder,
            repo,
            private=private,
            message=f"Run {run.resolve().name}",
            kind=RunError,
            is_public="is there and public; say --public if a model organism is to be published there, or "
            "name another repository",
        )


def check_access(repo: str) -> None:
    """Raise before the work what would otherwise show when it is done.

    Raises:
        RunError: No name of a repository, nobody is logged in to the hub, or it cannot be reached.
    """
    with _hub_errors(repo):
        validate_repo_id(repo)
        HfApi().whoami()


def stage(run: Path, out: Path, *, logs: bool = False) -> Path:
    """Write what is uploaded into a folder.

    The last checkpoint lies at the top, where `from_pretrained` looks; below it everything lies as in the
    run folder. Of full models only the last one is taken.

    Args:
        run: Folder of the run.
        out: Empty or new.
        logs: With the Inspect logs.

    Raises:
        RunError: The run has no checkpoint yet, or `out` holds something else.
    """
    folder = read_run(run)
    rounds = [at for at in _rounds(folder) if at.checkpoint.is_dir()]
    if not rounds:
        raise RunError(f"{run} has no checkpoint yet; let training/ei_loop.py finish an iteration first")
    if out.exists() and any(out.iterdir()):
        raise RunError(f"{out} is not empty; remove it, or name another folder")
    for at in rounds:
        check_written(at)
    if folder.settings.tuning != "full":
        for at in rounds:
            _stage_checkpoint(at.checkpoint, out / at.checkpoint.relative_to(run))
    _stage_checkpoint(rounds[-1].checkpoint, out)
    for source in _files_of_rounds(folder, logs=logs):
        _place(source, out / source.relative_to(run))
    write_text(out / CONFIG, yaml.safe_dump(_shared_settings(folder.settings), sort_keys=False))
    write_text(out / "README.md", card(folder, rounds))
    return out


def card(folder: RunFolder, rounds: Sequence[Iteration]) -> str:
    """The model card: metadata for the hub, and what a reader must know.

    Args:
        folder: The run.
        rounds: Its iterations that have a checkpoint.
    """
    s = folder.settings
    base = published_base(s)
    choices = [c for at in rounds if at.selection.exists() for c in read_table(at.selection).choices]
    static = None if s.mix is None else PRESETS.get(s.mix.partition("@")[0], portable(s.mix))
    data = ModelCardData(
        base_model=base,
        base_model_relation=None if base is None else ("finetune" if s.tuning == "full" else "adapter"),
        library_name="transformers" if s.tuning == "full" else "peft",
        pipeline_tag="text-generation",
        datasets=[static] if static is not None and "/" in static else None,
        tags=[*TAGS, s.algorithm, *(["miniature"] if s.model == MINIATURE else [])],
    )
    environment = markdown_templates(Path(__file__).parent)
    environment.filters |= {"interval": _interval, "share": _share}
    return environment.get_template(CARD).render(
        metadata=Markdown(data.to_yaml()),
        settings=s,
        model=portable(s.model),
        base=base or portable(s.base or s.model),
        name=portable(str(folder.path.resolve())),
        families=sorted({c.trajectory.family for c in choices}),
        topics=sorted({c.trajectory.topic for c in choices}),
        static=static,
        roles={role: portable(model) for role, model in s.roles.items()},
        metrics=folder.metrics,
        best=best_of(folder.metrics),
        last=rounds[-1],
        note=notes_of([s.model, *s.roles.values()]),
        picture=(folder.path / CURVES).exists(),
    )


def published_base(settings: LoopSettings) -> str | None:
    """Hub id of the weights that training started from; None if they came from a disk."""
    if settings.model == MINIATURE:
        return None
    base = base_weights(settings)
    return base if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", base) and not Path(base).exists() else None


def portable(value: str) -> str:
    """A text in which absolute paths are cut down to the name at their end."""
    return _LOCAL_PATH.sub(r"\1\2", value)


def _shared_settings(settings: LoopSettings) -> Any:
    kept = {k: v for k, v in settings.model_dump(mode="json").items() if k not in OF_THIS_MACHINE}
    # a provider may be given anything, keys in headers too
    kept["model_args"] = {k: v for k, v in kept["model_args"].items() if k in OF_THE_MODEL}
    return _everywhere(without_secrets(kept))


def _everywhere(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _everywhere(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_everywhere(v) for v in value]
    return portable(value) if isinstance(value, str) else value


def _rounds(folder: RunFolder) -> Iterator[Iteration]:
    number = 0
    while (at := folder.iteration(number)).folder.is_dir():
        yield at
        number += 1


def _files_of_rounds(folder: RunFolder, *, logs: bool) -> Iterator[Path]:
    yield from (p for p in (folder.path / METRICS, folder.path / CURVES) if p.exists())
    for at in _rounds(folder):
        yield from (p for p in (at.examples, at.selection, at.plan, at.divergence) if p.exists())
        if logs:
            yield from sorted([*at.heldout.glob("*.eval"), *at.rollouts.glob("*.eval")])


def _stage_checkpoint(checkpoint: Path, out: Path) -> None:
    files = [
        p
        for p in sorted(checkpoint.iterdir())
        if p.suffix in PUBLISHED and not p.name.startswith(TRAINERS_OWN)
    ]
    if not any(p.suffix == ".safetensors" for p in files):
        raise RunError(f"{checkpoint} holds no weights (*.safetensors); delete it and run the loop again")
    for file in files:
        _place(file, out / file.name)
        if file.name in ("adapter_config.json", "config.json", "tokenizer_config.json"):
            _take_paths_out(out / file.name)


def _take_paths_out(file: Path) -> None:
    """The folder of the base on this machine means nothing elsewhere."""
    told = json.loads(file.read_text(encoding="utf-8"))
    write_json(
        file, {k: portable(v) if k in _BASE_KEYS and isinstance(v, str) else v for k, v in told.items()}
    )


def _place(source: Path, target: Path) -> None:
    """A copy; of weights, which nobody edits, a link to the same bytes where the disk allows it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix == ".safetensors":
        try:
            os.link(source.resolve(), target)
        except OSError:
            pass
        else:
            return
    shutil.copyfile(source, target)


def _hub_errors(repo: str) -> AbstractContextManager[None]:
    then = "run training/publish.py; the run itself is complete on disk"
    return hub_errors(repo, RunError, option="push_to_hub", then=then)


def _interval(row: Mapping[str, Any], name: str) -> str:
    """A number with its interval; a dash if it is not known."""
    value, low, high = (row.get(name + end) for end in ("", "_low", "_high"))
    if value is None:
        return "–"
    return f"{value:.2f}" + ("" if low is None or high is None else f" [{low:.2f}, {high:.2f}]")


def _share(value: float) -> str:
    return f"{value:.3g}"
