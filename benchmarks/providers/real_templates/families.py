"""The model families that are tried; `families.yaml` says what each of them is."""

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml


class Writing(NamedTuple):
    """How a model writes after the generation prompt; see `families.yaml`."""

    end: str
    nothing: tuple[str, ...] = ("",)
    thought: str | None = None
    head: str = ""
    call_end: str = ""
    opened: str = ""
    variables: dict[str, Any] = {}
    also: tuple[dict[str, Any], ...] = ()


class Family(NamedTuple):
    """One template; see `families.yaml`."""

    name: str
    template: str
    writing: Writing
    thinking: tuple[Writing, ...] = ()
    ends: tuple[str, ...] = ()
    arguments: str = "object"
    nine: bool = False
    special: tuple[str, ...] = ()
    bos: str = "<bos>"
    eos: str = ""
    words_with_calls: bool = True
    required: bool = False


@cache
def families() -> tuple[Family, ...]:
    """All of them, in the order of the table."""
    told = yaml.safe_load(Path(__file__).with_name("families.yaml").read_text(encoding="utf-8"))
    writings = {name: Writing(**_tuples(item)) for name, item in told["writings"].items()}
    return tuple(_family(item, writings) for item in told["families"])


def _family(item: dict[str, Any], writings: dict[str, Writing]) -> Family:
    own = writings[item["writing"]]
    thinking = tuple(writings[name] for name in item.get("thinking", []))
    return Family(**{**_tuples(item), "writing": own, "thinking": thinking})


def _tuples(item: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in item.items()}
