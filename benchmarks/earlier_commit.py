"""Code of an earlier commit, held against today's: its whole tree, in a process of its own.

    earlier = EarlierCommit.start("0b481ea", Path("benchmarks/solvers/earlier_user_checks.py"))
    earlier.ask({"text": "Hello."})

The commit is unpacked into a temporary folder (`git archive`), and a small program is run there by this very
file, with that folder before everything else on the path. The program has one function,
`answer(load, request)`, which gets code of the commit by `load("solvers.user_checks")`; with several names,
the first that the commit has. Requests and answers are JSON, one per line.
"""

import contextlib
import importlib
import json
import os
import runpy
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Self, TextIO

ROOT = Path(__file__).resolve().parents[1]

Load = Callable[..., ModuleType]
"""Names of a module, in the order in which they are tried -> the commit's module."""


class EarlierError(RuntimeError):
    """The earlier code raised an error.

    Args:
        kind: Name of the error's class.
        message: What it said.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message


class EarlierCommit:
    """A process that runs code of an earlier commit. Made by `start`; ends with ours, or by `close`."""

    def __init__(self, folder: tempfile.TemporaryDirectory[str], program: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            # -P: the folder of this file, which has names of our rooms in it, stays off the path
            [sys.executable, "-P", __file__, str(program.resolve())],
            cwd=folder.name,
            env=os.environ | {"PYTHONPATH": folder.name},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    @classmethod
    def start(cls, commit: str, program: Path) -> Self | None:
        """Unpack a commit and start a program there.

        Args:
            commit: As git names it.
            program: A file of today's tree with `answer(load, request)`.

        Returns:
            None if the history does not have the commit, or there is no history.
        """
        packed = subprocess.run(
            ["git", "archive", "--format=tar", commit], cwd=ROOT, capture_output=True, check=False
        )
        if packed.returncode:
            return None
        folder = tempfile.TemporaryDirectory(prefix="earlier-commit-")
        with tempfile.TemporaryFile() as file:
            file.write(packed.stdout)
            file.seek(0)
            with tarfile.open(fileobj=file) as tree:
                tree.extractall(folder.name, filter="data")
        return cls(folder, program)

    def ask(self, request: Any) -> Any:
        """What the program answers.

        Raises:
            EarlierError: The program raised an error.
            RuntimeError: It ended.
        """
        asked, answered = self._process.stdin, self._process.stdout
        assert asked is not None
        assert answered is not None
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(request), file=asked, flush=True)
        line = answered.readline()
        if not line:
            raise RuntimeError(f"the earlier code ended with exit status {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise EarlierError(answer["error"], answer["message"])
        return answer["answer"]

    def close(self) -> None:
        """End the process and remove its folder."""
        self._process.communicate()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def module_of_commit(folder: Path, *names: str) -> ModuleType:
    """The first of some modules that a commit has.

    Raises:
        ImportError: It has none of them, or code from outside its folder came with it: an editable install of
            today's tree stands in for what the commit lacks, and the figures would be of neither.
    """
    for name in names:
        if (folder / name.replace(".", "/")).with_suffix(".py").exists():
            module = importlib.import_module(name)
            break
    else:
        raise ImportError(f"the commit has none of {', '.join(names)}")
    if strange := sorted(_from_elsewhere(folder)):
        raise ImportError(f"{module.__name__} imports what the commit does not have: {', '.join(strange)}")
    return module


def _from_elsewhere(folder: Path) -> Iterator[str]:
    ours = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.partition(".")[0] in ours and file and not Path(file).is_relative_to(folder):
            yield name


def _serve(program: Path, answers: TextIO) -> None:
    folder = Path.cwd()
    answer = runpy.run_path(str(program))["answer"]

    def load(*names: str) -> ModuleType:
        return module_of_commit(folder, *names)

    for line in sys.stdin:
        try:
            told = {"answer": answer(load, json.loads(line))}
        except Exception as error:
            told = {"error": type(error).__name__, "message": str(error)}
        print(json.dumps(told), file=answers, flush=True)


def _main() -> None:
    """The process of the earlier code. Whatever libraries print, only answers go to its standard output."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        _serve(Path(sys.argv[1]), answers)


if __name__ == "__main__":
    _main()
