"""Commands used wrongly, as a table, and what becomes of each: a line, several, or a traceback.

`tests/test_wrong_uses.py` holds every row to one line; `benchmarks/scenarios/wrong_uses.py` counts them by command.
"""

import contextlib
import importlib
import io
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from tests.support.places import ROOT
from tests.support.tiny_models import tiny_model

EXAMPLE = ROOT / "logs" / "example.eval"
NOWHERE = "/proc/nowhere"
"""Where nobody may write, root neither."""


class WrongUse(NamedTuple):
    """A command line with one mistake in it."""

    command: str
    """File of the command, relative to the repository."""

    arguments: str
    """Shell words; `{at}` is the folder that `material` fills."""

    status: int
    """1: what is named cannot be used; 2: an option or a setting is wrong."""

    says: str
    """Part of the line: what is wrong, where, or the remedy."""


class Outcome(NamedTuple):
    """What a command did."""

    status: int | None
    """None: it ended in a traceback."""

    lines: list[str]
    """On stderr, without empty ones."""

    @property
    def in_one_line(self) -> bool:
        """Whether the mistake was told as it should be."""
        return self.status in (1, 2) and len(self.lines) == 1 and "Traceback" not in self.lines[0]


def material(folder: Path) -> Path:
    """Fill a folder with what commands are wrongly given; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "folder").mkdir()
    (folder / "empty").touch()
    (folder / "empty.eval").touch()
    (folder / "empty.jsonl").touch()
    (folder / "words.txt").write_text("only words\n")
    (folder / "binary.jsonl").write_bytes(bytes(range(256)))
    (folder / "log.eval").write_bytes(EXAMPLE.read_bytes())
    (folder / "cut.eval").write_bytes(EXAMPLE.read_bytes()[: EXAMPLE.stat().st_size // 2])
    (folder / "junk.eval").write_bytes(b"PK\x03\x04" + bytes(200))
    (folder / "list.yaml").write_text("- a\n- b\n")
    (folder / "twice.yaml").write_text("seed: 1\nseed: 2\n")
    (folder / "typo.yaml").write_text("sed: 1\n")
    (folder / "cut.yaml").write_text("model: {a: [\n")
    (folder / "nul.yaml").write_bytes(b"seed: \x00\n")
    (folder / "rows.jsonl").write_text('{"id": "a", "inputs": "Hello.", "labels": "yes"}\nno json\n')
    (folder / "run").mkdir()
    (folder / "run" / "config.yaml").write_text("iterations: many\n")
    tiny_model(folder / "model")
    (folder / "store").mkdir()
    (folder / "store" / "0123456789abcdef").mkdir()
    (folder / "store" / "0123456789abcdef" / "spec.json").write_text("{}")
    return folder


def tried(use: WrongUse, folder: Path) -> Outcome:
    """Run a command in this process. Nothing of what it says reaches the terminal."""
    module = importlib.import_module(use.command.removesuffix(".py").replace("/", "."))
    arguments = shlex.split(use.arguments.format(at=folder))
    said, before, place = io.StringIO(), dict(os.environ), Path.cwd()
    status: int | None
    try:
        os.chdir(ROOT)
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            status = module.main(arguments)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException as error:
        status = None
        print(f"{type(error).__name__}: {error}", file=said)
    finally:
        os.chdir(place)
        os.environ.clear()
        os.environ.update(before)
    return Outcome(status, [line for line in said.getvalue().splitlines() if line.strip()])


USES: Sequence[WrongUse] = [
    WrongUse(command, *use)
    for command, uses in yaml.safe_load(
        Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8")
    ).items()
    for use in uses
]
"""What is tried, from `wrong_uses.yaml`."""
