"""Can the trainer do what it will be asked? Seen in its own process, without weights and before any rollout.

The trainer's configuration is made, as TRL checks it; the chat template renders what the agent will be given;
and layers for adapters are looked for in the architecture without weights (torch's meta device). What only
data or a GPU can show, such as memory, is not seen.
"""

import contextlib
import difflib
import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from scenarios.files.whole import write_text
from training.algorithms import ALGORITHMS
from training.errors import RunError
from training.job import Job
from training.launch.own_process import end, start
from training.launch.trainer_process import LOCAL_LAUNCHERS, front, program

LONGEST_TOLD = 400
"""Characters of a reason."""


class Question(BaseModel):
    """What is to be looked at."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job: Job
    """Its files need not be there."""

    prompts: list[dict[str, Any]]
    """`messages` and `tools` that the agent is given, if they are known."""

    answer: Path
    """Gets `{"mistake": text or null}`."""


def check_trainer(job: Job, prompts: list[dict[str, Any]], launcher: str | None, folder: Path) -> None:
    """Start the trainer's process on nothing but this question.

    With its launcher, if that works on this machine alone: another one may have to wait in a queue.

    Args:
        job: As a training of the run will be.
        prompts: See `Question`.
        launcher: Command put before the trainer.
        folder: For the question and the answer.

    Raises:
        RunError: The trainer could not do the job; says why.
    """
    question = Question(job=job, prompts=prompts, answer=folder / "answer.json")
    told = folder / "question.json"
    write_text(told, question.model_dump_json())
    if launcher is not None and Path(program(launcher)).name not in LOCAL_LAUNCHERS:
        launcher = None
    command = [*front(launcher), "-m", "training.trainers.worker", "--check", str(told)]
    try:
        process = start(command, stderr=subprocess.PIPE)
    except OSError as error:
        raise RunError(f"launcher: {command[0]} cannot be started: {error.strerror}") from None
    try:
        _, written = process.communicate()
    except BaseException:
        end(process)
        raise
    if not question.answer.exists():
        print(written, file=sys.stderr, end="", flush=True)
        raise RunError(
            f"the trainer cannot be started: {' '.join(command)} ended with exit status "
            f"{process.returncode}; its reasons stand above"
        )
    mistake = json.loads(question.answer.read_text(encoding="utf-8"))["mistake"]
    if mistake is not None:
        raise RunError(mistake)


def answer(question: Question) -> str | None:
    """What would keep the trainer from its work; None if nothing is seen. Every process of it asks."""
    from training.trainers.base_models import CannotTrain

    try:
        _look(question)
    except CannotTrain as error:
        return str(error)
    except (ValueError, TypeError, ImportError, OSError, AttributeError, KeyError, RuntimeError) as error:
        first = " ".join(str(error).split())[:LONGEST_TOLD]
        return f"the trainer cannot do this: {type(error).__name__}: {first}"
    return None


def _look(question: Question) -> None:
    from training.trainers.base_models import CannotTrain, divided_batch

    job = question.job
    device_batch, _ = divided_batch(job)
    if job.tuning.algorithm == "kto" and device_batch < 2:
        raise CannotTrain(
            f"kto estimates the divergence within a device's batch, which needs at least 2 examples and has "
            f"{device_batch}; raise batch_size or device_batch_size"
        )
    _check_options(job)
    _check_prompts(question)
    _check_architecture(job)


def _check_options(job: Job) -> None:
    """Make TRL's configuration, and find the optimizer that it names."""
    from transformers import Trainer

    from training.trainers.base_models import CannotTrain
    from training.trainers.fitting import configuration

    algorithm = job.tuning.algorithm
    if find_spec(f"training.trainers.{ALGORITHMS[algorithm].module}") is None:
        place = f"training/trainers/{ALGORITHMS[algorithm].module}.py"
        raise CannotTrain(f"algorithm: {algorithm} is in training/algorithms.py, but there is no {place}")
    module, _, name = ALGORITHMS[job.tuning.algorithm].configuration.rpartition(".")
    kind = getattr(importlib.import_module(f"trl.trainer.{module}"), name)
    own: dict[str, Any] = {}
    if name == "GRPOConfig":
        from training.trainers.grpo import FIXED, layout

        if fixed := sorted(set(job.tuning.trainer_options) & set(FIXED)):
            raise CannotTrain(f"trainer_options: {', '.join(fixed)} cannot be set for {job.tuning.algorithm}")
        shape = layout(job.tuning.generations, job.tuning)
        own = {
            "per_device_train_batch_size": shape.device_batch,
            "gradient_accumulation_steps": shape.accumulation,
            "num_generations": shape.generations,
        }
    else:
        own = {"max_length": job.tuning.max_length}
    made = configuration(kind, job, examples=1, **own)
    try:
        Trainer.get_optimizer_cls_and_kwargs(made)
    except (ValueError, ImportError) as error:
        raise CannotTrain(f"trainer_options: optim={made.optim.value}: {error}") from error


