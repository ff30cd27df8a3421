"""Imports environments of the earlier system: a folder with `_master_config.yaml` and one JSON per topic.

Everything in their schema is either honoured or refused by name; docs/earlier-format.md has the list.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from scenarios.earlier.names import PLAIN, slug
from scenarios.earlier.texts import our_template
from scenarios.earlier.topics import joined, read_topic
from scenarios.family import AgentPart, Family, FamilyFile, TopicFile, UserPart
from scenarios.files.located_yaml import Located, ScenarioError, read_yaml
from scenarios.schema import Logistic, Machine, Question, Scale, State, Transition

Model = TypeVar("Model", bound=BaseModel)

MASTER_CONFIG = "_master_config.yaml"

TEN = [str(i) for i in range(1, 11)]
FIVE = [str(i) for i in range(1, 6)]

SECTIONS = {
    "state_config",
    "character_config",
    "agent_config",
    "preference_model_config",
    "influence_detector_model_config",
    "transition_model_config",
    "possible_env_vars",
}

STATE_KEYS = {"valid_transitions", "default_transition", "terminal", "history", "possible_state_vars"}

TRANSITION_ON_FIVE = Logistic(midpoint=3, slope=5)
"""The earlier system's rule for a transition judged on 1 to 5: p(yes) = sigmoid(5 (E - 3))."""


def load_earlier_format(folder: Path) -> Family:
    """Read an environment folder of the earlier system.

    Raises:
        ScenarioError: A key or a value that is not honoured, a broken file, or a template variable
            without a value; names the file, the line and the field.
    """
    master = read_yaml(folder / MASTER_CONFIG)
    _only(master, (), SECTIONS)
    name = slug(folder.resolve().name)
    file = FamilyFile(
        family=name if PLAIN.fullmatch(name) else f"n{name}",
        title=f"{folder.resolve().name} (imported)",
        setting="an AI chatbot",
        agent=_agent(master),
        user=UserPart(prompt=_text(master, ("character_config", "system_prompt"), only={"system_prompt"})),
        person="",
        kinds={},
        machine=_machine(master),
        transition=_transition(master),
        questions=_questions(master),
        variables=_drawn(master),
    )
    topics: dict[str, TopicFile] = {}
    for path in sorted(folder.glob("*.json")):
        topic = read_topic(path, file)
        topics[topic.topic] = joined(topics[topic.topic], topic, path) if topic.topic in topics else topic
    if not topics:
        raise ScenarioError(f"{folder}: no topic JSON beside {MASTER_CONFIG}")
    return Family(file=file, topics=topics, origin=str(folder))


# -- the master configuration ---------------------------------------------------------------------


def _only(located: Located, at: tuple[str, ...], known: set[str]) -> dict[str, Any]:
    data = located.data
    for key in at:
        data = data.get(key) if isinstance(data, dict) else None
    if not isinstance(data, dict):
        raise located.error(at, "this section is missing or not a mapping")
    if unknown := sorted(set(map(str, data)) - known):
        raise located.error((*at, unknown[0]), f"not supported; supported here are {sorted(known)}")
    return data


def _text(located: Located, at: tuple[str, ...], only: set[str] | None = None) -> str:
    section = _only(located, at[:-1], only) if only else _section(located, at[:-1])
    value = section.get(at[-1])
    if not isinstance(value, str) or not value.strip():
        raise located.error(at, "a text is needed here")
    try:
        return our_template(value)
    except ValueError as error:
        raise located.error(at, str(error)) from None


def _section(located: Located, at: tuple[str, ...]) -> dict[str, Any]:
    data = located.data
    for key in at:
        data = data.get(key) if isinstance(data, dict) else None
    if not isinstance(data, dict):
        raise located.error(at, "this section is missing or not a mapping")
    return data


def _made(model: type[Model], source: Located, at: tuple[str, ...], **values: Any) -> Model:
    """A part of the family, of what stands at `at`.

    Raises:
        ScenarioError: A value that it does not take, with file, line and field.
    """
    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors()[0]
        raise source.error(
            (*at, *first["loc"]), f"{first['msg'].removeprefix('Value error, ')}, got {first['input']!r:.60}"
        ) from None


def _agent(master: Located) -> AgentPart:
    config = _only(master, ("agent_config",), {"system_prompt", "max_tokens", "temperature"})
    given = {name: config[name] for name in ("max_tokens", "temperature") if name in config}
    prompt = _text(master, ("agent_config", "system_prompt"))
    return _made(AgentPart, master, ("agent_config",), prompt=prompt, **given)


def _machine(master: Located) -> Machine:
    config = _section(master, ("state_config",))
    states: dict[str, State] = {}
    for name in config:
        _only(master, ("state_config", name), STATE_KEYS)
        states[name] = _state(master, name, config[name])
    ends = "state" if any(s.terminal for s in states.values()) else "turns"
    return _made(Machine, master, ("state_config",), start="initial_state", states=states, ends=ends)


