"""Selecting the top 1/16 of a log: seconds and peak memory for 1,000, 3,000 and 10,000 conversations.

    python benchmarks/selecting.py [--sizes 1000 3000 10000] [--turns 1]

The logs are made first, with the miniature's agent replaced by a scripted one, so that writing them is quick;
what is selected from them is read as in the loop: sample summaries, selection per topic, and the rows of what
was selected with everything that the agent saw. Each size is measured in a process of its own.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent

TOPICS = 12

SECONDS = ("summaries_s", "selection_s", "rows_s", "total_s")


def make_log(folder: Path, conversations: int, turns: int) -> Path:
    """A log of the therapy task whose every role is scripted."""
    from training.rollouts import Rollout, roll_out

    states = 64
    epochs = -(-conversations // (TOPICS * states))
    return roll_out(
        Rollout(
            folder=folder,
            task="tasks/therapy.py",
            task_args={"states": states, "turns": turns, "seed": 0},
            model="miniature/user",
            roles={"user": "miniature/user", "judge": "miniature/judge"},
            epochs=epochs,
            seed=0,
            log_buffer=500,
            display="none",
        ),
        own_process=True,
    )


def select(log: Path) -> dict[str, float]:
    """Select from a log, as the loop does; seconds of each part and the peak of memory in MB."""
    import resource

    from training.examples import Mark, rows_of_log
    from training.selection import choose
    from training.settings import Choosing
    from training.trajectories import read_trajectories

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
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


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
        for size in given.sizes:
            log = make_log(Path(folder) / str(size), size, given.turns)
            told = subprocess.run(
                [sys.executable, __file__, "--log", str(log)], check=True, capture_output=True, text=True
            )
            f = json.loads(told.stdout.splitlines()[-1])
            cells = [f"{f['selected']}", *(f"{f[k]:.2f} s" for k in SECONDS), f"{f['peak_mb']:.0f} MB"]
            print(f"{f['conversations']:>14,}" + "".join(f"{cell:>12}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