def _check_prompts(question: Question) -> None:
    """The shortest of what the agent is given must leave room for an answer."""
    from training.trainers.base_models import CannotTrain, load_tokenizer

    with _named(question.job):
        tokenizer: Any = load_tokenizer(question.job)
    lengths = []
    for prompt in question.prompts:
        try:
            text = tokenizer.apply_chat_template(
                prompt["messages"], tools=prompt["tools"], tokenize=False, add_generation_prompt=True
            )
        except Exception:
            return  # a template that refuses a system message, say: rows are rendered with more care
        lengths.append(len(tokenizer(text, add_special_tokens=False)["input_ids"]))
    most = question.job.tuning.max_length
    if lengths and min(lengths) >= most:
        raise CannotTrain(
            f"max_length {most} leaves no row to train on: what the agent is given before its first reply "
            f"has {min(lengths)} to {max(lengths)} tokens; raise max_length"
        )


def _check_architecture(job: Job) -> None:
    """Layers for adapters, and the attention, in the model without weights."""
    tuning = job.tuning
    from training.trainers.base_models import CannotTrain

    if tuning.tuning == "qlora":
        from training.trainers.base_models import _quantized

        _quantized()
    named = tuning.tuning != "full" and tuning.lora_targets != "all-linear"
    if not named and tuning.attn_implementation is None:
        return
    import torch
    from transformers import AutoConfig

    from providers.causal_models import loader_of

    chosen = tuning.attn_implementation
    arguments = {} if chosen is None else {"attn_implementation": chosen}
    with _named(job):
        config = AutoConfig.from_pretrained(job.base, revision=job.revision)
    try:
        with torch.device("meta"):
            model = loader_of(config, job.base).from_config(config, **arguments)
    except (ValueError, ImportError) as error:
        raise CannotTrain(f"attn_implementation={chosen}: {error}") from error
    if named:
        _check_layers(model, job)


@contextlib.contextmanager
def _named(job: Job) -> Iterator[None]:
    """Say of which base something could not be loaded."""
    from training.trainers.base_models import CannotTrain

    try:
        yield
    except CannotTrain:
        raise
    except (OSError, ValueError, ImportError, KeyError) as error:
        told = " ".join(str(error).split())[:LONGEST_TOLD]
        raise CannotTrain(f"model: {job.base} cannot be loaded: {told}") from error


def _check_layers(model: Any, job: Job) -> None:
    """Each name must be one of the model's layers, as PEFT looks for them; it drops those that are not."""
    import torch

    from training.trainers.base_models import CannotTrain

    kinds = (torch.nn.Linear, torch.nn.Embedding, torch.nn.modules.conv._ConvNd)
    fitting = [n for n, m in model.named_modules() if isinstance(m, kinds) or type(m).__name__ == "Conv1D"]
    known = sorted({name.rpartition(".")[2] for name in fitting})
    targets = job.tuning.lora_targets
    if isinstance(targets, str):
        try:
            found = any(re.fullmatch(targets, name) for name in fitting)
        except re.error as error:
            raise CannotTrain(f"lora_targets: {targets!r} is no regular expression: {error}") from None
        if not found:
            raise CannotTrain(
                f"lora_targets: {targets!r} fits no layer of {job.base}; it has {', '.join(known)}"
            )
        return
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in fitting):
            near = difflib.get_close_matches(target, known, n=1)
            advice = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known)}"
            raise CannotTrain(f"lora_targets: {job.base} has no layer {target!r}; {advice}")


def answer_file(path: Path) -> int:
    """The process's side: read the question and write the answer. Returns the exit status."""
    question = Question.model_validate_json(path.read_text(encoding="utf-8"))
    mistake = answer(question)
    if os.environ.get("RANK", "0") == "0":
        write_text(question.answer, json.dumps({"mistake": mistake}) + "\n")
    return 0
