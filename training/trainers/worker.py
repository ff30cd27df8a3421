"""The trainer, a process of its own: `python -m training.trainers.worker JOB.json`.

With `--wait` it loads its libraries first and then reads paths of jobs, one per line, from its standard
input, until that ends or a job fails. Several processes: put `torchrun --nproc_per_node N` or
`accelerate launch` in place of `python`.
"""

import argparse
import contextlib
import importlib
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

from pydantic import ValidationError

from scenarios.commands.interruption import STOPPED
from scenarios.commands.parent_process import end_with_parent
from scenarios.files.strict_json import read_jsonl
from training.algorithms import ALGORITHMS
from training.examples.example import Example
from training.job import Job, Trained, read_trained
from training.launch.own_process import SILENCE

LOADED_FIRST = ("ei", "kto", "dpo")
"""Algorithms whose libraries are loaded while there is nothing to do."""


def run(job: Job) -> Trained:
    """Do a job, unless its checkpoint is there: a folder under its final name is complete.

    Raises:
        CannotTrain: The job cannot be done as it stands; the message says why and what to do.
    """
    if job.out.exists():
        return read_trained(job.out)
    from training.trainers.base_models import check_start, divided_batch

    check_start(job)
    divided_batch(job)
    rows = _rows(job.examples)
    job.scratch.mkdir(parents=True, exist_ok=True)
    algorithm = _module_of(job.tuning.algorithm)
    with _one_group():
        return algorithm.train(job, rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Returns the exit status: 1 if the job could not be done, 130 if it was stopped."""
    os.environ.update(SILENCE)  # before the libraries are loaded, which look once
    end_with_parent()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("job", nargs="?", type=Path, help="file with the job, see training/job.py")
    parser.add_argument("--wait", action="store_true", help="read the paths of jobs from standard input")
    parser.add_argument("--check", type=Path, help="file with a question, see trainer_check.py")
    given = parser.parse_args(arguments)
    if bool(given.wait) + (given.job is not None) + (given.check is not None) != 1:
        parser.error("give a job, --wait, or --check with a question")
    if given.wait and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        parser.error("--wait is for one process; give the job, whose path every process reads")
    if not sys.stderr.isatty():
        _be_quiet()
    try:
        if given.check is not None:
            from training.trainers.trainer_check import answer_file

            return answer_file(given.check)
        if given.job is not None:
            return _do(given.job)
        _load_libraries()
        statuses = (_do(Path(line.strip())) for line in sys.stdin if line.strip())
        return next((status for status in statuses if status), 0)
    except KeyboardInterrupt:
        return STOPPED


def _do(path: Path) -> int:
    """Exit status of one job."""
    try:
        job = Job.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        return _failed(f"{path}: not a job: {error}")
    try:
        run(job)
    except Exception as error:
        if not _is_explained(error):
            raise
        return _failed(str(error))
    return 0


def _rows(path: Path) -> list[Example]:
    from training.trainers.base_models import CannotTrain

    try:
        rows = read_jsonl(path)
    except (OSError, ValueError) as error:
        raise CannotTrain(f"{path}: the examples cannot be read: {error}") from error
    if not rows:
        raise CannotTrain(f"{path}: no rows; nothing was selected for training")
    return rows


def _load_libraries() -> None:
    for library in ("torch", "transformers", "peft", "trl"):
        importlib.import_module(library)
    for algorithm in LOADED_FIRST:
        _module_of(algorithm)


def _module_of(algorithm: str) -> ModuleType:
    return importlib.import_module(f"training.trainers.{ALGORITHMS[algorithm].module}")


def _be_quiet() -> None:
    """No progress bars and no advice from libraries where nobody watches."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    warnings.filterwarnings("ignore", category=FutureWarning)


@contextlib.contextmanager
def _one_group() -> Iterator[None]:
    """Leave the group of processes as torch wants it left."""
    try:
        yield
    finally:
        import torch.distributed as dist

        if dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()


def _is_explained(error: Exception) -> bool:
    """True if the message says all; of anything else the traceback is wanted."""
    from training.trainers.base_models import CannotTrain

    return isinstance(error, CannotTrain)


def _failed(message: str) -> int:
    if os.environ.get("RANK", "0") == "0":
        print(f"training: {message}", file=sys.stderr, flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
