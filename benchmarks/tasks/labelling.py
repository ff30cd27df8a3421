"""What labelling stakes costs beside Inspect's simplest task, and what a killed run asks twice.

    python benchmarks/tasks/labelling.py [--rows 1000] [--repeats 3]

CPU and wall seconds per row of `tasks/stakes_label.py`, with and without Inspect's cache, and of a task that
makes the same calls by `generate()` and reads the rating in its scorer, all on a model that answers at once.
Then a run is killed at half, by SIGKILL in the midst of its calls, and taken up with `eval_retry`. Each
measurement has its own process and its own cache.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pytest
from inspect_ai import Task, eval, eval_retry  # noqa: A004
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import list_eval_logs
from inspect_ai.model import ChatMessageSystem, ChatMessageUser
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import TaskState, generate

from probes.laboratory.rows import StakesRow, write_rows
from probes.laboratory.samples import chat_messages
from scenarios.conversations.text import ended
from scenarios.stakes.ratings import read_rubric
from scorers.judging.transcript import show_given
from tests.support.stakes_writer import every_told_model_follows
from tests.support.told import Prompt, told

ANSWER = json.dumps({"reason": "A valve that stays open floods the village.", "rating": 9, "confidence": 9})
WORDS = "The valve of the dam above the village stays open although the panel says that it was closed. " * 6
KINDS = ("simplest", "labelling", "labelling, no cache")


@scorer(metrics=[mean()], name="simplest")
def simplest_reading() -> Scorer:
    """The rating, read as it is."""

    async def score(state: TaskState, target: Target) -> Score:
        del target
        return Score(value=float(json.loads(state.output.completion)["rating"]))

    return score


def rows_of(count: int) -> list[StakesRow]:
    """Rows of a hundred words, each with its number."""
    return [
        StakesRow(id=f"r{n}", pair=f"r{n}", messages=[{"role": "user", "content": f"{WORDS}Row ({n})."}])
        for n in range(count)
    ]


def simplest_task(rows: list[StakesRow]) -> Task:
    """The same prompts as `stakes_label` sends."""
    rubric = read_rubric()
    samples = [
        Sample(
            id=row.id,
            input=[
                ChatMessageSystem(content=rubric.system),
                ChatMessageUser(
                    content=f"{ended(show_given(chat_messages(row.messages)).text)}\n\n{rubric.ask}"
                ),
            ],
        )
        for row in rows
    ]
    return Task(dataset=MemoryDataset(samples), solver=generate(), scorer=simplest_reading())


def measure(kind: str, count: int, folder: Path) -> dict[str, float]:
    """Run one eval in this process and count its costs."""
    from tasks.stakes_label import stakes_label

    model = told(ANSWER, "judge")
    model.api.keeps = False  # pyright: ignore[reportAttributeAccessIssue]
    if kind == "simplest":
        task = simplest_task(rows_of(count))
    else:
        data = folder / "rows.jsonl"
        write_rows(data, rows_of(count))
        task = stakes_label(data=str(data), cache=kind == "labelling")
    started, clock = time.process_time(), time.perf_counter()
    (log,) = eval(task, model=model, log_dir=str(folder / "logs"), display="none")
    assert log.status == "success", log.error
    assert model.api.calls == count  # pyright: ignore[reportAttributeAccessIssue]
    return {"cpu": time.process_time() - started, "wall": time.perf_counter() - clock}


def killed(count: int, folder: Path) -> None:
    """Label until half of the rows were asked, then end as a machine ends that loses its power."""
    data = folder / "rows.jsonl"
    write_rows(data, rows_of(count))
    asked = _follow(folder, stop=count // 2)
    arguments = {"data": str(data)}
    eval(
        "tasks/stakes_label.py",
        model="told/judge",
        task_args=arguments,
        log_dir=str(folder / "logs"),
        display="none",
    )
    raise SystemExit(f"not killed after {asked.stat().st_size} bytes of calls")


def resumed(folder: Path) -> dict[str, float]:
    """Take the killed run up; how many rows it asked, and how many of them were asked before."""
    asked = _follow(folder, stop=None)
    before = asked.read_text().split()
    (log,) = eval_retry(
        list_eval_logs(str(folder / "logs"))[0].name, log_dir=str(folder / "logs"), display="none"
    )
    assert log.status == "success", log.error
    assert log.samples is not None
    times = Counter(asked.read_text().split())
    return {
        "before": len(before),
        "after": sum(times.values()) - len(before),
        "twice": sum(n > 1 for n in times.values()),
        "rows": len(log.samples),
    }


def _follow(folder: Path, stop: int | None) -> Path:
    """Models write down which row they are asked about; the file of it."""
    asked = folder / "asked"
    asked.touch()
    count = len(asked.read_text().split())

    def script(name: str, prompt: Prompt) -> str:
        del name
        nonlocal count
        if stop is not None and count >= stop:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1
        with asked.open("a") as file:
            file.write(prompt[-1].text.rpartition("Row (")[2].partition(")")[0] + "\n")
        return ANSWER

    every_told_model_follows(pytest.MonkeyPatch(), script)
    return asked


def in_own_process(kind: str, rows: int, folder: Path) -> subprocess.CompletedProcess[str]:
    """One measurement in a fresh interpreter, with a cache and traces of its own."""
    own = {"XDG_CACHE_HOME": str(folder / "cache"), "XDG_DATA_HOME": str(folder / "share")}
    command = [sys.executable, __file__, "--measure", kind, "--rows", str(rows), "--folder", str(folder)]
    where = Path(__file__).resolve().parents[2]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=where, env=os.environ | own
    )


def _figures(kind: str, rows: int, folder: Path) -> dict[str, float]:
    done = in_own_process(kind, rows, folder)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    """Print the table and what the killed run asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3, help="the best of so many runs is shown")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure == "killed":
        killed(arguments.rows, arguments.folder)
    elif arguments.measure == "resumed":
        print(json.dumps(resumed(arguments.folder)))
    elif arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.rows, arguments.folder)))
    else:
        _print_costs(arguments.rows, arguments.repeats)
        _print_resumption(arguments.rows)


def _print_costs(rows: int, repeats: int) -> None:
    print(f"{rows} rows, a model that answers at once, best of {repeats}")
    print(f"{'':>20} {'CPU ms a row':>13} {'wall ms a row':>14}")
    costs: dict[str, float] = {}
    runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for _ in range(repeats):  # in turn, so that a busy machine is busy for all
        for kind in KINDS:
            with tempfile.TemporaryDirectory() as folder:
                runs[kind].append(_figures(kind, rows, Path(folder)))
    for kind in KINDS:
        best = {name: 1000 * min(run[name] for run in runs[kind]) / rows for name in ("cpu", "wall")}
        costs[kind] = best["cpu"]
        print(f"{kind:>20} {best['cpu']:>13.2f} {best['wall']:>14.2f}", flush=True)
    for kind in KINDS[1:]:
        print(f"{kind} / simplest: {costs[kind] / costs['simplest']:.2f}")


def _print_resumption(rows: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        done = in_own_process("killed", rows, folder)
        assert done.returncode == -signal.SIGKILL, done.stderr
        found = _figures("resumed", rows, folder)
    print(
        f"killed after {found['before']:.0f} answers, {found['after']:.0f} asked after: "
        f"{found['rows']:.0f} rows labelled, {found['twice']:.0f} asked twice"
    )


if __name__ == "__main__":
    main()
