"""What `analysis/table.py` costs: CPU seconds and memory over the number of conversations.

    python benchmarks/analysis/table.py [--samples 500 2000 10000]

The logs are made up: the conversations of `logs/example.eval` again and again under other ids, with
messages, events and the metadata of the real scorers, written by Inspect. The command runs in a process of
its own; what it costs on one conversation, which is the start of Python and its libraries, is taken off.
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from inspect_ai.log import read_eval_log, write_eval_log

from scenarios.files.whole import whole_file

ROOT = Path(__file__).resolve().parents[2]


class Cost(NamedTuple):
    """Of one run of the command."""

    seconds: float
    """Of CPU."""

    megabytes: float
    """Of memory at the peak."""


def made_up(path: Path, samples: int) -> None:
    """Write a log of so many conversations."""
    log = read_eval_log(str(ROOT / "logs" / "example.eval"))
    known = log.samples or []
    log.samples = [
        known[n % len(known)].model_copy(
            update={"id": f"{known[n % len(known)].id}-{n // len(known)}", "uuid": str(n)}
        )
        for n in range(samples)
    ]
    log.eval.dataset.sample_ids = [sample.id for sample in log.samples]
    log.reductions = None
    with whole_file(path, suffix=".eval") as unfinished:
        write_eval_log(log, str(unfinished))


def cost_of(log: Path) -> Cost:
    """CPU and memory of the command on a log."""
    command = [sys.executable, str(ROOT / "analysis" / "table.py"), str(log)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def _in_a_process(path: Path, samples: int) -> None:
    """Memory of this one would count as the command's: it begins as a copy of this process."""
    apart = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=apart) as pool:
        pool.submit(made_up, path, samples).result()


def main() -> None:
    """Print a line for each size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, nargs="+", default=[500, 2000, 10_000])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        one = Path(folder) / "1.eval"
        _in_a_process(one, 1)
        start = cost_of(one)
        print(f"start: {start.seconds:.2f} s of CPU, {start.megabytes:.0f} MB")
        print(f"{'conversations':>13}{'CPU s':>8}{'s per 1,000':>13}{'MB':>6}{'kB each':>9}")
        for samples in options.samples:
            log = Path(folder) / f"{samples}.eval"
            _in_a_process(log, samples)
            cost = cost_of(log)
            log.unlink()
            beyond = Cost(cost.seconds - start.seconds, cost.megabytes - start.megabytes)
            print(
                f"{samples:>13,}{beyond.seconds:>8.2f}{1000 * beyond.seconds / samples:>13.2f}"
                f"{beyond.megabytes:>6.0f}{1024 * beyond.megabytes / samples:>9.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
