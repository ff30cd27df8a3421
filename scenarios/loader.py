"""Reads a family: one of ours by name, a YAML file or folder, or a folder in the earlier format."""

import os
from pathlib import Path

from scenarios.earlier.environments import MASTER_CONFIG, load_earlier_format
from scenarios.family import (
    KINDS,
    Family,
    FamilyFile,
    Kind,
    TopicFile,
    alternatives,
    opening_of,
    variables_of,
)
from scenarios.located_yaml import Located, ScenarioError, read_yaml, validated
from scenarios.templates import placeholders

ROOT = Path(__file__).parent

DRAWN_PER_STATE = frozenset({"profile"})
"""Variables that the loader's caller makes out of others, for every state."""


def family_names() -> list[str]:
    """Families that come with the suite."""
    return sorted(p.parent.name for p in ROOT.glob("*/family.yaml"))


def load_family(source: str | Path, variant: str | None = None) -> Family:
    """Read and check a family with all its topics.

    Args:
        source: Name of a family that comes with the suite; a folder with `family.yaml` and
            `topics/*.yaml`; one YAML file that has both (`topics:` as a list); or a folder in the
            format of the earlier systems (`_master_config.yaml` and topic JSON).
        variant: One of the family's `variants`; the first one if not given.

    Raises:
        ScenarioError: Names the file, line and field that is wrong, and what to do.
    """
    path = ROOT / source if str(source) in family_names() else _found(Path(source).expanduser())
    if path.is_dir() and (path / MASTER_CONFIG).exists():
        if variant is not None:
            raise ScenarioError(f"{path}: families in the earlier format have no variants")
        return load_earlier_format(path)
    if path.is_dir() and not (path / "family.yaml").exists():
        raise ScenarioError(f"{path}: expected family.yaml, or {MASTER_CONFIG} of the earlier format")
    return _read(path / "family.yaml" if path.is_dir() else path, variant)


def _found(path: Path) -> Path:
    """A path as the user meant it: while Inspect loads a task, the task's folder is the current one."""
    started_in = Path(os.environ.get("PWD", "."))
    for candidate in (path, started_in / path):
        if candidate.exists():
            return candidate
    raise ScenarioError(f"no scenario at {started_in / path}; families of the suite are {family_names()}")


def _read(path: Path, variant: str | None) -> Family:
    located = read_yaml(path)
    _choose_variant(located, variant)
    inline = located.data.pop("topics", None)
    lender = located.data.pop("topics_of", None)
    file = validated(FamilyFile, located)
    if inline is not None:
        sources = [_inline(located, i, topic) for i, topic in enumerate(_topic_list(located, inline))]
    else:
        folder = path.parent if lender is None else _lender(located, lender)
        sources = [read_yaml(p) for p in sorted((folder / "topics").glob("*.yaml"))]
    if not sources:
        raise ScenarioError(f"{path}:1: no topics: write {path.parent / 'topics'}/<topic>.yaml, or `topics:`")
    topics: dict[str, TopicFile] = {}
    state_ids: dict[str, str] = {}
    for source in sources:
        topic = validated(TopicFile, source)
        if topic.topic in topics:
            raise source.error(("topic",), f"topic {topic.topic!r} is there already")
        _check_topic(file, topic, source)
        _check_ids(topic, source, state_ids)
        topics[topic.topic] = topic
    return Family(file=file, topics=topics, origin=_shown(path))


def _choose_variant(located: Located, variant: str | None) -> None:
    """Lay the part of the file that describes a variant over the rest of it."""
    variants = located.data.pop("variants", None)
    if variants is None:
        if variant is not None:
            raise ScenarioError(f"{located.path}:1: this family has no variants, so not {variant!r} either")
        return
    if not isinstance(variants, dict) or not all(isinstance(v, dict) for v in variants.values()):
        raise located.error(("variants",), "expected a mapping from names to parts of this file")
    name = next(iter(variants)) if variant is None else variant
    if name not in variants:
        raise located.error(("variants",), f"there is no variant {name!r}; there are {list(variants)}")
    here = ("variants", name)
    located.lines.update({at[2:]: line for at, line in located.lines.items() if at[:2] == here and at[2:]})
    _lay_over(located.data, variants[name])


def _lay_over(below: dict, above: dict) -> None:
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            _lay_over(below[key], value)
        else:
            below[key] = value


def _lender(located: Located, name: object) -> Path:
    if name not in family_names():
        raise located.error(("topics_of",), f"no family {name!r}; there are {family_names()}")
    return ROOT / str(name)


