"""Where new initial states are kept: a family in one YAML file or a folder, or JSON lines."""

import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from scenarios.family import Family, InitialState, TopicFile
from scenarios.files.located_yaml import ScenarioError
from scenarios.files.tables import read_table
from scenarios.files.whole import unfinished_name, whole_file, write_jsonl
from scenarios.loader import load_family


class Written(NamedTuple):
    """An initial state and its topic."""

    topic: str
    state: InitialState


def check_form(out: Path) -> None:
    """Refuse an output of which the form is not clear.

    Raises:
        ScenarioError: The name ends in something else than .yaml, .jsonl, or nothing (a folder).
    """
    if out.suffix not in ("", ".yaml", ".yml", ".jsonl"):
        raise ScenarioError(f"out: {out} must end in .yaml or .jsonl, or be a folder (no ending)")
    known = {"family.yaml", "topics"}
    if out.is_dir() and (foreign := sorted(p.name for p in out.iterdir() if p.name not in known)):
        raise ScenarioError(f"out: the folder {out} holds something else: {foreign[:3]}; choose a new one")


def read_states(out: Path) -> list[Written]:
    """The states that an output holds; none if it is not there yet.

    Raises:
        ScenarioError: What is there is not such an output; names file and line.
    """
    if out.suffix == ".jsonl":
        return list(_read_lines(out)) if out.exists() else []
    if (family := _family_there(out)) is None:
        return []
    return [Written(name, state) for name, topic in family.topics.items() for state in topic.states]


def write_states(out: Path, source: Family, states: Sequence[Written], *, keep_own: bool) -> None:
    """Make `states` the states of `out`. What was there stays whole until all is written and checked.

    Args:
        out: `.jsonl`, `.yaml`, or a folder.
        source: The family that the states are for.
        states: All states, those that are there already as well.
        keep_own: A family that is not there yet begins with all topics and facets of `source`;
            otherwise it has the states alone.

    Raises:
        ScenarioError: The result does not load.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".jsonl":
        lines = [{"topic": w.topic} | w.state.model_dump(mode="json") for w in states]
        write_jsonl(out, lines)
        return
    family = family_of(_family_there(out), source, states, keep_own=keep_own)
    if out.suffix:
        _replace_file(out, family)
    else:
        _replace_folder(out, family)


def family_of(there: Family | None, source: Family, states: Sequence[Written], *, keep_own: bool) -> Family:
    """`source` with `states` as its written states.

    Args:
        there: What the output holds already; it is added to.
        source: See `write_states`.
        states: See `write_states`.
        keep_own: See `write_states`.

    Raises:
        ScenarioError: The output belongs to another family.
    """
    if there is not None and there.file.family != source.file.family:
        raise ScenarioError(f"{there.origin}: holds family {there.file.family!r}, not {source.file.family!r}")
    base = there or source.model_copy(update={"topics": source.topics if keep_own else {}})
    topics = dict(base.topics)
    for name in dict.fromkeys(w.topic for w in states):
        bare = {"facets": {}} if name not in topics else {}
        update = bare | {"states": _merged(topics.get(name), (w.state for w in states if w.topic == name))}
        topics[name] = topics.get(name, source.topics[name]).model_copy(update=update)
    return base.model_copy(update={"topics": {n: t for n, t in topics.items() if t.states or t.facets}})


def _merged(topic: TopicFile | None, states: Iterable[InitialState]) -> list[InitialState]:
    return list({s.id: s for s in [*(topic.states if topic else []), *states]}.values())


def _family_there(out: Path) -> Family | None:
    there = out if out.suffix else out / "family.yaml"
    return load_family(out) if there.exists() else None


def _read_lines(path: Path) -> Iterable[Written]:
    for where, row in read_table(path):
        try:
            yield Written(row.pop("topic"), InitialState.model_validate(row))
        except (ValueError, KeyError) as error:
            raise ScenarioError(f"{where}: no initial state with its topic: {error}") from None


def _replace_file(out: Path, family: Family) -> None:
    topics = [_plain_mapping(topic) for topic in family.topics.values()]
    with whole_file(out, suffix=".yaml") as unfinished:
        unfinished.write_text(_yaml(_plain_mapping(family.file) | {"topics": topics}), encoding="utf-8")
        load_family(unfinished)


def _replace_folder(out: Path, family: Family) -> None:
    unfinished = unfinished_name(out)
    try:
        (unfinished / "topics").mkdir(parents=True)
        for topic in family.topics.values():
            (unfinished / "topics" / f"{topic.topic}.yaml").write_text(
                _yaml(_plain_mapping(topic)), encoding="utf-8"
            )
        (unfinished / "family.yaml").write_text(_yaml(_plain_mapping(family.file)), encoding="utf-8")
        load_family(unfinished)
        (out / "topics").mkdir(parents=True, exist_ok=True)
        # family.yaml last: without it the folder is no family yet
        for path in [*sorted((unfinished / "topics").iterdir()), unfinished / "family.yaml"]:
            path.replace(out / path.relative_to(unfinished))
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def family_hash(family: Family) -> str:
    """First 16 hex digits of the SHA-256 of all that a family says, the same in every process."""
    content = [_plain_mapping(family.file), *(_plain_mapping(topic) for topic in family.topics.values())]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _plain_mapping(part: Any) -> dict[str, Any]:
    return part.model_dump(mode="json", exclude_defaults=True)


_Fastest: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_Fastest):
    """Texts of several lines as blocks."""


def _text_node(dumper: Any, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text_node)


def _yaml(data: dict[str, Any]) -> str:
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
