"""What `analysis/report.py` costs: wall seconds and memory of all its processes over the number of logs.

    python benchmarks/analysis/report.py [--logs 10 25 50] [--samples 1000]

The logs are made up: the conversations of `logs/example.eval` again and again under other ids, the first
written by Inspect, the others of other models from its bytes with ratings a little beside. Memory is the
peak of the sum over the processes, what they share counted once (PSS).
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from inspect_ai.log import EvalLog, read_eval_log, write_eval_log

ROOT = Path(__file__).resolve().parents[2]

RATING = re.compile(rb'(?P<before>"preference":{"value":)(?P<value>[0-9.]+)')
NAMES = {
    b"provider/model-00": b"provider/model-%02d",
    b'"task-0"': b'"task-%d"',
    b'"run-0"': b'"run-%d"',
    b'"uuid":"0-': b'"uuid":"%d-',
}

PAGE, WALL, MEMORY = 5_000_000, 90.0, 1200.0
"""At most: bytes, seconds, megabytes, with the most logs."""


class Cost(NamedTuple):
    """Of one run of the command."""

    seconds: float
    cpu: float
    """Seconds of all processes; less than `seconds` times the cores where others use them too."""

    megabytes: float
    page: int
    """Bytes of the page."""

    folder: float
    """Megabytes of all files."""


def made_up(template: EvalLog, path: Path, samples: int) -> None:
    """Write a log of so many conversations."""
    known = template.samples or []
    log = template.model_copy(update={"eval": template.eval.model_copy(deep=True)})
    log.samples = [
        known[n % len(known)].model_copy(
            update={"id": f"{known[n % len(known)].id}-{n // len(known)}", "uuid": f"0-{n}"}
        )
        for n in range(samples)
    ]
    log.eval.model = "provider/model-00"
    log.eval.task_id, log.eval.run_id = "task-0", "run-0"
    log.eval.dataset.sample_ids = [sample.id for sample in log.samples]
    log.reductions = None
    write_eval_log(log, str(path))


def as_another(first: Path, path: Path, number: int) -> None:
    """The same conversations as those of another model: other names, and ratings a little beside."""
    with zipfile.ZipFile(first) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name.startswith("samples/"):
                data = data.replace(b'"uuid":"0-', f'"uuid":"{number}-'.encode())
                data = RATING.sub(lambda found: _moved(found, number + len(name)), data)  # noqa: B023
            else:
                for before, now in NAMES.items():
                    data = data.replace(before, now % number)
            target.writestr(source.getinfo(name), data, compress_type=source.getinfo(name).compress_type)


def _moved(found: re.Match[bytes], by: int) -> bytes:
    value = min(10.0, max(1.0, float(found["value"]) + (by % 7 - 3) / 10))
    return found["before"] + str(value).encode()


def cost_of(logs: Path, out: Path) -> Cost:
    """Run the command on a folder of logs."""
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, str(ROOT / "analysis" / "report.py"), str(logs), "--out", str(out)]
    begun = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peak = [0.0]
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(process.pid, peak, done))
    watcher.start()
    _, status, usage = os.wait4(process.pid, 0)
    done.set()
    watcher.join()
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    files = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    page = (out / "index.html").stat().st_size
    return Cost(time.monotonic() - begun, usage.ru_utime + usage.ru_stime, peak[0], page, files / 1e6)


def _watch(process: int, peak: list[float], done: threading.Event) -> None:
    while not done.wait(0.25):
        peak[0] = max(peak[0], sum(map(_pss, _family(process))))


def _family(process: int) -> list[int]:
    found, waiting = [], [process]
    while waiting:
        one = waiting.pop()
        found.append(one)
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                waiting += map(int, task.read_text().split())
            except OSError:
                continue
    return found


def _pss(process: int) -> float:
    """Megabytes; 0 of a process that has ended."""
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("Pss:")), 0.0)


def main() -> None:
    """Print a line for each number of logs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--logs", type=int, nargs="+", default=[10, 25, 50])
    parser.add_argument("--samples", type=int, default=1000)
    options = parser.parse_args()
    template = read_eval_log(str(ROOT / "logs" / "example.eval"))
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder) / "logs"
        logs.mkdir()
        first = logs / "00.eval"
        print(f"load of the machine {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
        heads = f"{'logs':>5}{'conversations':>15}{'wall s':>9}{'CPU s':>8}{'s per 1,000':>13}"
        print(f"{heads}{'MB':>7}{'page MB':>9}{'all MB':>8}")
        made = 0
        for count in sorted(options.logs):
            for number in range(made, count):
                if number == 0:
                    made_up(template, first, options.samples)
                else:
                    as_another(first, logs / f"{number:02}.eval", number)
            made = count
            cost = cost_of(logs, Path(folder) / "report")
            conversations = count * options.samples
            each = 1000 * cost.seconds / conversations
            line = f"{count:>5}{conversations:>15,}{cost.seconds:>9.1f}{cost.cpu:>8.1f}{each:>13.2f}"
            sizes = f"{cost.megabytes:>7.0f}{cost.page / 1e6:>9.2f}{cost.folder:>8.0f}"
            print(line + sizes, flush=True)
        print(f"asked of the last: {WALL:.0f} s, {MEMORY:.0f} MB, page {PAGE / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
