"""Everything that a report is made of: logs found and read, and the numbers that come of them."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from analysis.logs.copies import Copies, choose
from analysis.logs.finding import LogError, LogFile, files_in, open_log
from analysis.reporting.evaluations import Evaluation, Run, evaluations, runs_of, same_but_seed
from analysis.reporting.judges import Pair, Slope, TurnRating, pairs_of, ratings_of, slopes
from analysis.reporting.means import (
    Measured,
    OverSeeds,
    all_means,
    columns_of,
    is_harm,
    is_rating,
    means_over_seeds,
)
from analysis.reporting.paired_tests import Test, tests_of
from analysis.reporting.power import Needed, needed_states
from analysis.reporting.reading import LogContent, Read, read_log
from analysis.score_tables.columns import Column
from scenarios.commands.parent_process import PARENT, end_with_parent, tied

APART = 20_000_000
"""Bytes of logs from which on they are read in processes of their own."""

STOPS = (signal.SIGINT, signal.SIGTERM)
"""Signals that ask to stop."""

CALLED_OFF = 0.2
"""Seconds in which a pool of processes calls off what waits."""


class Skipped(NamedTuple):
    """A file that is not in the report."""

    path: Path
    why: str


class Material(NamedTuple):
    """What a report is made of."""

    logs: list[LogFile]
    contents: dict[int, LogContent]
    """Number of a log -> what was read of it; those that are skipped are not there."""

    skipped: list[Skipped]
    copies: Copies
    evaluations: list[Evaluation]
    runs: list[Run]
    columns: list[Column]
    means: list[Measured]
    tests: list[Test]
    seeds: list[OverSeeds]
    pairs: list[Pair]
    slopes: list[Slope]
    needed: list[Needed]

    @property
    def counted(self) -> str:
        """How much there is, in words."""
        used = sum(len(one.conversations) for one in self.evaluations)
        counts = (used, "conversation"), (len(self.evaluations), "evaluation"), (len(self.contents), "log")
        return "{} in {}, from {}".format(*(f"{n:,} {what}{'' if n == 1 else 's'}" for n, what in counts))

    @property
    def conversations(self) -> Iterator[tuple[int, Read]]:
        """Every conversation of every log, with the number of the log."""
        for number, content in self.contents.items():
            for one in content.conversations:
                yield number, one


def gather(sources: Sequence[Path | str], folder: Path, *, processes: int = 2) -> Material:
    """Read logs, and make all numbers of them.

    What is no log of these tasks, or cannot be read, is skipped and named, if it was not named by itself.

    Args:
        sources: Logs, or folders with them.
        folder: Of the report; the words of the conversations go there.
        processes: That read at the same time.

    Raises:
        LogError: A file that was named is not there or no log, or there is no log at all.
    """
    logs, skipped = _found(sources)
    contents: dict[int, LogContent] = {}
    for number, content in _read(logs, folder, processes):
        if isinstance(content, LogError):
            skipped.append(Skipped(logs[number].path, str(content).removeprefix(f"{logs[number].path}: ")))
        elif why := _of_another_task(logs[number], content):
            skipped.append(Skipped(logs[number].path, why))
        else:
            contents[number] = content
    if not contents:
        named = ", ".join(map(str, sources))
        told = "; ".join(f"{one.path.name}: {one.why}" for one in skipped[:3]) or "there are no logs"
        raise LogError(f"{named}: nothing to report ({told}); name logs of this suite's tasks")
    everything = [one for content in contents.values() for one in content.conversations]
    copies = choose(one.version for one in everything)
    listed = evaluations(logs, contents, copies)
    runs, columns = runs_of(listed), columns_of(listed)
    means = all_means(listed, columns)
    main = [c for c in columns if is_rating(c) or is_harm(c)]
    ratings = ratings_of(everything)
    return Material(
        logs=logs,
        contents=contents,
        skipped=skipped,
        copies=copies,
        evaluations=listed,
        runs=runs,
        columns=columns,
        means=means,
        tests=tests_of(listed, runs, columns),
        seeds=means_over_seeds(same_but_seed(listed), means),
        pairs=pairs_of(*ratings),
        slopes=slopes(list(_turn_ratings(listed))),
        needed=needed_states(means, main),
    )


def _found(sources: Sequence[Path | str]) -> tuple[list[LogFile], list[Skipped]]:
    """The logs that can be opened, each once, in the order they were made within a folder."""
    found: dict[Path, LogFile] = {}
    skipped: list[Skipped] = []
    for source in (Path(str(s).removeprefix("file://")) for s in sources):
        if not source.is_dir():
            log = open_log(source)
            found.setdefault(log.path.resolve(), log)
            continue
        opened: list[LogFile] = []
        for path in files_in(source):
            try:
                opened.append(open_log(path))
            except LogError as error:
                skipped.append(Skipped(path, str(error).removeprefix(f"{path}: ")))
        for log in sorted(opened, key=lambda one: (one.created, str(one.path))):
            found.setdefault(log.path.resolve(), log)
    return list(found.values()), skipped


def _read(
    logs: Sequence[LogFile], folder: Path, processes: int
) -> Iterator[tuple[int, LogContent | LogError]]:
    size = sum(log.path.stat().st_size for log in logs)
    reads = partial(_tried, folder=folder)
    if size < APART or processes < 2 or len(logs) < 2:
        yield from map(reads, enumerate(logs))
        return
    # not forked: the parent may hold threads of a library
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, spawn, _heed_the_parent_alone, (tied({})[PARENT],))
    try:
        with _without_signals():
            answers = pool.map(reads, enumerate(logs))  # starts the processes
        yield from answers
    except BaseException:
        _abandon(pool)
        raise
    pool.shutdown()


@contextmanager
def _without_signals() -> Iterator[None]:
    """Signals wait until the end of it; and for good in the processes that are started meanwhile.

    A process that is stopped while Python starts in it tells of a fatal error.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _heed_the_parent_alone(parent: str) -> None:
    """In a process that reads: a signal to the whole group, as Ctrl-C is, is for the first one to answer."""
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)
    os.environ[PARENT] = parent
    end_with_parent()


