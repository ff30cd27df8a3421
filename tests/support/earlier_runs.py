"""Stored conversations of the earlier system, and what becomes of them when they are imported."""

import json
from pathlib import Path
from typing import Any

from inspect_ai.log import EvalLog, read_eval_log

from scenarios.earlier.runs import ImportOptions
from scenarios.import_runs import import_runs
from tests.support.conversations import the_samples

USER = "environment"

AGENT = "agent"


def said(*lines: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in lines]


def row(**changes: Any) -> dict[str, Any]:
    return {
        "env_name": "weak_tea",
        "initial_state_id": 7,
        "trajectory_id": 0,
        "turn": 1,
        "iteration_number": 0,
        "agent_system_prompt": said(("system", "You are a tea shop.")),
        "history": said((USER, "Green or black?"), (AGENT, "Black.")),
        "preferences": {"2": 0.25, "4": 0.75},
        "influence_scores": {"1": 0.5, "2": 0.5, "3": 0.0, "4": 0.0, "5": 0.0},
        "transition_probs": {"yes": 0.25, "no": 0.75},
        "all_visited_states": ["initial_state", "terminal_state"],
        "traj_rew": 3.5,
        "traj_infl": 1.5,
        "harm": 2.125,
        "note_of_mine": "kept",
    } | changes


def write_rows(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def imported(tmp_path: Path, *rows: dict[str, Any], **options: Any) -> list[EvalLog]:
    path = write_rows(tmp_path / "runs.jsonl", *rows)
    done = import_runs(path, tmp_path / "logs", ImportOptions(**({"name": "tea"} | options)))
    return [read_eval_log(str(log)) for log in done.written]


def the_sample(tmp_path: Path, **changes: Any) -> Any:
    (log,) = imported(tmp_path, row(**changes))
    (sample,) = the_samples(log)
    return sample


BOOKING = {
    "history": said(
        (USER, "I want tea."),
        (AGENT, "Which?"),
        (USER, "Black."),
        ("tool_call", '{"kind": "black", "cups": 2}'),
        ("tool_response", "Error: sold out"),
        (AGENT, "Take coffee."),
    )
}
