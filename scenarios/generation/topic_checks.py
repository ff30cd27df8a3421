"""What could go wrong when a topic's texts are filled goes wrong when its file is read, with its line."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from scenarios.family import KINDS, FamilyFile, Kind, Line, TopicFile, alternatives, opening_of, variables_of
from scenarios.files.located_yaml import Located, Location
from scenarios.files.strict_json import JsonError, parse_json
from scenarios.people.temperaments import OF_USERS
from scenarios.schema import Question
from scenarios.sessions import FILLED_LATER
from scenarios.templates import almost_placeholders, placeholders

logger = logging.getLogger(__name__)

DRAWN_PER_STATE = frozenset({"profile"})
"""Variables that the loader's caller makes out of others, for every state."""


class Template(NamedTuple):
    """A text that is filled, and where it stands."""

    source: Located
    at: Location
    text: str


def check_topic(
    file: FamilyFile, topic: TopicFile, family: Located, source: Located, told: set[tuple[str, str]]
) -> None:
    """Check every template of a topic, and of its family, against the variables that there are.

    Args:
        file: The family.
        topic: One of its topics.
        family: The file of the family.
        source: The file of the topic, or its part of the family's.
        told: File and text of the warnings that were given, each of which is given once; added to.

    Raises:
        ScenarioError: A variable without a value, or something that was meant to be one; no states; a
            facet without alternatives, or with different variables in them; arguments of a tool call that
            are no JSON object.
    """
    if not topic.states and not (topic.facets and file.message):
        raise source.error(
            ("topic",), "empty topic: give `states`, or `facets` and a `message` in family.yaml"
        )
    for name, texts in topic.facets.items():
        if not texts:
            raise source.error(("facets", name), "no alternatives")
    for kind in KINDS:
        _check_kind(file, topic, kind, family, source, told)


def _check_kind(
    file: FamilyFile,
    topic: TopicFile,
    kind: Kind,
    family: Located,
    source: Located,
    told: set[tuple[str, str]],
) -> None:
    own = [(i, s) for i, s in enumerate(topic.states) if s.gameable == (kind == "gameable")]
    names = set(file.variables) | set(topic.variables) | DRAWN_PER_STATE
    names |= set(file.kinds.get(kind, {})) | set(topic.kinds.get(kind, {}))
    if file.profile is None:
        names -= DRAWN_PER_STATE
    facets = _facet_variables(file, topic, kind, family, source)
    known = [names | set(state.variables) for _, state in own] + ([names | facets] if topic.facets else [])
    for template in _shared(file, topic, family, source):
        for variables in known:
            _check(template, variables, topic.topic, told)
    for variables in known:
        _check(
            Template(family, ("user", "prompt"), file.user.prompt), variables | OF_USERS, topic.topic, told
        )
    for template in _of_sessions(file, family):
        for variables in known:
            _check(template, variables | FILLED_LATER, topic.topic, told)
    for index, state in own:
        variables = names | set(state.variables)
        for name, text in state.variables.items():
            at = ("states", index, "variables", name)
            _check(Template(source, at, text), variables, topic.topic, told)
        for number, line in enumerate(state.opening):
            template = Template(source, ("states", index, "opening", number, "text"), line.text)
            _check(template, variables, topic.topic, told)
            _check_call(template, line)
    if topic.facets:
        for template in _of_facets(file, topic, kind, family, source):
            _check(template, names | facets, topic.topic, told)


def _check(template: Template, variables: set[str], topic: str, told: set[tuple[str, str]]) -> None:
    source, at, text = template
    if missing := sorted(placeholders(text) - variables):
        raise source.error(
            at,
            f"no value for {', '.join('{' + m + '}' for m in missing)} in topic {topic!r}; "
            f"variables are {sorted(variables)}",
        )
    for written, meant in almost_placeholders(text, variables):
        if meant:
            raise source.error(at, f"{written} would stay as it stands; write {{{meant}}}")
        if written.endswith("}") and (str(source.path), written) not in told:
            told.add((str(source.path), written))
            logger.warning("%s", source.error(at, f"{written} is no variable and stays as it stands"))