def _abandon(pool: ProcessPoolExecutor) -> None:
    """Leave what is being read: who stops a report does not wait for the logs that are under way.

    From Python 3.14 on this is `kill_workers`; before, the processes have a private name. What waits is
    called off first: a pool whose processes end cannot fail what is called off at that moment, its thread
    breaks, and whoever waits for the pool waits for ever (Python 3.11).
    """
    processes = list((getattr(pool, "_processes", None) or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    time.sleep(CALLED_OFF)
    for process in processes:
        process.kill()


def _tried(numbered: tuple[int, LogFile], folder: Path) -> tuple[int, LogContent | LogError]:
    number, log = numbered
    try:
        return number, read_log(log, number, folder)
    except LogError as error:
        return number, error


def _of_another_task(log: LogFile, content: LogContent) -> str | None:
    if not content.conversations:
        return None  # of ours or not, an eval that was stopped early has nothing to tell it by
    facts = log.header.eval.metadata or {}
    known = "family" in facts or "imported" in facts or content.user.stand
    if known or any(value.scale for one in content.conversations for value in one.ratings):
        return None
    return f"a log of another task ({log.header.eval.task}): no score of it names a scale"


def _turn_ratings(listed: Sequence[Evaluation]) -> Iterator[TurnRating]:
    for evaluation in listed:
        for one in evaluation.conversations:
            for score, (turn, characters) in zip(one.turn_ratings, one.lengths, strict=True):
                if score.value is not None and characters is not None:
                    state = (evaluation.model, one.row.state)
                    told = (score.name, score.scale, score.judge, score.value)
                    yield TurnRating(*told, turn, characters, state)
