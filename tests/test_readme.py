import re
from pathlib import Path

from scenarios.loader import load_family
from scenarios.samples import scenario_dataset
from tasks.therapy import therapy

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_scenario_in_the_readme_runs(tmp_path):
    (block,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    path = tmp_path / "landlord.yaml"
    path.write_text(block)
    samples = scenario_dataset(load_family(path), states=2)
    assert {s.id for s in samples} == {"mould-1", "mould-2"}


def test_every_option_of_the_task_is_in_the_readme_with_its_default():
    import inspect

    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", README, re.MULTILINE))
    for name, parameter in inspect.signature(therapy).parameters.items():
        assert name in rows, name
        default = "all" if parameter.default is None else parameter.default
        assert rows[name].strip() in (str(default), f"{default:g}" if isinstance(default, float) else None), (
            name
        )


def test_the_files_that_the_readme_names_are_there():
    root = Path(__file__).parent.parent
    for name in re.findall(r"(?:\]\(|`)((?:docs|logs|scorers|tasks|scenarios)/[\w./-]+\.\w+)", README):
        assert (root / name).exists(), name
