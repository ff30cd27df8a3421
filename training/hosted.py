"""Fine-tunes at OpenAI on a file that `training/export.py` wrote, for as long as that is possible.

    OPENAI_API_KEY=... python training/hosted.py train.jsonl --model gpt-4.1-mini-2025-04-14

OpenAI takes no new fine-tuning jobs from 6 January 2027 on, and shuts down the models that can be fine-tuned,
with what was made of them, on 14 January 2027 (developers.openai.com/api/docs/deprecations).

What was uploaded and which job was created is written to a file before anything is waited for: a command
that was killed goes on with the same job and does not pay twice. The API key is read from the environment
and written nowhere.
"""

import hashlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import openai
from openai.types.fine_tuning import FineTuningJob
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scenarios.command_line import read_settings
from scenarios.files.located_yaml import ScenarioError
from scenarios.files.strict_json import read_jsonl
from scenarios.files.whole import write_json
from scenarios.schema import Frozen
from training.policies import RunError

KEY = "OPENAI_API_KEY"

SLOWEST_POLL = 300.0
"""Seconds between two questions at most."""

FAILURES = 10
"""Questions in a row that may go unanswered before waiting is given up."""

TRANSIENT = (openai.APIConnectionError, openai.RateLimitError, openai.InternalServerError)


class Options(Frozen):
    """Options of the command."""

    examples: Path = Field(description="file in OpenAI's format; may be given without the flag")
    model: str = Field(description="model to fine-tune, e.g. gpt-4.1-mini-2025-04-14")
    record: Path | None = Field(None, description="record of the job; by default <examples>.job.json")
    suffix: str | None = Field(None, description="put into the name of the new model")
    seed: int = Field(0, description="of the job")
    passes: int | None = Field(
        None, ge=1, description="epochs over the examples; the service's choice if not given"
    )
    batch_size: int | None = Field(
        None, ge=1, description="examples per step; the service's choice if not given"
    )
    learning_rate_multiplier: float | None = Field(
        None, gt=0, description="of the service's learning rate; its choice if not given"
    )
    base_url: str | None = Field(None, description="of a service with the same API")
    poll: float = Field(
        10.0, gt=0, description="seconds until the first question; then half as long again each time"
    )


class HostedError(RunError):
    """The job could not be created, or did not succeed."""


class Record(BaseModel):
    """What is known of a job, on disk."""

    model_config = ConfigDict(extra="forbid")

    asked: dict[str, Any]
    """What was asked for: service, model, method, seed, suffix, SHA-256 of the examples."""

    file: str | None = None
    """Id of the uploaded file."""

    uploaded_at: int | None = None
    """Unix time, the service's."""

    job: str | None = None
    fine_tuned_model: str | None = None


def fine_tune(options: Options, *, sleep: Callable[[float], object] = time.sleep) -> str:
    """Fine-tune, or go on waiting for the job that an earlier call created.

    Args:
        options: What to train, and on what.
        sleep: Waits for so many seconds.

    Returns:
        Name of the new model at the service; `openai/<name>` for Inspect.

    Raises:
        HostedError: No API key; a file in another format; a record of another job; a service that refuses;
            a job that failed or was cancelled, with the service's reason.
    """
    if not os.environ.get(KEY):
        raise HostedError(f"no API key: set {KEY} in the environment")
    client = openai.OpenAI(base_url=options.base_url)
    asked = _asked(options, str(client.base_url))
    path = options.record or options.examples.with_name(options.examples.name + ".job.json")
    record = _record(path, asked)
    if record.fine_tuned_model is not None:
        return record.fine_tuned_model
    try:
        if record.job is None:
            _create(client, options, record, path)
        assert record.job is not None
        job = _finished(client, record.job, options.poll, sleep)
    except openai.OpenAIError as error:
        raise HostedError(f"{_told(error)}; the same command goes on with what is in {path}") from None
    if job.status != "succeeded" or job.fine_tuned_model is None:
        raise HostedError(f"job {job.id} {_outcome(job)}; to start another one delete {path}")
    record.fine_tuned_model = job.fine_tuned_model
    write_json(path, record.model_dump())
    return job.fine_tuned_model


def _asked(options: Options, service: str) -> dict[str, Any]:
    return {
        "service": service,
        "model": options.model,
        "suffix": options.suffix,
        "seed": options.seed,
        "method": _method(options),
        "examples_sha256": hashlib.sha256(options.examples.read_bytes()).hexdigest(),
    }


