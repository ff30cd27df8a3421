"""The page of commands: what each prints with `--help`."""

import contextlib
import importlib
import io
import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

FOLDERS = ("tasks", "training", "probes", "analysis", "scorers", "scenarios", "providers")


def page() -> str:
    """The page, in Markdown."""
    parts = [
        "# Commands",
        "Each prints this with `--help`. Tasks and scorers are options of `inspect eval` and `inspect score`; see "
        "[families](families.md) and [judges](judges.md).",
    ]
    for name in commands():
        parts += [f"## python {name}", f"```text\n{help_of(name)}\n```"]
    return "\n\n".join(parts) + "\n"


def commands() -> list[str]:
    """Scripts that people run, folder by folder."""
    return [
        path.relative_to(ROOT).as_posix()
        for folder in FOLDERS
        for path in sorted((ROOT / folder).glob("*.py"))
        if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
    ]


def help_of(name: str) -> str:
    """What a command prints with `--help`, and its subcommands too."""
    os.environ["COLUMNS"] = "100"
    first = _printed(name, ["--help"])
    return "\n\n".join([first, *(_printed(name, [sub, "--help"]) for sub in _subcommands(name, first))])


def _printed(name: str, arguments: list[str]) -> str:
    module = importlib.import_module(name.removesuffix(".py").replace("/", "."))
    out = io.StringIO()
    before = sys.argv
    sys.argv = [name, *arguments]
    try:
        with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
            module.main(arguments)
    finally:
        sys.argv = before
    text = "\n".join(line.rstrip() for line in out.getvalue().strip().splitlines())
    assert Path(name).name in text, f"{name}: no help: {text[:200]}"
    return text


def _subcommands(name: str, text: str) -> list[str]:
    """Parts of a command: in braces at the end of its usage, or the words that its examples begin with."""
    usage = text.split("\n\n")[0]
    if " ..." in usage and "{" in usage:
        return usage[usage.rindex("{") + 1 : usage.rindex("}")].replace("\n", "").replace(" ", "").split(",")
    if not text.startswith("usage:"):
        return sorted(set(re.findall(rf"^ *python {name} ([a-z]+) ", text, re.MULTILINE)))
    return []
