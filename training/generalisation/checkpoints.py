"""Which models of a run are compared."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from analysis.comparing.contrasts import best_of
from scenarios.commands.usage import UsageMistake
from scenarios.files.whole import write_text
from training.errors import RunError
from training.generalisation.cross_matrix import BASE
from training.job import REPORT as TRAINED
from training.runs.run_folder import RunFolder


class Checkpoint(NamedTuple):
    """The model after some rounds of training."""

    rounds: int
    """0 is the base."""

    names: tuple[str, ...]
    """What it was asked for as, e.g. `best` and `last`."""

    @property
    def label(self) -> str:
        """E.g. `base`, `3`, `4 (best, last)`."""
        if self.rounds == 0:
            return BASE
        told = [n for n in self.names if not n.isdigit()]
        return f"{self.rounds} ({', '.join(told)})" if told else str(self.rounds)


def chosen_checkpoints(folder: RunFolder, names: Sequence[str]) -> list[Checkpoint]:
    """The base, and the checkpoints that are named, by rounds of training.

    Args:
        folder: Of the run.
        names: `first`, `last`, `best` (highest mean rating with the users trained on) or a number of rounds.

    Raises:
        UsageMistake: There is no such checkpoint; says which there are.
    """
    there = [n for n in range(1, folder.settings.iterations + 1) if _is_trained(folder, n)]
    best = best_of(folder.metrics)
    known = {str(n): n for n in [0, *there]} | {BASE: 0}
    if there:
        known |= {"first": there[0], "last": there[-1]}
    if best is not None and best["iteration"] in [0, *there]:
        known["best"] = best["iteration"]
    if missing := [n for n in names if n not in known]:
        raise UsageMistake(f"{folder.path} has no checkpoint {', '.join(missing)}; it has {', '.join(known)}")
    found: dict[int, list[str]] = {0: []}
    for name in names:
        found.setdefault(known[name], []).append(name)
    return [Checkpoint(n, tuple(found[n])) for n in sorted(found)]


def _is_trained(folder: RunFolder, rounds: int) -> bool:
    checkpoint = folder.checkpoint_before(rounds)
    return checkpoint is not None and (checkpoint / TRAINED).exists()


def check_same_weights(folder: RunFolder, out: Path, checkpoint: Checkpoint) -> None:
    """Logs that are there must be of this very checkpoint, not of one that was trained anew since.

    Raises:
        RunError: They are not.
    """
    weights = folder.checkpoint_before(checkpoint.rounds)
    if weights is None:
        return
    told = hashlib.sha256((weights / TRAINED).read_bytes()).hexdigest()
    mark = out / "logs" / str(checkpoint.rounds) / "checkpoint.sha256"
    if mark.exists() and mark.read_text(encoding="utf-8").strip() != told:
        raise RunError(f"{mark.parent} holds logs of an earlier checkpoint; delete it, or give another --out")
    write_text(mark, told + "\n")
