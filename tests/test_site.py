"""The documentation as a site: pages made from the source, all in the navigation, nothing asked of other hosts."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from analysis.report import main as report
from docs.making import commands, errors, families, judges
from docs.making.make import PAGES
from scenarios.loader import family_names
from scorers.judging.rubric_files import construct_names
from tests.support.documented import blocks
from tests.support.places import ROOT
from tests.support.wrong_uses import USES

SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text())


def navigation(entries: list) -> list[str]:
    """The pages of the navigation."""
    found = []
    for entry in entries:
        for target in entry.values() if isinstance(entry, dict) else [entry]:
            found += navigation(target) if isinstance(target, list) else [target]
    return found


def test_every_page_is_in_the_navigation_once():
    written = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").glob("*.md")}
    made = {f"reference/{name}" for name in PAGES}
    assert sorted(navigation(SITE["nav"])) == sorted(written | made)


def test_the_recipes_of_contributing_are_the_how_to_page():
    assert (ROOT / "docs" / "how-to.md").resolve() == ROOT / "CONTRIBUTING.md"


def test_every_family_stands_with_a_conversation_that_is_called_a_demonstration():
    page = families.page()
    sections = re.split(r"^## ", page, flags=re.MULTILINE)[1:]
    assert [re.search(r"tasks/(\w+)\.py", s)[1] for s in sections] == sorted(family_names())
    for section in sections:
        assert "of the demonstration" in section
        assert section.count("**Model:**") >= 1
        assert "*Scores:* preference " in section
    assert "no evidence about real models" in page


def test_every_judge_stands_with_its_scale_anchors_and_words():
    page = judges.page()
    for name in construct_names():
        assert f"### {name}\n" in page
    assert len(re.findall(r"^### ", page, re.MULTILINE)) == len(construct_names()) + len(judges.JUDGES)
    question = (
        (ROOT / "scorers/rubrics/influence_binary.md").read_text().split("---")[2].strip().splitlines()[-1]
    )
    assert f"> {question}" in page


def test_errors_are_from_the_source_under_the_commands_that_say_them():
    page = errors.page()
    sections = dict(part.split("\n", 1) for part in page.split("\n## ")[1:])
    assert "`{named}: no such log" in page or "no such" in page
    assert "did you mean" in page
    assert "--compare takes two logs or folders" in sections["`analysis/table.py`"]
    assert "--compare takes" not in "".join(text for name, text in sections.items() if "table" not in name)
    assert len(list(errors.messages())) > 300


def test_a_message_is_shown_with_what_varies_in_braces():
    import ast

    (raised,) = ast.parse(
        'raise UserMistake(f"{path}:{row.number}: no {x!r}; " "did you mean " + "it?")'
    ).body
    assert errors._text(raised.exc.args[0]) == "{path}:{number}: no {x}; did you mean it?"


def test_the_page_of_commands_has_every_command():
    assert set(commands.commands()) >= {use.command for use in USES}
    assert "--compare" in commands.help_of("analysis/table.py")
    assert "usage: human.py import" in commands.help_of("scorers/human.py").replace(
        "scorers/human.py", "human.py"
    )


@pytest.mark.parametrize(
    "block", [b for b in blocks() if b.language == "python"], ids=lambda b: f"{b.page}:{b.line}"
)
def test_python_on_a_page_runs(block, tmp_path, monkeypatch):
    """With the example log, and a report of it where the page reads one."""
    (tmp_path / "logs").symlink_to(ROOT / "logs")
    monkeypatch.chdir(tmp_path)
    if "reports/all/" in block.text:
        assert report(["logs/example.eval", "--out", "reports/all"]) == 0
    exec(compile(block.text, block.page, "exec"), {"__name__": "page"})


@pytest.mark.slow
def test_the_site_is_built_in_a_minute_and_asks_nothing_of_other_hosts(tmp_path: Path):
    """As `make docs` does it, in a copy."""
    shutil.copytree(
        ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("__pycache__", "reference")
    )
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    shutil.copy(ROOT / "CONTRIBUTING.md", tmp_path)
    (tmp_path / "docs" / "reference").mkdir()
    began = sum(os.times()[:4])  # of the processors, its children's too: others may be busy here
    for name, page in PAGES.items():
        (tmp_path / "docs" / "reference" / name).write_text(page())
    done = subprocess.run(
        [Path(sys.executable).with_name("zensical"), "build", "--clean", "--strict"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert sum(os.times()[:4]) - began < 60
    built = list((tmp_path / "build" / "site").rglob("*.html"))
    assert len(built) >= 20
    for path in built:
        loaded = re.findall(
            r"<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=\"?((?:https?:)?//[^\"\s>]+)",
            path.read_text(),
        )
        assert loaded == [], path.name
    styles = "".join(p.read_text() for p in (tmp_path / "build" / "site").rglob("*.css"))
    assert not re.search(r"url\(\"?https?:", styles)
