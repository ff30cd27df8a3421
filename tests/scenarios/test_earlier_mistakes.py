"""Environments of the earlier system with anything in any field: they load, or one line names the file."""

import copy
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scenarios.files.located_yaml import ScenarioError
from scenarios.loader import load_family
from scenarios.samples import scenario_dataset
from tests.support.earlier_environments import MASTER, TOPIC, write_environment

VALUES = (
    None,
    3,
    -1,
    1.5,
    math.nan,
    True,
    "",
    "x y",
    [],
    {},
    [1],
    [None],
    {"a": 1},
    "hot",
    [[]],
    {"1": None},
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of everything inside a value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inside:
        yield (*path, key)
        yield from places(part, (*path, key))


def changed(base: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    result = copy.deepcopy(base)
    at: Any = result
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return result


def test_a_wrong_value_anywhere_is_one_line_that_names_the_file(tmp_path: Path):
    every = [(base, path, value) for base in (MASTER, TOPIC) for path in places(base) for value in VALUES]
    told: list[tuple[str, Path, tuple[Any, ...], Any]] = []
    for number, (base, path, value) in enumerate(random.Random(0).sample(every, 600)):
        folder = tmp_path / str(number)
        if base is MASTER:
            write_environment(folder, master=changed(base, path, value))
        else:
            write_environment(folder, topics={"vuln_tea": changed(base, path, value)})
        try:
            scenario_dataset(load_family(folder), states=None, gameable=None)
        except ScenarioError as error:
            told.append((str(error), folder, path, value))
    assert len(told) > 400
    assert [t for t in told if "\n" in t[0] or str(t[1]) not in t[0]] == []