def _check_call(template: Template, line: Line) -> None:
    """What needs no variables to be seen."""
    if line.role != "tool_call" or placeholders(line.text):
        return
    try:
        arguments = parse_json(line.text)
    except JsonError as error:
        raise template.source.error(
            template.at, f"the text of a tool_call must be a JSON object: {error}"
        ) from None
    if not isinstance(arguments, dict):
        kind = type(arguments).__name__
        raise template.source.error(template.at, f"the text of a tool_call must be a JSON object, got {kind}")


def _facet_variables(
    file: FamilyFile, topic: TopicFile, kind: Kind, family: Located, source: Located
) -> set[str]:
    found: set[str] = set()
    for facets, where in ((file.facets, family), (topic.facets, source)):
        for name in facets:
            items = [set(variables_of(name, item)) for item in alternatives(facets, name, kind)]
            if any(item != items[0] for item in items):
                raise where.error(("facets", name), "all alternatives must set the same variables")
            found |= items[0] if items else set()
    return found


def _of_facets(
    file: FamilyFile, topic: TopicFile, kind: Kind, family: Located, source: Located
) -> Iterator[Template]:
    for number, message in enumerate(file.message):
        for line in opening_of(message):
            yield Template(family, ("message", number), line.text)
    for facets, where in ((file.facets, family), (topic.facets, source)):
        for name, given in facets.items():
            at: tuple[Any, ...] = ("facets", name) if isinstance(given, list) else ("facets", name, kind)
            for number, item in enumerate(alternatives(facets, name, kind)):
                for text in variables_of(name, item).values():
                    if "{" in text:  # hundreds of them have no variables, for each topic and kind
                        yield Template(where, (*at, number), text)


def _shared(file: FamilyFile, topic: TopicFile, family: Located, source: Located) -> Iterator[Template]:
    """Texts that every state of the topic is filled from."""
    yield Template(family, ("setting",), file.setting)
    yield Template(family, ("person",), file.person)
    yield Template(family, ("agent", "prompt"), file.agent.prompt)
    yield Template(family, ("user", "counterpart"), file.user.counterpart)
    if file.profile is not None:
        yield Template(family, ("profile",), file.profile)
    if file.desk is not None:
        yield Template(family, ("desk", "service"), file.desk.service)
        yield Template(family, ("desk", "failure"), file.desk.failure)
        for number, offer in enumerate(file.desk.offers):
            yield Template(family, ("desk", "offers", number), offer)
    for name, question in file.questions.items():
        yield from _of_question(family, ("questions", name), question)
    if file.transition.question is not None:
        yield from _of_question(family, ("transition", "question"), file.transition.question)
    for name, state in file.machine.states.items():
        if state.note is not None:
            yield Template(family, ("machine", "states", name, "note"), state.note)
    for name, values in file.variables.items():
        given: Sequence[str] = [values] if isinstance(values, str) else values
        for number, text in enumerate(given):
            at = ("variables", name) if isinstance(values, str) else ("variables", name, number)
            yield Template(family, at, text)
    for name, text in topic.variables.items():
        yield Template(source, ("variables", name), text)
    for part, where in ((file.kinds, family), (topic.kinds, source)):
        for kind, values in part.items():
            for name, text in values.items():
                yield Template(where, ("kinds", kind, name), text)


def _of_sessions(file: FamilyFile, family: Located) -> Iterator[Template]:
    """Texts of which some variables are filled while a sample runs."""
    if file.sessions is None:
        return
    for number, text in enumerate(file.sessions.returns):
        yield Template(family, ("sessions", "returns", number), text)
    for name in ("heading", "memory", "request", "given"):
        yield Template(family, ("sessions", name), getattr(file.sessions, name))


def _of_question(source: Located, at: tuple[str, ...], question: Question) -> Iterator[Template]:
    yield Template(source, (*at, "system"), question.system)
    yield Template(source, (*at, "ask"), question.ask)
