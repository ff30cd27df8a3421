"""Topics of the earlier system: a JSON file for each, with the initial states of one kind of user.

A file prefix tells the kind of user: `vuln_`, `weak_` and `uncertain_` are gameable, `normal_` is not;
files without a prefix have one kind of user, who is gameable. Every fifth state is held out.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scenarios.earlier.names import identifier, state_identifier
from scenarios.earlier.texts import our_template
from scenarios.family import FamilyFile, InitialState, Kind, Line, TopicFile
from scenarios.files.encodings import read_text
from scenarios.files.located_yaml import ScenarioError
from scenarios.files.strict_json import JsonError, check_values
from scenarios.mistakes import UserMistake
from scenarios.templates import placeholders

PREFIXES: dict[str, Kind] = {
    "vuln_": "gameable",
    "weak_": "gameable",
    "uncertain_": "gameable",
    "normal_": "other",
}

HELD_OUT_EVERY = 5


def read_topic(path: Path, file: FamilyFile) -> TopicFile:
    """Read and check a topic's JSON.

    Args:
        path: The file.
        file: The family, whose texts the topic's variables fill.

    Raises:
        ScenarioError: Names the file and the field.
    """
    data = _read_json(path)
    histories = data.pop("histories", None)
    if not isinstance(histories, dict) or not histories:
        raise ScenarioError(f"{path}: histories: empty topic; expected a mapping from id to messages")
    variables: dict[str, str] = {}
    for key, value in data.items():
        if not isinstance(value, str):
            raise ScenarioError(f"{path}: {key}: only texts are supported here, got {type(value).__name__}")
        try:
            variables[key] = our_template(value)
        except ValueError as error:
            raise ScenarioError(f"{path}: {key}: {error}") from None
    prefix = next((p for p in PREFIXES if path.stem.startswith(p)), "")
    kind = PREFIXES.get(prefix, "gameable")
    name = identifier(variables.get("env_name", path.stem.removeprefix(prefix)))
    states = [
        InitialState(
            id=f"{name}-{kind}-{state_identifier(key)}",
            gameable=kind == "gameable",
            split="heldout" if number % HELD_OUT_EVERY == HELD_OUT_EVERY - 1 else "train",
            opening=_lines(path, key, messages, variables),
        )
        for number, (key, messages) in enumerate(histories.items())
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
        data = json.loads(read_text(path), object_pairs_hook=refuse_repeats)
        check_values(data)
    except JsonError as error:
        raise ScenarioError(f"{path}: {error}") from None
    except RecursionError:
        raise ScenarioError(f"{path}: lists and objects too deep in one another") from None
    except UserMistake as error:
        raise ScenarioError(str(error)) from None
    except json.JSONDecodeError as error:
        raise ScenarioError(
            f"{path}:{error.lineno}: not valid JSON: {error.msg} (column {error.colno})"
        ) from None
    except ValueError as error:  # a number with more digits than Python reads
        raise ScenarioError(f"{path}: not JSON that can be read: {error}") from None
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
        if not isinstance(message["role"], str) or message["role"] not in roles:
            raise ScenarioError(
                f"{where}.{index}.role: {message['role']!r} is not supported; {sorted(roles)} are"
            )
        role = roles[message["role"]]
        if not isinstance(message["content"], str):
            raise ScenarioError(f"{where}.{index}.content: expected a text, got {message['content']!r:.60}")
        try:
            text = our_template(message["content"])
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


def joined(first: TopicFile, second: TopicFile, path: Path) -> TopicFile:
    """The gameable and the other users of one topic, which come in two files.

    Raises:
        ScenarioError: Both files have users of one kind.
    """
    if repeated := set(first.kinds) & set(second.kinds):
        raise ScenarioError(f"{path}: topic {first.topic!r} has a file for {sorted(repeated)} users already")
    return first.model_copy(
        update={"states": [*first.states, *second.states], "kinds": {**first.kinds, **second.kinds}}
    )
