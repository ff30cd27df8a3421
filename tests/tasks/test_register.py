"""What the register of inspect_evals asks for: a description that is true, versions, and tasks that run with its mock."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from inspect_ai import eval  # noqa: A004
from inspect_ai.model import ModelOutput, ModelUsage, get_model

from scenarios.loader import load_family
from scenarios.samples import scenario_dataset
from tests.support.places import ROOT
from tests.support.told import told

CARD = yaml.safe_load((ROOT / "tasks" / "eval.yaml").read_text())
FAMILIES = [task["name"] for task in CARD["tasks"]]
SAID = ModelOutput.from_content("mockllm/model", "I see.")
SAID.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)  # else it would fetch a tokenizer

STATES = {"spiral": 4, "politics": 20, "memory": 4}
OPTIONS = {"memory": {"sessions": 1}}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_runs_with_inspects_mock_model(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    judge = told({"no": 0.5, "0": 0.25, "1": 0.125, "3": 0.125})
    (log,) = eval(
        f"tasks/{name}.py",
        model=get_model("mockllm/model", custom_outputs=lambda *_: SAID),
        model_roles={"user": told("But why?"), "judge": judge},
        task_args={"turns": 1, **OPTIONS.get(name, {})},
        limit=1,
        log_dir=str(tmp_path),
        display="none",
    )
    assert log.status == "success", log.error
    assert log.eval.task_version == load_family(name).file.version
    (sample,) = log.samples or []
    assert sample.scores["facts"].value["turns"] == 1


def test_the_card_tells_how_large_the_families_are_and_which_version():
    for task in CARD["tasks"]:
        family = load_family(task["name"])
        assert task["dataset_samples"] == len(scenario_dataset(family, states=STATES.get(task["name"], 16)))
        assert family.file.version == CARD["version"], "give eval.yaml the newest of the families' versions"
    assert re.fullmatch(r"\d+-[A-Z]+", CARD["version"])


def test_the_suite_has_one_version_and_the_changelog_knows_it():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_registers_lint_passes_and_what_is_off_is_argued():
    done = subprocess.run(
        [Path(sys.executable).with_name("inspect-evals-lint"), "--task", "tasks/therapy.py", "--output-format", "json"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    report = json.loads(done.stdout)
    (package,) = report["packages"]
    told = package["diagnostics"]
    assert [d for d in told if d["status"] == "fail"] == []
    assert done.returncode == 0
    argued = (ROOT / "docs" / "register.md").read_text()
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["inspect-evals-lint"]
    assert settings["registry"] == "none"
    for rule in {"registry", *settings["ignore"], *(d["rule"] for d in told if d["status"] == "warn")}:
        assert f"`{rule}`" in argued, rule
