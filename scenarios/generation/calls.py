"""Calls of the model that writes states, and the working file in which every answer lands at once."""

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from inspect_ai.model import CachePolicy, GenerateConfig, Model
from tqdm import tqdm

from scenarios.files.located_yaml import ScenarioError
from scenarios.files.whole import write_text
from scenarios.generation.prompt import Request


class Answer(NamedTuple):
    """What the model said to one request."""

    text: str
    stopped: str
    """Why it stopped, as Inspect says it: `stop`, `max_tokens`, `content_filter` ..."""


class WorkingFile:
    """`<out>.partial.jsonl`: the run on its first line, then one answer per line, each written at once.

    A run that was killed finds its answers here; the last line may be torn and is then dropped.

    Args:
        path: The file.
        run: What identifies the run. An existing file must have been started by the same.
        begun: What the run has to remember of its beginning, used if the file is new.

    Raises:
        ScenarioError: The file belongs to a run with other settings, or is no working file.
    """

    def __init__(self, path: Path, run: dict[str, Any], begun: dict[str, Any]) -> None:
        self.path = path
        self.resumed = path.exists()
        if not self.resumed:
            write_text(path, json.dumps({"run": run, "begun": begun}) + "\n")
        self.begun, self._answers = self._stored_answers(run)

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, key: str) -> Answer | None:
        """The answer to the call `key`, if there is one."""
        return self._answers.get(key)

    def add(self, key: str, answer: Answer) -> None:
        """Keep an answer, on disk before this returns."""
        line = json.dumps({"call": key, "text": answer.text, "stopped": answer.stopped})
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._answers[key] = answer

    def _stored_answers(self, run: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Answer]]:
        self._drop_torn_line()
        try:
            # not `read_jsonl`: a model's answer may end in half a character
            first, *rest = [json.loads(line) for line in self.path.read_bytes().splitlines()]
            was, begun = first["run"], first["begun"]
            answers = {row["call"]: Answer(row["text"], row["stopped"]) for row in rest}
        except (ValueError, KeyError, TypeError) as error:
            raise ScenarioError(
                f"{self.path}: is no working file of this command ({error}); move it away"
            ) from None
        differs = [name for name in {**was, **run} if was.get(name) != run.get(name)]
        if differs:
            changes = "; ".join(f"{n}={was.get(n)!r}, now {run.get(n)!r}" for n in differs)
            raise ScenarioError(
                f"{self.path}: an unfinished run was started with {changes}. Pass the same to finish it, "
                "choose another --out, or delete that file to give its answers up"
            )
        return begun, answers

    def _drop_torn_line(self) -> None:
        content = self.path.read_bytes()
        if content and not content.endswith(b"\n"):
            with self.path.open("r+b") as file:
                file.truncate(content.rfind(b"\n") + 1)


async def answers_to(
    requests: Sequence[Request],
    model: Model,
    work: WorkingFile,
    *,
    config: GenerateConfig,
    scope: str,
    title: str,
) -> list[Answer]:
    """The answers to `requests`, in their order; only what the working file lacks is asked.

    Args:
        requests: The calls.
        model: Asked through Inspect, which retries and caches.
        work: Where answers are kept as they come.
        config: For generation; `response_schema` is set from each request.
        scope: Separates this run's calls in Inspect's cache from those of other runs.
        title: Of the progress bar.

    Raises:
        ScenarioError: A call failed for good. Answers that came before are kept.
    """
    waiting = [request for request in requests if work.get(request.key) is None]
    done = len(requests) - len(waiting)
    with tqdm(total=len(requests), initial=done, desc=title, unit="call", leave=False) as bar:
        try:
            async with asyncio.TaskGroup() as group:
                for request in waiting:
                    group.create_task(_ask(request, model, work, config, scope, bar))
        except ExceptionGroup as failed:
            first = failed.exceptions[0]
            raise ScenarioError(
                f"{model}: {type(first).__name__}: {first}. {len(work)} answers are kept in {work.path}: the "
                "same command goes on from there. Providers that refuse a response schema: --structured false"
            ) from first
    return [answer for request in requests if (answer := work.get(request.key)) is not None]


async def _ask(
    request: Request, model: Model, work: WorkingFile, config: GenerateConfig, scope: str, bar: tqdm
) -> None:
    own = config if config.response_schema is None else config.merge({"response_schema": request.schema})
    cache = CachePolicy(expiry=None, scopes={"generate": f"{scope}:{request.key}"})
    output = await model.generate(request.messages, config=own, cache=cache)
    work.add(request.key, Answer(output.completion, str(output.stop_reason)))
    bar.update()
