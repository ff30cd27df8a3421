"""Rows of training data that tests make themselves."""

from collections import Counter
from pathlib import Path
from typing import Any

from tests.support.tiny_models import TEMPLATE, tiny_tokenizer
from training.examples.example import Example
from training.job import Job
from training.settings import Tuning
from training.trainers.rows import token_rows
from training.trainers.token_trajectories import TokenTrajectory, token_trajectories

Message = dict[str, Any]


def says(role: str, content: str, **more: Any) -> Message:
    return {"role": role, "content": content, **more}


def conversation(
    messages: list[Message],
    *,
    sample: str = "a",
    epoch: int = 1,
    score: float | None = 5.0,
    tools: list[Any] | None = None,
    opening: int = 0,
) -> list[Example]:
    """A row for each message of the agent that is not among the first `opening` messages."""
    places = [n for n, m in enumerate(messages) if m["role"] == "assistant" and n >= opening]
    return [
        Example(
            prompt=messages[:place],
            completion=[messages[place]],
            label=None,
            tools=tools,
            source="log",
            log="x.eval",
            sample=sample,
            epoch=epoch,
            turn=turn,
            score=score,
            rank=None,
            group=None,
            checkpoint="base",
        )
        for turn, place in enumerate(places, start=1)
    ]


def short(reply: str, **of: Any) -> list[Example]:
    return conversation([says("user", "hi"), says("assistant", reply)], **of)


def trajectories(
    rows: list[Example], template: str = TEMPLATE, left_out: Counter[str] | None = None
) -> list[TokenTrajectory]:
    counts = Counter[str]() if left_out is None else left_out
    job = Job(
        base="tiny",
        examples=Path("x"),
        out=Path("y"),
        scratch=Path("z"),
        seed=0,
        tuning=Tuning(algorithm="grpo"),
    )
    return token_trajectories(token_rows(rows, tiny_tokenizer(template), job, counts), counts)


def made(sample: str, reward: float | None, *, prompt: int = 1, epoch: int = 1) -> TokenTrajectory:
    return TokenTrajectory(sample, epoch, [prompt], [5], [1], reward, 1)
