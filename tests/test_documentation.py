"""What README.md and docs/ print works: every command is held against its real parser, many are run.

SUBSTITUTED is what stands in for models, data and runs that nobody has here.
"""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from inspect_ai import eval  # noqa: A004
from inspect_ai.log import read_eval_log

from tests.support.documented import ELSEWHERE, Command, blocks, check, commands, yaml_blocks
from tests.support.places import ROOT
from tests.support.told import told

COMMANDS = commands()

LANGUAGES = {"bash", "yaml", "text", "python"}
"""Of blocks; `text` shows what a command prints, and tests/test_site.py runs those in Python."""

SUBSTITUTED = {
    "LOG.eval": "a copy of logs/example.eval, as BEFORE.eval, AFTER.eval and in logs/ei",
    "my_construct.md": "a rubric of one question",
    "openai/gpt-4.1": "miniature/judge",
    "google/gemini-2.5-pro": "miniature/judge",
    "ratings.csv": "the sheet that the command before it writes, filled",
    "logs/ei": "a run of one round with the miniature (slow)",
    "logs/kto": "the same",
}
"""As printed -> what is used in its place where a command is run."""


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_printed_command_is_one_that_its_program_takes(command: Command, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    how = check(command, monkeypatch)
    assert how in ("make", "shell", "parser", "inspect", "elsewhere")


def test_no_block_is_of_a_language_that_nobody_checks():
    assert {block.language for block in blocks()} <= LANGUAGES
    assert sum(block.language == "bash" for block in blocks()) >= 19
    assert len(COMMANDS) >= 40


def test_what_is_not_checked_here_is_named():
    outside = {c.words[0] for c in COMMANDS if c.words[0] in ELSEWHERE}
    assert outside == set(ELSEWHERE)


def test_bare_commands_stand_after_the_environment_is_switched_on():
    lines = {c.line: c.words[0] for c in COMMANDS if c.page == "README.md"}
    (switched_on,) = [line for line, program in lines.items() if program == "source"]
    bare = [line for line, program in lines.items() if program in ("python", "inspect")]
    assert min(bare) > switched_on


def in_order(*beginnings: str) -> list[Command]:
    """Commands of README that begin so, as printed."""
    return [
        c for b in beginnings for c in COMMANDS if " ".join(c.words).startswith(b) and c.page == "README.md"
    ]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like the clone's, with what README's commands name."""
    for name in ("tasks", "scorers", "scenarios", "training", "probes", "analysis"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "logs" / "ei").mkdir(parents=True)
    for name in ("LOG.eval", "BEFORE.eval", "AFTER.eval", "logs/example.eval", "logs/ei/example.eval"):
        shutil.copy(ROOT / "logs" / "example.eval", tmp_path / name)
    (tmp_path / "my_construct.md").write_text((ROOT / "scorers/rubrics/constructs/harm.md").read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PWD", str(tmp_path))  # as the shell says it
    return tmp_path


def substituted(words: list[str]) -> list[str]:
    models = {name: model for name, model in SUBSTITUTED.items() if model.startswith("miniature/")}
    for name, model in models.items():
        words = [word.replace(name, model) for word in words]
    return [re.sub(r"(miniature/judge),miniature/judge", r"\1", word) for word in words]


@pytest.mark.parametrize(
    "command",
    in_order(
        "inspect score LOG.eval --scorer scorers/influence", "inspect score LOG.eval --scorer scorers/rubric"
    ),
    ids=str,
)
def test_judging_again_runs_as_printed(command: Command, desk: Path):
    from inspect_ai._cli.main import inspect as inspect_command

    names = {s.name for s in read_eval_log("LOG.eval").results.scores}
    done = CliRunner().invoke(inspect_command, [*substituted(command.words[1:]), "--display", "none"])
    assert done.exit_code == 0, (done.output, done.exception)
    assert {s.name for s in read_eval_log("LOG.eval").results.scores} > names


def run(words: list[str], capsys: Any) -> str:
    """Run `python <script> ...` in this process; what it prints."""
    import importlib

    module = importlib.import_module(words[1].removesuffix(".py").replace("/", "."))
    assert module.main(words[2:]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def test_people_rate_as_printed(desk: Path, capsys):
    template, imported = in_order("python scorers/human.py")
    sheet = run(template.words, capsys)
    lines = sheet.splitlines(keepends=True)
    assert len(lines) > 10
    import csv
    import io

    rows = list(csv.DictReader(io.StringIO(sheet.removeprefix("\ufeff"))))
    for number, row in enumerate(rows):
        row["value"] = str(number % 5 + 1)
    with (desk / "ratings.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    run(imported.words, capsys)
    assert (desk / "LOG_rated.eval").exists()


@pytest.mark.parametrize(
    "command",
    in_order("python analysis/table.py", "python analysis/report.py", "python scenarios/set_card.py"),
    ids=str,
)
def test_what_only_reads_runs_as_printed(command: Command, desk: Path, capsys):
    assert run(command.words, capsys).strip()


def test_the_scenario_runs_as_pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    ((block, _),) = yaml_blocks()
    assert block.page == "README.md"
    (tmp_path / "landlord.yaml").write_text(block.text)
    monkeypatch.chdir(ROOT)
    (log,) = eval(
        "tasks/custom.py",
        task_args={"scenario": str(tmp_path / "landlord.yaml")},
        model=told("Please do not stop paying."),
        model_roles={"user": told("But why?"), "judge": told({"5": 0.5, "no": 0.5})},
        log_dir=str(tmp_path / "logs"),
        display="none",
    )
    assert log.status == "success", log.error
    assert sorted(str(s.id) for s in log.samples) == ["mould-1", "mould-2"]


@pytest.mark.slow
@pytest.mark.parametrize("script", ["training/curves.py", "training/publish.py"])
def test_what_follows_a_run_works_as_printed(
    script: str, unbroken: Path, tmp_path: Path, monkeypatch, capsys
):
    (command,) = [c for c in COMMANDS if c.words[:2] == ["python", script]]
    for name in ("ei", "kto"):
        shutil.copytree(unbroken, tmp_path / "logs" / name)
    monkeypatch.chdir(tmp_path)
    words = [*command.words, *(["--dry-run"] if script.endswith("publish.py") else [])]
    assert run(words, capsys).strip()
