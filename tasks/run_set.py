"""Evaluates several models on several tasks as a YAML file says: one set, which goes on where it was stopped.

    python tasks/run_set.py tasks/sets/families.yaml --log-dir logs/set

The file names the tasks, the models, who plays the roles, and options of the tasks. What stands after it in
the command goes to `inspect eval-set`, which does the work: --limit, --epochs, --max-tasks, --retry-attempts
and so on. The same command again leaves logs that are complete alone and makes the conversations that are
missing.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inspect_ai import list_tasks
from pydantic import Field, field_validator

from scenarios.commands.exits import exit_status
from scenarios.commands.parsers import nearest
from scenarios.commands.usage import UsageMistake
from scenarios.conversations.roles import misspelled_role
from scenarios.files.located_yaml import read_yaml, validated
from scenarios.schema import Frozen
from tasks.families.options import chosen

ROOT = Path(__file__).resolve().parents[1]

WITHIN = ("--model", "--model-role", "--model-spec", "--run-config", "-T", "--task-config")
"""Options that say again what the file says."""


class EvaluationSet(Frozen):
    """What a file says."""

    tasks: list[str] = Field(min_length=1)
    """Names of tasks, as their files in `tasks/` have them."""

    models: list[str] = Field(min_length=1)
    """Models under test."""

    roles: dict[str, str] = Field(default_factory=dict)
    """Role -> model that plays it, for all tasks and models."""

    options: dict[str, Any] = Field(default_factory=dict)
    """Options (-T) that every task has."""

    @field_validator("tasks")
    @classmethod
    def _are_there(cls, names: list[str]) -> list[str]:
        there = sorted({Path(found.file).stem for found in list_tasks("tasks", root_dir=ROOT)})
        for name in names:
            if name not in there:
                near = nearest(name, there)
                raise ValueError(
                    f"no task {name!r}; " + (f"did you mean {near!r}?" if near else f"there are {there}")
                )
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{sorted(twice)} named twice; name each task once")
        return names

    @field_validator("models")
    @classmethod
    def _are_models(cls, names: list[str]) -> list[str]:
        for name in names:
            if not all(part.strip() for part in name.partition("/")) or "," in name:
                raise ValueError(f"{name!r} is no model; give each as openai/gpt-4.1, provider first")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{twice} named twice; name each model once")
        return names

    @field_validator("roles")
    @classmethod
    def _are_roles(cls, roles: dict[str, str]) -> dict[str, str]:
        if (mistake := misspelled_role(list(roles))) is not None:
            raise ValueError(mistake)
        return roles


def arguments_of(said: EvaluationSet) -> list[str]:
    """What `inspect eval-set` is given for it."""
    return [
        *(os.path.relpath(ROOT / "tasks" / f"{name}.py") for name in said.tasks),
        *("--model", ",".join(said.models)),
        *(word for role, model in said.roles.items() for word in ("--model-role", f"{role}={model}")),
        *(word for name, value in said.options.items() for word in ("-T", f"{name}={_written(value)}")),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Exit status as of `scenarios.commands.exits`, and Inspect's own once it runs."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    return exit_status(
        lambda: _run(given), kept="what is in the log folder is kept; the same command goes on"
    )


def _run(given: Sequence[str]) -> int:
    if given and given[0] in ("-h", "--help"):
        print(__doc__)
        return 0
    if not given or given[0].startswith("-"):
        raise UsageMistake("command line: a file comes first; give one as tasks/sets/families.yaml")
    file, *further = given
    for option in further:
        if (name := option.partition("=")[0]) in WITHIN:
            raise UsageMistake(
                f"command line: {name}: tasks, models, roles and options stand in {file}; change them there"
            )
    if not any(option.partition("=")[0] == "--log-dir" for option in further):
        raise UsageMistake("command line: --log-dir is missing; give a folder of its own to the set")
    said = validated(EvaluationSet, read_yaml(Path(file)))
    chosen({}, said.options)  # pyright: ignore[reportArgumentType]
    program = str(Path(sys.executable).with_name("inspect"))
    # in place of this process, so that signals and the exit status are Inspect's
    return os.execv(program, [program, "eval-set", *arguments_of(said), *further])


def _written(value: Any) -> str:
    """A value as Inspect's command line takes it, which reads it as YAML."""
    if value is None:
        return "null"
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    sys.exit(main())
