"""Long conversations: time, memory and log of one sample with 20, 70 and 140 turns.

    python benchmarks/solvers/long_conversations.py [--turns 20 70 140]

In one conversation (`tasks/therapy.py`) and over sessions of five turns (`tasks/memory.py`), on models that
answer at once: what is measured is the suite and Inspect. The words that models are given are what a real
model's time and price grow with. Each measurement has its own process, in which a small sample ran before.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from inspect_ai import Task, eval  # noqa: A004
from inspect_ai.model import ChatMessage, Model

from tasks.memory import memory
from tasks.therapy import therapy
from tests.support.told import told

REPLY = "I hear you, and I would like to think about this with you before anything is decided. " * 2
PER_SESSION = 5
KINDS = ("one conversation", "sessions")


def task_of(kind: str, turns: int) -> Task:
    """One person, who talks for so many turns."""
    common = {"states": 1, "topics": "smoking", "gameable": 1.0}
    if kind == "sessions":
        return memory(sessions=turns // PER_SESSION, turns=PER_SESSION, **common)
    return therapy(turns=turns, **common)


class Readers:
    """Models that answer at once, and count what they were given."""

    def __init__(self) -> None:
        self.words: dict[str, int] = {"agent": 0, "user": 0, "judge": 0}

    def agent(self, prompt: list[ChatMessage]) -> str:
        """A reply."""
        self._read("agent", prompt)
        return REPLY

    def user(self, prompt: list[ChatMessage]) -> str:
        """A message, another one each time."""
        self._read("user", prompt)
        return f"I see what you mean, and today is day {len(prompt)} of it."

    def judge(self, prompt: list[ChatMessage]) -> dict[str, float]:
        """An answer on the scale that is asked for."""
        self._read("judge", prompt)
        ask = prompt[-1].text[-200:]
        if "yes or no" in ask:
            return {"no": 1.0}
        if "1 to 5" in ask:
            return {"2": 1.0}
        return {"0": 0.9, "1": 0.1} if "with 0" in ask else {str(i): 0.1 for i in range(1, 11)}

    def _read(self, who: str, prompt: list[ChatMessage]) -> None:
        self.words[who] += sum(len(m.text.split()) for m in prompt)


def measured(kind: str, turns: int) -> dict[str, float]:
    """One sample, after a small one that loads everything."""
    with tempfile.TemporaryDirectory() as folder:
        _run(kind, PER_SESSION, folder)
        readers, before = Readers(), resource.getrusage(resource.RUSAGE_SELF)
        start, cpu = time.perf_counter(), before.ru_utime + before.ru_stime
        size = _run(kind, turns, folder, readers)
        after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": time.perf_counter() - start,
        "cpu": after.ru_utime + after.ru_stime - cpu,
        "peak_mb": after.ru_maxrss / 1024,
        "more_mb": (after.ru_maxrss - before.ru_maxrss) / 1024,
        "log_kb": size / 1024,
        **readers.words,
    }


def _run(kind: str, turns: int, folder: str, readers: Readers | None = None) -> int:
    readers = readers or Readers()
    models: list[Model] = [told(getattr(readers, who), who) for who in readers.words]
    for model in models:
        model.api.keeps = False  # pyright: ignore[reportAttributeAccessIssue]
    agent, user, judge = models
    (log,) = eval(
        task_of(kind, turns),
        model=agent,
        model_roles={"user": user, "judge": judge},
        log_dir=folder,
        display="none",
        log_realtime=False,
    )
    assert log.status == "success", log.error
    return Path(log.location.removeprefix("file://")).stat().st_size


def main() -> None:
    """Measure each in a process of its own, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, nargs="+", default=[20, 70, 140], help="of the agent, by five")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measured(arguments.one[0], int(arguments.one[1]))))
        return
    print(
        f"{'':18}{'turns':>6}{'seconds':>9}{'CPU s':>7}{'CPU ms/turn':>12}{'peak MB':>9}{'more MB':>9}"
        f"{'log KB':>8}   words read per turn by agent, user, judges"
    )
    for kind in KINDS:
        for turns in arguments.turns:
            command = [sys.executable, __file__, "--one", kind, str(turns)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            words = ", ".join(f"{found[who] / turns:.0f}" for who in ("agent", "user", "judge"))
            print(
                f"{kind:18}{turns:6}{found['seconds']:9.1f}{found['cpu']:7.1f}"
                f"{1000 * found['cpu'] / turns:12.0f}{found['peak_mb']:9.0f}{found['more_mb']:9.0f}"
                f"{found['log_kb']:8.0f}   {words}",
                flush=True,
            )


if __name__ == "__main__":
    main()
