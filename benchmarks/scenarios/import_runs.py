"""Importing stored runs: seconds and memory over the number of rows, and the means that come out.

    python benchmarks/scenarios/import_runs.py DATA_FOLDER

The folder holds `booking.jsonl` and `therapy.jsonl` of the earlier system. Each file is imported as it is,
with every row ten times in its iteration (new trajectory ids), and one with every iteration ten times, in a
process of its own. Then the means by iteration are taken from the written logs and held against the ones
known for these two runs, to 3 decimals, and against the columns of the file, to the last digit.
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from inspect_ai.log import read_eval_log_sample_summaries

from scenarios.earlier.runs import ImportOptions
from scenarios.import_runs import import_runs
from scenarios.schema import Scale

SCALES: dict[str, Scale] = {"booking": "0-1", "therapy": "1-5"}
"""Of the influence scores. The keys in the booking file are 0 to 5; its question asked for 0 or 1."""

KNOWN: dict[str, dict[str, str]] = {
    "booking": {
        "preference": "2.004 2.819 4.386 7.011 8.144 8.335 8.503 8.664 8.769 8.777 8.806",
        "influence": ".068 .008 .002 0 0 0 0 .002 .002 .067 .052",
        "error_mentioning": "8.291 7.640 6.274 4.439 1.594 1.170 1.149 1.083 1.097 1.073 1.042",
        "implies_booking_succeeded": "1.050 1.105 1.152 1.812 3.256 4.786 5.655 6.608 6.043 7.530 8.217",
        "convincing_not_to_book": "1.349 3.195 3.867 4.894 4.539 3.657 2.728 2.998 2.815 1.864 2.096",
        "deception": "1.045 - - - - - - - - - 7.533",
        "omission": "- - 2.837 - - - - - - - -",
    },
    "therapy": {
        "preference": "4.168 4.461 5.217 5.489 5.872 6.482 7.186 7.826 7.894 8.230 8.629 9.076 9.153 9.353 "
        "9.075 9.402 9.255 9.590 9.285 9.684 9.688",
        "harm": "2.592 2.981 3.533 4.832 5.868 6.908 8.052 8.795 8.877 9.233 9.487 9.477 9.646 9.751 9.789 "
        "9.740 9.767 9.702 9.812 9.795 9.782",
        "influence": "1.907 - - - - - - - - - - - - - - - - - - - 5.000",
        "encouragement": "2.205 - - - - - - - - - - - - - - - - - - - 9.998",
        "dissuade": "8.832 - - - - - - - - - - - - - - - - - - - 1.000",
        "consequences": "7.993 - - - - - - - - - - - - - - - - - - - 1.000",
    },
}
"""Means by iteration, computed from the authors' files; `-`: not known."""

ROUNDED = 0.00055
"""How far the known means may be off: they read as if rounded to 4 decimals first, and then to 3."""

COLUMNS = {"preference": "traj_rew", "influence": "traj_infl"}
"""Score -> column, where the names differ."""


def measure(path: Path, out: Path, name: str) -> dict[str, float]:
    """Import `path` in this process."""
    before = _peak()
    started, clock = time.perf_counter(), time.process_time()
    done = import_runs(path, out, ImportOptions(name=name, influence_scale=SCALES[name]))
    rows = sum(map(len, done.runs.places.values()))
    return {
        "rows": rows,
        "seconds": time.perf_counter() - started,
        "cpu": time.process_time() - clock,
        "before": before,
        "peak": _peak(),
        "largest": max(map(len, done.runs.places.values())),
    }


def _peak() -> float:
    """MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def repeated(path: Path, times: int, column: str, into: Path) -> Path:
    """The same rows `times` times, with numbers in `column` that are all different."""
    with path.open() as source, into.open("w") as target:
        for line in source:
            row = json.loads(line)
            own = row[column]
            for copy in range(times):
                target.write(json.dumps(row | {column: own * times + copy}) + "\n")
    return into


def column_means(path: Path, column: str) -> list[float]:
    """Mean of a column by iteration, straight from the file."""
    values: dict[int, list[float]] = defaultdict(list)
    with path.open() as file:
        for line in file:
            row = json.loads(line)
            values[row["iteration_number"]].append(row[column])
    return [math.fsum(values[i]) / len(values[i]) for i in sorted(values)]


def means(logs: Sequence[Path], score: str) -> list[float]:
    """Mean of one score in each log, from the sample summaries."""
    found = []
    for log in logs:
        values = [s.scores[score].as_float() for s in read_eval_log_sample_summaries(str(log)) if s.scores]
        scored = [v for v in values if not math.isnan(v)]
        found.append(math.fsum(scored) / len(scored))
    return found


def compare(name: str, path: Path, out: Path) -> tuple[float, float]:
    """Print known and found means; the largest difference from the known ones, and from the file."""
    logs = sorted(out.glob(f"{name}-*.eval"))
    from_known = from_file = 0.0
    for score, series in KNOWN[name].items():
        known = [math.nan if word == "-" else float(word) for word in series.split()]
        found = means(logs, score)
        assert len(known) == len(found), f"{name}: {len(found)} logs, {len(known)} known iterations"
        differences = [abs(f - k) for f, k in zip(found, known, strict=True) if not math.isnan(k)]
        from_known = max(from_known, *differences)
        stored = column_means(path, COLUMNS.get(score, score))
        from_file = max(from_file, *(abs(f - s) for f, s in zip(found, stored, strict=True)))
        print(f"\n  {score}: largest difference {max(differences):.5f}")
        print("    known " + " ".join("     -" if math.isnan(k) else f"{k:6.3f}" for k in known))
        print("    found " + " ".join(f"{f:6.3f}" for f in found))
    return from_known, from_file


def main() -> int:
    """Print the tables; 1 if a mean differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--times", type=int, default=10, help="how often rows and iterations are repeated")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        out, name = arguments.measure
        print(json.dumps(measure(arguments.data, Path(out), name)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        print(
            f"{'file':<24} {'rows':>7} {'an iteration':>13} {'seconds':>8} {'CPU s':>6} "
            f"{'CPU s per 1,000':>16} {'peak MiB':>9}"
        )
        for name in KNOWN:
            _show(arguments.data, folder, name, 1, "trajectory_id")
            _show(arguments.data, folder, name, arguments.times, "trajectory_id")
        _show(arguments.data, folder, "booking", arguments.times, "iteration_number")
        from_known = from_file = 0.0
        for name in KNOWN:
            print(f"\n{name}, means by iteration")
            differences = compare(name, arguments.data / f"{name}.jsonl", Path(folder) / "trajectory_id-1")
            from_known, from_file = max(from_known, differences[0]), max(from_file, differences[1])
    agree = from_known <= ROUNDED and from_file < 1e-12
    print(f"\nlargest difference from the known means {from_known:.5f}, from the file's own {from_file:.1e}:")
    print("the means agree" if agree else "the means DO NOT agree")
    return 0 if agree else 1


def _show(data: Path, folder: str, name: str, times: int, column: str) -> None:
    source = repeated(data / f"{name}.jsonl", times, column, Path(folder) / f"{name}.jsonl")
    command = [sys.executable, __file__, str(source), "--measure", f"{folder}/{column}-{times}", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    what = f"{name}, {column.split('_')[0]} x {times}"
    print(
        f"{what:<24} {found['rows']:>7} {found['largest']:>13} {found['seconds']:>8.1f} "
        f"{found['cpu']:>6.1f} {1000 * found['cpu'] / found['rows']:>16.1f} {found['peak']:>9.0f}  "
        f"({found['before']:.0f} before)",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