def _method(options: Options) -> dict[str, Any]:
    """The service's `method`, by what the file holds."""
    kind = _kind(options.examples)
    given = {
        "n_epochs": options.passes,
        "batch_size": options.batch_size,
        "learning_rate_multiplier": options.learning_rate_multiplier,
    }
    return {"type": kind, kind: {"hyperparameters": {k: v for k, v in given.items() if v is not None}}}


def _kind(path: Path) -> Literal["supervised", "dpo"]:
    if not path.exists():
        raise HostedError(f"{path}: no such file; write one with training/export.py")
    try:
        rows = read_jsonl(path)
    except ValueError as error:
        raise HostedError(str(error)) from None
    kinds = {k for row in rows for k in ("messages", "input") if isinstance(row, dict) and k in row}
    if len(kinds) != 1 or any("prompt" in row or "label" in row for row in rows):
        raise HostedError(
            f"{path}: not in OpenAI's format; write it with training/export.py, "
            "--format openai_sft or openai_dpo"
        )
    return "supervised" if kinds == {"messages"} else "dpo"


def _record(path: Path, asked: dict[str, Any]) -> Record:
    if not path.exists():
        return Record(asked=asked)
    try:
        record = Record.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise HostedError(f"{path}: not a record of a job: {error}; name another --record") from None
    different = sorted(k for k in asked if record.asked.get(k) != asked[k])
    if different:
        raise HostedError(
            f"{path}: belongs to a job with another {', '.join(different)}; "
            "name another --record, or delete it"
        )
    return record


def _create(client: openai.OpenAI, options: Options, record: Record, path: Path) -> None:
    """Upload and create, each written to the record as soon as the service has answered."""
    known = _job_of_file(client, record) if record.file is not None else None
    if record.file is None:
        with options.examples.open("rb") as file:
            uploaded = client.files.create(file=file, purpose="fine-tune")
        record.file, record.uploaded_at = uploaded.id, uploaded.created_at
        write_json(path, record.model_dump())
    if known is None:
        # without the client's own retries: each could be another job that costs money
        known = client.with_options(max_retries=0).fine_tuning.jobs.create(
            model=options.model,
            training_file=record.file,
            seed=options.seed,
            suffix=options.suffix if options.suffix is not None else openai.omit,
            method=record.asked["method"],
        )
    record.job = known.id
    write_json(path, record.model_dump())


def _job_of_file(client: openai.OpenAI, record: Record) -> FineTuningJob | None:
    """The job that was created when the command was killed before it could write down which."""
    for job in client.fine_tuning.jobs.list(limit=100):
        if job.training_file == record.file:
            return job
        # the newest come first; a clock may be a minute off
        if record.uploaded_at is not None and job.created_at < record.uploaded_at - 60:
            return None
    return None


def _finished(
    client: openai.OpenAI, job: str, wait: float, sleep: Callable[[float], object]
) -> FineTuningJob:
    """The job when it has come to an end, asked for less and less often."""
    unanswered = 0
    while True:
        try:
            found = client.fine_tuning.jobs.retrieve(job)
            unanswered = 0
        except TRANSIENT:
            unanswered += 1
            if unanswered == FAILURES:
                raise
        else:
            if found.status in ("succeeded", "failed", "cancelled"):
                return found
        sleep(wait)
        wait = min(wait * 1.5, SLOWEST_POLL)


def _outcome(job: FineTuningJob) -> str:
    if job.status == "succeeded":
        return "succeeded, but the service names no model"
    if job.error is None or not job.error.message:
        return f"{job.status}; the service gives no reason"
    about = f" ({job.error.param})" if job.error.param else ""
    return f"{job.status}: {job.error.code}: {job.error.message}{about}"


def _told(error: openai.OpenAIError) -> str:
    """What the service says, without the key in case it repeats it."""
    return f"{type(error).__name__}: {error}".replace(os.environ[KEY], "***")


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and not given[0].startswith("-"):
        given = ["--examples", *given]
    try:
        model = fine_tune(read_settings(Options, given, __doc__ or ""))
    except ScenarioError as error:
        print(error, file=sys.stderr)
        return 2
    except RunError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped waiting, the job goes on; the same command waits for it again", file=sys.stderr)
        return 130
    print(f"openai/{model}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
