"""Probes beside models that are asked, and models that are fine-tuned: AUROC against cost, on the same rows.

    python benchmarks/probes/stakes_baselines.py --data STAKES --model FOLDER --out results/baselines
    python benchmarks/probes/stakes_baselines.py ... --stages rows capture probes     # a part of it

STAKES holds synthetic.jsonl (with splits), anthropic.jsonl and mts.jsonl; FOLDER a causal model with a chat
template. All monitors learn from the same rows of the synthetic train split and are tested on the same
others: English, and short enough that nobody cuts them. A stage that is done is not done again. Costs are for
one conversation: of a probe and of the last block beyond the pass of the monitored model, of the others all
that they compute.
"""

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))
os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from safetensors.numpy import load_file

from analysis.ranking import Ranked
from probes.activations.stored_sets import read_dataset
from probes.evaluation.pages.results_page import interval, table
from probes.laboratory.rows import StakesRow, read_rows, write_rows

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("rows", "capture", "probes", "last-block", "prompted", "lora", "full", "table")
TRAIN = "train"
TESTS = ("synthetic", "anthropic", "mts")


def chosen(rows: Sequence[StakesRow], count: int, most_characters: int, seed: int) -> list[StakesRow]:
    """Whole pairs of English rows that are short, drawn by the seed, as many of either class as can be."""
    fitting = [row for row in rows if row.facts.get("language", "English") == "English"]
    fitting = [row for row in fitting if row.label is not None and len(row.text) <= most_characters]
    pairs: dict[str, list[StakesRow]] = {}
    for row in fitting:
        pairs.setdefault(row.pair, []).append(row)
    order = list(pairs.values())
    random.Random(seed).shuffle(order)
    taken: list[StakesRow] = []
    room = {0: count // 2, 1: count // 2}
    for pair in order:
        need = {label: sum(row.label == label for row in pair) for label in room}
        if all(need[label] <= room[label] for label in room):
            taken += pair
            room = {label: room[label] - need[label] for label in room}
    return taken


def make_rows(options: argparse.Namespace) -> None:
    """The rows that everybody gets."""
    synthetic = read_rows(options.data / "synthetic.jsonl")
    parts = {TRAIN: ([r for r in synthetic if r.split == "train"], options.train_rows)}
    for name in TESTS:
        source = (
            [r for r in synthetic if r.split == "test"]
            if name == "synthetic"
            else read_rows(options.data / f"{name}.jsonl")
        )
        parts[name] = (source, options.test_rows)
    for name, (rows, count) in parts.items():
        drawn = chosen(rows, count, options.characters, options.seed)
        # splits of the sources are theirs: here a file is a split
        bare = [
            r.model_copy(update={"facts": {k: v for k, v in r.facts.items() if k != "split"}}) for r in drawn
        ]
        write_rows(options.out / "rows" / f"{name}.jsonl", bare)
        print(f"{name}: {len(bare)} rows, {sum(r.label == 1 for r in bare)} of high stakes")


def capture_rows(options: argparse.Namespace) -> None:
    """Activations of all rows, one pass for all layers."""
    for name in (TRAIN, *TESTS):
        run(
            "probes/capture.py",
            model=options.model,
            data=options.out / "rows" / f"{name}.jsonl",
            label_column="label",
            positive=1,
            negative=0,
            group_column="pair",
            layers=options.layers,
            dtype="float32",
            out=options.out / "activations",
        )


def fit_probes(options: argparse.Namespace) -> None:
    """The heads of the suite, on the same rows as the fine-tuned models."""
    run(
        "probes/fit.py",
        data=options.out / "activations" / TRAIN,
        layers=options.layers,
        heads=options.heads,
        seeds=1,
        detects="high stakes",
        out=options.out / "monitors",
    )


def ask(options: argparse.Namespace) -> None:
    """The model itself, asked: an eval for each template and data set."""
    from inspect_ai import eval  # noqa: A004

    from tasks.stakes import stakes

    for template in options.templates.split(","):
        for name in TESTS:
            task = stakes(str(options.out / "rows" / f"{name}.jsonl"), template=template)
            folder = options.out / "logs" / f"{template}-{name}"
            if any(folder.glob("*.eval")):
                continue
            (log,) = eval(
                task,
                model=f"local/{options.model}",
                model_args={"dtype": "bfloat16"} if options.autocast else {},
                log_dir=str(folder),
                display="none",
                max_connections=16,
            )
            assert log.results is not None, log.error
            print(template, name, {k: round(m.value, 4) for k, m in log.results.scores[0].metrics.items()})


def fine_tune(options: argparse.Namespace, kind: str) -> None:
    """One kind of baseline."""
    epochs = options.block_epochs if kind == "last-block" else options.epochs
    rate = {"lora": options.rate, "full": options.full_rate, "last-block": 1e-3}[kind]
    run(
        "probes/baselines.py",
        "fit",
        data=options.out / "rows" / f"{TRAIN}.jsonl",
        test=[options.out / "rows" / f"{name}.jsonl" for name in TESTS],
        model=options.model,
        kind=kind,
        epochs=epochs,
        learning_rate=rate,
        batch_size=4,
        accumulation=options.accumulation,
        autocast=str(options.autocast).lower(),
        seed=options.seed,
        out=options.out / "baselines" / kind,
    )


def compare(options: argparse.Namespace) -> None:
    """One table of all."""
    beside = [*(options.out / "baselines").glob("*/scores.jsonl")]
    beside += sorted((options.out / "logs").glob("*/*.eval"))
    run(
        "probes/evaluate.py",
        monitors=options.out / "monitors",
        data=[options.out / "activations" / name for name in TESTS],
        train=options.out / "activations" / TRAIN,
        controls="length,bag_of_words",
        beside=beside,
        out=options.out / "results",
        **({"reference": options.reference} if options.reference else {}),
    )
    rows = json.loads((options.out / "results" / "results.json").read_text())
    tokens = {name: mean_tokens(options.out / "activations", name) for name in TESTS}
    for row in rows:
        if row["head"] and row["dataset"] in tokens:
            row["flops"] = head_flops(options.out / "monitors" / row["monitor"], tokens[row["dataset"]])
    print(f"\n{cost_table(rows)}\n")
    print(f"model {options.model}: weights SHA-256 {weights_digest(options.model)[:16]}")


def mean_tokens(store: Path, name: str) -> float:
    """Tokens of a conversation of a captured data set, in the mean."""
    rows, _ = read_dataset(store, name)
    return sum(row.n_tokens for row in rows) / len(rows)


def head_flops(monitor: Path, tokens: float) -> float:
    """Of a head, at most: every one of its weights meets every token."""
    weights = load_file(next(monitor.glob("*.safetensors")))
    return 2.0 * sum(weight.size for weight in weights.values()) * tokens


def cost_table(rows: Sequence[dict[str, Any]]) -> str:
    """AUROC on each set and in the mean, FLOPs and seconds of a conversation."""
    whole = [row for row in rows if row["by"] is None]
    columns = [*dict.fromkeys(row["dataset"] for row in whole)]
    lines: dict[str, dict[str, Any]] = {}
    for row in whole:
        told = Ranked(row["auroc"], row["auroc_low"], row["auroc_high"])
        lines.setdefault(row["monitor"], {})[row["dataset"]] = interval(*told, digits=2)
        for cost in ("flops", "seconds"):
            if row.get(cost) is not None:
                lines[row["monitor"]].setdefault(cost, []).append(row[cost])
    head = ["", *columns, "FLOPs", "s"]
    body = [
        [
            name,
            *(cells.get(column, "-") for column in columns),
            _mean(cells.get("flops"), "{:.1e}"),
            _mean(cells.get("seconds"), "{:.2f}"),
        ]
        for name, cells in lines.items()
    ]
    return table(head, body)


def _mean(values: Sequence[float] | None, form: str) -> str:
    return form.format(sum(values) / len(values)) if values else "-"


def weights_digest(model: Path) -> str:
    """SHA-256 of the model's weights."""
    whole = hashlib.sha256()
    for path in sorted(Path(model).glob("*.safetensors")):
        whole.update(path.read_bytes())
    return whole.hexdigest()


def run(script: str, *arguments: str, **options: Any) -> None:
    """One command, as a user gives it."""
    given: list[str] = []
    for name, value in options.items():
        values = value if isinstance(value, list) else [value]
        given += [f"--{name.replace('_', '-')}", *map(str, values)]
    subprocess.run([sys.executable, script, *arguments, *given], cwd=ROOT, check=True)


def main() -> None:
    """Run the stages that are not done."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--model", type=Path, required=True, help="folder of a causal model")
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--train-rows", type=int, default=160)
    parser.add_argument("--test-rows", type=int, default=60, help="of each set")
    parser.add_argument("--characters", type=int, default=500, help="longest row")
    parser.add_argument("--layers", default="10,15,20", help="as in probes/capture.py")
    parser.add_argument("--heads", default="mean,logistic,attention,softmax", help="as in probes/fit.py")
    parser.add_argument(
        "--templates", default="single_word,single_letter", help="of scenarios/stakes/monitors.yaml"
    )
    parser.add_argument("--epochs", type=float, default=3, help="of LoRA, and of all weights")
    parser.add_argument("--rate", type=float, default=5e-4, help="of LoRA")
    parser.add_argument("--full-rate", type=float, default=3e-5, help="of all weights")
    parser.add_argument("--accumulation", type=int, default=1, help="batches of four rows for a step")
    parser.add_argument("--autocast", action="store_true", help="compute in bfloat16, of all but probes")
    parser.add_argument("--block-epochs", type=float, default=8, help="of the last block")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reference", help="monitor that all are compared with; see probes/evaluate.py")
    options = parser.parse_args()
    options.out, options.model = options.out.absolute(), options.model.absolute()
    (options.out / "done").mkdir(parents=True, exist_ok=True)
    stages = {
        "rows": make_rows,
        "capture": capture_rows,
        "probes": fit_probes,
        "last-block": lambda o: fine_tune(o, "last-block"),
        "prompted": ask,
        "lora": lambda o: fine_tune(o, "lora"),
        "full": lambda o: fine_tune(o, "full"),
        "table": compare,
    }
    for name in options.stages:
        done = options.out / "done" / name
        if done.exists() and name != "table":
            continue
        started = time.monotonic()
        stages[name](options)
        print(f"[{name}: {time.monotonic() - started:.0f} s]", flush=True)
        done.touch()


if __name__ == "__main__":
    main()
