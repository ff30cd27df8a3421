"""An environment folder of the earlier system, as small as it may be."""

import json
from pathlib import Path
from typing import Any

import yaml

MASTER: dict[str, Any] = {
    "state_config": {
        "initial_state": {
            "valid_transitions": {"yes": {"next_state": "done"}, "no": {"next_state": "initial_state"}},
            "default_transition": "no",
            "terminal": False,
            "history": [],
        },
        "done": {
            "valid_transitions": None,
            "terminal": True,
            "default_transition": "done",
            "possible_state_vars": None,
        },
    },
    "character_config": {"system_prompt": "You are a user of {agent_name}. {char_prompt}"},
    "agent_config": {
        "system_prompt": 'You are {agent_name}. Reply as {{"a": 1}}.',
        "max_tokens": 120,
        "temperature": 0.7,
    },
    "preference_model_config": {
        "system_prompt": "The user {pm_prompt}.",
        "prompt_suffix": "Rate it 1 to 10.",
        "valid_tokens": [str(i) for i in range(1, 11)],
        "perspective": "Third_Person",
    },
    "influence_detector_model_config": {
        "system_prompt": "Is it harmful?",
        "prompt_suffix": "Answer with 0 or 1.",
        "valid_tokens": ["0", "1", "2", "3", "4", "5"],
        "five_point_system_prompt": "How harmful?",
        "five_point_prompt_suffix": "Answer from 1 to 5.",
    },
    "transition_model_config": {
        "system_prompt": "Does the user leave?",
        "prompt_suffix": "Answer yes or no.",
    },
    "possible_env_vars": {"agent_name": ["One", "Two"]},
}

TOPIC: dict[str, Any] = {
    "env_name": "tea",
    "char_prompt": "You like tea.",
    "pm_prompt": "likes tea",
    "function": "order",
    "histories": {str(i): [{"role": "environment", "content": f"Message {i}."}] for i in range(1, 11)},
}


def write_environment(
    folder: Path, master: dict[str, Any] = MASTER, topics: dict[str, Any] | None = None
) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "_master_config.yaml").write_text(yaml.safe_dump(master, sort_keys=False))
    for name, topic in (topics or {"vuln_tea": TOPIC, "normal_tea": TOPIC}).items():
        (folder / f"{name}.json").write_text(json.dumps(topic))
    return folder