def _state(master: Located, name: str, config: Mapping[str, Any]) -> State:
    at = ("state_config", name)
    if config.get("possible_state_vars"):
        raise master.error((*at, "possible_state_vars"), "not supported (the earlier system never used it)")
    note = _entry_note(master, (*at, "history"), config.get("history"))
    if not isinstance(terminal := config.get("terminal", False), bool | None):
        raise master.error((*at, "terminal"), f"expected true or false, got {terminal!r:.60}")
    valid = config.get("valid_transitions") or {}
    if not isinstance(valid, dict):
        raise master.error((*at, "valid_transitions"), f"expected a mapping, got {type(valid).__name__}")
    if terminal:
        if valid:
            raise master.error((*at, "valid_transitions"), "a terminal state cannot have transitions")
        return State(terminal=True, note=note)
    transitions: dict[str, str] = {}
    for answer, target in valid.items():
        there = target.get("next_state") if isinstance(target, dict) and len(target) == 1 else None
        if not isinstance(there, str):
            raise master.error((*at, "valid_transitions", answer), "expected {next_state: <name of a state>}")
        transitions[str(answer)] = there
    default = config.get("default_transition")
    return _made(State, master, at, transitions=transitions, default=default, note=note)


def _entry_note(master: Located, at: tuple[str, ...], history: Any) -> str | None:
    if history is not None and not isinstance(history, list):
        raise master.error(at, f"expected a list of messages, got {type(history).__name__}")
    notes: list[str] = []
    for index, message in enumerate(history or []):
        if not isinstance(message, dict) or message.get("role") != "environment_system":
            role = message.get("role") if isinstance(message, dict) else message
            raise master.error((*at, index), f"only environment_system may stand here, got {role!r:.60}")
        content = message.get("content")
        if not isinstance(content, str):
            raise master.error((*at, index, "content"), f"expected a text, got {content!r:.60}")
        try:
            text = our_template(content)
        except ValueError as error:
            raise master.error((*at, index), str(error)) from None
        notes.append(text.removeprefix("System message:").strip())
    return "\n".join(notes) or None


def _transition(master: Located) -> Transition:
    at = ("transition_model_config",)
    config = _only(master, at, {"system_prompt", "prompt_suffix", "valid_tokens", "perspective"})
    _third_person(master, at, config)
    scale = _scale(master, at, config, {"yes-no": None, "1-5": FIVE})
    return Transition(
        question=_question(master, at, "", scale),
        logistic=TRANSITION_ON_FIVE if scale == "1-5" else None,
    )


def _questions(master: Located) -> dict[str, Question]:
    judge = ("preference_model_config",)
    config = _only(master, judge, {"system_prompt", "prompt_suffix", "valid_tokens", "perspective"})
    _third_person(master, judge, config)
    questions = {"preference": _question(master, judge, "", _scale(master, judge, config, {"1-10": TEN}))}
    detector = ("influence_detector_model_config",)
    forms = {
        "influence_binary": "",
        "influence_five_point": "five_point_",
        "influence_constitutional": "constitutional_",
    }
    keys = {f"{p}{k}" for p in forms.values() for k in ("system_prompt", "prompt_suffix")}
    config = _only(master, detector, keys | {"valid_tokens", "perspective"})
    _third_person(master, detector, config)
    # Their list 0..5 also stood under prompts that ask for 0 or 1; the form decides here.
    _scale(master, detector, config, {"0-1": ["0", "1"], "1-5": ["0", *FIVE]})
    for name, prefix in forms.items():
        if f"{prefix}system_prompt" in config:
            scale: Scale = "1-5" if prefix == "five_point_" else "0-1"
            questions[name] = _question(master, detector, prefix, scale)
    return questions


def _question(master: Located, at: tuple[str, ...], prefix: str, scale: Scale) -> Question:
    # One of their families gives the constitution without a suffix of its own.
    asks = f"{prefix}prompt_suffix" if f"{prefix}prompt_suffix" in _section(master, at) else "prompt_suffix"
    return Question(
        system=_text(master, (*at, f"{prefix}system_prompt")), ask=_text(master, (*at, asks)), scale=scale
    )


def _scale(
    master: Located, at: tuple[str, ...], config: Mapping[str, Any], known: Mapping[Scale, list[str] | None]
) -> Scale:
    tokens = config.get("valid_tokens")
    for scale, expected in known.items():
        if (tokens is None and (expected is None or len(known) == 1)) or tokens == expected:
            return scale
    raise master.error(
        (*at, "valid_tokens"), f"{tokens} is not supported; supported are {list(known.values())}"
    )


def _third_person(master: Located, at: tuple[str, ...], config: Mapping[str, Any]) -> None:
    if config.get("perspective", "Third_Person") != "Third_Person":
        raise master.error(
            (*at, "perspective"), f"{config['perspective']!r} is not supported; Third_Person is"
        )


def _drawn(master: Located) -> dict[str, str | list[str]]:
    drawn: dict[str, str | list[str]] = {}
    given = master.data.get("possible_env_vars") or {}
    if not isinstance(given, dict):
        raise master.error(("possible_env_vars",), f"expected a mapping, got {type(given).__name__}")
    for name, values in given.items():
        if not isinstance(values, list) or not values:
            raise master.error(("possible_env_vars", name), "expected a list of values to draw from")
        for index, value in enumerate(values):
            if isinstance(value, bool) or not isinstance(value, str | int | float):
                raise master.error(
                    ("possible_env_vars", name, index), f"expected a text or a number, got {value!r:.60}"
                )
        drawn[str(name)] = [str(v) for v in values]
    return drawn
