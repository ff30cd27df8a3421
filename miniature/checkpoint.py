"""The miniature's base checkpoint: trained on first use, kept in the user's cache, checked when loaded."""

import hashlib
import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from miniature.corpus import SHARES
from providers import kept_folders
from scenarios.commands.parent_process import tied

ROOT = Path(__file__).parent.parent

INGREDIENTS = (
    "miniature/words",
    "miniature/corpus.py",
    "miniature/gradients.py",
    "miniature/grammar.py",
    "miniature/optimizer.py",
    "miniature/pretrain.py",
    "scenarios/compose.py",
    "scenarios/desk.py",
    "scenarios/sessions.py",
    *(f"scenarios/{family}" for family in SHARES),
)
"""What the checkpoint is made from; a change in any of it makes another checkpoint."""

LIBRARIES = ("transformers.models.llama.modeling_llama", "peft", "providers.local.api")
"""What the checkpoint will be loaded with."""


class PretrainingFailed(RuntimeError):
    """The miniature could not be trained. The reason stands in the output above the message."""


def cache_folder() -> Path:
    """Where checkpoints of the miniature are kept."""
    return kept_folders.cache_folder("miniature")


def base_checkpoint() -> Path:
    """Folder of the base checkpoint.

    It is trained first if it is not there or not whole. Of several processes one trains and the
    others wait; a folder under its final name is always complete.

    Raises:
        PretrainingFailed: The training did not end well.
    """
    return kept_folders.kept_folder(
        cache_folder() / _fingerprint(),
        _trained,
        kept_folders.Making("the miniature", "training", "a minute or two"),
    )


def _trained(folder: Path) -> dict[str, float]:
    figures = _train(folder)
    told = ", ".join(f"{name} {value:.2f}" for name, value in figures.items())
    kept_folders.say(f"miniature ready: {told}")
    return figures


def _train(folder: Path) -> dict[str, float]:
    """In its own process, which ends with this one, as it sets global seeds, and for its memory."""
    environment = tied(os.environ | {"TOKENIZERS_PARALLELISM": "true"})
    command = [sys.executable, "-m", "scenarios.commands.parent_process", "miniature.pretrain", str(folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=pipe, text=True, start_new_session=True
    ) as process:
        try:
            _load_libraries()
            written, _ = process.communicate()
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise PretrainingFailed(f"{' '.join(command)} ended with exit status {process.returncode}")
    shutil.rmtree(folder / "trainer", ignore_errors=True)
    return json.loads(written.strip().splitlines()[-1])


def _load_libraries() -> None:
    """Done beside the training, which leaves a core free while it begins."""
    for name in LIBRARIES:
        importlib.import_module(name)


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for name in INGREDIENTS:
        path = ROOT / name
        for file in sorted(path.rglob("*.yaml")) if path.is_dir() else [path]:
            digest.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]
