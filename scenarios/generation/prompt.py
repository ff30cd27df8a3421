"""What a model is asked when it is to write initial states: the fields, the examples, the prompt."""

import hashlib
import json
import random
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from inspect_ai.model import ChatMessage, ChatMessageSystem, ChatMessageUser, ResponseSchema
from inspect_ai.util import JSONSchema

from scenarios.family import Family, InitialState, Kind, Line, TopicFile, opening_of, variables_of
from scenarios.files.located_yaml import ScenarioError, read_front_matter, validated
from scenarios.people.temperaments import OF_USERS
from scenarios.samples import initial_states, pool_size, sample_of
from scenarios.schema import Frozen, Split
from scenarios.templates import fill, placeholders, resolve

PROMPT = Path(__file__).with_name("prompt.md")

EXAMPLES = 3
"""Initial states shown in each prompt."""

Shape = tuple[tuple[str, str | None], ...]
"""Role and tool of each message of an opening."""


class Prompt(Frozen):
    """The head of `prompt.md`, and its text."""

    system: str
    ask: str
    kinds: dict[Kind, str]
    """What is said of the people, by kind."""

    never: list[str]
    """Words that must not be in a state."""


class Pool(NamedTuple):
    """The initial states of one topic, kind of user and split."""

    topic: TopicFile
    kind: Kind
    split: Split

    @property
    def name(self) -> str:
        """For messages and keys: `smoking/gameable/train`."""
        return f"{self.topic.topic}/{self.kind}/{self.split}"

    @property
    def prefix(self) -> str:
        """What ids of new states begin with; their number follows."""
        return f"{self.topic.topic}-{self.kind}-{'h' if self.split == 'heldout' else ''}new"


class Request(NamedTuple):
    """One call: so many states of one pool."""

    pool: Pool
    number: int
    """From 0 within the pool."""

    asked: int
    fields: list[str]
    """Variables that each state of the answer must bring."""

    given: dict[str, str]
    """Variables that the prompt fixes for all states of the call."""

    messages: list[ChatMessage]
    schema: ResponseSchema

    @property
    def key(self) -> str:
        """Names the call within a run."""
        return f"{self.pool.name}#{self.number}"


@cache
def generation_prompt() -> Prompt:
    """The prompt, read once."""
    head, text = read_front_matter(PROMPT)
    return validated(Prompt, head._replace(data=head.data | {"system": text}))


def prompt_hash() -> str:
    """First 16 hex digits of the SHA-256 of the prompt's file."""
    return hashlib.sha256(PROMPT.read_bytes()).hexdigest()[:16]


def needed_variables(family: Family, topic: TopicFile, kind: Kind) -> list[str]:
    """Variables that a state must bring: texts that all states share use them, and nothing else sets them."""
    file = family.file
    shared = file.model_dump(exclude={"facets", "message", "variables", "kinds"})
    given: dict[str, Any] = {}
    for group in (file.variables, topic.variables, file.kinds.get(kind, {}), topic.kinds.get(kind, {})):
        given |= group
    if file.profile is not None:
        given["profile"] = file.profile
    needed: set[str] = set()
    waiting = set().union(*map(placeholders, _texts(shared)))
    while waiting:
        needed |= waiting
        met = [text for name in waiting if name in given for text in _texts(given[name])]
        waiting = set().union(*map(placeholders, met)) - needed
    order = [*_facet_variables(family, topic, kind), *sorted(needed - OF_USERS)]
    return [name for name in dict.fromkeys(order) if name in needed and name not in given]


def given_variables(family: Family, topic: TopicFile, kind: Kind) -> set[str]:
    """Variables that a call fixes: drawn from a list, or what must fit the tools or be balanced."""
    file = family.file
    used = set().union(*map(placeholders, _texts(file.desk.model_dump() if file.desk else {})))
    fixed = {name for name, value in file.variables.items() if not isinstance(value, str)}
    needed = set(needed_variables(family, topic, kind))
    for name, variables in _facets(family, topic, kind):
        if variables & used or name == file.balance:
            fixed |= variables & needed
    return fixed


def literal_state(
    family: Family, topic: TopicFile, state: InitialState, keep: Collection[str]
) -> InitialState:
    """`state` with its opening filled, and of its variables those in `keep`, filled too.

    Raises:
        ScenarioError: A template of the state cannot be filled.
    """
    variables = (sample_of(family, topic, state).metadata or {})["variables"]
    known = resolve(variables | state.variables)
    opening = [line.model_copy(update={"text": fill(line.text, known)}) for line in state.opening]
    return state.model_copy(
        update={"opening": opening, "variables": {name: known[name] for name in keep if name in known}}
    )


def opening_shapes(family: Family) -> list[Shape]:
    """Shapes of the openings that the family has, in the order of its files."""
    openings = [opening_of(message) for message in family.file.message]
    openings += [state.opening for topic in family.topics.values() for state in topic.states]
    return list(dict.fromkeys(shape_of(opening) for opening in openings))


def shape_of(opening: Iterable[Line]) -> Shape:
    """Role and tool of each line."""
    return tuple((line.role, line.tool) for line in opening)


