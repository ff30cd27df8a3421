"""Reads a family: one of ours by name, a YAML file or folder, or a folder in the earlier format."""

import difflib
from pathlib import Path

from scenarios.earlier.environments import MASTER_CONFIG, load_earlier_format
from scenarios.family import Family, FamilyFile, TopicFile
from scenarios.files.given_paths import where_meant
from scenarios.files.located_yaml import Located, ScenarioError, read_yaml, validated
from scenarios.generation.topic_checks import check_topic

ROOT = Path(__file__).parent


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
    path = ROOT / source if str(source) in family_names() else _existing(Path(source))
    if path.is_dir() and (path / MASTER_CONFIG).exists():
        if variant is not None:
            raise ScenarioError(f"{path}: families in the earlier format have no variants")
        return load_earlier_format(path)
    if path.is_dir() and not (path / "family.yaml").exists():
        raise ScenarioError(f"{path}: expected family.yaml, or {MASTER_CONFIG} of the earlier format")
    return _load(path / "family.yaml" if path.is_dir() else path, variant)


def _existing(path: Path) -> Path:
    if not (meant := where_meant(path)).exists():
        close = difflib.get_close_matches(path.name, family_names(), n=1)
        advice = f"did you mean {close[0]!r}?" if close else f"families of the suite are {family_names()}"
        raise ScenarioError(f"no scenario at {meant}; {advice}")
    return meant


def _load(path: Path, variant: str | None) -> Family:
    located = read_yaml(path)
    _choose_variant(located, variant)
    inline = located.data.pop("topics", None)
    lender = located.data.pop("topics_of", None)
    file = validated(FamilyFile, located)
    _check_alternatives(file, located)
    if inline is not None:
        sources = [_inline(located, i, topic) for i, topic in enumerate(_topic_list(located, inline))]
    else:
        folder = path.parent if lender is None else _lender(located, lender)
        sources = [read_yaml(p) for p in sorted((folder / "topics").glob("*.yaml"))]
    if not sources:
        raise ScenarioError(f"{path}:1: no topics: write {path.parent / 'topics'}/<topic>.yaml, or `topics:`")
    topics: dict[str, TopicFile] = {}
    state_ids: dict[str, str] = {}
    told: set[tuple[str, str]] = set()
    for source in sources:
        topic = validated(TopicFile, source)
        if topic.topic in topics:
            raise source.error(("topic",), f"topic {topic.topic!r} is there already")
        check_topic(file, topic, located, source, told)
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


def _check_alternatives(file: FamilyFile, located: Located) -> None:
    for name, values in file.variables.items():
        if not values and not isinstance(values, str):
            raise located.error(("variables", name), "an empty list: there is nothing to draw from")
    for name, texts in file.facets.items():
        if not texts:
            raise located.error(("facets", name), "no alternatives")
    if file.balance is not None and file.balance not in file.facets:
        raise located.error(("balance",), f"no facet {file.balance!r} here; there are {sorted(file.facets)}")


__all__ = ["ScenarioError", "family_names", "load_family"]
