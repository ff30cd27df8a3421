"""Rules about the tree: which folder may import which, what must stay light, what files may be called."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

from tests.support.places import ROOT

SHARED = ("providers.chat", "providers.causal_models", "probes.laboratory")
"""Parts of folders that others may import: the one renderer of conversations, the class of a model, rows of stakes."""

MAY_IMPORT = {
    "scenarios": set(),
    "solvers": {"scenarios"},
    "scorers": {"scenarios", "analysis"},
    "tasks": {"scenarios", "solvers", "scorers", "probes.laboratory"},
    "analysis": {"scenarios"},
    "providers": set(),
    "miniature": {"scenarios", "providers"},
    "training": {"scenarios", "analysis", "scorers", "miniature", *SHARED},
    "probes": {"scenarios", "analysis", *SHARED},
}
"""Folder -> those that its files may import."""

MAY_IMPORT_TOO = {
    f"{name}.py": {"probes"}
    for name in (
        "scorers/stakes",
        "scorers/monitors/serving",
        "scorers/monitors/escalation",
        "training/loop/monitoring",
    )
} | {
    "providers/small_model.py": {"scenarios"},
    "providers/fit_judge.py": {"scenarios"},
    "providers/encoder/api.py": {"scenarios"},
    "providers/encoder/fitting.py": {"analysis"},
}
"""Files that join two halves. They load torch no sooner than they need it."""

MOST_FILES = 14
"""In one folder, its `__init__.py` not counted."""

MENUS = {"tasks"}
"""Folders that have a file per family, by their purpose."""

SHADOWING = {
    "code", "copy", "datasets", "inspect", "logging", "queue", "random", "select", "statistics", "string", "token",
    "tokenizers", "torch", "transformers", "trl", "types",
}  # fmt: skip


def imported(path: Path) -> set[str]:
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
    return {
        next((s for s in SHARED if f"{module}.".startswith(f"{s}.")), module.split(".")[0])
        for module in modules
    }


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_run_one_way(folder):
    files = list((ROOT / folder).rglob("*.py"))
    assert files
    for path in files:
        name = path.relative_to(ROOT).as_posix()
        allowed = MAY_IMPORT[folder] | MAY_IMPORT_TOO.get(name, set()) | {folder}
        allowed |= {part for part in SHARED if part.startswith(f"{folder}.")}
        foreign = (imported(path) & {*MAY_IMPORT, *SHARED}) - allowed
        assert not foreign, f"{name} imports {sorted(foreign)}"


def test_inside_a_folder_imports_run_one_way_and_there_are_no_circles():
    """The contracts stand in `pyproject.toml`."""
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True, no_logo=True) == 0


@pytest.mark.parametrize("folder", [*MAY_IMPORT, "benchmarks"])
def test_a_folder_can_be_taken_in_at_a_glance(folder):
    full = {
        at.relative_to(ROOT).as_posix(): n
        for at in [ROOT / folder, *(ROOT / folder).rglob("*/")]
        if at.name not in MENUS and (n := len([*at.glob("[!_]*.py")])) > MOST_FILES
    }
    assert not full


def test_a_benchmark_lies_in_a_folder_named_as_the_room_that_it_measures():
    """Never at the top: beside a script there, these folders would be taken for the rooms themselves."""
    assert [path.name for path in (ROOT / "benchmarks").glob("*.py")] == ["earlier_commit.py"]
    folders = {path.name for path in (ROOT / "benchmarks").iterdir() if any(path.glob("*.py"))}
    assert folders <= set(MAY_IMPORT)
    for path in (ROOT / "benchmarks").rglob("*.py"):
        if (
            re.search(r"^from (tests|benchmarks)\.", (text := path.read_text()), re.MULTILINE)
            and "__main__" in text
        ):
            assert "sys.path.insert(0, " in text, f"{path.name}: as a script it does not find them"


def test_no_test_module_is_a_library():
    """What several need is in `tests/support/`: a test module that moves breaks no other."""
    for path in [*(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests."):
                assert not re.search(r"\.test_\w+$", node.module or ""), path.relative_to(ROOT)


def test_no_file_shadows_a_library():
    found = [p for folder in MAY_IMPORT for p in (ROOT / folder).rglob("*.py") if p.stem in SHADOWING]
    assert not found


def test_files_keep_to_one_subject():
    long = {
        p.name: n
        for f in MAY_IMPORT
        for p in (ROOT / f).rglob("*.py")
        if (n := len(p.read_text().splitlines())) > 420
    }
    assert not long


LIGHT = [
    "tasks.therapy",
    "tasks.booking",
    "tasks.custom",
    "tasks.memory",
    "tasks.stakes",
    "tasks.stakes_generate",
    "tasks.stakes_label",
    "providers.registry",
    "miniature.registry",
    "analysis.realism",
    "analysis.sessions",
    "analysis.table",
    "scorers.agreement",
    "scorers.human",
    "scorers.prompted_monitor",
    "scorers.stakes",
    "scorers.stakes_rating",
    "scenarios.generate",
    "scenarios.set_card",
    "scenarios.import_runs",
    "training.ei_loop",
    "training.selection.plan",
    "training.selection.selecting",
    "training.examples.mixing",
    "training.examples.from_logs",
    "training.export",
    "training.reporting.report",
    "training.reporting.curves",
    "training.reporting.tracking",
    "training.generalise",
    "training.curves",
    "training.publish",
    "probes.store",
    "probes.baselines",
    "probes.corpus",
    "probes.evaluation_sets",
    "probes.restyle",
]
"""What users of models behind an API import, or see the help of."""


def test_what_api_users_import_loads_no_library_of_models_or_figures():
    code = (
        "import importlib, sys\n"
        f"for module in {LIGHT}:\n"
        "    importlib.import_module(module)\n"
        "    heavy = {'torch', 'transformers', 'trl', 'peft', 'datasets', 'matplotlib', 'sklearn'} & set(sys.modules)\n"
        "    if heavy: sys.exit(f'{module} loads {sorted(heavy)}')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_without_torch_the_miniature_says_what_to_install():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from inspect_ai.model import get_model\n"
        "for name in ('miniature/agent', 'local/somewhere'):\n"
        "    try: get_model(name)\n"
        "    except ModuleNotFoundError as error: print(error)\n"
        "print(type(get_model('miniature/judge').api).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.count("pip install -e '.[local]'") == 2
    assert "MiniatureAPI" in done.stdout


def test_every_task_and_scorer_option_is_explained():
    for path in [*(ROOT / "tasks").glob("*.py"), *(ROOT / "scorers").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and any(
                (d.func if isinstance(d, ast.Call) else d).__dict__.get("id") in ("task", "scorer")
                for d in node.decorator_list
            ):
                text = ast.get_docstring(node) or ""
                for argument in node.args.args:
                    assert f"{argument.arg}:" in text, (
                        f"{path.name}: {node.name}({argument.arg}) is not explained"
                    )