def request_states(family: Family, pool: Pool, number: int, asked: int, words: range, key: str) -> Request:
    """The call that asks for `asked` states of `pool`; the same arguments always give the same one.

    Args:
        family: The family that the states are for.
        pool: Topic, kind of user, split. Examples come from the same kind and split.
        number: Of the call, from 0 within the pool.
        asked: How many states.
        words: Bounds of the length of the user's messages.
        key: Seeds the examples.

    Raises:
        ScenarioError: The family has no state of this kind and split to show as an example.
    """
    shown = _examples(family, pool, random.Random(f"{key}:{pool.name}:{number}"))
    fixed = given_variables(family, pool.topic, pool.kind)
    fields = [n for n in needed_variables(family, pool.topic, pool.kind) if n not in fixed]
    scenario = sample_of(family, pool.topic, shown[0]).metadata or {}
    drawn = shown[0].variables | scenario["variables"]
    given = {name: drawn[name] for name in sorted(fixed) if name in drawn}
    shapes = opening_shapes(family)
    tools = any(tool for shape in shapes for _, tool in shape)
    examples = [as_json(literal_state(family, pool.topic, state, fields), tools) for state in shown]
    parts = {
        **_about(family, pool, scenario),
        "given": _given_lines(given),
        "fields": ", ".join(fields) or "(none)",
        "shapes": " or ".join(", ".join(role for role, _ in shape) for shape in shapes[:6]),
        "min_words": str(words.start),
        "max_words": str(words.stop - 1),
        "examples": "\n".join(json.dumps(example, ensure_ascii=False) for example in examples),
        "never": ", ".join(generation_prompt().never),
        "form": _form(fields, shapes[0], tools),
    }
    messages: list[ChatMessage] = [
        ChatMessageSystem(content=fill(generation_prompt().system, parts)),
        ChatMessageUser(content=fill(generation_prompt().ask, {"count": str(asked)})),
    ]
    return Request(pool, number, asked, fields, given, messages, _schema(fields, tools))


def _about(family: Family, pool: Pool, scenario: Mapping[str, Any]) -> dict[str, str]:
    """What the people talk about and with whom, and what kind of people they are."""
    topic, kind, _ = pool
    variables = scenario["variables"]
    wishes = sorted({*family.file.kinds.get(kind, {}), *topic.kinds.get(kind, {})})
    return {
        "setting": scenario["setting"],
        "topic": "; ".join(
            [topic.topic.replace("_", " "), *(f"{n}: {variables[n]}" for n in topic.variables)]
        ),
        "kind": generation_prompt().kinds[kind],
        "wishes": "\n".join(variables[name] for name in wishes),
    }


def _form(fields: Iterable[str], shape: Shape, tools: bool) -> str:
    """The answer's form, for models whose provider does not impose it."""
    line = {"text": "..."}
    opening = [{"role": role} | line | ({"tool": tool or ""} if tools else {}) for role, tool in shape]
    return json.dumps({"states": [{"variables": dict.fromkeys(fields, "..."), "opening": opening}]})


def as_json(state: InitialState, tools: bool) -> dict[str, Any]:
    """A state in the form in which a model is to write it."""
    opening = [
        {"role": line.role, "text": line.text} | ({"tool": line.tool or ""} if tools else {})
        for line in state.opening
    ]
    return {"variables": state.variables, "opening": opening}


def instructions(family: Family, pool: Pool) -> list[str]:
    """Texts that describe the kind of user or the task, none of which may be found in a state."""
    kinds = family.file.kinds.get(pool.kind, {}) | pool.topic.kinds.get(pool.kind, {})
    prompt = generation_prompt()
    return [prompt.system, prompt.ask, prompt.kinds[pool.kind], *kinds.values()]


def _examples(family: Family, pool: Pool, rng: random.Random) -> list[InitialState]:
    """States of the same kind and split: of the topic if it has any, otherwise of the others."""
    topics = [pool.topic, *(t for t in family.topics.values() if t.topic != pool.topic.topic)]
    for topic in topics:
        if size := pool_size(family, topic, pool.kind, pool.split):
            indices = rng.sample(range(size), min(EXAMPLES, size))
            return list(initial_states(family, topic, pool.kind, pool.split, indices))
    raise ScenarioError(
        f"{family.origin}: no state of {pool.kind} users for {pool.split} in any topic, so there is no "
        "example to show; write one by hand first"
    )


def _given_lines(given: Mapping[str, str]) -> str:
    if not given:
        return ""
    lines = [f"- {name}: {text}" for name, text in given.items()]
    return "\n".join(["\nFixed for all of them, so that the openings must fit it:", *lines, ""])


def _schema(fields: Iterable[str], tools: bool) -> ResponseSchema:
    roles = ["user", "agent", "tool_call", "tool_result"] if tools else ["user", "agent"]
    line = {"role": JSONSchema(type="string", enum=roles), "text": JSONSchema(type="string")}
    if tools:
        line["tool"] = JSONSchema(type="string")
    state = {
        "variables": _object({name: JSONSchema(type="string") for name in fields}),
        "opening": JSONSchema(type="array", items=_object(line)),
    }
    states = JSONSchema(type="array", items=_object(state))
    return ResponseSchema(name="initial_states", json_schema=_object({"states": states}))


def _object(properties: dict[str, JSONSchema]) -> JSONSchema:
    return JSONSchema(
        type="object", properties=properties, required=list(properties), additionalProperties=False
    )


def _facets(family: Family, topic: TopicFile, kind: Kind) -> Iterator[tuple[str, set[str]]]:
    """Each facet with the variables that it sets."""
    for facets in (family.file.facets, topic.facets):
        for name, found in facets.items():
            items = found.get(kind, []) if isinstance(found, Mapping) else found
            yield name, {variable for item in items for variable in variables_of(name, item)}


def _facet_variables(family: Family, topic: TopicFile, kind: Kind) -> list[str]:
    return [variable for _, variables in _facets(family, topic, kind) for variable in sorted(variables)]


def _texts(value: Any) -> Iterator[str]:
    """Every string within `value`."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list | tuple | set | frozenset):
        for part in value:
            yield from _texts(part)
