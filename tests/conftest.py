import functools
import gc
import logging
import os
import signal

# before torch is loaded: more threads are slower for tiny models on a busy machine
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is looked for on the hub, and no test waits for it
os.environ.pop("INSPECT_EVAL_MODEL", None)
if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # in the background; what tests start would ignore it too
    signal.signal(signal.SIGINT, signal.default_int_handler)

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from inspect_ai import Task, eval  # noqa: A004
from inspect_ai._util import package
from inspect_ai.log import EvalLog
from inspect_ai.model import Model, _model
from inspect_ai.scorer import Scorer
from rich.console import Console

from scenarios.family import Family
from scenarios.loader import load_family
from scenarios.samples import scenario_dataset
from scorers.transition import transition_judge
from solvers.conversation import conversation
from tests.support.conversations import FAMILY
from tests.support.told import told

PACKAGES = {
    "analysis",
    "miniature",
    "probes",
    "providers",
    "scenarios",
    "scorers",
    "solvers",
    "tasks",
    "training",
}

# The same examples in every run, as of every other random choice; new ones: `--hypothesis-profile default`.
settings.register_profile("seeded", derandomize=True)
settings.load_profile("seeded")


@pytest.fixture(autouse=True)
def _loggers_speak() -> None:
    """Whatever a library did to them in an earlier test of the process."""
    if logging.root.manager.disable != logging.NOTSET:
        logging.disable(logging.NOTSET)
    for name, logger in logging.root.manager.loggerDict.items():
        if name.partition(".")[0] in PACKAGES and isinstance(logger, logging.Logger):
            logger.disabled, logger.propagate = False, True
            if logger.level != logging.NOTSET:  # to set one empties what all loggers keep
                logger.setLevel(logging.NOTSET)


@pytest.fixture(autouse=True)
def _models_are_made_anew() -> None:
    """Inspect keeps models by name, with the address, the script or the weights of an earlier test."""
    _model._models.clear()  # as read in 0.3.285, which has no public name for it


@pytest.fixture(scope="module", autouse=True)
def _old_objects_are_left_alone() -> None:
    """Libraries of models are a million objects, and every trainer collects garbage: nobody walks them again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _evals_do_nothing_in_vain() -> Iterator[None]:
    """What Inspect does at the beginning and end of every eval for nobody here, which is half of a small one."""
    with pytest.MonkeyPatch.context() as patch:
        # the files of all installed packages, among which the task is looked for
        patch.setattr(package, "packages_distributions", functools.cache(package.packages_distributions))  # pyright: ignore
        drawn = Console.print

        def unless_quiet(self: Console, *objects: Any, **style: Any) -> None:
            if not self.quiet or self.record:  # a table of all scores is laid out even for `--display none`
                drawn(self, *objects, **style)

        patch.setattr(Console, "print", unless_quiet)
        yield


@pytest.fixture(scope="session", autouse=True)
def _nobody_waits_for_the_disk() -> Iterator[None]:
    """A file that is flushed outlives the machine, not only the process, and no test cuts the power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture
def family_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(FAMILY)
    return path


@pytest.fixture
def family(family_file: Path) -> Family:
    return load_family(family_file)


@pytest.fixture
def converse(tmp_path: Path, family: Family) -> Callable[..., EvalLog]:
    """Run a whole tiny eval; roles not given say something harmless."""

    def run(
        agent: Model | None = None,
        *,
        turns: int = 2,
        states: int = 2,
        gameable: float = 0.5,
        scorers: Sequence[Scorer] = (),
        judged: str = "agent",
        roles: dict[str, Model] | None = None,
        of: Family | None = None,
        cast: Sequence[Any] = ("user", "transition"),
        veto: Any = None,
        task_arguments: dict[str, Any] | None = None,
        **arguments: Any,
    ) -> EvalLog:
        task = Task(
            dataset=scenario_dataset(of or family, states=states, gameable=gameable),
            solver=conversation(transition_judge(), turns=turns, judged=judged, cast=cast, veto=veto),  # pyright: ignore
            scorer=list(scorers) or None,
            **(task_arguments or {}),
        )
        bound = {"user": told("I see."), "transition": told({"no": 1.0})} | (roles or {})
        (log,) = eval(
            task,
            model=agent or told("Hello."),
            model_roles={k: v for k, v in bound.items() if v is not None},
            log_dir=str(tmp_path / "logs"),
            display="none",
            log_realtime=False,
            **arguments,
        )
        return log

    return run


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A whole tiny run of the loop, made once for all processes of the session. To be copied, not changed."""
    from filelock import FileLock

    from tests.support.tiny_run import tiny_run

    root = tmp_path_factory.getbasetemp()
    folder = (root if worker_id == "master" else root.parent) / "unbroken"
    with FileLock(f"{folder}.lock"):
        if not (folder / "whole").exists():
            tiny_run(folder / "run")
            (folder / "whole").touch()
    return folder / "run"
