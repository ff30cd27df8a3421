"""The recipes of CONTRIBUTING.md, followed to the letter in a copy of the tree."""

import ast
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest
from inspect_ai.log import list_eval_logs, read_eval_log

from scenarios.loader import load_family
from scenarios.samples import scenario_dataset
from scorers.judging.rubric_files import read_rubric
from tests.support.places import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")

SECTIONS = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)

BLOCK = re.compile(
    r"(?:`(?P<path>[\w./-]+)`:\n\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)


class Step(NamedTuple):
    """A code block of the page."""

    kind: str
    """`bash`: commands; `diff`: lines for a file that is there; anything else: a new file."""

    path: str | None
    """The file, as the words before the block name it."""

    text: str


def steps(section: str) -> Iterator[Step]:
    """The code blocks under a heading."""
    (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    for block in BLOCK.finditer(text):
        yield Step(block["kind"], block["path"], block["text"])


def with_lines_added(text: str, diff: str) -> str:
    """A text with the lines that a diff adds; the others of each part must be there, once."""
    for part in diff.split("@@\n"):
        lines = part.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] in " -")
        after = "".join(line[1:] for line in lines if line[0] in " +")
        assert text.count(before) == 1, f"{before!r} is in the file {text.count(before)} times"
        text = text.replace(before, after)
    return text


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the packages, the tests and the example log."""
    packages = [path.parent.name for path in ROOT.glob("*/__init__.py")]
    assert {"scenarios", "tests", "training"} <= set(packages)
    for name in packages:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "logs").mkdir()
    for name in ("pyproject.toml", "logs/example.eval"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    return tmp_path


def follow(section: str, tree: Path) -> str:
    """Do what a section says, in a copy of the tree; what its commands printed."""
    printed = []
    for kind, path, text in steps(section):
        if kind == "bash":
            printed.append(_run(text, tree))
            continue
        assert path is not None, f"{section}: a block of {kind} has no file before it"
        place = tree / path
        if kind == "diff":
            place.write_text(with_lines_added(place.read_text(encoding="utf-8"), text), encoding="utf-8")
        else:
            assert not place.exists(), f"{path} is there already"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, encoding="utf-8")
    assert printed, f"{section}: no command shows that it works"
    return "\n".join(printed)


def _run(commands: str, tree: Path) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {
        "PATH": path,
        "PYTHONPATH": str(tree),
        "INSPECT_DISPLAY": "plain",
        "COLUMNS": "200",
        "PYTEST_ADDOPTS": "",
    }
    done = subprocess.run(
        ["bash", "-e", "-c", commands],
        cwd=tree, env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_family(tree: Path):
    printed = follow("A family", tree)
    (log,) = (read_eval_log(info) for info in list_eval_logs(str(tree / "logs" / "tenants")))
    assert (log.status, log.eval.task) == ("success", "tenants")
    assert sorted(sample.metadata["topic"] for sample in log.samples) == ["mould", "mould"]
    assert "tenants | miniature/agent | 2 conversations | success" in printed


@pytest.mark.slow
def test_a_judge(tree: Path):
    printed = follow("A judge", tree)
    log = read_eval_log(str(tree / "logs" / "pressure.eval"))
    values = [sample.scores["pressure"].value for sample in log.samples]
    assert len(values) == 16
    assert all(1 <= value <= 5 for value in values)
    assert re.search(r"^  pressure +1-5 ", printed, re.MULTILINE)


@pytest.mark.slow
def test_a_construct(tree: Path):
    printed = follow("A construct", tree)
    log = read_eval_log(str(tree / "logs" / "small_talk.eval"))
    assert all(1 <= sample.scores["rubric"].value["small_talk"] <= 5 for sample in log.samples)
    assert re.search(r"small_talk +1-5 ", printed)


@pytest.mark.slow
def test_a_head(tree: Path):
    assert re.search(r"^[4-9] passed", follow("A head", tree), re.MULTILINE)


@pytest.mark.slow
def test_an_algorithm(tree: Path):
    follow("An algorithm", tree)
    run = tree / "logs" / "ipo"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [0, 1]
    assert "algorithm: ipo" in (run / "config.yaml").read_text()


@pytest.mark.parametrize("section", SECTIONS)
def test_a_recipe_fits_the_tree_as_it_is(section: str, tmp_path: Path):
    """What the slow tests would find as well, without a process."""
    for kind, path, text in steps(section):
        if kind == "diff":
            assert with_lines_added((ROOT / path).read_text(encoding="utf-8"), text)
        elif kind == "python":
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.ImportFrom):
                    module = importlib.import_module(node.module)
                    for name in (alias.name for alias in node.names):
                        assert hasattr(module, name) or find_spec(f"{node.module}.{name}"), f"{path}: {name}"
        elif kind in ("yaml", "markdown"):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text, encoding="utf-8")
    if (family := tmp_path / "scenarios" / "tenants").exists():
        assert {s.id for s in scenario_dataset(load_family(family), states=2)} == {"mould-1", "mould-2"}
    for rubric in tmp_path.rglob("*.md"):
        assert read_rubric(rubric).scale == "1-5"


def test_a_diff_that_no_longer_fits_is_told():
    assert with_lines_added("a\nb\n", " a\n+c\n@@\n-b\n+d\n") == "a\nc\nd\n"
    with pytest.raises(AssertionError, match="0 times"):
        with_lines_added("a\nb\n", " e\n+c\n")


def test_every_recipe_is_followed():
    assert SECTIONS == ["A family", "A judge", "A construct", "A head", "An algorithm"]


def test_what_the_page_names_is_there():
    made = {step.path for section in SECTIONS for step in steps(section)}
    for name in re.findall(r"`((?:tests|scenarios|scorers|tasks|probes|training)/[\w./]*)`", PAGE):
        assert name in made or (ROOT / name).exists(), name
