"""Imported first by commands whose libraries are many: what goes wrong while these load is told in a line.

A library that is not installed, and Ctrl-C, come before `main` could answer them. Nothing changes for those
who import a command.
"""

import sys
from types import TracebackType

from scenarios.commands.exits import EXTRAS

COMMAND_FOLDERS = ("analysis", "miniature", "probes", "providers", "scenarios", "scorers", "training")


def told_while_loading(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """For `sys.excepthook`. The exit status is Python's: 1, or that of SIGINT."""
    name = (getattr(error, "name", None) or "").partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and name in EXTRAS:
        print(f"{name} is not installed; pip install -e '.[{EXTRAS[name]}]' brings it", file=sys.stderr)
    elif isinstance(error, KeyboardInterrupt):
        print("stopped; nothing was begun", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


_started = getattr(sys.modules["__main__"], "__file__", None) or ""
if _started.replace("\\", "/").rpartition("/")[0].rpartition("/")[2] in COMMAND_FOLDERS:
    sys.excepthook = told_while_loading
