import re

from scenarios.loader import load_family
from scenarios.samples import scenario_dataset
from scorers.judging.rubric_files import construct_names
from tasks.families.options import Choices
from tests.support.places import ROOT

README = (ROOT / "README.md").read_text()


def test_the_scenario_in_the_readme_runs(tmp_path):
    (block,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    path = tmp_path / "landlord.yaml"
    path.write_text(block)
    samples = scenario_dataset(load_family(path), states=2)
    assert {s.id for s in samples} == {"mould-1", "mould-2"}


def test_every_option_is_in_the_readme_with_its_default():
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", README, re.MULTILINE))
    for name, field in Choices.model_fields.items():
        default = {None: "all" if name == "topics" else "none"}.get(field.default, field.default)
        assert rows[name].strip() in (str(default), f"{default:g}" if isinstance(default, float) else None), (
            name
        )


def test_every_task_is_in_the_readme():
    tasks = [p for p in (ROOT / "tasks").glob("*.py") if "@task" in p.read_text()]
    assert len(tasks) >= 12
    for path in tasks:
        assert f"| `tasks/{path.name}` |" in README


def test_the_number_of_constructs_is_right():
    assert f"{len(construct_names())} constructs" in README


def test_the_files_that_the_readme_names_are_there():
    for name in re.findall(r"(?:\]\(|`)((?:docs|logs|scorers|tasks|scenarios)/[\w./-]+\.\w+)", README):
        assert (ROOT / name).exists(), name
