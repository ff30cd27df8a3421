"""The smallest run of the loop: one round of training of the miniature."""

from pathlib import Path

TINY = [
    "--topics", "smoking", "gambling", "--states", "2", "--epochs", "3", "--heldout-states", "2",
    "--iterations", "1", "--kl-replies", "4", "--passes", "1", "--batch-size", "4",
]  # fmt: skip


def tiny_run(folder: Path) -> Path:
    """Run it; returns the folder."""
    from training.ei_loop import main

    assert main(["--run", str(folder), *TINY]) == 0
    return folder
