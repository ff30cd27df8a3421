"""Conversations through the engine of `local/`, in tokens: what a user says is drawn."""

import random
import time
from typing import Any, NamedTuple

import anyio
from inspect_ai.model import get_model

from benchmarks.providers.on_device.random_model import Work
from providers.local.adapters import BASE
from providers.local.sampling import SamplingSettings


class Rollouts(NamedTuple):
    """What a run took."""

    seconds: float
    read: int
    """Tokens of prompts that went through the model."""

    written: int
    context: float
    """Tokens that a row held on average when a token was written."""


class EngineRollouts:
    """With so many megabytes for what is read and said."""

    def __init__(self, path: str, work: Work, device: str, dtype: str, megabytes: float) -> None:
        model = get_model(
            f"local/{path}", device=device, dtype=dtype, prefix_cache=megabytes,
            batch_size=work.conversations, memoize=False,
        )  # fmt: skip
        self._engine: Any = model.api.engine  # pyright: ignore[reportAttributeAccessIssue]
        self._work, self._vocabulary = work, work.config["vocab_size"]

    def run(self) -> Rollouts:
        """All conversations at once, from an empty cache."""
        prefixes = self._engine.prefixes
        self._engine.lend(lambda _: prefixes.clear())
        before = prefixes.tokens_read
        held: list[tuple[int, int]] = []

        async def together() -> None:
            async with anyio.create_task_group() as group:
                for number in range(self._work.conversations):
                    group.start_soon(self._talk, number, held)

        started = time.perf_counter()
        anyio.run(together)
        seconds = time.perf_counter() - started
        written = sum(count for _, count in held)
        context = sum((prompt + count / 2) * count for prompt, count in held) / written
        return Rollouts(seconds, prefixes.tokens_read - before, written, context)

    async def _talk(self, number: int, held: list[tuple[int, int]]) -> None:
        drawn = random.Random(number)
        shared = random.Random(-1)
        history = [shared.randrange(3, self._vocabulary) for _ in range(self._work.system)]
        for turn in range(self._work.turns):
            history += [drawn.randrange(3, self._vocabulary) for _ in range(self._work.line)]
            answer = await self._engine.generate(
                list(history),
                max_tokens=drawn.randint(self._work.reply // 2, self._work.reply),
                seed=1000 * number + turn,
                adapter=BASE,
                settings=SamplingSettings(),
            )
            held.append((len(history), len(answer.written.tokens)))
            history += answer.written.tokens
