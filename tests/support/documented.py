"""The commands that stand in README.md and docs/, and the real parsers that they are held against."""

import contextlib
import importlib
import inspect
import io
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import click
import yaml

from scenarios.conversations.roles import misspelled_role
from tests.support.places import ROOT

PAGES = [ROOT / "README.md", *(p for p in sorted((ROOT / "docs").glob("*.md")) if not p.is_symlink())]
"""Without CONTRIBUTING.md, which is among the pages as docs/how-to.md and has a test of its own."""

_BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`((?:python [\w/]+\.py|inspect (?:eval|score|view)|make)\s[^`]*)`")

BODIES: Mapping[str, str] = {
    "analysis/realism.py": "_run",
    "analysis/sessions.py": "_run",
    "analysis/report.py": "_write",
    "analysis/table.py": "_run",
    "probes/baselines.py": "_fit _score",
    "probes/calibrate.py": "_threshold _validate",
    "probes/capture.py": "_capture",
    "probes/cascade.py": "_cascade",
    "probes/corpus.py": "_run",
    "probes/early_warning.py": "_warn",
    "probes/evaluate.py": "_evaluate",
    "probes/evaluation_sets.py": "_run",
    "probes/experiment.py": "_experiment _dashboard _list",
    "probes/fit.py": "_fit",
    "probes/restyle.py": "_run",
    "probes/store.py": "_run",
    "probes/token_page.py": "_write",
    "providers/fit_judge.py": "_run",
    "providers/small_model.py": "_run",
    "scenarios/generate.py": "generate",
    "scenarios/import_runs.py": "_run",
    "scenarios/set_card.py": "_print_cards",
    "scorers/agreement.py": "_print_agreement",
    "scorers/human.py": "_run",
    "tasks/run_set.py": "_run",
    "training/curves.py": "_draw",
    "training/ei_loop.py": "_train",
    "training/export.py": "export",
    "training/generalise.py": "_measure_and_print",
    "training/publish.py": "_publish",
    "training/report.py": "_write",
}
"""Command -> the function that does its work, once its arguments are read; one for each subcommand."""

ELSEWHERE: Mapping[str, str] = {
    "vllm": "a server with a GPU, in an environment of its own",
    "sbatch": "a cluster; tests/training/test_slurm.py starts one and runs the scripts",
}
"""Program -> why its arguments cannot be held against its parser here."""


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str


class Command(NamedTuple):
    """One command as printed, without comments; `elided` stands for dots that name something."""

    page: str
    line: int
    words: list[str]
    leaves_out: bool
    """There were dots, or it stands in a sentence: options may be missing."""

    def __str__(self) -> str:
        return f"{self.page}:{self.line} {shlex.join(self.words)}"


class Parsed(Exception):
    """The arguments of a command were read; raised in place of its work."""


def blocks() -> Iterator[Block]:
    """All fenced blocks."""
    for path in PAGES:
        text = path.read_text()
        for found in _BLOCK.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            yield Block(path.relative_to(ROOT).as_posix(), line, found["language"], found["text"])


def commands() -> list[Command]:
    """Every command of the blocks in bash, and those with arguments that stand in the text."""
    found: list[Command] = []
    for block in blocks():
        if block.language == "bash":
            for line in block.text.replace("\\\n", " ").splitlines():
                found += _command(block.page, block.line, line)
    for path in PAGES:
        text = _BLOCK.sub(lambda m: "\n" * m[0].count("\n"), path.read_text())
        for match in _INLINE.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found += _command(
                path.relative_to(ROOT).as_posix(), line, match[1].replace("\n", " "), leaves_out=True
            )
    return found


def _command(page: str, line: int, text: str, *, leaves_out: bool = False) -> Iterator[Command]:
    words = list[str]()
    for word in shlex.split(text, comments=True):
        if word != "...":
            words.append(word.replace("...", "elided"))
        elif words and words[-1].startswith("--"):
            words.pop()
    if ">" in words:  # of the shell
        words = words[: words.index(">")]
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):  # variables of the environment
        words.pop(0)
    if words:
        yield Command(page, line, words, leaves_out or "..." in text)


def check(command: Command, monkeypatch: Any) -> str:
    """Hold a command against the parser of its program; nothing is run.

    Returns:
        How it was checked: `make`, `shell`, `parser`, `inspect`, `elsewhere`.

    Raises:
        AssertionError: Something in it does not exist; the message tells what.
    """
    program, *arguments = command.words
    program = program.removeprefix(".venv/bin/")
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(arguments) <= set(targets), f"{command}: no such target; there are {targets}"
        return "make"
    if program == "source":
        assert arguments == [".venv/bin/activate"], command
        return "shell"
    if program == "torchrun":
        place = next(n for n, word in enumerate(arguments) if word.endswith(".py"))
        return check(command._replace(words=["python", *arguments[place:]]), monkeypatch)
    if program == "python":
        return _check_script(command, arguments, monkeypatch)
    if program == "inspect":
        return _check_inspect(command, arguments)
    if program == "scout":
        assert (ROOT / arguments[1]).exists(), command
        return "elsewhere"
    assert program in ELSEWHERE, f"{command}: nothing says how {program} is checked"
    return "elsewhere"


def _check_script(command: Command, arguments: Sequence[str], monkeypatch: Any) -> str:
    script, *options = arguments
    assert (ROOT / script).exists(), f"{command}: no such file"
    if script not in BODIES:  # measurements, whose parsers have no seam
        assert script.startswith("benchmarks/"), f"{command}: nothing says how {script} is checked"
        text = (ROOT / script).read_text()
        assert all(f'"{o.partition("=")[0]}"' in text for o in options if o.startswith("--")), command
        return "parser"
    module = importlib.import_module(script.removesuffix(".py").replace("/", "."))

    def instead(*_: Any, **__: Any) -> int:
        raise Parsed

    for body in BODIES[script].split():
        monkeypatch.setattr(module, body, instead)
    if script == "scorers/human.py":  # which looks for log and sheet while it reads its arguments
        monkeypatch.setattr(Path, "is_file", lambda _: True)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            module.main(options)
    except Parsed:
        return "parser"
    # a mention, or a command with dots, leaves options out
    lacking = re.search("is missing|are required", said.getvalue())
    assert command.leaves_out, f"{command}: {said.getvalue()}"
    assert lacking, f"{command}: {said.getvalue()}"
    return "parser"


def _check_inspect(command: Command, arguments: Sequence[str]) -> str:
    name, *options = arguments
    if name == "view":
        from inspect_ai._cli.view import view_command as parent
    elif name == "score":
        from inspect_ai._cli.score import score_command as parent
    elif name == "eval-set":
        from inspect_ai._cli.eval import eval_set_command as parent
    else:
        assert name == "eval", f"{command}: nothing says how inspect {name} is checked"
        from inspect_ai._cli.eval import eval_command as parent
    try:
        context = parent.make_context(name, list(options), resilient_parsing=False)
    except click.ClickException as error:
        raise AssertionError(f"{command}: {error.format_message()}") from None
    values = context.params
    for role in values.get("model_role") or ():
        mistake = misspelled_role([role.partition("=")[0]])
        assert mistake is None, f"{command}: {mistake}"
    for file, key in [*((t, "t") for t in values.get("tasks") or ()), (values.get("scorer"), "s")]:
        if file is not None:
            assert (ROOT / file).exists(), f"{command}: no file {file}"
            _check_values(command, file, values.get(key) or ())
    return "inspect"


def _check_values(command: Command, file: str, values: Sequence[str]) -> None:
    """Names of -T and -S against the function that takes them."""
    from tasks.families.options import Choices

    module = import_module(file.removesuffix(".py").replace("/", "."))
    function = getattr(module, Path(file).stem)
    parameters = inspect.signature(function).parameters
    known = set(parameters) | (set(Choices.model_fields) if "options" in parameters else set())
    for name in (value.partition("=")[0] for value in values):
        assert name in known, f"{command}: {file} takes no {name}; it takes {sorted(known)}"


def yaml_blocks() -> list[tuple[Block, Any]]:
    """Blocks in YAML, read."""
    return [(block, yaml.safe_load(block.text)) for block in blocks() if block.language == "yaml"]
