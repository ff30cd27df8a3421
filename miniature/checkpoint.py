"""The miniature's base checkpoint: trained on first use, kept in the user's cache, checked when loaded."""

import hashlib
import importlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from miniature.corpus import SHARES
from scenarios.commands.parent_process import tied

logger = logging.getLogger(__name__)

ROOT = Path(__file__).parent.parent
CACHE_VARIABLE = "INSPECT_INFLUENCE_CACHE"
MANIFEST = "manifest.json"

UNFINISHED = "unfinished-"
"""How the name of a folder begins in which a checkpoint is trained; then come the checkpoint's and chance."""

INGREDIENTS = (
    "miniature/words",
    "miniature/corpus.py",
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
    """Where checkpoints of the miniature are kept; `INSPECT_INFLUENCE_CACHE` moves it."""
    moved = os.environ.get(CACHE_VARIABLE)
    return (Path(moved) if moved else user_cache_path("inspect-influence")) / "miniature"


def base_checkpoint() -> Path:
    """Folder of the base checkpoint.

    It is trained first if it is not there or not whole. Of several processes one trains and the
    others wait; a folder under its final name is always complete.

    Raises:
        PretrainingFailed: The training did not end well.
    """
    folder = cache_folder() / _fingerprint()
    if is_whole(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _say("another process is training the miniature; waiting for it")
        lock.acquire()
    try:
        if not is_whole(folder):
            _build(folder)
    finally:
        lock.release()
    return folder


def is_whole(folder: Path) -> bool:
    """True if every file of the checkpoint is there with the content that was written."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        return all(_digest(folder / name) == digest for name, digest in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _build(folder: Path) -> None:
    if folder.exists():
        _say(f"the miniature in {folder} is damaged; training it anew")
        shutil.rmtree(folder)
    else:
        _say("training the miniature, once, a minute or two")
    _remove_unfinished(folder)
    beginning = f"{UNFINISHED}{folder.name}-"
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=beginning) as unfinished:
        made = Path(unfinished) / "checkpoint"
        made.mkdir()
        figures = _train(made)
        files = {p.name: _digest(p) for p in sorted(made.iterdir()) if p.is_file()}
        manifest = json.dumps({"figures": figures, "files": files}, indent=1)
        (made / MANIFEST).write_text(manifest + "\n", encoding="utf-8")
        made.rename(folder)
    _say("miniature ready: " + ", ".join(f"{name} {value:.2f}" for name, value in figures.items()))


def _remove_unfinished(folder: Path) -> None:
    """Remove what killed processes left of this checkpoint, whose lock is held here, and of others.

    Those of another version of the suite would stay for ever: nobody trains that one again. What a living
    process trains is locked.
    """
    for left in folder.parent.glob(f"{UNFINISHED}*-*"):
        name = left.name.removeprefix(UNFINISHED).partition("-")[0]
        if name == folder.name:
            shutil.rmtree(left, ignore_errors=True)
            continue
        with suppress(Timeout), FileLock((folder.parent / name).with_suffix(".lock"), timeout=0):
            shutil.rmtree(left, ignore_errors=True)


def _train(folder: Path) -> dict[str, float]:
    """In its own process, which ends with this one, as it sets global seeds, and for its memory."""
    threads = str(min(2, os.cpu_count() or 1))  # more gain nothing, fewer take half as long again
    # threads that spin long while they wait for each other are eight times slower on a busy machine
    quick = {"OMP_NUM_THREADS": threads, "GOMP_SPINCOUNT": "1000", "TOKENIZERS_PARALLELISM": "true"}
    environment = tied(os.environ | quick)
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


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
