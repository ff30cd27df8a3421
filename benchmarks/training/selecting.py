"""Selecting the top 1/16 of a log: seconds and peak memory for 1,000, 3,000 and 10,000 conversations.

    python benchmarks/training/selecting.py [--sizes 1000 3000 10000] [--turns 1]

The logs are made first, of some conversations of the miniature that stand in them again and again. What is
selected from them is read as in the loop: sample summaries, selection per topic, and the rows of what was
selected with everything that the agent saw. Each size is measured in a process of its own.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

SECONDS = ("summaries_s", "selection_s", "rows_s", "total_s")


def roll_out_once(folder: Path, turns: int) -> Path:
    """A log of the therapy task on the miniature: 96 conversations."""
    from training.rollouts.evals import Rollout, roll_out

    return roll_out(
        Rollout(
            folder=folder,
            task="tasks/therapy.py",
            task_args={"states": 8, "turns": turns, "seed": 0},
            model="miniature/agent",
            seed=0,
            max_connections=96,
            display="none",
        ),
        own_process=True,
    )


def repeated(log: Path, conversations: int, folder: Path) -> Path:
    """A log in which the conversations of another stand again and again, under other ids."""
    from inspect_ai.log import read_eval_log, write_eval_log

    whole = read_eval_log(str(log))
    once = whole.samples or []
    whole.samples = [
        once[i % len(once)].model_copy(update={"id": f"{once[i % len(once)].id}-{i}", "uuid": f"u{i}"})
        for i in range(conversations)
    ]
    out = folder / f"{conversations}.eval"
    write_eval_log(whole, str(out))
    return out


def select(log: Path) -> dict[str, float]:
    """Select from a log, as the loop does; seconds of each part and the peak of memory in MB."""
    from analysis.trajectories import read_trajectories
    from training.examples.from_logs import Mark, rows_of_log
    from training.selection.selecting import choose
    from training.settings import Choosing

    started = time.perf_counter()
    trajectories = read_trajectories(log, rating="preference", harm="influence")
    read = time.perf_counter()
    rules = Choosing.model_validate({"select_per": "topic", "fraction": 1 / 16})
    chosen = choose(trajectories, rules, algorithm="ei", seed=0)
    marks = {
        (c.trajectory.sample, c.trajectory.epoch): Mark(c.label, c.reward, c.rank, c.group)
        for c in chosen.taken
    }
    selected = time.perf_counter()
    rows = list(rows_of_log(log, marks))
    done = time.perf_counter()
    return {
        "conversations": len(trajectories),
        "selected": len(marks),
        "rows": len(rows),
        "summaries_s": read - started,
        "selection_s": selected - read,
        "rows_s": done - selected,
        "total_s": done - started,
        "peak_mb": peak_of_this_program(),
    }


def peak_of_this_program() -> float:
    """MB of Linux's VmHWM. `getrusage` would count what the process that started this one held by then."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 3000, 10000])
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--log", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.log is not None:
        print(json.dumps(select(given.log)))
        return
    print(
        f"{'conversations':>14}{'selected':>10}{'summaries':>12}{'choosing':>12}{'rows':>10}{'total':>10}{'peak':>10}"
    )
    with tempfile.TemporaryDirectory() as folder:
        once = roll_out_once(Path(folder) / "once", given.turns)
        for size in given.sizes:
            log = repeated(once, size, Path(folder))
            told = subprocess.run(
                [sys.executable, __file__, "--log", str(log)], check=True, capture_output=True, text=True
            )
            f = json.loads(told.stdout.splitlines()[-1])
            cells = [f"{f['selected']}", *(f"{f[k]:.2f} s" for k in SECONDS), f"{f['peak_mb']:.0f} MB"]
            print(f"{f['conversations']:>14,}" + "".join(f"{cell:>12}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
