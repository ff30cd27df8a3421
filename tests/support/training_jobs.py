"""Jobs for the trainer on rows that tests make themselves."""

from pathlib import Path
from typing import Any

from scenarios.files.whole import write_jsonl
from training.job import Job
from training.settings import Tuning


def row(
    said: str, label: bool | None, *, state: str = "kim", epoch: int = 1, turn: int = 1, **more: Any
) -> dict:
    return {
        "prompt": [{"role": "user", "content": f"Hi, {state} here"}],
        "completion": [{"role": "assistant", "content": said}],
        "label": label,
        "tools": None,
        "source": "log",
        "log": "a.eval",
        "sample": state,
        "epoch": epoch,
        "turn": turn,
        "score": 9.0 if label else 1.0,
        "rank": 1 if label else 2,
        "group": state,
        "checkpoint": "base",
        **more,
    }


def rows_of(states: int) -> list[dict]:
    best = [row(f"yes, {n} times", True, state=f"s{n}", epoch=1) for n in range(states)]
    return best + [row(f"no, {n}", False, state=f"s{n}", epoch=2) for n in range(states)]


def job_of(base: Path, tmp_path: Path, name: str = "out", rows: list[dict] | None = None, **more: Any) -> Job:
    examples = tmp_path / f"{name}.jsonl"
    write_jsonl(examples, rows_of(8) if rows is None else rows)
    of_job = {k: more.pop(k) for k in ("start", "seed", "chat_template") if k in more}
    tuning = {"batch_size": 4, "learning_rate": 2e-4} | more
    return Job(
        base=str(base),
        examples=examples,
        out=tmp_path / name,
        scratch=tmp_path / f"{name}.scratch",
        tuning=Tuning(**tuning),
        **({"seed": 0} | of_job),
    )
