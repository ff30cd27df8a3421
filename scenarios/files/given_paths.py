"""Paths that users give to tasks and scorers."""

import os
from pathlib import Path


def where_meant(path: Path) -> Path:
    """`path` as the user meant it: while Inspect loads a task, the task's folder is the current one.

    Returns:
        What is there: relative to the current folder, or else to the one that the command was given in. If
        neither is there, the latter.
    """
    path = path.expanduser()
    return path if path.exists() else Path(os.environ.get("PWD", ".")) / path
