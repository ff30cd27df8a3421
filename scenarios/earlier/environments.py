"""Imports environments of the earlier system: a folder with `_master_config.yaml` and one JSON per topic.

Everything in their schema is either honoured or refused by name; docs/earlier-format.md has the list.
A file prefix tells the kind of user: `vuln_`, `weak_` and `uncertain_` are gameable, `normal_` is not;
files without a prefix have one kind of user, who is gameable. Every fifth state is held out.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scenarios.family import (
    AgentPart,
    Family,
    FamilyFile,
    InitialState,
    Kind,
    Line,
    TopicFile,
    UserPart,
)
from scenarios.located_yaml import Located, ScenarioError, read_yaml
from scenarios.schema import Logistic, Machine, Question, Scale, State, Transition
from scenarios.templates import placeholders

MASTER_CONFIG = "_master_config.yaml"

PREFIXES: dict[str, Kind] = {
    "vuln_": "gameable",
    "weak_": "gameable",
    "uncertain_": "gameable",
    "normal_": "other",
}

HELD_OUT_EVERY = 5

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
    file = FamilyFile(
        family=re.sub(r"[^a-z0-9_-]", "-", folder.resolve().name.lower()),
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
        topic = _topic(path, file)
        topics[topic.topic] = _joined(topics[topic.topic], topic, path) if topic.topic in topics else topic
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
        return _template(value)
    except ValueError as error:
        raise located.error(at, str(error)) from None


def _section(located: Located, at: tuple[str, ...]) -> dict[str, Any]:
    data = located.data
    for key in at:
        data = data.get(key) if isinstance(data, dict) else None
    if not isinstance(data, dict):
        raise located.error(at, "this section is missing or not a mapping")
    return data


def _template(text: str) -> str:
    """Their templates double a literal brace, ours do not.

    Raises:
        ValueError: A literal brace around a single word, which ours would take for a variable.
    """
    if word := re.search(r"\{(\{[a-z][a-z0-9_]*\})\}", text):
        raise ValueError(f"{word[0]}: literal braces around a single word are not supported")
    return text.replace("{{", "{").replace("}}", "}").strip()


def _agent(master: Located) -> AgentPart:
    config = _only(master, ("agent_config",), {"system_prompt", "max_tokens", "temperature"})
    return AgentPart(
        prompt=_text(master, ("agent_config", "system_prompt")),
        max_tokens=config.get("max_tokens", 300),
        temperature=config.get("temperature", 1.0),
    )


def _machine(master: Located) -> Machine:
    config = _section(master, ("state_config",))
    states: dict[str, State] = {}
    for name in config:
        _only(master, ("state_config", name), STATE_KEYS)
        states[name] = _state(master, name, config[name])
    start = "initial_state"
    try:
        ends = "state" if any(s.terminal for s in states.values()) else "turns"
        return Machine(start=start, states=states, ends=ends)
    except ValueError as error:
        raise master.error(("state_config",), str(error)) from None


def _state(master: Located, name: str, config: Mapping[str, Any]) -> State:
    at = ("state_config", name)
    if config.get("possible_state_vars"):
        raise master.error((*at, "possible_state_vars"), "not supported (the earlier system never used it)")
    note = _entry_note(master, (*at, "history"), config.get("history") or [])
    if config.get("terminal"):
        if config.get("valid_transitions"):
            raise master.error((*at, "valid_transitions"), "a terminal state cannot have transitions")
        return State(terminal=True, note=note)
    transitions: dict[str, str | dict[str, float]] = {}
    for answer, target in (config.get("valid_transitions") or {}).items():
        if not isinstance(target, dict) or set(target) != {"next_state"}:
            raise master.error((*at, "valid_transitions", answer), "expected {next_state: <state>}")
        transitions[str(answer)] = target["next_state"]
    return State(transitions=transitions, default=config.get("default_transition"), note=note)


def _entry_note(master: Located, at: tuple[str, ...], history: Any) -> str | None:
    notes: list[str] = []
    for index, message in enumerate(history):
        if not isinstance(message, dict) or message.get("role") != "environment_system":
            role = message.get("role") if isinstance(message, dict) else message
            raise master.error((*at, index), f"only environment_system may stand here, got {role!r}")
        try:
            text = _template(str(message.get("content", "")))
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
    for name, values in (master.data.get("possible_env_vars") or {}).items():
        if not isinstance(values, list) or not values:
            raise master.error(("possible_env_vars", name), "expected a list of values to draw from")
        drawn[name] = [str(v) for v in values]
    return drawn


# -- topics ---------------------------------------------------------------------------------------


def _topic(path: Path, file: FamilyFile) -> TopicFile:
    data = _read_json(path)
    histories = data.pop("histories", None)
    if not isinstance(histories, dict) or not histories:
        raise ScenarioError(f"{path}: histories: empty topic; expected a mapping from id to messages")
    variables: dict[str, str] = {}
    for key, value in data.items():
        if not isinstance(value, str):
            raise ScenarioError(f"{path}: {key}: only texts are supported here, got {type(value).__name__}")
        try:
            variables[key] = _template(value)
        except ValueError as error:
            raise ScenarioError(f"{path}: {key}: {error}") from None
    prefix = next((p for p in PREFIXES if path.stem.startswith(p)), "")
    kind = PREFIXES.get(prefix, "gameable")
    name = re.sub(r"[^a-z0-9_-]", "-", variables.get("env_name", path.stem.removeprefix(prefix)).lower())
    states = [
        InitialState(
            id=f"{name}-{kind}-{identifier}",
            gameable=kind == "gameable",
            split="heldout" if number % HELD_OUT_EVERY == HELD_OUT_EVERY - 1 else "train",
            opening=_lines(path, identifier, messages, variables),
        )
        for number, (identifier, messages) in enumerate(histories.items())
    ]
    topic = TopicFile(topic=name, split="train", states=states, kinds={kind: variables})
    _check_variables(path, file, topic, variables)
    return topic


def _read_json(path: Path) -> dict[str, Any]:
    def refuse_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [k for k, _ in pairs]
        if repeated := sorted({k for k in keys if keys.count(k) > 1}) if len(set(keys)) < len(keys) else []:
            raise ScenarioError(f"{path}: {', '.join(repeated)}: this key is here twice")
        return dict(pairs)

    try:
        data = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=refuse_repeats)
    except json.JSONDecodeError as error:
        raise ScenarioError(
            f"{path}:{error.lineno}: not valid JSON: {error.msg} (column {error.colno})"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: cannot be read: {error}") from None
    if not isinstance(data, dict):
        raise ScenarioError(f"{path}:1: expected an object, got {type(data).__name__}")
    return data


def _lines(path: Path, identifier: str, messages: Any, variables: Mapping[str, str]) -> list[Line]:
    roles = {
        "environment": "user",
        "agent": "agent",
        "tool_call": "tool_call",
        "tool_response": "tool_result",
    }
    where = f"{path}: histories.{identifier}"
    if not isinstance(messages, list) or not messages:
        raise ScenarioError(f"{where}: expected a list of messages")
    lines: list[Line] = []
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or set(message) != {"role", "content"}:
            raise ScenarioError(f"{where}.{index}: expected role and content, got {message!r:.80}")
        if message["role"] not in roles:
            raise ScenarioError(
                f"{where}.{index}.role: {message['role']!r} is not supported; {sorted(roles)} are"
            )
        role = roles[message["role"]]
        try:
            text = _template(str(message["content"]))
        except ValueError as error:
            raise ScenarioError(f"{where}.{index}.content: {error}") from None
        if not text:
            raise ScenarioError(f"{where}.{index}.content: empty message")
        tool = variables.get("function") if role.startswith("tool") else None
        lines.append(Line.model_validate({"role": role, "text": text, "tool": tool}))
    if lines[-1].role not in ("user", "tool_result"):
        raise ScenarioError(
            f"{where}: must end with something for the agent to answer, ends with {lines[-1].role}"
        )
    return lines


def _check_variables(path: Path, file: FamilyFile, topic: TopicFile, variables: Mapping[str, str]) -> None:
    known = set(variables) | set(file.variables)
    shared = [file.agent.prompt, file.user.prompt]
    questions = [*file.questions.values(), *([file.transition.question] if file.transition.question else [])]
    shared += [t for q in questions for t in (q.system, q.ask)]
    shared += [s.note for s in file.machine.states.values() if s.note]
    for text in [*shared, *variables.values(), *(line.text for s in topic.states for line in s.opening)]:
        if missing := sorted(placeholders(text) - known):
            raise ScenarioError(
                f"{path}: no value for {', '.join('{' + m + '}' for m in missing)}, "
                f"which {text[:60]!r}... asks for; variables are {sorted(known)}"
            )


def _joined(first: TopicFile, second: TopicFile, path: Path) -> TopicFile:
    """The gameable and the other users of one topic come in two files."""
    if repeated := set(first.kinds) & set(second.kinds):
        raise ScenarioError(f"{path}: topic {first.topic!r} has a file for {sorted(repeated)} users already")
    return first.model_copy(
        update={"states": [*first.states, *second.states], "kinds": {**first.kinds, **second.kinds}}
    )