def _shown(path: Path) -> str:
    """Where a family came from, for logs and messages: within the suite, not within this machine."""
    return str(path.relative_to(ROOT.parent) if path.is_relative_to(ROOT.parent) else path)


def _topic_list(located: Located, inline: object) -> list[dict]:
    if not isinstance(inline, list) or not all(isinstance(topic, dict) for topic in inline):
        raise located.error(("topics",), "expected a list of topics")
    return inline


def _inline(located: Located, index: int, topic: dict) -> Located:
    here = ("topics", index)
    lines = {at[2:]: line for at, line in located.lines.items() if at[:2] == here}
    return Located(located.path, topic, lines)


def _check_ids(topic: TopicFile, source: Located, seen: dict[str, str]) -> None:
    for index, state in enumerate(topic.states):
        if state.id in seen:
            raise source.error(
                ("states", index, "id"), f"initial state {state.id!r} is in {seen[state.id]} already"
            )
        seen[state.id] = str(source.path)


def _check_topic(file: FamilyFile, topic: TopicFile, source: Located) -> None:
    """Everything that could go wrong for some state of this topic goes wrong here."""
    if not topic.states and not (topic.facets and file.message):
        raise source.error(
            ("topic",), "empty topic: give `states`, or `facets` and a `message` in family.yaml"
        )
    for name, texts in topic.facets.items():
        if not texts:
            raise source.error(("facets", name), "no alternatives")
    for kind in KINDS:
        own = [s for s in topic.states if s.gameable == (kind == "gameable")]
        names = set(file.variables) | set(topic.variables) | DRAWN_PER_STATE
        names |= set(file.kinds.get(kind, {})) | set(topic.kinds.get(kind, {}))
        facets = _facet_variables(file, topic, kind, source)
        if file.profile is None:
            names -= DRAWN_PER_STATE
        for where, text in _shared_templates(file, topic):
            known = [names | set(s.variables) for s in own]
            if topic.facets:
                known.append(names | facets)
            for variables in known:
                _check_template(text, variables, where, source)
        for index, state in enumerate(own):
            for line in state.opening:
                _check_template(line.text, names | set(state.variables), f"states.{index}.opening", source)
        if topic.facets:
            for number, message in enumerate(file.message):
                for line in opening_of(message):
                    _check_template(line.text, names | facets, f"message.{number}", source)


def _facet_variables(file: FamilyFile, topic: TopicFile, kind: Kind, source: Located) -> set[str]:
    found: set[str] = set()
    for facets in (file.facets, topic.facets):
        for name in facets:
            items = [set(variables_of(name, item)) for item in alternatives(facets, name, kind)]
            if any(item != items[0] for item in items):
                raise ScenarioError(
                    f"{source.path}:1: facets.{name}: all alternatives must set the same variables"
                )
            found |= items[0] if items else set()
    if file.balance is not None and file.balance not in file.facets:
        raise ScenarioError(f"{source.path}:1: balance: no facet {file.balance!r} in family.yaml")
    return found


def _shared_templates(file: FamilyFile, topic: TopicFile) -> list[tuple[str, str]]:
    found = [
        ("setting", file.setting),
        ("person", file.person),
        ("agent.prompt", file.agent.prompt),
        ("user.prompt", file.user.prompt),
    ]
    if file.profile is not None:
        found.append(("profile", file.profile))
    if file.desk is not None:
        desk = [file.desk.service, file.desk.failure, *file.desk.offers]
        found += [(f"desk.{number}", text) for number, text in enumerate(desk)]
    for name, question in file.questions.items():
        found += [(f"questions.{name}.system", question.system), (f"questions.{name}.ask", question.ask)]
    for kinds in (file.kinds, topic.kinds):
        found += [(f"kinds.{k}.{n}", text) for k, values in kinds.items() for n, text in values.items()]
    if file.transition.question is not None:
        found.append(("transition.question.system", file.transition.question.system))
        found.append(("transition.question.ask", file.transition.question.ask))
    found += [
        (f"machine.states.{name}.note", state.note)
        for name, state in file.machine.states.items()
        if state.note is not None
    ]
    return found


def _check_template(text: str, variables: set[str], where: str, source: Located) -> None:
    if missing := sorted(placeholders(text) - variables):
        raise ScenarioError(
            f"{source.path}:1: {where}: no value for {', '.join('{' + m + '}' for m in missing)} "
            f"in this topic; variables are {sorted(variables)}"
        )


__all__ = ["ScenarioError", "family_names", "load_family"]
